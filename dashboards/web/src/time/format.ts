/** Instants and durations as text. An instant never stands without its zone. */

export type Zone = "utc" | "local";

export type Precision = "minute" | "second" | "millisecond";

const pad = (number: number, digits = 2) => String(number).padStart(digits, "0");

function offset(date: Date): string {
  const minutes = -date.getTimezoneOffset();
  const absolute = Math.abs(minutes);
  return `${minutes < 0 ? "−" : "+"}${pad(Math.floor(absolute / 60))}:${pad(absolute % 60)}`;
}

/** The parts of an instant in a zone: date, time of day, and the zone's name or offset. */
export function parts(at: Date, zone: Zone, precision: Precision = "second"): [string, string, string] {
  const shifted = zone === "utc" ? at : new Date(at.getTime() - at.getTimezoneOffset() * 60_000);
  const [date = "", rest = ""] = shifted.toISOString().split("T");
  const length = { minute: 5, second: 8, millisecond: 12 }[precision];
  return [date, rest.slice(0, length), zone === "utc" ? "UTC" : offset(at)];
}

/** `2026-11-02 09:00:00 UTC`; what cannot be read as an instant stays as it is. */
export function instant(at: string | Date, zone: Zone, precision?: Precision): string {
  const date = typeof at === "string" ? new Date(at) : at;
  if (Number.isNaN(date.valueOf())) return String(at);
  return parts(date, zone, precision).join(" ");
}

/** An instant in RFC 3339 as microseconds since 1970; nothing where it is none. */
export function micros(at: string): number | undefined {
  const ms = Date.parse(at);
  const beyond_ms = /\.\d{3}(\d{1,3})/.exec(at)?.[1] ?? "";
  return Number.isNaN(ms) ? undefined : ms * 1000 + Number(beyond_ms.padEnd(3, "0"));
}

/** A time since the start of a recording as it is written in an address: seconds, or `1:02:03.5`. */
export function fromClock(text: string): number | undefined {
  const parts = text.split(":");
  if (parts.length > 3 || !parts.every((part) => /^\d+(\.\d+)?$/.test(part))) return undefined;
  return Math.round(parts.reduce((seconds, part) => seconds * 60 + Number(part), 0) * 1e6);
}

/** Time since the start of a recording: `12:30`, `1:02:03`, with `digits` of a second's fraction. */
export function clock(duration_us: number, digits: 0 | 1 | 3 = 0): string {
  const ms = Math.max(0, Math.floor(duration_us / 1000));
  const [hours, minutes, seconds] = [
    Math.floor(ms / 3_600_000),
    Math.floor(ms / 60_000) % 60,
    Math.floor(ms / 1000) % 60,
  ];
  const fraction = digits === 0 ? "" : `.${pad(ms % 1000, 3).slice(0, digits)}`;
  const rest = `${pad(minutes)}:${pad(seconds)}${fraction}`;
  return hours === 0 ? rest : `${hours}:${rest}`;
}

/** A length of time to be read at a glance, its two largest units: `4 d 3 h`, `12 min 5 s`, `2 h`, `8.2 s`, `340 ms`. */
export function duration(ms: number): string {
  if (ms < 0) return `−${duration(-ms)}`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`;
  const units = [
    ["d", 86_400_000],
    ["h", 3_600_000],
    ["min", 60_000],
    ["s", 1000],
  ] as const;
  const first = units.findIndex(([, unit_ms]) => ms >= unit_ms);
  const shown = units.slice(first, first + 2).map(([name, unit_ms], place) => {
    const within = place === 0 ? ms : ms % (units[first]?.[1] ?? 1);
    return [Math.floor(within / unit_ms), name] as const;
  });
  return shown.flatMap(([count, name]) => (count === 0 ? [] : [`${count} ${name}`])).join(" ");
}

/** An instant as it is typed, without its zone: `2026-11-02 09:00:00`. */
export const typed = (at: string, zone: Zone): string => {
  const date = new Date(at);
  return Number.isNaN(date.valueOf()) ? at : parts(date, zone).slice(0, 2).join(" ");
};

/** The instant that was typed, in RFC 3339; nothing where it is none. A zone that was typed too holds. */
export const fromTyped = (text: string, zone: Zone): string | undefined => {
  const found = /^(\d{4}-\d{2}-\d{2})(?:[ T](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?))?(Z|[+-]\d{2}:\d{2})?$/.exec(
    text.trim(),
  );
  if (found === null) return undefined;
  const [, day, time = "00:00", offset = zone === "utc" ? "Z" : ""] = found;
  const date = new Date(`${day}T${time}${offset}`);
  return Number.isNaN(date.valueOf()) ? undefined : date.toISOString();
};

/** How the server itself is doing. */
import { type Schemas, send } from "./client";
import { ApiError } from "./error";

/** A part of the server, and how it is doing. */
export interface Part {
  component: string;
  state: string;
  why?: string | null;
}

/** Whether the parts of the server answer. That one does not is an answer too. */
export async function readiness(signal?: AbortSignal): Promise<{ ready: boolean; parts: Part[] }> {
  const answered = await fetch("/readyz", signal === undefined ? {} : { signal }).catch((thrown: unknown) => {
    if (thrown instanceof DOMException && thrown.name === "AbortError") throw thrown;
    throw ApiError.unreachable();
  });
  const body = (await answered.json().catch(() => undefined)) as Schemas["Readiness"] | undefined;
  if (!Array.isArray(body?.parts)) throw ApiError.of(answered, body);
  return { ready: body.ready, parts: body.parts as unknown as Part[] };
}

/** A value of a metric, with its labels. */
export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

const ESCAPED: Record<string, string> = { "\\n": "\n", '\\"': '"', "\\\\": "\\" };

/** Reads Prometheus' text format; a line that is none of it is left out. */
export function samples(text: string): Sample[] {
  const found: Sample[] = [];
  for (const line of text.split("\n")) {
    const [, name, labels = "", value] = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/.exec(line) ?? [];
    if (name === undefined || value === undefined) continue;
    const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label = "", text = ""]) => [
      label,
      text.replaceAll(/\\[n"\\]/g, (code) => ESCAPED[code] ?? code),
    ]);
    const number =
      value === "+Inf" ? Number.POSITIVE_INFINITY : value === "-Inf" ? Number.NEGATIVE_INFINITY : Number(value);
    found.push({ name, labels: Object.fromEntries(pairs), value: number });
  }
  return found;
}

/** The metrics of the server. */
export const metrics = async (signal?: AbortSignal) =>
  samples(await (await send("/metrics", signal === undefined ? {} : { signal })).text());

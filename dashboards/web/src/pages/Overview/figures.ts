/** Numbers of the overview, from rows that were asked for. */
import { BY_SURENESS, type SessionsOfDay } from "../../api/questions";

const DAY_MS = 86_400_000;
const WEEK_MS = 7 * DAY_MS;

/** The first instant of so many days (UTC), of which today is the last. */
export const firstDay = (days: number, now: Date): Date =>
  new Date(Math.floor(now.getTime() / DAY_MS) * DAY_MS - (days - 1) * DAY_MS);

/** Sessions of each gateway on each of some days: no day is left out, and the gateway with the most stands first. */
export function byGateway(rows: SessionsOfDay[], from: Date, days: number) {
  const days_s = Array.from({ length: days }, (_, day) => (from.getTime() + day * DAY_MS) / 1000);
  const counts = new Map<string, number[]>();
  for (const { day, source, sessions } of rows) {
    const values = counts.get(source) ?? days_s.map(() => 0);
    const place = Math.floor((Date.parse(day) - from.getTime()) / DAY_MS);
    if (place >= 0 && place < days) values[place] = (values[place] ?? 0) + sessions;
    counts.set(source, values);
  }
  const sum = (values: number[]) => values.reduce((sum, value) => sum + value, 0);
  const series = [...counts].map(([name, values]) => ({ name, values }));
  return { days_s, series: series.toSorted((a, b) => sum(b.values) - sum(a.values) || a.name.localeCompare(b.name)) };
}

/** How many sessions are linked in each way, the surest first, and how many nothing that is certain approved. */
export function byLink(rows: SessionsOfDay[]) {
  const methods = new Map<string, number>();
  let [all, approved] = [0, 0];
  for (const row of rows) {
    methods.set(row.link_method, (methods.get(row.link_method) ?? 0) + row.sessions);
    all += row.sessions;
    approved += row.approved;
  }
  const explained = all - (methods.get("inferred") ?? 0) - (methods.get("none") ?? 0);
  const inOrder = BY_SURENESS.flatMap((method): [string, number][] => {
    const count = methods.get(method);
    return count === undefined ? [] : [[method, count]];
  });
  return { methods: inOrder, all, explained, unapproved: all - approved };
}

/** The Mondays (UTC) of so many weeks, of which the present is the last. */
export function weeks(count: number, now: Date): Date[] {
  // 1970-01-01 was a Thursday.
  const week = Math.floor((now.getTime() / DAY_MS + 3) / 7);
  return Array.from({ length: count }, (_, place) => new Date((week - count + 1 + place) * WEEK_MS - 3 * DAY_MS));
}

const date = (at: Date) => at.toISOString().slice(0, 10);

/** Some weeks as the period of a report. */
export const periodOf = (mondays: Date[]): string => {
  const [first = new Date(0), last = first] = [mondays[0], mondays.at(-1)];
  return `${date(first)}..${date(new Date(last.getTime() + WEEK_MS))}`;
};

/** Which of these weeks an instant is in; -1 for none. */
const weekOf = (mondays: Date[], at: string): number => {
  const place = Math.floor((Date.parse(at) - (mondays[0]?.getTime() ?? 0)) / WEEK_MS);
  return place >= 0 && place < mondays.length ? place : -1;
};

/** A sum for each week. */
export function sums<Row>(mondays: Date[], rows: Row[], at: (row: Row) => string | null, value: (row: Row) => number) {
  const sums = mondays.map(() => 0);
  for (const row of rows) {
    const instant = at(row);
    const place = instant === null ? -1 : weekOf(mondays, instant);
    if (place >= 0) sums[place] = (sums[place] ?? 0) + value(row);
  }
  return sums;
}

/** A median for each week; nothing where there is no value. */
export function medians<Row>(
  mondays: Date[],
  rows: Row[],
  at: (row: Row) => string | null,
  value: (row: Row) => number | null,
): (number | null)[] {
  const values: number[][] = mondays.map(() => []);
  for (const row of rows) {
    const [instant, number] = [at(row), value(row)];
    if (instant !== null && number !== null) values[weekOf(mondays, instant)]?.push(number);
  }
  return values.map((values) => median(values));
}

export function median(values: number[]): number | null {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low, high] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  return low === undefined || high === undefined ? null : (low + high) / 2;
}

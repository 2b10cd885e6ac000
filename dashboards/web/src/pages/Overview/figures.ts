/** Numbers of the overview, from rows that were asked for. */
import { BY_SURENESS } from "../../api/access";
import type { Schemas } from "../../api/client";

type SessionsOfDay = Schemas["SessionsOfDay"];

const DAY_MS = 86_400_000;

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

/** How many sessions are linked in each way, the surest first, and how many of them that explains. */
export function byLink(rows: SessionsOfDay[]) {
  const methods = new Map<string, number>();
  let all = 0;
  for (const row of rows) {
    methods.set(row.link_method, (methods.get(row.link_method) ?? 0) + row.sessions);
    all += row.sessions;
  }
  const explained = all - (methods.get("inferred") ?? 0) - (methods.get("none") ?? 0);
  const inOrder = BY_SURENESS.flatMap((method): [string, number][] => {
    const count = methods.get(method);
    return count === undefined ? [] : [[method, count]];
  });
  return { methods: inOrder, all, explained };
}

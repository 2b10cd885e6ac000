/** What is asked of a report, and how its answer is read. */
import type { Report, ReportRow, Run } from "../../api/reports";

export const nameOf = ({ what, reports }: Run): string =>
  ({ report: "Report", sample: "Sample of", evidence: "Pack of" })[what] +
  (reports.length > 4 ? ` ${reports.slice(0, 3).join(", ")} and ${reports.length - 3} more` : ` ${reports.join(", ")}`);

const date = (at: Date) => at.toISOString().slice(0, 10);

/** Periods that are often meant, the likeliest first: pairs of what the server reads, and a name. */
export function periods(now: Date): [string, string][] {
  const [year, month] = [now.getUTCFullYear(), now.getUTCMonth()];
  const quarter = Math.floor(month / 3) + 1;
  const before = quarter === 1 ? `${year - 1}-Q4` : `${year}-Q${quarter - 1}`;
  const month_before = new Date(Date.UTC(year, month - 1, 1));
  const days = (count: number) => {
    const day = Date.UTC(year, month, now.getUTCDate());
    return `${date(new Date(day - (count - 1) * 86_400_000))}..${date(new Date(day + 86_400_000))}`;
  };
  return [
    [`${year}-Q${quarter}`, "this quarter"],
    [before, "the quarter before"],
    [date(now).slice(0, 7), "this month"],
    [date(month_before).slice(0, 7), "the month before"],
    [days(7), "the last 7 days"],
    [days(30), "the last 30 days"],
    [String(year), "this year"],
  ];
}

/** A typed text as the value of a parameter; the server says what is wrong with one that cannot be read. */
export function parameterOf(type: string, text: string): string | number | boolean {
  const trimmed = text.trim();
  if (type === "boolean") return trimmed === "true";
  if (type === "text" || trimmed === "" || Number.isNaN(Number(trimmed))) return text;
  return Number(trimmed);
}

/** Where a row's key leads: what it means is said in the report's words for it. */
export function hrefOf(report: Report, row: ReportRow): string | undefined {
  const [, session] = /^[^/]+\/(.+)$/s.exec(row.key) ?? [];
  const means = report.columns.key ?? "";
  if (session !== undefined && means === "The session: source/session id") {
    return `/sessions/${encodeURIComponent(session)}`;
  }
  if (session !== undefined && means === "The request: source/request id") {
    return `/requests/${encodeURIComponent(session)}`;
  }
  return typeof row.session_id === "string" ? `/sessions/${encodeURIComponent(row.session_id)}` : undefined;
}

/** A value of a row as text. */
export function shown(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (Array.isArray(value)) return value.map((part) => shown(part) ?? "—").join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

export const isInstant = (value: unknown): value is string =>
  typeof value === "string" && /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z$/.test(value);

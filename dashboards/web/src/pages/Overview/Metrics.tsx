import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link } from "wouter";
import { ApiError } from "../../api/error";
import { rowsOf } from "../../api/reports";
import { duration } from "../../time/format";
import { medians, periodOf, sums, weeks } from "./figures";
import classes from "./Overview.module.css";

/** A report runs for seconds, and its weeks do not change in minutes. */
const FRESH_MS = 10 * 60_000;
const WEEKS = 8;

interface Hours {
  week_from: string;
  hours: number;
}

interface Grants {
  week_from: string;
  verdict: string;
  holders: number;
}

interface Wait {
  created_at: string | null;
  session_s: number | null;
}

/** What just-in-time access is measured by, week by week. They run one after the other, when nothing else is waited for. */
export function Metrics({ isWaiting }: { isWaiting: boolean }) {
  const today = new Date().toISOString().slice(0, 10);
  const mondays = useMemo(() => weeks(WEEKS, new Date(`${today}T00:00:00Z`)), [today]);
  const hours = useReport<Hours>("M01", mondays, !isWaiting);
  const grants = useReport<Grants>("M02", mondays, !isWaiting && !hours.isPending);
  const waits = useReport<Wait>("M03", mondays, !isWaiting && !hours.isPending && !grants.isPending);
  return (
    <section className="card" aria-label="Just-in-time access">
      <h2>
        Just-in-time access <span className="soft">this week, and {WEEKS - 1} before</span>
      </h2>
      <Metric id="M01" name="Hours of active credentials" of={hours} text={(hours) => `${hours.toFixed(1)} h`}>
        {(rows) =>
          sums(
            mondays,
            rows,
            (row) => row.week_from,
            (row) => row.hours,
          )
        }
      </Metric>
      <Metric id="M02" name="Standing grants, persons × roles" of={grants} text={String}>
        {(rows) =>
          sums(
            mondays,
            rows.filter(({ verdict }) => verdict !== "excluded"),
            (row) => row.week_from,
            (row) => row.holders,
          )
        }
      </Metric>
      <Metric id="M03" name="Request to access, median" of={waits} text={(s) => duration(s * 1000)}>
        {(rows) =>
          medians(
            mondays,
            rows,
            (row) => row.created_at,
            (row) => row.session_s,
          )
        }
      </Metric>
    </section>
  );
}

const useReport = <Row,>(report: string, mondays: Date[], enabled: boolean) =>
  useQuery({
    queryKey: ["metric", report, periodOf(mondays)],
    queryFn: ({ signal }) => rowsOf<Row>(report, periodOf(mondays), signal),
    enabled,
    staleTime: FRESH_MS,
    gcTime: FRESH_MS,
  });

interface Props<Row> {
  id: string;
  name: string;
  of: UseQueryResult<Row[]>;
  text: (value: number) => string;
  /** The value of each week. */
  children: (rows: Row[]) => (number | null)[];
}

function Metric<Row>({ id, name, of, text, children }: Props<Row>) {
  const values = of.data === undefined ? undefined : children(of.data);
  const now = values?.at(-1);
  const highest = Math.max(...(values ?? []).map((value) => value ?? 0), 0) || 1;
  const shown = (value: number | null | undefined) => (value == null ? "—" : text(value));
  return (
    <div className={classes.metric}>
      <span className="soft">
        <Link href={`/reports/${id}`}>{id}</Link> {name}
      </span>
      <ol className={classes.trend} aria-hidden style={{ gridRow: "span 2" }}>
        {values?.map((value, week) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: weeks never move
          <li key={week} style={{ height: `${(100 * (value ?? 0)) / highest}%` }} title={shown(value)} />
        ))}
      </ol>
      {of.isError ? (
        <span className="alarm">{ApiError.from(of.error).message}</span>
      ) : values === undefined ? (
        <span className="soft">{of.fetchStatus === "idle" ? "waits" : "being worked out…"}</span>
      ) : (
        <strong className="number">
          {shown(now)}{" "}
          <span className="soft" style={{ fontSize: 13, fontWeight: 400 }}>
            before {shown(values.at(-2))}
          </span>
        </strong>
      )}
    </div>
  );
}

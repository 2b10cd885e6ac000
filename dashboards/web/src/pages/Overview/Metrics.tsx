import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { answer, api } from "../../api/client";
import { duration } from "../../time/format";
import { Fetched } from "../../ui/states";
import classes from "./Overview.module.css";

const REFRESH_MS = 10 * 60_000;

/** What just-in-time access is measured by, week by week; asked when nothing else is waited for. */
export function Metrics({ isWaiting }: { isWaiting: boolean }) {
  const found = useQuery({
    queryKey: ["weeks"],
    queryFn: ({ signal }) => answer(api.GET("/api/v1/overview/weeks", { signal })),
    enabled: !isWaiting,
    staleTime: REFRESH_MS,
    refetchInterval: REFRESH_MS,
  });
  const before = (found.data?.weeks.length ?? 1) - 1;
  return (
    <section className="card" aria-label="Just-in-time access">
      <h2>Just-in-time access {before > 0 && <span className="soft">this week, and {before} before</span>}</h2>
      <Fetched of={found} what="Working out the weeks">
        {({ weeks }) => (
          <>
            <Metric
              id="M01"
              name="Hours of active credentials"
              values={weeks.map(({ active_hours }) => active_hours)}
              text={(hours) => `${hours.toFixed(1)} h`}
            />
            <Metric
              id="M02"
              name="Standing grants, persons × roles"
              values={weeks.map(({ standing_grants }) => standing_grants)}
              text={String}
            />
            <Metric
              id="M03"
              name="Request to access, median"
              values={weeks.map(({ request_to_session_s }) => request_to_session_s ?? null)}
              text={(s) => duration(s * 1000)}
            />
          </>
        )}
      </Fetched>
    </section>
  );
}

interface Props {
  id: string;
  name: string;
  /** The value of each week, the present last. */
  values: (number | null)[];
  text: (value: number) => string;
}

function Metric({ id, name, values, text }: Props) {
  const highest = Math.max(...values.map((value) => value ?? 0), 0) || 1;
  const shown = (value: number | null | undefined) => (value == null ? "—" : text(value));
  return (
    <div className={classes.metric}>
      <span className="soft">
        <Link href={`/reports/${id}`}>{id}</Link> {name}
      </span>
      <ol className={classes.trend} aria-hidden style={{ gridRow: "span 2" }}>
        {values.map((value, week) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: weeks never move
          <li key={week} style={{ height: `${(100 * (value ?? 0)) / highest}%` }} title={shown(value)} />
        ))}
      </ol>
      <strong className="number">
        {shown(values.at(-1))}{" "}
        <span className="soft" style={{ fontSize: 13, fontWeight: 400 }}>
          before {shown(values.at(-2))}
        </span>
      </strong>
    </div>
  );
}

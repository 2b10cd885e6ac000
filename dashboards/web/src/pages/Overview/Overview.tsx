import { SegmentedControl } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link } from "wouter";
import { isApproved } from "../../api/access";
import { answer, api, type Schemas } from "../../api/client";
import { ApiError } from "../../api/error";
import { readiness } from "../../api/operation";
import { Instant } from "../../time/zone";
import { LinkMethod } from "../../ui/Badges";
import { Bars } from "../../ui/Bars";
import { useFilters } from "../../ui/filters";
import { HostileText } from "../../ui/HostileText";
import { Empty, Fetched } from "../../ui/states";
import { type Column, Table } from "../../ui/Table";
import { Title } from "../../ui/Title";
import { columns } from "../Sessions/columns";
import { byGateway, byLink } from "./figures";
import { Metrics } from "./Metrics";
import classes from "./Overview.module.css";

type Session = Schemas["LinkedSession"];
type Found = Schemas["Overview"];

const NAMES = ["days"] as const;
const DAYS = [7, 30, 90];
const REFRESH_MS = 30_000;

/** The columns of all sessions, as far as they have room here; the others can be chosen. */
const SHOWN = new Set(["started_at", "actor", "target", "reason", "approvers"]);
const shown = columns.map((column): Column<Session> => {
  const here = { ...column, hidden: !SHOWN.has(column.id) };
  if (column.id !== "approvers") return here;
  return {
    ...here,
    cell: (session) => (isApproved(session.links) ? column.cell(session) : <LinkMethod method="unapproved" />),
  };
});

const href = ({ session_id }: Session) => `/sessions/${encodeURIComponent(session_id)}`;
const keyOf = ({ source, cluster, session_id }: Session) => `${source} ${cluster} ${session_id}`;

/** Who was in there, why, who said yes; and what nobody approved, first. */
export default function Overview() {
  const [filters, set] = useFilters(NAMES);
  const days = DAYS.find((days) => String(days) === filters.days) ?? 30;
  const found = useQuery({
    queryKey: ["overview", days],
    queryFn: ({ signal }) => answer(api.GET("/api/v1/overview", { params: { query: { days } }, signal })),
    placeholderData: keepPreviousData,
    refetchInterval: REFRESH_MS,
  });

  return (
    <>
      <div className={classes.head}>
        <Title>Overview</Title>
        <SegmentedControl
          aria-label="Period"
          size="xs"
          value={String(days)}
          onChange={(value) => set({ days: value === "30" ? "" : value })}
          data={DAYS.map((days) => ({ value: String(days), label: `${days} days` }))}
        />
      </div>
      {found.data !== undefined && (
        <Unapproved {...found.data.unapproved} days={found.data.days} from={found.data.from} />
      )}
      <div className={classes.columns}>
        <div>
          <Fetched of={found} what="Looking at what happened">
            {({ latest }) =>
              latest.length === 0 ? (
                <Empty title="No session is in the ledger yet">
                  <p className="soft">They appear as soon as a gateway's events arrive.</p>
                </Empty>
              ) : (
                <Table
                  name="latest-sessions"
                  columns={shown}
                  rows={latest}
                  keyOf={keyOf}
                  hrefOf={href}
                  isAlarming={({ links }) => !isApproved(links)}
                >
                  Who was in there last; <Link href="/sessions">all sessions</Link>
                </Table>
              )
            }
          </Fetched>
        </div>
        <div className={classes.side}>
          {found.data !== undefined && (
            <>
              <section className="card" aria-label="Sessions over time">
                <h2>
                  Sessions a day <span className="soft">by gateway</span>
                </h2>
                <OverTime {...found.data} />
              </section>
              <Running {...found.data.running} />
              <Findings {...found.data.findings} />
            </>
          )}
          <Health />
          <Metrics isWaiting={found.isPending} />
        </div>
      </div>
    </>
  );
}

/** What nobody approved. */
function Unapproved({ count, latest, from, days }: Found["unapproved"] & { from: string; days: number }) {
  if (count === 0) return <p className={classes.good}>Every session of the last {days} days was approved.</p>;
  const more = count - latest.length;
  return (
    <section className={classes.alarm} aria-label="Not approved">
      <h2>
        {count} {count === 1 ? "session" : "sessions"} of the last {days} days that nobody approved
      </h2>
      <ul>
        {latest.map((session) => (
          <li key={keyOf(session)}>
            <Link href={href(session)}>
              <Instant at={session.started_at} precision="minute" />
            </Link>
            <span>
              <HostileText none="somebody">{session.person}</HostileText> on{" "}
              <HostileText none="something">{session.target}</HostileText>
            </span>
            <span className="soft">
              {session.source}
              {session.actor_kind === "bot" && ", a machine"}
            </span>
            {session.links.some((link) => link.link_method === "inferred") && <LinkMethod method="inferred" />}
          </li>
        ))}
      </ul>
      {more > 0 && <Link href={`/sessions?link=none&from=${encodeURIComponent(from)}`}>{more} more</Link>}
    </section>
  );
}

function OverTime({ by_day: rows, from, days }: Pick<Found, "by_day" | "from" | "days">) {
  const gateways = useMemo(() => byGateway(rows, new Date(from), days), [rows, from, days]);
  const links = byLink(rows);
  if (links.all === 0) return <p className="soft">None in these {days} days.</p>;
  const percent = (count: number) => `${Math.round((100 * count) / links.all)} %`;
  return (
    <>
      <Bars name="Sessions a day by gateway" {...gateways} height={110} />
      <h2 className={classes.next}>
        How access is explained <span className="soft">{percent(links.explained)} explained</span>
      </h2>
      <div className={classes.share} aria-hidden>
        {links.methods.map(([method, count]) => (
          <span key={method} data-method={method} style={{ flexGrow: count }} />
        ))}
      </div>
      <ul className={classes.methods}>
        {links.methods.map(([method, count]) => (
          <li key={method}>
            <span>
              <LinkMethod method={method} />
            </span>
            <span className="number">{count}</span>
            <span className="number soft">{percent(count)}</span>
          </li>
        ))}
      </ul>
    </>
  );
}

const Running = ({ count, latest }: Found["running"]) => (
  <section className="card" aria-label="Running now">
    <h2>
      Running now <Link href="/live">Live</Link>
    </h2>
    {count === 0 ? (
      <p className="soft">Nobody is in there.</p>
    ) : (
      <ul className={classes.plain}>
        {latest.map((session) => (
          <li key={keyOf(session)} className={isApproved(session.links) ? undefined : "alarm"}>
            <Link href={href(session)}>
              <HostileText none="somebody">{session.person}</HostileText> on{" "}
              <HostileText none="something">{session.target}</HostileText>
            </Link>
            {!isApproved(session.links) && " not approved"}
          </li>
        ))}
        {count > latest.length && <li className="soft">and {count - latest.length} others</li>}
      </ul>
    )}
  </section>
);

const Findings = ({ count, latest }: Found["findings"]) => (
  <section className="card" aria-label="Exceptions open">
    <h2>
      Exceptions open <Link href="/reports">Reports</Link>
    </h2>
    {count === 0 ? (
      <p className="soft">The watch has found none so far. What a report finds is on its own page.</p>
    ) : (
      <ul className={classes.plain}>
        {latest.map(({ finding, report, key, title, person, session_id }) => (
          <li key={finding}>
            <Link
              href={
                session_id == null
                  ? `/reports/${encodeURIComponent(report)}`
                  : `/sessions/${encodeURIComponent(session_id)}`
              }
            >
              {report}
            </Link>{" "}
            <HostileText>{title ?? key}</HostileText>
            {person != null && (
              <>
                {" "}
                <span className="soft">
                  <HostileText>{person}</HostileText>
                </span>
              </>
            )}
          </li>
        ))}
        {count > latest.length && <li className="soft">and {count - latest.length} others</li>}
      </ul>
    )}
  </section>
);

function Health() {
  const ready = useQuery({
    queryKey: ["readiness"],
    queryFn: ({ signal }) => readiness(signal),
    refetchInterval: REFRESH_MS / 2,
  });
  return (
    <section className="card" aria-label="Pipeline">
      <h2>
        Pipeline <Link href="/pipeline">Details</Link>
      </h2>
      {ready.isError ? (
        <p className="alarm">{ApiError.from(ready.error).message}</p>
      ) : (
        <ul className={classes.plain}>
          {ready.data?.parts.map(({ component, state, why }) => (
            <li key={component} className={state === "up" ? undefined : "alarm"}>
              {component} <span className={state === "up" ? "soft" : undefined}>{state}</span>
              {why != null && (
                <>
                  : <HostileText>{why}</HostileText>
                </>
              )}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

import { SegmentedControl } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link } from "wouter";
import { isApproved } from "../../api/access";
import { answer, api, type Schemas } from "../../api/client";
import { ApiError } from "../../api/error";
import { readiness } from "../../api/operation";
import { FINDINGS_MAX, openFindings, type SessionsOfDay, sessionsByDay } from "../../api/questions";
import { Instant } from "../../time/zone";
import { LinkMethod } from "../../ui/Badges";
import { Bars } from "../../ui/Bars";
import { useFilters } from "../../ui/filters";
import { HostileText } from "../../ui/HostileText";
import { Empty, Fetched } from "../../ui/states";
import { type Column, Table } from "../../ui/Table";
import { Title } from "../../ui/Title";
import { columns } from "../Sessions/columns";
import { byGateway, byLink, firstDay } from "./figures";
import { Metrics } from "./Metrics";
import classes from "./Overview.module.css";

type Session = Schemas["LinkedSession"];

const NAMES = ["days"] as const;
const DAYS = [7, 30, 90];
const REFRESH_MS = 30_000;
const LATEST = 10;
/** Unapproved sessions that are named; the others are counted. */
const NAMED = 5;

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
  // It changes once a day, and with it the questions.
  const today = new Date().toISOString().slice(0, 10);
  const from = useMemo(() => firstDay(days, new Date(`${today}T00:00:00Z`)), [days, today]);

  const latest = useSessions({ limit: LATEST });
  const perDay = useQuery({
    queryKey: ["sessionsByDay", from.toISOString()],
    queryFn: ({ signal }) => sessionsByDay(from.toISOString(), signal),
    placeholderData: keepPreviousData,
    refetchInterval: 2 * REFRESH_MS,
  });
  const isCalm = !latest.isPending && !perDay.isPending;

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
      <Unapproved from={from.toISOString()} days={days} perDay={perDay.data?.rows} />
      <div className={classes.columns}>
        <div>
          <Fetched of={latest} what="Looking for sessions">
            {({ sessions }) =>
              sessions.length === 0 ? (
                <Empty title="No session is in the ledger yet">
                  <p className="soft">They appear as soon as a gateway's events arrive.</p>
                </Empty>
              ) : (
                <Table
                  name="latest-sessions"
                  columns={shown}
                  rows={sessions}
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
          <section className="card" aria-label="Sessions over time">
            <h2>
              Sessions a day <span className="soft">by gateway</span>
            </h2>
            <Fetched of={perDay} what="Counting sessions">
              {({ rows }) => <OverTime rows={rows} from={from} days={days} />}
            </Fetched>
          </section>
          <Running />
          <Findings />
          <Health />
          <Metrics isWaiting={!isCalm} />
        </div>
      </div>
    </>
  );
}

function useSessions(query: { limit: number; link?: string; state?: string; from?: string }) {
  return useQuery({
    queryKey: ["sessions", query],
    queryFn: ({ signal }) => answer(api.GET("/api/v1/sessions", { params: { query }, signal })),
    placeholderData: keepPreviousData,
    refetchInterval: REFRESH_MS,
  });
}

/** What nobody approved: that there is nothing is only said when all was counted. */
function Unapproved({ from, days, perDay }: { from: string; days: number; perDay: SessionsOfDay[] | undefined }) {
  const unlinked = useSessions({ link: "none", from, limit: NAMED });
  const inferred = useSessions({ link: "inferred", from, limit: 100 });
  const found = [...(unlinked.data?.sessions ?? []), ...(inferred.data?.sessions ?? [])]
    .filter(({ links }) => !isApproved(links))
    .toSorted((a, b) => (b.started_at ?? "").localeCompare(a.started_at ?? ""))
    .slice(0, NAMED);
  const count = perDay === undefined ? undefined : Math.max(byLink(perDay).unapproved, found.length);
  if (found.length === 0 && (count ?? 0) === 0) {
    if (count === undefined || unlinked.data === undefined || inferred.data === undefined) return null;
    return <p className={classes.good}>Every session of the last {days} days was approved.</p>;
  }
  const more = (count ?? 0) - found.length;
  return (
    <section className={classes.alarm} aria-label="Not approved">
      <h2>
        {count ?? `At least ${found.length}`} {(count ?? found.length) === 1 ? "session" : "sessions"} of the last{" "}
        {days} days that nobody approved
      </h2>
      <ul>
        {found.map((session) => (
          <li key={keyOf(session)}>
            <Link href={href(session)}>
              <Instant at={session.started_at} precision="minute" />
            </Link>
            <span>
              <HostileText none="somebody">{session.actor}</HostileText> on{" "}
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
      {unlinked.isPending || inferred.isPending ? (
        <p className="soft">Looking for who it was…</p>
      ) : (
        more > 0 && <Link href={`/sessions?link=none&from=${encodeURIComponent(from)}`}>{more} more</Link>
      )}
    </section>
  );
}

function OverTime({ rows, from, days }: { rows: SessionsOfDay[]; from: Date; days: number }) {
  const gateways = useMemo(() => byGateway(rows, from, days), [rows, from, days]);
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

function Running() {
  const running = useSessions({ state: "running", limit: 100 });
  return (
    <section className="card" aria-label="Running now">
      <h2>
        Running now <Link href="/live">Live</Link>
      </h2>
      <Fetched of={running} what="Looking for running sessions">
        {({ sessions, next }) =>
          sessions.length === 0 ? (
            <p className="soft">Nobody is in there.</p>
          ) : (
            <ul className={classes.plain}>
              {sessions.slice(0, NAMED).map((session) => (
                <li key={keyOf(session)} className={isApproved(session.links) ? undefined : "alarm"}>
                  <Link href={href(session)}>
                    <HostileText none="somebody">{session.actor}</HostileText> on{" "}
                    <HostileText none="something">{session.target}</HostileText>
                  </Link>
                  {!isApproved(session.links) && " not approved"}
                </li>
              ))}
              {sessions.length > NAMED && (
                <li className="soft">
                  and {sessions.length - NAMED}
                  {next != null && " or more"} others
                </li>
              )}
            </ul>
          )
        }
      </Fetched>
    </section>
  );
}

function Findings() {
  const findings = useQuery({
    queryKey: ["findings"],
    queryFn: ({ signal }) => openFindings(signal),
    refetchInterval: 2 * REFRESH_MS,
  });
  return (
    <section className="card" aria-label="Exceptions open">
      <h2>
        Exceptions open <Link href="/reports">Reports</Link>
      </h2>
      <Fetched of={findings} what="Looking for exceptions">
        {(rows) =>
          rows === null ? (
            <p className="soft">Not watched by this server: run a report to find them.</p>
          ) : rows.length === 0 ? (
            <p className="soft">None.</p>
          ) : (
            <ul className={classes.plain}>
              {rows.slice(0, NAMED).map(({ finding, report, key, title, person, session_id }) => (
                <li key={finding}>
                  <Link
                    href={
                      session_id === null
                        ? `/reports/${encodeURIComponent(report)}`
                        : `/sessions/${encodeURIComponent(session_id)}`
                    }
                  >
                    {report}
                  </Link>{" "}
                  <HostileText>{title ?? key}</HostileText>
                  {person !== null && (
                    <>
                      {" "}
                      <span className="soft">
                        <HostileText>{person}</HostileText>
                      </span>
                    </>
                  )}
                </li>
              ))}
              {rows.length > NAMED && (
                <li className="soft">
                  and {rows.length - NAMED}
                  {rows.length === FINDINGS_MAX && " or more"} others
                </li>
              )}
            </ul>
          )
        }
      </Fetched>
    </section>
  );
}

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

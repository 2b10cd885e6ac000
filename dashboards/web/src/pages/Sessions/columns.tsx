import { Link } from "wouter";
import { isFirm, isLate } from "../../api/access";
import type { Schemas } from "../../api/client";
import { duration } from "../../time/format";
import { Instant } from "../../time/zone";
import { LinkMethod, RecordingHere, SessionState } from "../../ui/Badges";
import { HostileText } from "../../ui/HostileText";
import type { Column } from "../../ui/Table";

type Session = Schemas["LinkedSession"];

/** The surest links stand first; what is inferred says nothing where there is something better. */
const firm = ({ links }: Session) => (links.some(isFirm) ? links.filter(isFirm) : links);
const methods = (session: Session) => [...new Set(firm(session).map((link) => link.link_method))];
/** A policy that decided is no person, and is not to look like one. */
const approvers = (session: Session) => [
  ...new Set(
    firm(session).flatMap(({ approvers, decision_id }) =>
      decision_id == null || approvers.length === 0 ? approvers : `policy ${approvers.join(", ")}`,
    ),
  ),
];
const tickets = ({ links }: Session) => [...new Set(links.flatMap((link) => link.tickets))];
const reason = (session: Session) => firm(session).find((link) => link.reason)?.reason ?? session.reason;

export const columns: Column<Session>[] = [
  {
    id: "started_at",
    title: "Began",
    narrow: true,
    cell: (session) => (
      <Link href={`/sessions/${encodeURIComponent(session.session_id)}`}>
        <Instant at={session.started_at} precision="minute" />
      </Link>
    ),
    text: ({ started_at }) => started_at,
  },
  {
    id: "duration_ms",
    title: "Length",
    numeric: true,
    narrow: true,
    cell: ({ duration_ms, state }) => (duration_ms == null ? <SessionState state={state} /> : duration(duration_ms)),
    text: ({ duration_ms }) => duration_ms,
  },
  {
    id: "actor",
    title: "Person",
    fit: true,
    cell: ({ person }) => <HostileText clamp={2}>{person}</HostileText>,
    text: ({ person }) => person,
  },
  {
    id: "account",
    title: "Account",
    hidden: true,
    cell: ({ actor }) => <HostileText clamp={2}>{actor}</HostileText>,
    text: ({ actor }) => actor,
  },
  {
    id: "target",
    title: "Target",
    fit: true,
    cell: ({ target }) => <HostileText clamp={2}>{target}</HostileText>,
    text: ({ target }) => target,
  },
  {
    id: "link_methods",
    title: "Approval",
    narrow: true,
    cell: (session) =>
      (isLate(session.links) ? ["late"] : methods(session)).map((method) => (
        <div key={method}>
          <LinkMethod method={method} />
        </div>
      )),
    text: (session) => methods(session).join(" "),
  },
  {
    id: "reason",
    title: "Reason",
    cell: (session) => <HostileText clamp={2}>{reason(session)}</HostileText>,
    text: reason,
  },
  {
    id: "tickets",
    title: "Tickets",
    hidden: true,
    cell: (session) => <HostileText clamp={2}>{tickets(session).join(", ")}</HostileText>,
    text: (session) => tickets(session).join(", "),
  },
  {
    id: "approvers",
    title: "Who said yes",
    fit: true,
    cell: (session) => <HostileText clamp={2}>{approvers(session).join(", ")}</HostileText>,
    text: (session) => approvers(session).join(", "),
  },
  {
    id: "state",
    title: "State",
    hidden: true,
    narrow: true,
    cell: ({ state }) => <SessionState state={state} />,
    text: ({ state }) => state,
  },
  {
    id: "recording",
    title: "Recording",
    narrow: true,
    cell: ({ recording }) => <RecordingHere recording={recording} />,
    text: ({ recording }) => recording,
  },
  {
    id: "source",
    title: "Gateway",
    hidden: true,
    narrow: true,
    cell: ({ source }) => <HostileText>{source}</HostileText>,
    text: ({ source }) => source,
  },
  {
    id: "cluster",
    title: "Cluster",
    hidden: true,
    cell: ({ cluster }) => <HostileText clamp={2}>{cluster}</HostileText>,
    text: ({ cluster }) => cluster,
  },
  {
    id: "login",
    title: "Account",
    hidden: true,
    cell: ({ login }) => <HostileText clamp={2}>{login}</HostileText>,
    text: ({ login }) => login,
  },
  {
    id: "protocol",
    title: "Protocol",
    hidden: true,
    cell: ({ protocol }) => <HostileText>{protocol}</HostileText>,
    text: ({ protocol }) => protocol,
  },
  {
    id: "ended_at",
    title: "Ended",
    hidden: true,
    narrow: true,
    cell: ({ ended_at }) => <Instant at={ended_at} />,
    text: ({ ended_at }) => ended_at,
  },
  {
    id: "session_id",
    title: "Session",
    hidden: true,
    cell: ({ session_id }) => (
      <span className="mono">
        <HostileText>{session_id}</HostileText>
      </span>
    ),
    text: ({ session_id }) => session_id,
  },
];

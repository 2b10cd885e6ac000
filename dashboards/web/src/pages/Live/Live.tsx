import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { isApproved } from "../../api/access";
import { answer, api, type Schemas } from "../../api/client";
import { Instant } from "../../time/zone";
import { Approval, RecordingHere } from "../../ui/Badges";
import { HostileText } from "../../ui/HostileText";
import { Empty, Fetched } from "../../ui/states";
import { type Column, Table } from "../../ui/Table";
import { Title } from "../../ui/Title";

type Session = Schemas["LinkedSession"];

const REFRESH_MS = 5_000;

const href = ({ session_id }: Session) => `/sessions/${encodeURIComponent(session_id)}`;

const COLUMNS: Column<Session>[] = [
  {
    id: "started_at",
    title: "Runs since",
    narrow: true,
    cell: (session) => (
      <Link href={href(session)}>
        <Instant at={session.started_at} />
      </Link>
    ),
    text: ({ started_at }) => started_at,
  },
  {
    id: "actor",
    title: "Person",
    fit: true,
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
    id: "approval",
    title: "Approval",
    narrow: true,
    cell: ({ links }) => <Approval links={links} />,
    text: ({ links }) => (isApproved(links) ? "approved" : "not approved"),
  },
  {
    id: "reason",
    title: "Reason",
    cell: ({ links, reason }) => (
      <HostileText clamp={2}>{links.find((link) => link.reason)?.reason ?? reason}</HostileText>
    ),
    text: ({ links, reason }) => links.find((link) => link.reason)?.reason ?? reason,
  },
  {
    id: "recording",
    title: "Screen",
    narrow: true,
    cell: (session) =>
      session.output_bytes > 0 ? (
        <Link href={href(session)}>Follow</Link>
      ) : (
        <RecordingHere recording={session.recording} />
      ),
    text: ({ output_bytes }) => output_bytes,
  },
];

/** Who is in there now. */
export default function Live() {
  const query = { state: "running", limit: 200 };
  const found = useQuery({
    queryKey: ["sessions", query],
    queryFn: ({ signal }) => answer(api.GET("/api/v1/sessions", { params: { query }, signal })),
    refetchInterval: REFRESH_MS,
  });
  return (
    <>
      <Title>Live</Title>
      <Fetched of={found} what="Looking for running sessions">
        {({ sessions, next }) =>
          sessions.length === 0 ? (
            <Empty title="Nobody is in there now">
              <p className="soft">A session stands here from its start until its gateway says that it is over.</p>
            </Empty>
          ) : (
            <Table
              name="live"
              columns={COLUMNS}
              rows={sessions}
              keyOf={({ source, cluster, session_id }) => `${source} ${cluster} ${session_id}`}
              hrefOf={href}
              isAlarming={({ links }) => !isApproved(links)}
            >
              {sessions.length} {sessions.length === 1 ? "session runs" : "sessions run"}
              {next != null && "; these are the latest"}
            </Table>
          )
        }
      </Fetched>
    </>
  );
}

import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { isApproved } from "../../api/access";
import { answer, api, type Schemas } from "../../api/client";
import { RecordingHere } from "../../ui/Badges";
import { Empty, Fetched } from "../../ui/states";
import { type Column, Table } from "../../ui/Table";
import { Title } from "../../ui/Title";
import { columns } from "../Sessions/columns";

type Session = Schemas["LinkedSession"];

const REFRESH_MS = 5_000;

const href = ({ session_id }: Session) => `/sessions/${encodeURIComponent(session_id)}`;

/** Of the columns of all sessions, what tells of one that runs. */
const SHOWN = new Set(["started_at", "actor", "target", "link_methods", "reason"]);

const SCREEN: Column<Session> = {
  id: "screen",
  title: "Screen",
  narrow: true,
  cell: (session) =>
    session.output_bytes > 0 ? (
      <Link href={href(session)}>Follow</Link>
    ) : (
      <RecordingHere recording={session.recording} />
    ),
  text: ({ output_bytes }) => output_bytes,
};

const COLUMNS = [...columns.filter(({ id }) => SHOWN.has(id)), SCREEN];

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

import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { isApproved } from "../../api/access";
import { answer, api, type Schemas } from "../../api/client";
import { ChoiceFilter, Filters, InstantFilter, TextFilter, useFilters } from "../../ui/filters";
import { Empty, Fetched } from "../../ui/states";
import { Table } from "../../ui/Table";
import { Title } from "../../ui/Title";
import { columns } from "./columns";

const NAMES = [
  "actor",
  "target",
  "reason",
  "approver",
  "request",
  "state",
  "link",
  "gateway",
  "recording",
  "finding",
  "from",
  "to",
  "after",
] as const;

const STATES: [string, string][] = [
  ["running", "running"],
  ["ended", "ended"],
  ["unknown", "unknown"],
];

const LINKS: [string, string][] = [
  ["none", "no approval"],
  ["inferred", "inferred"],
  ["explicit", "explicit"],
  ["gateway_review", "gateway review"],
  ["policy", "policy"],
  ["ticket", "ticket"],
];

const GATEWAYS: [string, string][] = [
  ["teleport", "Teleport"],
  ["boundary", "Boundary"],
  ["hoop", "hoop.dev"],
  ["asciicast", "others"],
];

const RECORDINGS: [string, string][] = [
  ["recorded", "recorded"],
  ["announced", "announced, not here"],
  ["none", "none"],
];

const FINDINGS: [string, string][] = [
  ["open", "open"],
  ["any", "open, dealt with, or over"],
];

/** Who was in there, why, who said yes: pages of sessions, the latest first. */
export default function Sessions() {
  const [filters, set] = useFilters(NAMES);
  const query = Object.fromEntries(Object.entries(filters).filter(([, value]) => value !== ""));
  const found = useQuery({
    queryKey: ["sessions", query],
    queryFn: ({ signal }) => answer(api.GET("/api/v1/sessions", { params: { query }, signal })),
    placeholderData: keepPreviousData,
  });
  // Another question begins at its first page.
  const filter = (name: (typeof NAMES)[number]) => ({
    value: filters[name],
    onChange: (value: string) => set({ [name]: value, after: "" }),
  });
  return (
    <>
      <Title>Sessions</Title>
      <Filters>
        <TextFilter label="Person" placeholder="exact name" {...filter("actor")} />
        <TextFilter label="Target" placeholder="exact name" {...filter("target")} />
        <TextFilter label="Reason or ticket contains" {...filter("reason")} />
        <TextFilter label="Approver" placeholder="exact name" {...filter("approver")} />
        <TextFilter label="Request" placeholder="id" {...filter("request")} />
        <ChoiceFilter label="State" choices={STATES} {...filter("state")} />
        <ChoiceFilter label="Link" choices={LINKS} {...filter("link")} />
        <ChoiceFilter label="Gateway" choices={GATEWAYS} {...filter("gateway")} />
        <ChoiceFilter label="Recording" choices={RECORDINGS} {...filter("recording")} />
        <ChoiceFilter label="Exception" choices={FINDINGS} {...filter("finding")} />
        <InstantFilter label="From" {...filter("from")} />
        <InstantFilter label="Before" {...filter("to")} />
      </Filters>
      <Fetched of={found} what="Looking for sessions">
        {(page) => (
          <Found
            page={page}
            older={page.next == null ? undefined : () => set({ after: page.next ?? "" })}
            newest={filters.after === "" ? undefined : () => set({ after: "" })}
            isFiltered={Object.keys(query).length > 0}
            clear={() => set(Object.fromEntries(NAMES.map((name) => [name, ""])))}
          />
        )}
      </Fetched>
    </>
  );
}

interface FoundProps {
  page: Schemas["SessionPage"];
  older: (() => void) | undefined;
  newest: (() => void) | undefined;
  isFiltered: boolean;
  clear: () => void;
}

function Found({ page: { sessions }, older, newest, isFiltered, clear }: FoundProps) {
  if (sessions.length === 0) {
    return isFiltered ? (
      <Empty title="No session fits these filters">
        <button type="button" className="link" onClick={clear}>
          Show all sessions
        </button>
      </Empty>
    ) : (
      <Empty title="No session is in the ledger yet">
        <p className="soft">They appear as soon as a gateway's events arrive.</p>
      </Empty>
    );
  }
  const unapproved = sessions.filter(({ links }) => !isApproved(links)).length;
  return (
    <Table
      name="sessions"
      columns={columns}
      rows={sessions}
      keyOf={(session) => `${session.source} ${session.cluster} ${session.session_id}`}
      hrefOf={(session) => `/sessions/${encodeURIComponent(session.session_id)}`}
      isAlarming={({ links }) => !isApproved(links)}
      older={older}
      newest={newest}
    >
      {sessions.length} sessions{older !== undefined && ", and more on the next page"};{" "}
      {unapproved === 0 ? (
        "all of them were approved"
      ) : (
        <span className="alarm">
          {unapproved} {unapproved === 1 ? "has" : "have"} no proven approval
        </span>
      )}
    </Table>
  );
}

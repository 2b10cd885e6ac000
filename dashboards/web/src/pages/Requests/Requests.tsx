import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { stateOf } from "../../api/access";
import { type AccessRequest, placeOf, REQUESTS_MAX, requests, uses } from "../../api/questions";
import { duration } from "../../time/format";
import { Instant } from "../../time/zone";
import { ChoiceFilter, Filters, InstantFilter, TextFilter, useFilters } from "../../ui/filters";
import { HostileText } from "../../ui/HostileText";
import { RequestState } from "../../ui/RequestState";
import { Empty, Fetched } from "../../ui/states";
import { type Column, Table } from "../../ui/Table";
import { Title } from "../../ui/Title";

const NAMES = ["person", "state", "from", "to", "after"] as const;

const STATES: [string, string][] = [
  ["pending", "waits"],
  ["in_force", "approved, in force"],
  ["approved", "approved"],
  ["denied", "denied"],
  ["expired", "expired"],
  ["unanswered", "expired, not decided"],
  ["self_approved", "approved by oneself"],
];

const keyOf = ({ source, cluster, request_id }: AccessRequest) => `${source} ${cluster} ${request_id}`;
const href = ({ request_id }: AccessRequest) => `/requests/${encodeURIComponent(request_id)}`;
const wanted = ({ roles, granted_roles, target }: AccessRequest) =>
  [...(granted_roles ?? roles ?? []), ...(target === null ? [] : [target])].join(", ");
const wait_ms = ({ created_at, approved_at }: AccessRequest) =>
  created_at === null || approved_at === null ? null : Date.parse(approved_at) - Date.parse(created_at);

const columnsWith = (used: Map<string, number> | undefined): Column<AccessRequest>[] => [
  {
    id: "created_at",
    title: "Made",
    narrow: true,
    cell: (request) => (
      <Link href={href(request)}>
        {request.created_at === null ? "not known" : <Instant at={request.created_at} />}
      </Link>
    ),
    text: ({ created_at }) => created_at,
  },
  {
    id: "requester",
    title: "Person",
    fit: true,
    cell: ({ requester }) => <HostileText clamp={2}>{requester}</HostileText>,
    text: ({ requester }) => requester,
  },
  {
    id: "wanted",
    title: "Access to",
    cell: (request) => <HostileText clamp={2}>{wanted(request)}</HostileText>,
    text: wanted,
  },
  {
    id: "reason",
    title: "Reason",
    cell: ({ reason }) => <HostileText clamp={2}>{reason}</HostileText>,
    text: ({ reason }) => reason,
  },
  {
    id: "state",
    title: "State",
    narrow: true,
    cell: (request) => <RequestState request={request} />,
    text: (request) => stateOf(request, new Date()),
  },
  {
    id: "reviewers",
    title: "Who decided",
    fit: true,
    cell: ({ approvers, deniers, self_approved }) => (
      <>
        <HostileText clamp={2}>{[...(approvers ?? []), ...(deniers ?? [])].join(", ")}</HostileText>
        {self_approved && <div className="alarm">by oneself</div>}
      </>
    ),
    text: ({ approvers, deniers }) => [...(approvers ?? []), ...(deniers ?? [])].join(", "),
  },
  {
    id: "wait_ms",
    title: "Waited",
    numeric: true,
    narrow: true,
    cell: (request) => {
      const ms = wait_ms(request);
      return ms === null ? <span className="soft">—</span> : duration(ms);
    },
    text: wait_ms,
  },
  {
    id: "sessions",
    title: "Sessions",
    numeric: true,
    narrow: true,
    cell: ({ request_id }) => used?.get(request_id) ?? <span className="soft">{used === undefined ? "…" : "0"}</span>,
    text: ({ request_id }) => (used === undefined ? null : (used.get(request_id) ?? 0)),
  },
  {
    id: "expires_at",
    title: "Ends",
    narrow: true,
    hidden: true,
    cell: ({ expires_at }) => <Instant at={expires_at} />,
    text: ({ expires_at }) => expires_at,
  },
  {
    id: "source",
    title: "Gateway",
    narrow: true,
    hidden: true,
    cell: ({ source }) => <HostileText>{source}</HostileText>,
    text: ({ source }) => source,
  },
  {
    id: "request_id",
    title: "Request",
    hidden: true,
    cell: ({ request_id }) => (
      <span className="mono">
        <HostileText>{request_id}</HostileText>
      </span>
    ),
    text: ({ request_id }) => request_id,
  },
];

/** Who asked for what, who decided, and whether it was used: pages of requests, the latest first. */
export default function Requests() {
  const [filters, set] = useFilters(NAMES);
  const found = useQuery({
    queryKey: ["requests", filters],
    queryFn: ({ signal }) => requests(filters, signal),
    placeholderData: keepPreviousData,
  });
  // Another question begins at its first page.
  const filter = (name: (typeof NAMES)[number]) => ({
    value: filters[name],
    onChange: (value: string) => set({ [name]: value, after: "" }),
  });
  const isFiltered = NAMES.some((name) => filters[name] !== "");
  return (
    <>
      <Title>Requests</Title>
      <Filters>
        <TextFilter label="Person" placeholder="exact name" {...filter("person")} />
        <ChoiceFilter label="State" choices={STATES} {...filter("state")} />
        <InstantFilter label="From" {...filter("from")} />
        <InstantFilter label="Before" {...filter("to")} />
      </Filters>
      <Fetched of={found} what="Looking for requests">
        {({ rows }) =>
          rows.length === 0 ? (
            <Empty title={isFiltered ? "No request fits these filters" : "No request is in the ledger yet"}>
              {isFiltered ? (
                <button
                  type="button"
                  className="link"
                  onClick={() => set(Object.fromEntries(NAMES.map((name) => [name, ""])))}
                >
                  Show all requests
                </button>
              ) : (
                <p className="soft">They appear as soon as a gateway tells of one.</p>
              )}
            </Empty>
          ) : (
            <Found
              rows={rows.slice(0, REQUESTS_MAX)}
              older={
                rows.length > REQUESTS_MAX
                  ? () => set({ after: placeOf(rows[REQUESTS_MAX - 1] as AccessRequest) })
                  : undefined
              }
              newest={filters.after === "" ? undefined : () => set({ after: "" })}
            />
          )
        }
      </Fetched>
    </>
  );
}

interface FoundProps {
  rows: AccessRequest[];
  older: (() => void) | undefined;
  newest: (() => void) | undefined;
}

function Found({ rows, older, newest }: FoundProps) {
  const ids = [...new Set(rows.map(({ request_id }) => request_id))];
  // The requests stand there before it is known what they were used for.
  const used = useQuery({
    queryKey: ["uses", ids],
    queryFn: async ({ signal }) => {
      const { rows } = await uses(ids, signal);
      return new Map(rows.map(({ request_id, sessions }) => [request_id, sessions]));
    },
  });
  return (
    <Table
      name="requests"
      columns={columnsWith(used.data)}
      rows={rows}
      keyOf={keyOf}
      hrefOf={href}
      isAlarming={({ self_approved }) => self_approved}
      older={older}
      newest={newest}
    >
      {rows.length} requests{older !== undefined && ", and more on the next page"}
      {used.isError && "; what they were used for could not be asked"}
    </Table>
  );
}

import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { stateOf } from "../../api/access";
import { answer, api, type Schemas } from "../../api/client";
import type { paths } from "../../api/schema";
import { duration } from "../../time/format";
import { Instant } from "../../time/zone";
import { ChoiceFilter, Filters, InstantFilter, TextFilter, useFilters } from "../../ui/filters";
import { HostileText } from "../../ui/HostileText";
import { RequestState } from "../../ui/RequestState";
import { Empty, Fetched } from "../../ui/states";
import { type Column, Table } from "../../ui/Table";
import { Title } from "../../ui/Title";

type Listed = Schemas["ListedRequest"];
type State = NonNullable<NonNullable<paths["/api/v1/requests"]["get"]["parameters"]["query"]>["state"]>;

const NAMES = ["person", "state", "reason", "from", "to", "after"] as const;

const PAGE = 50;

const STATES: [State, string][] = [
  ["pending", "waits"],
  ["in_force", "approved, in force"],
  ["approved", "approved"],
  ["denied", "denied"],
  ["expired", "expired"],
  ["unanswered", "expired, not decided"],
  ["self_approved", "approved by oneself"],
];

const keyOf = ({ source, cluster, request_id }: Listed) => `${source} ${cluster} ${request_id}`;
const href = ({ request_id }: Listed) => `/requests/${encodeURIComponent(request_id)}`;
const wanted = ({ roles, granted_roles, target }: Listed) =>
  [...(granted_roles.length > 0 ? granted_roles : roles), ...(target == null ? [] : [target])].join(", ");
const wait_ms = ({ created_at, approved_at }: Listed) =>
  created_at == null || approved_at == null ? null : Date.parse(approved_at) - Date.parse(created_at);

const COLUMNS: Column<Listed>[] = [
  {
    id: "created_at",
    title: "Made",
    narrow: true,
    cell: (request) => (
      <Link href={href(request)}>{request.created_at == null ? "not known" : <Instant at={request.created_at} />}</Link>
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
        <HostileText clamp={2}>{[...approvers, ...deniers].join(", ")}</HostileText>
        {self_approved && <div className="alarm">by oneself</div>}
      </>
    ),
    text: ({ approvers, deniers }) => [...approvers, ...deniers].join(", "),
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
    cell: ({ sessions }) => (sessions === 0 ? <span className="soft">0</span> : sessions),
    text: ({ sessions }) => sessions,
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
  const { person, state, reason, from, to, after } = filters;
  const query = {
    limit: PAGE,
    ...(person === "" ? {} : { requester: person }),
    // One that there is not is refused by the server, in its words.
    ...(state === "" ? {} : { state: state as State }),
    ...(reason === "" ? {} : { reason }),
    ...(from === "" ? {} : { from }),
    ...(to === "" ? {} : { to }),
    ...(after === "" ? {} : { after }),
  };
  const found = useQuery({
    queryKey: ["requests", query],
    queryFn: ({ signal }) => answer(api.GET("/api/v1/requests", { params: { query }, signal })),
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
        <TextFilter label="Reason or ticket" {...filter("reason")} />
        <ChoiceFilter label="State" choices={STATES} {...filter("state")} />
        <InstantFilter label="From" {...filter("from")} />
        <InstantFilter label="Before" {...filter("to")} />
      </Filters>
      <Fetched of={found} what="Looking for requests">
        {({ requests, next }) =>
          requests.length === 0 ? (
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
            <Table
              name="requests"
              columns={COLUMNS}
              rows={requests}
              keyOf={keyOf}
              hrefOf={href}
              isAlarming={({ self_approved }) => self_approved}
              older={next == null ? undefined : () => set({ after: next })}
              newest={after === "" ? undefined : () => set({ after: "" })}
            >
              {requests.length} requests{next != null && ", and more on the next page"}
            </Table>
          )
        }
      </Fetched>
    </>
  );
}

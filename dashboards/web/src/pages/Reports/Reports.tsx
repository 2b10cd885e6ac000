import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "wouter";
import { answer, api } from "../../api/client";
import { exceptionSteps, forget, isOver, type Report, type Run } from "../../api/reports";
import { Instant } from "../../time/zone";
import { ExceptionState, RunState } from "../../ui/Badges";
import { ChoiceFilter, Filters, TextFilter, useFilters } from "../../ui/filters";
import { HostileText } from "../../ui/HostileText";
import { Empty, Failure, Fetched } from "../../ui/states";
import { type Column, Table } from "../../ui/Table";
import { Title } from "../../ui/Title";
import { nameOf } from "../Report/runs";

const NAMES = ["control", "text"] as const;
const REFRESH_MS = 5_000;

const COLUMNS: Column<Report>[] = [
  {
    id: "id",
    title: "Report",
    narrow: true,
    cell: ({ id }) => <Link href={`/reports/${id}`}>{id}</Link>,
    text: ({ id }) => id,
  },
  { id: "title", title: "Title", cell: ({ title }) => title, text: ({ title }) => title },
  { id: "question", title: "Question", cell: ({ question }) => question, text: ({ question }) => question },
  {
    id: "controls",
    title: "Evidence of",
    cell: ({ controls }) => <span className="soft">{controls.join(", ")}</span>,
    text: ({ controls }) => controls.join(", "),
  },
  {
    id: "population",
    title: "Population",
    hidden: true,
    cell: ({ population }) => population,
    text: ({ population }) => population,
  },
];

/** The questions that auditors ask, by the control that they are evidence of. */
export default function Reports() {
  const [filters, set] = useFilters(NAMES);
  const catalogue = useQuery({
    queryKey: ["reports"],
    queryFn: ({ signal }) => answer(api.GET("/api/v1/reports", { signal })),
    staleTime: Number.POSITIVE_INFINITY,
  });
  const filter = (name: (typeof NAMES)[number]) => ({
    value: filters[name],
    onChange: (value: string) => set({ [name]: value }),
  });
  return (
    <>
      <Title>Reports</Title>
      <Fetched of={catalogue} what="Reading the catalogue">
        {(reports) => {
          const controls = [...new Set(reports.flatMap((report) => report.controls))].toSorted();
          const word = filters.text.toLowerCase();
          const found = reports.filter(
            ({ id, title, question, controls }) =>
              (filters.control === "" || controls.includes(filters.control)) &&
              `${id} ${title} ${question}`.toLowerCase().includes(word),
          );
          return (
            <>
              <Filters>
                <ChoiceFilter
                  label="Control"
                  choices={controls.map((control) => [control, control])}
                  {...filter("control")}
                />
                <TextFilter label="Words" {...filter("text")} />
              </Filters>
              {found.length === 0 ? (
                <Empty title="No report fits these filters" />
              ) : (
                <Table
                  name="reports"
                  columns={COLUMNS}
                  rows={found}
                  keyOf={({ id }) => id}
                  hrefOf={({ id }) => `/reports/${id}`}
                >
                  {found.length} of {reports.length} reports
                </Table>
              )}
            </>
          );
        }}
      </Fetched>
      <Runs />
      <Exceptions />
    </>
  );
}

function Runs() {
  const client = useQueryClient();
  const runs = useQuery({
    queryKey: ["runs"],
    queryFn: ({ signal }) => answer(api.GET("/api/v1/runs", { signal })),
    refetchInterval: ({ state }) => (state.data?.some((run) => !isOver(run)) ? REFRESH_MS : false),
  });
  const drop = useMutation({
    mutationFn: (id: string) => forget(id),
    onSettled: () => client.invalidateQueries({ queryKey: ["runs"] }),
  });
  const columns: Column<Run>[] = [
    {
      id: "begun_at",
      title: "Begun",
      narrow: true,
      cell: (run) => {
        const [report] = run.reports;
        return report === undefined ? (
          <Instant at={run.begun_at} />
        ) : (
          <Link href={`/reports/${report}?run=${run.id}`}>
            <Instant at={run.begun_at} />
          </Link>
        );
      },
      text: ({ begun_at }) => begun_at,
    },
    { id: "what", title: "What", cell: nameOf, text: nameOf },
    {
      id: "state",
      title: "State",
      narrow: true,
      cell: ({ state }) => <RunState state={state} />,
      text: ({ state }) => state,
    },
    {
      id: "judged",
      title: "Judged",
      numeric: true,
      narrow: true,
      cell: ({ judged }) => judged,
      text: ({ judged }) => judged,
    },
    {
      id: "error",
      title: "",
      cell: (run) => (
        <>
          {run.error != null && (
            <span className="alarm">
              <HostileText>{run.error.message}</HostileText>{" "}
            </span>
          )}
          <button type="button" className="link" onClick={() => drop.mutate(run.id)}>
            {isOver(run) ? "Forget" : "Cancel"}
          </button>
        </>
      ),
      text: ({ error }) => error?.message,
    },
  ];
  if (runs.isSuccess && runs.data.length === 0) return null;
  return (
    <section aria-label="Runs" style={{ marginTop: 20 }}>
      <h2>Runs of this server</h2>
      {drop.isError && <Failure error={drop.error} />}
      <Fetched of={runs} what="Looking for runs">
        {(runs) => (
          <Table name="runs" columns={columns} rows={runs.toReversed()} keyOf={({ id }) => id}>
            They end with its process
          </Table>
        )}
      </Fetched>
    </section>
  );
}

function Exceptions() {
  const said = useQuery({ queryKey: ["exceptions", ""], queryFn: ({ signal }) => exceptionSteps({}, signal) });
  if (said.isSuccess && said.data.length === 0) return null;
  return (
    <section aria-label="Exceptions" style={{ marginTop: 20 }}>
      <h2>What was said of exceptions</h2>
      <Fetched of={said} what="Looking for exceptions">
        {(steps) => (
          <Table
            name="exceptions"
            columns={[
              {
                id: "at",
                title: "When",
                narrow: true,
                cell: ({ at }) => <Instant at={at} />,
                text: ({ at }) => at,
              },
              {
                id: "report",
                title: "Report",
                narrow: true,
                cell: ({ report }) => <Link href={`/reports/${encodeURIComponent(report)}`}>{report}</Link>,
                text: ({ report }) => report,
              },
              {
                id: "key",
                title: "Exception",
                cell: ({ key }) => <HostileText>{key}</HostileText>,
                text: ({ key }) => key,
              },
              {
                id: "state",
                title: "State",
                narrow: true,
                cell: ({ state }) => <ExceptionState state={state} />,
                text: ({ state }) => state,
              },
              {
                id: "note",
                title: "Why",
                cell: ({ note }) => <HostileText clamp={2}>{note}</HostileText>,
                text: ({ note }) => note,
              },
              {
                id: "by",
                title: "By",
                fit: true,
                cell: ({ by }) => <HostileText>{by}</HostileText>,
                text: ({ by }) => by,
              },
            ]}
            rows={steps}
            keyOf={({ report, key }) => `${report} ${key}`}
          >
            The latest word on each
          </Table>
        )}
      </Fetched>
    </section>
  );
}

import { Button, Checkbox, Loader, NativeSelect, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useParams } from "wouter";
import { answer, api, type Schemas } from "../../api/client";
import { ASK_AGAIN_MS, forget, getRun, isOver, type Run } from "../../api/reports";
import { duration } from "../../time/format";
import { useFilters } from "../../ui/filters";
import { HostileText } from "../../ui/HostileText";
import { Failure, Fetched } from "../../ui/states";
import { Title } from "../../ui/Title";
import { Done } from "./Done";
import classes from "./Report.module.css";
import { parameterOf, periods } from "./runs";

type Definition = Schemas["ReportDefinition"];

const NAMES = ["run"] as const;

/** One report: what it answers, and its runs. */
export default function ReportPage() {
  const { id = "" } = useParams();
  const found = useQuery({
    queryKey: ["report", id],
    queryFn: ({ signal }) => answer(api.GET("/api/v1/reports/{id}", { params: { path: { id } }, signal })),
    staleTime: Number.POSITIVE_INFINITY,
  });
  return (
    <Fetched of={found} what="Reading the report">
      {(report) => <One key={report.id} report={report} />}
    </Fetched>
  );
}

/** What is typed into the form. */
interface Asked {
  period: string;
  as_of: string;
  state: string;
  all: boolean;
  parameters: Record<string, string>;
  seed: string;
  n: string;
  strata: string;
}

function One({ report }: { report: Definition }) {
  const client = useQueryClient();
  const [{ run: id }, set] = useFilters(NAMES);
  const choices = periods(new Date());
  const [asked, setAsked] = useState<Asked>({
    period: choices[0]?.[0] ?? "",
    as_of: "",
    state: "",
    all: false,
    parameters: {},
    seed: "",
    n: "25",
    strata: "",
  });
  const change = (changed: Partial<Asked>) => setAsked({ ...asked, ...changed });

  const of = () => ({
    period: asked.period,
    ...(asked.as_of.trim() === "" ? {} : { as_of: asked.as_of.trim() }),
    ...(asked.state.trim() === "" ? {} : { state: asked.state.trim() }),
  });
  const draw = () => ({
    seed: asked.seed,
    n: Number(asked.n),
    ...(asked.strata === "" ? {} : { strata: asked.strata }),
  });
  const begun = (run: Run) => {
    client.setQueryData(["run", run.id], run);
    set({ run: run.id });
  };
  const run = useMutation({
    mutationFn: (isSample: boolean) => {
      const parameters = Object.fromEntries(
        Object.entries(asked.parameters).map(([name, text]) => [
          name,
          parameterOf(report.parameters?.[name]?.type ?? "text", text),
        ]),
      ) as Record<string, never>;
      const body = { ...of(), parameters, rows: asked.all ? "all" : "found", ...(isSample ? { sample: draw() } : {}) };
      return answer(api.POST("/api/v1/reports/{id}/runs", { params: { path: { id: report.id } }, body }));
    },
    onSuccess: begun,
  });
  const pack = useMutation({
    mutationFn: () =>
      answer(
        api.POST("/api/v1/evidence", {
          body: { ...of(), reports: [report.id], ...(asked.seed === "" ? {} : { sample: draw() }) },
        }),
      ),
    onSuccess: begun,
  });
  const isBusy = run.isPending || pack.isPending;

  return (
    <>
      <div className={classes.head}>
        <Title name={`${report.id} ${report.title}`}>
          {report.id} {report.title}
        </Title>
        <Link href="/reports">All reports</Link>
      </div>
      <p className={classes.about}>
        {report.question} <span className="soft">{report.population}.</span>
        <br />
        <span className="soft">Evidence of {report.controls.join(", ")}</span>
      </p>
      <form
        className="card"
        onSubmit={(event) => {
          event.preventDefault();
          run.mutate(false);
        }}
      >
        <div className={classes.form}>
          <TextInput
            size="xs"
            label="Period (UTC)"
            placeholder="2026-Q3, 2026-11, 2026-W47, 2026-11-16..2026-11-23"
            value={asked.period}
            onChange={({ currentTarget: { value } }) => change({ period: value })}
          />
          <NativeSelect
            size="xs"
            label="or"
            aria-label="A period that is often meant"
            value={choices.some(([period]) => period === asked.period) ? asked.period : ""}
            onChange={({ currentTarget: { value } }) => value !== "" && change({ period: value })}
            data={[{ value: "", label: "as typed" }, ...choices.map(([value, label]) => ({ value, label }))]}
          />
          {Object.entries(report.parameters ?? {}).map(([name, parameter]) => (
            <Parameter
              key={name}
              name={name}
              parameter={parameter}
              value={asked.parameters[name]}
              onChange={(value) => {
                const { [name]: _, ...others } = asked.parameters;
                change({ parameters: value === undefined ? others : { ...others, [name]: value } });
              }}
            />
          ))}
        </div>
        <details className={classes.more}>
          <summary>As of when, and a sample</summary>
          <div className={classes.form}>
            <TextInput
              size="xs"
              label="What was open at"
              placeholder="the end of the period, or now"
              value={asked.as_of}
              onChange={({ currentTarget: { value } }) => change({ as_of: value })}
            />
            <TextInput
              size="xs"
              label="State of the ledger"
              placeholder="the newest"
              value={asked.state}
              onChange={({ currentTarget: { value } }) => change({ state: value })}
            />
            <TextInput
              size="xs"
              label="Sample: the auditor's word"
              value={asked.seed}
              onChange={({ currentTarget: { value } }) => change({ seed: value })}
            />
            <TextInput
              size="xs"
              label="Items"
              inputMode="numeric"
              value={asked.n}
              onChange={({ currentTarget: { value } }) => change({ n: value })}
            />
            <NativeSelect
              size="xs"
              label="of each"
              value={asked.strata}
              onChange={({ currentTarget: { value } }) => change({ strata: value })}
              data={[{ value: "", label: "the population" }, ...Object.keys(report.columns).toSorted()]}
            />
            <Button size="xs" variant="default" disabled={asked.seed === "" || isBusy} onClick={() => run.mutate(true)}>
              Draw the sample
            </Button>
          </div>
        </details>
        <div className={classes.actions}>
          <Button size="xs" type="submit" loading={run.isPending} disabled={isBusy}>
            Run
          </Button>
          <Button size="xs" variant="default" loading={pack.isPending} disabled={isBusy} onClick={() => pack.mutate()}>
            Make an evidence pack
          </Button>
          <Checkbox
            size="xs"
            label="also what passed"
            checked={asked.all}
            onChange={({ currentTarget: { checked } }) => change({ all: checked })}
          />
        </div>
      </form>
      {run.isError && <Failure error={run.error} />}
      {pack.isError && <Failure error={pack.error} />}
      {id !== "" && <OneRun id={id} report={report} close={() => set({ run: "" })} />}
      <details className={classes.ipe}>
        <summary className="soft">Its columns, and how it is asked</summary>
        <dl>
          {Object.entries(report.columns).map(([name, means]) => (
            <div key={name}>
              <code>{name}</code> <span className="soft">{means}</span>
            </div>
          ))}
        </dl>
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keyboard */}
        <pre tabIndex={0}>{report.sql}</pre>
      </details>
    </>
  );
}

interface ParameterProps {
  name: string;
  parameter: Schemas["Parameter"];
  /** Nothing where it was not changed. */
  value: string | undefined;
  onChange: (value: string | undefined) => void;
}

function Parameter({ name, parameter: { type, default: standard, help }, value, onChange }: ParameterProps) {
  const shown = String(standard);
  if (type === "boolean") {
    return (
      <NativeSelect
        size="xs"
        label={name}
        title={help}
        value={value ?? shown}
        onChange={({ currentTarget: { value } }) => onChange(value === shown ? undefined : value)}
        data={[
          { value: "true", label: "yes" },
          { value: "false", label: "no" },
        ]}
      />
    );
  }
  return (
    <TextInput
      size="xs"
      label={name}
      title={help}
      inputMode={type === "text" ? "text" : "numeric"}
      value={value ?? shown}
      onChange={({ currentTarget: { value } }) => onChange(value === shown ? undefined : value)}
    />
  );
}

function OneRun({ id, report, close }: { id: string; report: Definition; close: () => void }) {
  const run = useQuery({
    queryKey: ["run", id],
    queryFn: ({ signal }) => getRun(id, signal),
    refetchInterval: ({ state }) => (state.data !== undefined && isOver(state.data) ? false : ASK_AGAIN_MS),
  });
  const stop = useMutation({ mutationFn: () => forget(id), onSuccess: close });
  if (run.data === undefined) {
    return run.isError ? <Failure error={run.error} retry={() => void run.refetch()} /> : null;
  }
  const { state, begun_at, judged, error, what } = run.data;
  if (state === "done") return <Done run={run.data} report={report} />;
  if (state === "failed") {
    return (
      <section className={`card ${classes.answer}`} role="alert">
        <h2>The run failed</h2>
        <p className="alarm">
          <HostileText lines>{error?.message ?? "Nothing says why."}</HostileText>
        </p>
      </section>
    );
  }
  if (state === "cancelled") return <p className="soft">The run was cancelled.</p>;
  const since_ms = Math.max(0, Date.now() - Date.parse(begun_at));
  return (
    <section className={`card ${classes.running}`} role="status" aria-label="Run">
      <Loader size="sm" />
      <span>
        {what === "evidence" ? "The pack is being made" : "It runs"}: {judged.toLocaleString("en")} rows judged{" "}
        <span className="soft number">for {duration(since_ms)}</span>
      </span>
      <Button size="compact-sm" variant="default" loading={stop.isPending} onClick={() => stop.mutate()}>
        Cancel
      </Button>
      {stop.isError && <Failure error={stop.error} />}
      {run.isError && <span className="alarm">How far it is cannot be asked at the moment.</span>}
    </section>
  );
}

import { SegmentedControl } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { type Report, type ReportRow, type Run, runRows } from "../../api/reports";
import { duration } from "../../time/format";
import { Instant } from "../../time/zone";
import { Verdict } from "../../ui/Badges";
import { Fact, Facts } from "../../ui/Facts";
import { HostileText } from "../../ui/HostileText";
import { bytes } from "../../ui/size";
import { Empty, Fetched } from "../../ui/states";
import { type Column, Table } from "../../ui/Table";
import { ExceptionLife } from "./ExceptionLife";
import classes from "./Report.module.css";
import { hrefOf, isInstant, shown } from "./runs";

/** More rows make a page slow; a file has them all. */
const ROWS_MAX = 500;

/** Columns that say the same again, or much: whoever wants them chooses them. */
const HIDDEN = new Set(["key", "evidence", "status_by", "status_at", "status_note"]);

/** Columns that say how a row was judged. */
const JUDGED = new Set(["key", "verdict", "why"]);

/** A run that is done: its rows with what makes them evidence, or its pack. */
export function Done({ run, report }: { run: Run; report: Report }) {
  if (run.pack_bytes != null) {
    return (
      <section className={`card ${classes.answer}`} aria-label="Evidence pack">
        <h2>The evidence pack is made</h2>
        <Facts>
          <Fact name="Download">
            <a href={`/api/v1/runs/${encodeURIComponent(run.id)}/pack`} download>
              custody-evidence.zip
            </a>{" "}
            <span className="soft">{bytes(run.pack_bytes)}</span>
          </Fact>
          <Fact name="SHA-256">
            <span className={classes.hash}>{run.pack_sha256}</span>
          </Fact>
          <Fact name="Reports">{run.reports.join(", ")}</Fact>
        </Facts>
      </section>
    );
  }
  return (
    <section className={classes.answer} aria-label="Result">
      {run.ipe != null && <Counts counts={run.ipe.counts} />}
      {run.ipe?.completeness.statement != null && <p className="soft">{run.ipe.completeness.statement}</p>}
      <Rows run={run} report={report} />
      {run.ipe != null && <Evidence ipe={run.ipe} />}
    </section>
  );
}

function Counts({ counts }: { counts: Schemas["Counts"] }) {
  const shown: [string, number, string][] = [
    ["population", counts.population, "plain"],
    ["exceptions", counts.exceptions, counts.exceptions > 0 ? "alarm" : "plain"],
    ["warnings", counts.warnings, counts.warnings > 0 ? "warn" : "plain"],
    ["pass", counts.pass, "plain"],
    ["information", counts.information, "plain"],
    ["not to be judged", counts.not_applicable, counts.not_applicable > 0 ? "warn" : "plain"],
    ["out of scope", counts.excluded, "plain"],
  ];
  return (
    <ul className={classes.counts} aria-label="Rows of each verdict">
      {shown.map(([name, count, tone]) => (
        <li key={name} data-tone={tone}>
          <strong className="number">{count.toLocaleString("en")}</strong>
          <span className="soft">{name}</span>
        </li>
      ))}
    </ul>
  );
}

function Cell({ value }: { value: unknown }) {
  if (isInstant(value)) return <Instant at={value} />;
  return <HostileText clamp={3}>{shown(value)}</HostileText>;
}

/** The columns of a report in the order of its query, but when something was comes before what else is known of it. */
function inOrder(row: ReportRow): string[] {
  const ids = Object.keys(row);
  const judged = ids.findLastIndex((id) => JUDGED.has(id)) + 1;
  const when = ids.slice(judged).filter((id) => id.endsWith("_at") && !HIDDEN.has(id));
  return [...new Set([...ids.slice(0, judged), ...when.slice(0, 1), ...ids])];
}

function columnsOf(report: Report, row: ReportRow, open: (row: ReportRow) => void): Column<ReportRow>[] {
  const leads: Column<ReportRow> = {
    id: "opens",
    title: "",
    narrow: true,
    cell: (row) => {
      const href = hrefOf(report, row);
      return href === undefined ? null : <Link href={href}>Look</Link>;
    },
    text: (row) => hrefOf(report, row),
  };
  const said: Column<ReportRow> = {
    id: "status",
    title: "What was said",
    narrow: true,
    cell: (row) => {
      const isDebatable = row.verdict === "exception" || row.verdict === "warning" || row.status != null;
      return (
        isDebatable && (
          <button type="button" className="link" onClick={() => open(row)}>
            {row.status ?? "open"}
          </button>
        )
      );
    },
    text: ({ status }) => status,
  };
  const others = inOrder(row).flatMap((id): Column<ReportRow>[] => {
    const column = { id, title: id, hidden: HIDDEN.has(id), text: (row: ReportRow) => shown(row[id]) };
    switch (id) {
      case "status":
        return [];
      case "verdict":
        return [{ ...column, title: "Verdict", narrow: true, cell: ({ verdict }) => <Verdict verdict={verdict} /> }];
      case "why":
        return [
          {
            ...column,
            title: "Why",
            cell: ({ why }) => <span title={why == null ? "" : (report.why?.[why] ?? "")}>{why ?? "—"}</span>,
          },
          said,
        ];
      default:
        return [
          { ...column, fit: true, numeric: typeof row[id] === "number", cell: (row) => <Cell value={row[id]} /> },
        ];
    }
  });
  return hrefOf(report, row) === undefined ? others : [leads, ...others];
}

/** What the words in the column "Why" mean, as far as they stand there. */
function Reasons({ report, rows }: { report: Report; rows: ReportRow[] }) {
  const words = [...new Set(rows.map(({ why }) => why))].toSorted();
  const means = words.flatMap((why) =>
    why == null || report.why?.[why] === undefined ? [] : [[why, report.why[why]]],
  );
  if (means.length === 0) return null;
  return (
    <dl className={classes.reasons} aria-label="What stands in the column Why">
      {means.map(([why, meaning]) => (
        <div key={why}>
          <dt>{why}</dt>
          <dd>{meaning}</dd>
        </div>
      ))}
    </dl>
  );
}

function Rows({ run, report }: { run: Run; report: Report }) {
  const [verdict, setVerdict] = useState("");
  const [open, setOpen] = useState<ReportRow>();
  const found = useQuery({
    queryKey: ["rows", run.id],
    queryFn: ({ signal }) => runRows(run.id, signal),
    staleTime: Number.POSITIVE_INFINITY,
  });
  const verdicts = useMemo(() => [...new Set((found.data ?? []).map((row) => row.verdict))], [found.data]);
  const file = (format: string) => `/api/v1/runs/${encodeURIComponent(run.id)}/rows?format=${format}`;
  return (
    <Fetched of={found} what="Fetching the rows">
      {(all) => {
        const rows = verdict === "" ? all : all.filter((row) => row.verdict === verdict);
        const [first] = all;
        if (first === undefined) return <Empty title="Nothing was found in this period" />;
        const columns = columnsOf(report, first, setOpen);
        return (
          <>
            {verdicts.length > 1 && (
              <SegmentedControl
                size="xs"
                aria-label="Verdict"
                value={verdict}
                onChange={setVerdict}
                data={[{ value: "", label: "all" }, ...verdicts.filter((verdict) => verdict != null)]}
              />
            )}
            <Table
              name={`report-${report.id}`}
              columns={columns}
              rows={rows.slice(0, ROWS_MAX)}
              keyOf={(row) => `${row.key} ${row.verdict} ${row.why}`}
              isAlarming={(row) => row.verdict === "exception" && (row.status === null || row.status === "open")}
            >
              {rows.length.toLocaleString("en")} rows
              {rows.length > ROWS_MAX && `, the first ${ROWS_MAX} are shown`};{" "}
              <span className={classes.links}>
                all of them as{" "}
                {["csv", "ndjson", "arrow"].map((format) => (
                  <a key={format} href={file(format)} download={`${report.id}.${format}`}>
                    {format}
                  </a>
                ))}
              </span>
            </Table>
            <Reasons report={report} rows={rows} />
            {open !== undefined && (
              <ExceptionLife
                report={report.id}
                row={open}
                close={() => {
                  setOpen(undefined);
                }}
              />
            )}
          </>
        );
      }}
    </Fetched>
  );
}

/** What auditors call information produced by the entity. */
function Evidence({ ipe }: { ipe: Schemas["Ipe"] }) {
  const parameters = Object.entries(ipe.parameters as Record<string, unknown>);
  return (
    <section className={`card ${classes.ipe}`} aria-label="What makes it evidence">
      <h2>What makes it evidence</h2>
      <Facts>
        <Fact name="Report">
          {ipe.report} version {ipe.report_version}, {ipe.controls.join(", ")}
        </Fact>
        <Fact name="Entity">
          <HostileText>{`${ipe.entity}, ${ipe.environment}`}</HostileText>
        </Fact>
        <Fact name="Period">
          <Instant at={ipe.from} /> to before <Instant at={ipe.to} />, as of <Instant at={ipe.as_of} />
        </Fact>
        {parameters.length > 0 && (
          <Fact name="Parameters">
            {parameters.map(([name, value]) => (
              <div key={name}>
                <code>{name}</code> = <HostileText>{shown(value)}</HostileText>
              </div>
            ))}
          </Fact>
        )}
        <Fact name="Run">
          <Instant at={ipe.run_at} /> by <HostileText>{ipe.run_by}</HostileText>
          {ipe.duration_ms != null && `, in ${duration(ipe.duration_ms)}`}
          <span className="soft">, {ipe.tool}</span>
        </Fact>
        <Fact name="Ledger">
          <span className={classes.hash}>
            {Object.entries(ipe.versions as Record<string, unknown>)
              .map(([table, version]) => `${table}=${version}`)
              .join(",")}
          </span>
        </Fact>
        <Fact name="Complete">
          {ipe.completeness.records.toLocaleString("en")} messages of {ipe.completeness.streams} streams,{" "}
          {ipe.completeness.missing} offsets missing, {ipe.completeness.undecodable} not decodable,{" "}
          {ipe.completeness.losses} losses
        </Fact>
        {ipe.references.map(({ table, file, rows, sha256 }) => (
          <Fact key={table} name="Reference">
            {table} from <HostileText>{file}</HostileText>, {rows} rows, <span className={classes.hash}>{sha256}</span>
          </Fact>
        ))}
        <Fact name="Population">
          <span className={classes.hash}>{ipe.population_sha256}</span>
        </Fact>
        <Fact name="Result">
          <span className={classes.hash}>{ipe.result_sha256}</span>
        </Fact>
        <Fact name="SQL">
          <span className={classes.hash}>{ipe.sql_sha256}</span>
        </Fact>
      </Facts>
    </section>
  );
}

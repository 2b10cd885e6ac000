/** What metrics tell of the ledger's tables and of what waits at the brokers. */
import type { Sample } from "../../api/operation";

export interface TableSize {
  table: string;
  rows: number | undefined;
  files: number | undefined;
  bytes: number | undefined;
  /** Small files that are to be put together. */
  due: number | undefined;
  log: number | undefined;
}

const GAUGES: Record<string, Exclude<keyof TableSize, "table">> = {
  custody_ledger_rows: "rows",
  custody_ledger_files: "files",
  custody_ledger_bytes: "bytes",
  custody_ledger_compaction_due_files: "due",
  custody_ledger_log_entries: "log",
};

/** The tables that metrics tell of, by name. */
export function tables(samples: Sample[]): TableSize[] {
  const found = new Map<string, TableSize>();
  for (const { name, labels, value } of samples) {
    const gauge = GAUGES[name];
    const { table } = labels;
    if (gauge === undefined || table === undefined) continue;
    const row = found.get(table) ?? {
      table,
      rows: undefined,
      files: undefined,
      bytes: undefined,
      due: undefined,
      log: undefined,
    };
    found.set(table, { ...row, [gauge]: value });
  }
  return [...found.values()].toSorted((a, b) => a.table.localeCompare(b.table));
}

/** Messages of each partition that wait at the broker, by topic and partition. */
export const lags = (samples: Sample[]) =>
  new Map(
    samples
      .filter(({ name }) => name === "custody_ingest_lag_messages")
      .map(({ labels, value }) => [`${labels.topic} ${labels.partition}`, value]),
  );

/** A quantile of a summary, over what is counted apart: the worst of them. */
export function worst(samples: Sample[], name: string, quantile: string): number | undefined {
  const values = samples
    .filter((sample) => sample.name === name && sample.labels.quantile === quantile)
    .map(({ value }) => value)
    .filter((value) => !Number.isNaN(value));
  return values.length === 0 ? undefined : Math.max(...values);
}

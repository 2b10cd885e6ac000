/** Questions that no endpoint of the API answers, in SQL. */
import { send } from "./client";
import { ApiError } from "./error";
import { exactJson } from "./json";

/** The rows of an answer. */
export interface Rows<T> {
  rows: T[];
  /** There were more rows than the server gives. */
  truncated: boolean;
  /** The versions of the tables that were read. */
  versions: string;
}

/** Asks one question in SQL. Instants come as RFC 3339 text, and so do whole numbers that a number cannot keep. */
export async function ask<T>(sql: string, options: { rowsMax?: number; signal?: AbortSignal } = {}): Promise<Rows<T>> {
  const { rowsMax, signal } = options;
  const response = await send("/api/v1/sql", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ sql, format: "json", ...(rowsMax === undefined ? {} : { rows_max: rowsMax }) }),
    ...(signal === undefined ? {} : { signal }),
  });
  const rows: unknown = await response
    .text()
    .then(exactJson)
    .catch(() => undefined);
  if (!Array.isArray(rows)) throw ApiError.unreadable("The answer to a question in SQL is not a list of rows.");
  const { headers } = response;
  return {
    rows: rows as T[],
    truncated: headers.get("x-custody-truncated") === "true",
    versions: headers.get("x-custody-versions") ?? "",
  };
}

/** A text as a literal of SQL: a quotation mark is the only character that means something within one. */
export const text = (value: string): string => `'${value.replaceAll("'", "''")}'`;

/** A command of a recorded session. */
export interface SessionCommand {
  at_us: number;
  text: string;
  exit_status: number | null;
  /** `osc133`: the shell said it; `prompt`: it stood behind something that looks like a prompt. */
  found_by: string;
}

/** A line that was on the screen. */
export interface ScreenText {
  from_us: number;
  number: number;
  text: string;
}

/** Which recording of a session. */
export interface Recorded {
  session_id: string;
  source: string;
  channel: string | null;
}

const of = ({ session_id, source, channel }: Recorded) =>
  `session_id = ${text(session_id)} AND source = ${text(source)} AND channel ${
    channel === null ? "IS NULL" : `= ${text(channel)}`
  }`;

export const COMMANDS_MAX = 2000;

/** The commands of a recording, in the order of time. */
export const commands = (recorded: Recorded, signal?: AbortSignal) =>
  ask<SessionCommand>(
    `SELECT at_us, text, exit_status, found_by FROM commands WHERE ${of(recorded)} ORDER BY at_us LIMIT ${COMMANDS_MAX}`,
    signal === undefined ? {} : { signal },
  );

export const TRANSCRIPT_LINES = 1000;

/** What a recording showed, line by line in the order in which it came onto the screen, after a line. */
export const transcript = (recorded: Recorded, after: ScreenText | undefined, signal?: AbortSignal) => {
  const { from_us, number } = after ?? { from_us: -1, number: -1 };
  return ask<ScreenText>(
    `SELECT from_us, number, text FROM screen_text WHERE ${of(recorded)} ` +
      `AND (from_us > ${from_us} OR from_us = ${from_us} AND number > ${number}) ` +
      `ORDER BY from_us, number LIMIT ${TRANSCRIPT_LINES}`,
    signal === undefined ? {} : { signal },
  );
};

/** The tables and views that can be asked, with their columns. */
export const catalogue = async (signal?: AbortSignal): Promise<Record<string, string[]>> => {
  const { rows } = await ask<{ table_name: string; columns: string[] }>(
    "SELECT table_name, array_agg(column_name ORDER BY ordinal_position) AS columns FROM information_schema.columns " +
      "WHERE table_schema NOT IN ('information_schema', 'pg_catalog') GROUP BY table_name ORDER BY table_name",
    signal === undefined ? {} : { signal },
  );
  return Object.fromEntries(rows.map(({ table_name, columns }) => [table_name, columns]));
};

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

/** A whole number as a literal of SQL: whatever else came in its place is none. */
const integer = (value: number | string): string => BigInt(value).toString();

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

/** Sessions of a day at a gateway that are linked to what gave access in the same way; of several ways, the surest. */
export interface SessionsOfDay {
  day: string;
  source: string;
  link_method: string;
  sessions: number;
  /** How many of them something that is certain approved. */
  approved: number;
}

/** How a session can be linked to what gave access to it, the surest first. */
export const BY_SURENESS = ["explicit", "gateway_review", "policy", "ticket", "inferred", "none"] as const;

/** Sessions since an instant by day (UTC), gateway and link. */
export const sessionsByDay = (from: string, signal?: AbortSignal) => {
  const rank = BY_SURENESS.map((method, place) => `WHEN ${text(method)} THEN ${place}`).join(" ");
  const method = BY_SURENESS.map((method, place) => `WHEN ${place} THEN ${text(method)}`).join(" ");
  return ask<SessionsOfDay>(
    `SELECT day, source, CASE surest ${method} END AS link_method, count(*) AS sessions, sum(approved) AS approved FROM (` +
      `SELECT date_trunc('day', started_at) AS day, source, cluster, session_id, min(CASE link_method ${rank} END) AS surest, ` +
      "max(CASE WHEN link_method NOT IN ('inferred', 'none') AND approved_at IS NOT NULL THEN 1 ELSE 0 END) AS approved " +
      `FROM session_access WHERE started_at >= ${text(from)} GROUP BY 1, 2, 3, 4` +
      ") GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    signal === undefined ? {} : { signal },
  );
};

/** What a control found that does not hold, and nobody has dealt with. */
export interface Finding {
  finding: string;
  report: string;
  key: string;
  title: string | null;
  why: string | null;
  session_id: string | null;
  person: string | null;
  raised_at: string | null;
}

export const FINDINGS_MAX = 100;

/** Findings that are open, the latest first; nothing where the server keeps none. */
export const openFindings = async (signal?: AbortSignal): Promise<Finding[] | null> => {
  const asked = ask<Finding>(
    "SELECT finding, report, key, title, why, session_id, person, raised_at FROM findings " +
      `WHERE state = 'open' ORDER BY raised_at DESC LIMIT ${FINDINGS_MAX}`,
    signal === undefined ? {} : { signal },
  );
  try {
    return (await asked).rows;
  } catch (error) {
    if (error instanceof ApiError && error.kind === "query" && /findings' not found/.test(error.message)) return null;
    throw error;
  }
};

/** Somebody asked for access. */
export interface AccessRequest {
  source: string;
  cluster: string | null;
  request_id: string;
  requester: string | null;
  target: string | null;
  roles: string[] | null;
  granted_roles: string[] | null;
  reason: string | null;
  tickets: string[] | null;
  created_at: string | null;
  state: string;
  approved_at: string | null;
  approval_method: string | null;
  approvers: string[] | null;
  deniers: string[] | null;
  self_approved: boolean;
  expires_at: string | null;
  closed_at: string | null;
  expired: boolean;
  deleted: boolean;
  standing: boolean;
}

const REQUEST_COLUMNS =
  "source, cluster, request_id, requester, target, roles, granted_roles, reason, tickets, created_at, state, " +
  "approved_at, approval_method, approvers, deniers, self_approved, expires_at, closed_at, expired, deleted, standing";

/** Since when a request is known: one whose making is not in the ledger is known by its approval. */
const KNOWN_AT = "coalesce(created_at, approved_at, to_timestamp_micros(0))";

/** What became of a request, as a condition. */
const REQUEST_STATES: Record<string, string> = {
  pending: "state = 'PENDING' AND NOT expired AND NOT deleted AND (expires_at IS NULL OR expires_at > now())",
  in_force:
    "state IN ('APPROVED', 'PROMOTED') AND NOT expired AND NOT deleted AND closed_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
  approved: "state IN ('APPROVED', 'PROMOTED')",
  denied: "state = 'DENIED'",
  expired: "(expired OR expires_at <= now())",
  unanswered: "state = 'PENDING' AND (expired OR expires_at <= now())",
  self_approved: "self_approved",
};

/** Which requests. */
export interface RequestFilters {
  state: string;
  person: string;
  from: string;
  to: string;
  /** The place of the last request of the page before. */
  after: string;
}

export const REQUESTS_MAX = 50;

/** The place of a request among all, the latest first. */
export const placeOf = ({ created_at, approved_at, request_id, source }: AccessRequest) =>
  JSON.stringify([created_at ?? approved_at ?? "1970-01-01T00:00:00Z", request_id, source]);

function behind(place: string): string {
  const read: unknown = (() => {
    try {
      return JSON.parse(place);
    } catch {
      return undefined;
    }
  })();
  if (!Array.isArray(read) || read.length !== 3 || !read.every((part) => typeof part === "string")) {
    throw ApiError.unreadable("The address names a page of requests that there is not.");
  }
  const [at, id, source] = read.map(text);
  return (
    `(${KNOWN_AT} < ${at} OR ${KNOWN_AT} = ${at} AND ` +
    `(request_id > ${id} OR request_id = ${id} AND source > ${source}))`
  );
}

/** A page of requests, the latest first; one more than a page tells that there is another. */
export const requests = (filters: RequestFilters, signal?: AbortSignal) => {
  const { state, person, from, to, after } = filters;
  const conditions = [
    Object.hasOwn(REQUEST_STATES, state) ? REQUEST_STATES[state] : undefined,
    person === "" ? undefined : `requester = ${text(person)}`,
    from === "" ? undefined : `${KNOWN_AT} >= ${text(from)}`,
    to === "" ? undefined : `${KNOWN_AT} < ${text(to)}`,
    after === "" ? undefined : behind(after),
  ].filter((condition) => condition !== undefined);
  return ask<AccessRequest>(
    `SELECT ${REQUEST_COLUMNS} FROM access_requests ` +
      (conditions.length === 0 ? "" : `WHERE ${conditions.map((condition) => `(${condition})`).join(" AND ")} `) +
      `ORDER BY ${KNOWN_AT} DESC, request_id, source LIMIT ${REQUESTS_MAX + 1}`,
    signal === undefined ? {} : { signal },
  );
};

/** The requests of an id: two gateways may use the same. */
export const requestsOf = (id: string, signal?: AbortSignal) =>
  ask<AccessRequest>(
    `SELECT ${REQUEST_COLUMNS} FROM access_requests WHERE request_id = ${text(id)} ORDER BY source`,
    signal === undefined ? {} : { signal },
  );

/** A vote, or a state that was set. */
export interface Review {
  source: string;
  event_id: string;
  request_id: string;
  method: string;
  reviewer: string | null;
  delegator: string | null;
  vote: string | null;
  state: string | null;
  comment: string | null;
  at: string | null;
}

/** The reviews of a request, in order. */
export const reviewsOf = (id: string, signal?: AbortSignal) =>
  ask<Review>(
    "SELECT source, event_id, request_id, method, reviewer, delegator, vote, state, comment, at FROM reviews " +
      `WHERE request_id = ${text(id)} ORDER BY at, event_id`,
    signal === undefined ? {} : { signal },
  );

/** How many sessions each of some requests was used for, as far as that is certain. */
export const uses = (ids: string[], signal?: AbortSignal) =>
  ask<{ request_id: string; sessions: number }>(
    "SELECT request_id, count(DISTINCT concat_ws('/', source, cluster, session_id)) AS sessions FROM session_access " +
      `WHERE link_method <> 'inferred' AND request_id IN (${ids.map(text).join(", ")}) GROUP BY request_id`,
    signal === undefined ? {} : { signal },
  );

/** The tables and views that can be asked, with their columns. */
export const catalogue = async (signal?: AbortSignal): Promise<Record<string, string[]>> => {
  const { rows } = await ask<{ table_name: string; columns: string[] }>(
    "SELECT table_name, array_agg(column_name ORDER BY ordinal_position) AS columns FROM information_schema.columns " +
      "WHERE table_schema NOT IN ('information_schema', 'pg_catalog') GROUP BY table_name ORDER BY table_name",
    signal === undefined ? {} : { signal },
  );
  return Object.fromEntries(rows.map(({ table_name, columns }) => [table_name, columns]));
};

/** How a source is doing. */
export interface SourceHealth {
  source: string;
  cluster: string | null;
  events: number;
  last_ingested_at: string | null;
  last_event_at: string | null;
  silent_s: number | null;
  duplicates: number;
  conflicting_ids: number;
  audit_off: boolean;
  errors: number | null;
  missing_bytes: number;
  missing_events: number;
  recordings_missing: number;
}

export const sourceHealth = (signal?: AbortSignal) =>
  ask<SourceHealth>("SELECT * FROM source_health ORDER BY source, cluster", signal === undefined ? {} : { signal });

/** What was taken in of a stream. */
export interface Stream {
  topic: string;
  partition: number;
  records: number;
  missing: number;
  errors: number;
  first_offset: number;
  last_offset: number;
  last_ingested_at: string | null;
}

export const streams = (signal?: AbortSignal) =>
  ask<Stream>(
    'SELECT topic, "partition", records, missing, errors, first_offset, last_offset, last_ingested_at ' +
      'FROM ingest_ledger ORDER BY topic, "partition"',
    signal === undefined ? {} : { signal },
  );

/** A message that could not be decoded. */
export interface DeadLetter {
  topic: string;
  partition: number;
  offset: number;
  ingested_at: string;
  source: string | null;
  error_kind: string;
  error: string | null;
  value_bytes: number | null;
  preview: string | null;
}

export const DEAD_LETTERS_MAX = 50;

/** Dead letters, the latest first; one more than a page tells that there are others. */
export const deadLetters = (after: DeadLetter | undefined, signal?: AbortSignal) => {
  const {
    ingested_at: at,
    topic,
    partition,
    offset,
  } = after ?? { ingested_at: "", topic: "", partition: 0, offset: 0 };
  const behind =
    after === undefined
      ? ""
      : `WHERE ingested_at < ${text(at)} OR ingested_at = ${text(at)} AND (topic > ${text(topic)} OR topic = ${text(topic)} ` +
        `AND ("partition" > ${integer(partition)} OR "partition" = ${integer(partition)} AND "offset" > ${integer(offset)})) `;
  return ask<DeadLetter>(
    'SELECT topic, "partition", "offset", ingested_at, source, error_kind, error, value_bytes, preview FROM dead_letters ' +
      `${behind}ORDER BY ingested_at DESC, topic, "partition", "offset" LIMIT ${DEAD_LETTERS_MAX + 1}`,
    signal === undefined ? {} : { signal },
  );
};

/** Bytes of a message that are shown. */
export const SHOWN_BYTES_MAX = 4096;

/** The first bytes of a message as it came, in hexadecimal. */
export const bytesOf = async (
  { topic, partition, offset }: DeadLetter,
  signal?: AbortSignal,
): Promise<string | null> => {
  const { rows } = await ask<{ hex: string | null }>(
    `SELECT substr(encode(value, 'hex'), 1, ${2 * SHOWN_BYTES_MAX}) AS hex FROM records ` +
      `WHERE topic = ${text(topic)} AND "partition" = ${integer(partition)} AND "offset" = ${integer(offset)} LIMIT 1`,
    signal === undefined ? {} : { signal },
  );
  return rows[0]?.hex ?? null;
};

/** How far forwarding to a destination is. */
export interface Destination {
  destination: string;
  at: string;
  worker: string;
  state: string;
  ingested_at: string | null;
  actor: string | null;
  reason: string | null;
  sent: number;
  dead: number;
  filtered: number;
  undelivered: number;
}

/** Where destinations are: the newest step of each, and what they did not take. */
export const destinations = (signal?: AbortSignal) =>
  ask<Destination>(
    "SELECT f.destination, f.at, f.worker, f.state, f.ingested_at, f.actor, f.reason, f.sent, f.dead, f.filtered, " +
      "coalesce(u.events, 0) AS undelivered FROM (" +
      "SELECT destination, at, worker, state, ingested_at, actor, reason, " +
      "row_number() OVER (PARTITION BY destination ORDER BY step DESC) AS age, " +
      "sum(sent) OVER (PARTITION BY destination) AS sent, sum(dead) OVER (PARTITION BY destination) AS dead, " +
      "sum(filtered) OVER (PARTITION BY destination) AS filtered FROM forwarding) f " +
      "LEFT JOIN (SELECT destination, count(*) AS events FROM (SELECT destination, outcome, " +
      "row_number() OVER (PARTITION BY destination, event_id ORDER BY at DESC) AS age FROM undelivered) " +
      "WHERE age = 1 AND outcome = 'refused' GROUP BY destination) u ON u.destination = f.destination " +
      "WHERE f.age = 1 ORDER BY f.destination",
    signal === undefined ? {} : { signal },
  );

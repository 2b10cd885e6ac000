/** Reports: a run is begun, asked how far it is, and gives its rows when it is done. */
import { answer, api, type Schemas, send } from "./client";
import { ApiError } from "./error";

export type Run = Schemas["RunStatus"];

/** How a report's rows begin and end, whatever else it has. */
export interface ReportRow {
  key: string;
  verdict: string;
  why: string | null;
  /** What was said of it: the state of an exception, by whom, when, why. */
  status: string | null;
  status_by: string | null;
  status_at: string | null;
  status_note: string | null;
  [column: string]: unknown;
}

/** A run that goes on is asked about after so long. */
export const ASK_AGAIN_MS = 700;

export const isOver = ({ state }: Run) => state !== "running";

export const getRun = (id: string, signal?: AbortSignal) =>
  answer(api.GET("/api/v1/runs/{id}", { params: { path: { id } }, ...(signal === undefined ? {} : { signal }) }));

/** Stops a run that goes on, and forgets it. */
export async function forget(id: string): Promise<void> {
  await send(`/api/v1/runs/${encodeURIComponent(id)}`, { method: "DELETE" });
}

export async function runRows<Row = ReportRow>(id: string, signal?: AbortSignal): Promise<Row[]> {
  const rows: unknown = await answer(
    api.GET("/api/v1/runs/{id}/rows", { params: { path: { id } }, ...(signal === undefined ? {} : { signal }) }),
  );
  if (!Array.isArray(rows)) throw ApiError.unreadable("The rows of a report are not a list.");
  return rows as Row[];
}

/** What a report answers, its parameters and columns. */
export type Report = Schemas["Report"];

/** What was said of an exception. */
export interface ExceptionStep {
  report: string;
  key: string;
  state: string;
  note: string | null;
  by: string | null;
  at: string | null;
}

/** What was said of exceptions: the latest of each, or every step of a report's. */
export async function exceptionSteps(
  query: { report?: string; history?: boolean },
  signal?: AbortSignal,
): Promise<ExceptionStep[]> {
  const steps: unknown = await answer(
    api.GET("/api/v1/exceptions", { params: { query }, ...(signal === undefined ? {} : { signal }) }),
  );
  if (!Array.isArray(steps)) throw ApiError.unreadable("The steps of exceptions are not a list.");
  return steps as ExceptionStep[];
}

/** Adds a step to the life of an exception. */
export async function setException(step: Schemas["ExceptionStep"]): Promise<void> {
  await send("/api/v1/exceptions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(step),
  });
}

/** Whether what is sent arrives. Offsets may have more digits than a number of the browser keeps. */
import { exactly, type Schemas } from "./client";

export const pipeline = (signal?: AbortSignal) => exactly<Schemas["Pipeline"]>("/api/v1/pipeline", signal);

export type DeadLetter = Schemas["DeadLetter"];

/** Dead letters of a page. */
const PAGE = 50;

/** A page of dead letters, the latest first; `after` is what the page before said of the next. */
export const deadLetters = (after: string | undefined, signal?: AbortSignal) => {
  const query = new URLSearchParams({ limit: String(PAGE), ...(after === undefined ? {} : { after }) });
  return exactly<Schemas["DeadLetterPage"]>(`/api/v1/dead-letters?${query}`, signal);
};

/** Where a dead letter is. */
export const addressOf = ({ topic, partition, offset }: DeadLetter) =>
  `/api/v1/dead-letters/${encodeURIComponent(topic)}/${partition}/${offset}`;

export const deadLetter = (letter: DeadLetter, signal?: AbortSignal) =>
  exactly<Schemas["DeadLetterDetail"]>(addressOf(letter), signal);

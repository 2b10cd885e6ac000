/** What a search has found so far. */
import type { Schemas } from "../../api/client";
import type { Found } from "../../api/search";

export type Hit = Schemas["SessionHit"];

/** What comes last: how many, whether there may be more, and what could not be looked through. */
export type End = Extract<Found, { end: unknown }>["end"];

export interface Searched {
  /** Hits by session, in the order in which the first of each came. */
  sessions: { key: string; hits: Hit[] }[];
  count: number;
  progress: { bytes: number; of: number } | undefined;
  end: End | undefined;
}

export const NOTHING: Searched = { sessions: [], count: 0, progress: undefined, end: undefined };

/** With what came next. */
export function withFound(searched: Searched, found: Found[]): Searched {
  const sessions = [...searched.sessions];
  const places = new Map(sessions.map(({ key }, place) => [key, place]));
  let { count, progress, end } = searched;
  for (const one of found) {
    if ("progress" in one) progress = one.progress;
    if ("end" in one) end = one.end;
    if (!("hit" in one)) continue;
    const { hit } = one;
    const key = `${hit.source} ${hit.session_id}`;
    const place = places.get(key);
    const before = place === undefined ? undefined : sessions[place];
    if (place === undefined || before === undefined) {
      places.set(key, sessions.length);
      sessions.push({ key, hits: [hit] });
    } else {
      sessions[place] = { key, hits: [...before.hits, hit] };
    }
    count += 1;
  }
  return { sessions, count, progress, end };
}

/**
 * Opens the session when the text has just come, to a hundredth of a second, and never before; the other places where it has
 * that text are found there, too. A pattern is looked for in all sessions alone.
 */
export function hrefOf({ session_id, source, channel, from_us }: Hit, word: string): string {
  const params = new URLSearchParams({ at: String((Math.floor(from_us / 1e4) + 1) / 100), source });
  if (word !== "") params.set("find", word);
  if (channel != null) params.set("channel", channel);
  return `/sessions/${encodeURIComponent(session_id)}?${params}`;
}

/** A text in pieces, those that were looked for marked. A pattern is the server's, so nothing is marked for one. */
export function marked(text: string, word: string): { text: string; isHit: boolean }[] {
  if (word === "") return [{ text, isHit: false }];
  // As the server does: without a capital letter, those of the text do not count.
  const isLoose = word === word.toLowerCase();
  const within = isLoose ? text.toLowerCase() : text;
  // Letters whose small form has another length would move every place behind them.
  if (within.length !== text.length) return [{ text, isHit: false }];
  const pieces: { text: string; isHit: boolean }[] = [];
  let from = 0;
  for (let at = within.indexOf(word); at >= 0; at = within.indexOf(word, from)) {
    if (at > from) pieces.push({ text: text.slice(from, at), isHit: false });
    pieces.push({ text: text.slice(at, at + word.length), isHit: true });
    from = at + word.length;
  }
  if (from < text.length) pieces.push({ text: text.slice(from), isHit: false });
  return pieces;
}

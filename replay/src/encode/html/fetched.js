"use strict";

/**
 * What a `SegmentDriver` is made of, for a recording whose segments are fetched.
 *
 * @param index the server's answer: `{duration_us, started_at_us, theme, markers, segments: [{start_us, end_us, url}…]}`
 * @param base the address of that answer, to which the others are relative
 * @param fetch that of the browser
 * @returns `[recording, segments]`
 */
function fetched({ segments, ...recording }, base, fetch) {
  /** What the server says of a failure; something else on the way to it may have answered. */
  const failure = async (response) => {
    const answer = await response.json().catch(() => null);
    const error = answer?.error;
    const message = error?.message ?? `the server answered with status ${response.status}`;
    return Object.assign(new Error(message), { status: response.status, kind: error?.kind });
  };
  const read = async (url, signal) => {
    const response = await fetch(new URL(url, base).href, { credentials: "same-origin", signal });
    if (response.status !== 200) throw await failure(response);
    const segment = await response.json();
    if (!Array.isArray(segment?.events)) throw new Error("the server answered with something else than a segment");
    return segment;
  };
  return [recording, segments.map(({ start_us, url }) => ({ start_us, read: (signal) => read(url, signal) }))];
}

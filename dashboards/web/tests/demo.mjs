// What the tests know of the demo's story.
import assert from "node:assert/strict";
import { ask } from "./browser.mjs";

const DAY_MS = 86_400_000;

/** The story's first session: asked for, approved, recorded. */
const first = async () => {
  const reason = encodeURIComponent("Investigating dashboard latency");
  const { sessions } = await ask(`/api/v1/sessions?reason=${reason}`);
  assert.equal(sessions.length, 1, "the demo's first session");
  return sessions[0];
};

const S1 = await first();

/** Where the story's first session is. */
export const APPROVED = `/sessions/${S1.session_id}`;

/** The day of the story's first session, a Monday, and those after it: `2026-11-16`. */
export const day = (number) => new Date(Date.parse(S1.started_at) + (number - 1) * DAY_MS).toISOString().slice(0, 10);

/** The story is over on its Saturday: what the demo adds while it runs is later. */
export const STORY_TO = `${day(6)}T00:00:00Z`;

/** The request that gave access to the first session. */
export const REQUEST = `/requests/${S1.links[0].request_id}`;

/** Sessions of the story that fit a filter. */
export const story = async (query = "") => (await ask(`/api/v1/sessions?limit=1000&to=${STORY_TO}&${query}`)).sessions;

const recorded = (await story()).filter(({ recording }) => recording === "recorded");

/** The longest recording of the story. */
export const LONGEST = recorded.toSorted((a, b) => b.duration_ms - a.duration_ms)[0];

/** A session whose screen changes at this moment. */
export async function running() {
  const { sessions } = await ask("/api/v1/sessions?state=running&limit=1000");
  const found = sessions.find(({ output_bytes }) => output_bytes > 0);
  assert.ok(found, "a recorded session is running: live tests need `custody demo`");
  return `/sessions/${found.session_id}`;
}

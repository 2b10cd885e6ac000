/** What happened to a request, one after the other. */
import type { Schemas } from "../../api/client";

type Review = Schemas["Review"];

export interface Step {
  key: string;
  at: string | null;
  /** Whether it is a yes, a no, a use of the access, or neither. */
  tone: "yes" | "no" | "session" | undefined;
  /** What happened; whoever did it stands before it. */
  who: string | null;
  did: string;
  /** In somebody's words. */
  words: string | null;
  session_id?: string;
}

const YES = new Set(["APPROVED", "PROMOTED"]);

function reviewed(review: Review): Step {
  const { vote, state, method, reviewer, delegator, comment, at, event_id } = review;
  const said = method === "update" ? state : (vote ?? state);
  const tone = said == null ? undefined : YES.has(said) ? "yes" : said === "DENIED" ? "no" : undefined;
  const verb = method === "update" ? "set the state to" : "voted";
  const behalf = delegator == null ? "" : ` for ${delegator}`;
  const after = method !== "update" && state != null && state !== vote ? `, the state is ${state}` : "";
  return {
    key: event_id,
    at: at ?? null,
    tone,
    who: reviewer ?? null,
    did: `${verb} ${said ?? "nothing"}${behalf}${after}`,
    words: comment ?? null,
  };
}

/** The making of a request, what was decided, the sessions that used it, and its end: in the order of time. */
export function steps(request: Schemas["RequestDetail"], now: Date): Step[] {
  const { reviews, sessions } = request;
  const { created_at, requester, reason, expires_at, closed_at, deleted, request_id, state } = request;
  const all: Step[] = [
    {
      key: "made",
      at: created_at ?? null,
      tone: undefined,
      who: requester ?? null,
      did: "asked for access",
      words: reason ?? null,
    },
    ...reviews.map(reviewed),
    ...sessions.map(({ session_id, source, started_at, person, target, links }): Step => {
      const isSure = links.some((link) => link.request_id === request_id && link.link_method !== "inferred");
      const did = `${isSure ? "opened a session" : "opened a session that may have used it"} on ${target ?? "something"}`;
      return {
        key: `${source} ${session_id}`,
        at: started_at ?? null,
        tone: "session",
        who: person ?? null,
        did,
        words: null,
        session_id,
      };
    }),
  ];
  if (closed_at != null) {
    all.push({ key: "closed", at: closed_at, tone: undefined, who: null, did: "It was closed", words: null });
  }
  if (expires_at != null) {
    const isOver = Date.parse(expires_at) <= now.getTime();
    const did =
      state === "PENDING"
        ? isOver
          ? "It expired, not decided"
          : "It expires"
        : isOver
          ? "The access ended"
          : "The access ends";
    all.push({ key: "expires", at: expires_at, tone: undefined, who: null, did, words: null });
  }
  if (deleted) {
    all.push({
      key: "deleted",
      at: null,
      tone: undefined,
      who: null,
      did: "The gateway says that it was deleted",
      words: null,
    });
  }
  // What has no time stands last, but for the making.
  const place = ({ key, at }: Step) =>
    at === null ? (key === "made" ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY) : Date.parse(at);
  return all.toSorted((a, b) => {
    const [left, right] = [place(a), place(b)];
    return left === right ? 0 : left < right ? -1 : 1;
  });
}

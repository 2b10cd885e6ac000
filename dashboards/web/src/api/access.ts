import type { Schemas } from "./client";

type Link = Schemas["Link"];

/** How a session can be linked to what gave access to it, the surest first. */
export const BY_SURENESS = ["explicit", "gateway_review", "policy", "ticket", "inferred", "none"] as const;

/** Whether a link is more than likely. */
export const isFirm = (link: Link) => link.link_method !== "inferred" && link.link_method !== "none";

/**
 * Whether something that is not inferred said yes to a session. What is inferred is likely, never proof: it approves
 * nothing. (Reports judge more than that: for whom it was, and when.)
 */
export const isApproved = (links: Link[]) => links.some((link) => isFirm(link) && link.approved_at != null);

/** Whether all that approved a session came after it had begun. */
export const isLate = (links: Link[]) => {
  const approving = links.filter((link) => isApproved([link]));
  return approving.length > 0 && approving.every((link) => link.approved_before_start === false);
};

/** What became of a request by now. */
export function stateOf({ state, expired, deleted, expires_at, closed_at }: Schemas["Request"], now: Date): string {
  const isOver = expired || closed_at != null || (expires_at != null && Date.parse(expires_at) <= now.getTime());
  if (state === "DENIED") return "denied";
  if (state === "APPROVED" || state === "PROMOTED") return isOver || deleted ? "over" : "in_force";
  if (deleted) return "deleted";
  if (state === "PENDING") return isOver ? "unanswered" : "pending";
  return state;
}

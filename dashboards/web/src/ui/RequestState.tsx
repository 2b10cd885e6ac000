import { stateOf } from "../api/access";
import type { Schemas } from "../api/client";
import { type Meaning, Meant } from "./Badges";

const STATES: Record<string, Meaning> = {
  pending: { tone: "warn", label: "waits", means: "Nobody has decided it yet." },
  unanswered: { tone: "plain", label: "expired, not decided", means: "It was over before anybody decided." },
  in_force: { tone: "good", label: "approved, in force", means: "It was approved, and its end has not come." },
  over: { tone: "plain", label: "approved, over", means: "It was approved, and its time is over." },
  denied: { tone: "alarm", label: "denied", means: "Somebody said no." },
  deleted: { tone: "plain", label: "deleted", means: "The gateway says that it was deleted." },
};

export const RequestState = ({ request }: { request: Schemas["Request"] }) => (
  <Meant value={stateOf(request, new Date())} meanings={STATES} />
);

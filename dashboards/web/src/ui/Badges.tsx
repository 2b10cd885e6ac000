import { isApproved, isLate } from "../api/access";
import type { Schemas } from "../api/client";
import { Badge, type Tone } from "./Badge";

/** What a value means, in a word and in a sentence. */
export interface Meaning {
  tone: Tone;
  label: string;
  means: string;
}

const LINKS: Record<string, Meaning> = {
  explicit: {
    tone: "good",
    label: "explicit",
    means: "The session's own events carry the id of the request or of the decision.",
  },
  gateway_review: { tone: "good", label: "gateway review", means: "The gateway reviewed the session itself." },
  policy: { tone: "note", label: "policy", means: "A decision of the policy engine names the session." },
  ticket: { tone: "note", label: "ticket", means: "Session and request name the same ticket." },
  inferred: {
    tone: "warn",
    label: "inferred",
    means: "The same person had an approved request or an allowing decision at that time. Likely, never proof.",
  },
  none: { tone: "alarm", label: "no approval", means: "Nothing in the ledger gave access to this session." },
  late: {
    tone: "warn",
    label: "approved late",
    means: "What approved this session came after its start; of hoop.dev's, after its end.",
  },
  unapproved: {
    tone: "alarm",
    label: "not approved",
    means: "Nothing in the ledger proves an approval of this session.",
  },
};

const STATES: Record<string, Meaning> = {
  running: { tone: "note", label: "running", means: "It has begun, and nothing says that it is over." },
  ended: { tone: "plain", label: "ended", means: "The gateway said that it is over." },
  unknown: { tone: "warn", label: "unknown", means: "Nothing says whether it is over." },
};

const RECORDINGS: Record<string, Meaning> = {
  recorded: { tone: "good", label: "recorded", means: "What the terminal showed is in the ledger." },
  announced: {
    tone: "warn",
    label: "announced",
    means: "The gateway says that there is a recording; it is not here.",
  },
  none: { tone: "plain", label: "none", means: "No recording, and none was announced." },
};

/** A value with what it means. */
export function Meant({
  value,
  meanings,
  prefix = "",
}: {
  value: string;
  meanings: Record<string, Meaning>;
  prefix?: string;
}) {
  const { tone, label, means } = (Object.hasOwn(meanings, value) ? meanings[value] : undefined) ?? {
    tone: "plain" as const,
    label: value,
    means: undefined,
  };
  return (
    <Badge tone={tone} {...(means === undefined ? {} : { means })}>
      {prefix}
      {label}
    </Badge>
  );
}

/** How a session is tied to what gave access to it. */
export const LinkMethod = ({ method }: { method: string }) => <Meant value={method} meanings={LINKS} />;

/** Whether something that is certain approved a session, and how it is tied to that. */
export function Approval({ links }: { links: Schemas["Link"][] }) {
  const approving = links.find((link) => isApproved([link]));
  if (approving === undefined) return <LinkMethod method="unapproved" />;
  return isLate(links) ? (
    <LinkMethod method="late" />
  ) : (
    <Meant value={approving.link_method} meanings={LINKS} prefix="approved, " />
  );
}

/** Whether a session goes on. */
export const SessionState = ({ state }: { state: string }) => <Meant value={state} meanings={STATES} />;

/** Whether there is a recording. */
export const RecordingHere = ({ recording }: { recording: string }) => (
  <Meant value={recording} meanings={RECORDINGS} />
);

const VERDICTS: Record<string, Meaning> = {
  pass: { tone: "good", label: "pass", means: "Nothing was found." },
  exception: { tone: "alarm", label: "exception", means: "A control did not hold." },
  warning: { tone: "warn", label: "warning", means: "Worth a look." },
  information: { tone: "note", label: "information", means: "A fact, and no judgement." },
  na: { tone: "warn", label: "cannot be judged", means: "A fact or reference data is missing." },
  excluded: { tone: "plain", label: "out of scope", means: "Of the period, and out of the configured scope." },
};

/** What a report says of a row. */
export const Verdict = ({ verdict }: { verdict: string }) => <Meant value={verdict} meanings={VERDICTS} />;

const EXCEPTIONS: Record<string, Meaning> = {
  open: { tone: "alarm", label: "open", means: "Not dealt with." },
  explained: { tone: "note", label: "explained", means: "It is known how it came about." },
  accepted: { tone: "warn", label: "accepted", means: "Somebody takes the risk." },
  remediated: { tone: "good", label: "remediated", means: "What caused it was mended." },
};

/** What was said of an exception. */
export const ExceptionState = ({ state }: { state: string }) => <Meant value={state} meanings={EXCEPTIONS} />;

const RUNS: Record<string, Meaning> = {
  running: { tone: "note", label: "runs", means: "It goes on." },
  done: { tone: "good", label: "done", means: "What it made can be fetched." },
  failed: { tone: "alarm", label: "failed", means: "It made nothing." },
  cancelled: { tone: "plain", label: "cancelled", means: "Somebody stopped it." },
};

/** How a run of a report is doing. */
export const RunState = ({ state }: { state: string }) => <Meant value={state} meanings={RUNS} />;

import type { Schemas } from "../../api/client";
import type { SessionCommand } from "../../api/questions";
import { micros } from "../../time/format";

/** Something that happened in a session, by the clock of its recording. */
export interface Moment {
  kind: "event" | "command" | "marker" | "finding" | "hit";
  /** Since the start of the recording; before it where negative; nothing where it has no time of its own. */
  at_us: number | undefined;
  text: string;
  /** Who, from where, how it ended. */
  detail: string | undefined;
}

const known = (...parts: (string | null | undefined)[]) =>
  parts.filter((part) => part != null).join(" · ") || undefined;

/** The session's events, on the clock of its recording where that knows when it began. */
export function eventMoments(events: Schemas["TimelineEvent"][], started_at_us: number | undefined): Moment[] {
  return events.map(({ occurred_at, source_type, actor, action, outcome, remote_addr, login }) => {
    const at = occurred_at == null ? undefined : micros(occurred_at);
    return {
      kind: "event",
      at_us: at === undefined || started_at_us === undefined ? undefined : at - started_at_us,
      text: action == null ? source_type : `${source_type}: ${action}`,
      detail: known(actor, login != null && login !== actor ? `as ${login}` : undefined, outcome, remote_addr),
    };
  });
}

export function commandMoments(commands: SessionCommand[]): Moment[] {
  return commands.map(({ at_us, text, exit_status }) => ({
    kind: "command",
    at_us,
    text,
    detail: exit_status == null ? undefined : `exit ${exit_status}`,
  }));
}

/** What the recording's index tells: its markers, and what is wrong with it. */
export function indexMoments({ markers, findings }: Schemas["ReplayIndex"]): Moment[] {
  return [
    ...(markers as [number, string][]).map(
      ([at_us, text]): Moment => ({ kind: "marker", at_us, text, detail: undefined }),
    ),
    ...findings.map(
      ({ at_us, text }): Moment => ({ kind: "finding", at_us: at_us ?? undefined, text, detail: undefined }),
    ),
  ];
}

/** In the order of time; what has no time comes first. */
export const inOrder = (moments: Moment[]) =>
  moments.toSorted((a, b) => (a.at_us ?? Number.NEGATIVE_INFINITY) - (b.at_us ?? Number.NEGATIVE_INFINITY));

/** When something happened on the screen: begin and end, from the times in which nothing did. */
export function active({ idle, duration_us }: Schemas["ReplayIndex"]): [number, number][] {
  const spans: [number, number][] = [];
  let from = 0;
  for (const [end, length] of (idle as [number, number][]).toSorted(([a], [b]) => a - b)) {
    if (end - length > from) spans.push([from, end - length]);
    from = Math.max(from, end);
  }
  if (duration_us >= from) spans.push([from, duration_us]);
  return spans;
}

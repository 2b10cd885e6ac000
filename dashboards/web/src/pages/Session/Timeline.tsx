import { type PointerEvent, useMemo, useState } from "react";
import type { Schemas } from "../../api/client";
import { type Ticking, useNow } from "../../replay/ticking";
import { active, type Moment } from "./moments";
import classes from "./Timeline.module.css";

interface Props {
  index: Schemas["ReplayIndex"];
  moments: Moment[];
  ticking: Ticking;
  show: (at_us: number, digits?: 0 | 1 | 3) => string;
  seek: (at_us: number) => void;
}

/** Places on the line: what lies closer together than this is one. */
const PLACES = 2000;

/** How far the arrow keys go. */
const STEP_US = 5_000_000;

/** The whole recording on one line: when something happened, what, and where it plays. */
export function Timeline({ index, moments, ticking, show, seek }: Props) {
  const now_us = useNow(ticking, (now_us) => now_us) ?? 0;
  const length_us = Math.max(index.duration_us, 1);
  const place = (at_us: number) => Math.round((Math.min(Math.max(at_us, 0), length_us) / length_us) * PLACES);
  // The same as long as the recording is: what moves is the place where it plays.
  const drawn = useMemo(() => {
    const at = (at_us: number) => Math.round((at_us / length_us) * PLACES);
    const spans = active(index).map(([from, to]) => [at(from), Math.max(at(to), at(from) + 1)]);
    const activity = [...new Set(spans.map(([from, to]) => `M${from} 0H${to}V1H${from}Z`))].join("");
    const ticks = (kind: Moment["kind"]) => {
      const times = moments.filter((moment) => moment.kind === kind && (moment.at_us ?? -1) >= 0);
      return [...new Set(times.map(({ at_us = 0 }) => at(at_us)))].map((x) => `M${Math.min(x, PLACES)} 0V1`).join("");
    };
    return (
      <>
        <path className={classes.activity} d={activity} />
        {(["event", "command", "marker", "finding", "hit"] as const).map((kind) => (
          <path key={kind} className={classes.tick} data-kind={kind} d={ticks(kind)} />
        ))}
      </>
    );
  }, [index, moments, length_us]);
  const [hovered_us, setHovered] = useState<number>();

  const timeAt = (event: PointerEvent) => {
    const { left, width } = event.currentTarget.getBoundingClientRect();
    return Math.round((Math.min(Math.max(event.clientX - left, 0), width) / width) * index.duration_us);
  };
  return (
    <div
      className={classes.timeline}
      role="slider"
      tabIndex={0}
      aria-label="Time of the recording"
      aria-valuemin={0}
      aria-valuemax={Math.round(index.duration_us / 1e6)}
      aria-valuenow={Math.round(now_us / 1e6)}
      aria-valuetext={show(now_us)}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        seek(timeAt(event));
      }}
      onPointerMove={(event) => {
        setHovered(timeAt(event));
        if (event.buttons === 1) seek(timeAt(event));
      }}
      onPointerLeave={() => setHovered(undefined)}
      onKeyDown={(event) => {
        const to = { ArrowLeft: now_us - STEP_US, ArrowRight: now_us + STEP_US, Home: 0, End: index.duration_us }[
          event.key
        ];
        if (to === undefined) return;
        event.preventDefault();
        seek(to);
      }}
    >
      <svg viewBox={`0 0 ${PLACES} 1`} preserveAspectRatio="none" aria-hidden="true">
        {drawn}
        <path className={classes.playhead} d={`M${place(now_us)} 0V1`} />
      </svg>
      {hovered_us !== undefined && (
        <output className={classes.hovered} style={{ left: `${(hovered_us / length_us) * 100}%` }}>
          {show(hovered_us)}
        </output>
      )}
    </div>
  );
}

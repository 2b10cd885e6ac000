import { Button } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import type { Schemas } from "../../api/client";
import { useKeys } from "../../keys/keys";
import { aspect } from "../../replay/aspect";
import { useClock } from "../../replay/clockMode";
import type { LiveState } from "../../replay/LiveDriver";
import { replayAddress } from "../../replay/useReplay";
import { Badge, type Tone } from "../../ui/Badge";
import replayClasses from "./Replay.module.css";

interface Props {
  index: Schemas["ReplayIndex"];
  /** Shows what was recorded instead, from this time on. */
  pause: (at_us: number) => Promise<void>;
}

const STATES: Record<LiveState, { tone: Tone; label: string }> = {
  connecting: { tone: "warn", label: "connecting" },
  live: { tone: "alarm", label: "live" },
  ended: { tone: "plain", label: "it has ended" },
  failed: { tone: "warn", label: "cannot be followed" },
};

const TICK_MS = 200;

/** A recording that goes on, followed. Pausing or going back plays what was recorded until then. */
export function Live({ index, pause }: Props) {
  const element = useRef<HTMLDivElement>(null);
  const [state, setState] = useState<LiveState>("connecting");
  const [now_us, setNow] = useState(index.duration_us);
  const { show } = useClock(index.started_at_us);
  const url = new URL(index.live, replayAddress({ id: index.session_id })).href;
  useEffect(() => {
    let made: { now_us(): number; dispose(): void } | undefined;
    let isOver = false;
    import("../../replay/players").then(({ follow }) => {
      if (isOver || element.current === null) return;
      made = follow(element.current, url, setState);
    });
    const timer = setInterval(() => setNow((before) => made?.now_us() || before), TICK_MS);
    return () => {
      isOver = true;
      clearInterval(timer);
      made?.dispose();
    };
  }, [url]);
  useKeys("Live", [
    { keys: " ", does: "Pause", run: () => void pause(now_us) },
    { keys: "ArrowLeft", does: "5 seconds back", run: () => void pause(now_us - 5_000_000) },
  ]);
  const { tone, label } = STATES[state];
  return (
    <>
      <div className={replayClasses.terminal} style={{ aspectRatio: aspect(index) }} ref={element} />
      <div className={replayClasses.controls}>
        <span role="status">
          <Badge tone={tone}>{label}</Badge>
        </span>
        <span className={replayClasses.clock}>{show(now_us, 1)}</span>
        <Button size="compact-sm" variant="default" onClick={() => void pause(now_us)}>
          Pause
        </Button>
        <Button size="compact-sm" variant="default" onClick={() => void pause(now_us - 5_000_000)}>
          5 seconds back
        </Button>
        <Button size="compact-sm" variant="default" onClick={() => void pause(0)}>
          From the beginning
        </Button>
      </div>
    </>
  );
}

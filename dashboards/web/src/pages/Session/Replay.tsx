import { ActionIcon, Button, Checkbox, Menu, NativeSelect, SegmentedControl } from "@mantine/core";
import { useLocalStorage } from "@mantine/hooks";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useSearchParams } from "wouter";
import type { Schemas } from "../../api/client";
import { ApiError } from "../../api/error";
import { COMMANDS_MAX, commands, type Recorded } from "../../api/questions";
import { search } from "../../api/search";
import { useKeys } from "../../keys/keys";
import { aspect } from "../../replay/aspect";
import { type ClockMode, useClock } from "../../replay/clockMode";
import type { Playback } from "../../replay/players";
import { Ticking, useNow } from "../../replay/ticking";
import { replayAddress, type Which } from "../../replay/useReplay";
import { clock, fromClock, micros } from "../../time/format";
import { Happened } from "./Happened";
import { commandMoments, eventMoments, indexMoments, type Moment } from "./moments";
import classes from "./Replay.module.css";
import { Timeline } from "./Timeline";
import { Transcript } from "./Transcript";

interface Props {
  index: Schemas["ReplayIndex"];
  which: Which;
  /** Nothing while it is fetched. */
  session: Schemas["SessionDetail"] | undefined;
  /** Where it begins; else where the address says. */
  at_us: number | undefined;
  /** Shows what goes on instead. */
  goLive: (() => void) | undefined;
}

const SPEEDS = ["0.5", "1", "2", "4", "8", "16", "32"];

/** What a recording is written as, and what that is good for. */
const FORMATS = [
  ["html", "A page with a player, to hand on"],
  ["transcript", "Transcript with times"],
  ["text", "Text"],
  ["asciicast-v2", "asciicast, version 2"],
  ["asciicast-v3", "asciicast, version 3"],
  ["ttyrec", "ttyrec"],
  ["json", "All that is known, as JSON lines"],
  ["raw", "The output, byte for byte"],
] as const;

const exported = ({ session_id, source, channel }: Schemas["ReplayIndex"], format: string) => {
  const query = new URLSearchParams({ as: format, source, ...(channel == null ? {} : { channel }) });
  return `/api/v1/sessions/${encodeURIComponent(session_id)}/export?${query}`;
};

const HITS_MAX = 1000;

/** A recording that plays, with all that happened on its clock. */
export function Replay({ index, which, session, at_us, goLive }: Props) {
  const [params] = useSearchParams();
  const at = params.get("at");
  const from_us = at_us ?? (at === null ? undefined : timeOf(at, index));
  const { element, playback, isPlaying, failure, ticking } = usePlayback(index, which, from_us);
  const now_us = () => playback?.now_us() ?? 0;
  const { mode, setMode, show } = useClock(index.started_at_us);
  const recorded: Recorded = useMemo(
    () => ({ session_id: index.session_id, source: index.source, channel: index.channel ?? null }),
    [index],
  );
  const given = useQuery({
    queryKey: ["commands", recorded],
    queryFn: ({ signal }) => commands(recorded, signal),
    staleTime: 60_000,
  });
  const { hits, find, sought, searching } = useHits(index);
  const moments = useMemo(
    () => [
      ...eventMoments(session?.events ?? [], index.started_at_us ?? undefined),
      ...commandMoments(given.data?.rows ?? []),
      ...indexMoments(index),
      ...hits,
    ],
    [session?.events, index, given.data, hits],
  );
  const seek = useCallback(
    (at_us: number) => playback?.seek(Math.min(Math.max(at_us, 0), index.duration_us)),
    [playback, index],
  );
  const toggle = () => (isPlaying ? playback?.pause() : playback?.play());
  const [speed, setSpeed] = useLocalStorage({
    key: "custody.speed",
    defaultValue: "1",
    getInitialValueInEffect: false,
  });
  const [skipsIdle, setSkipsIdle] = useLocalStorage({
    key: "custody.skip-idle",
    defaultValue: true,
    getInitialValueInEffect: false,
  });
  useEffect(() => playback?.setSpeed(Number(speed)), [playback, speed]);
  useEffect(() => playback?.setSkipsIdle(skipsIdle), [playback, skipsIdle]);
  const { linked, link } = useLink(now_us);
  const stride = (by: number) => setSpeed(SPEEDS[SPEEDS.indexOf(speed) + by] ?? speed);
  const next = (after: boolean) => {
    const times = moments.flatMap(({ at_us, kind }) => (kind === "event" || at_us === undefined ? [] : [at_us]));
    const now = now_us();
    const at = after
      ? Math.min(...times.filter((time) => time > now))
      : Math.max(...times.filter((time) => time < now - 1_000_000));
    if (Number.isFinite(at)) seek(at);
  };
  useKeys("Recording", [
    { keys: " ", does: "Play or pause", run: () => toggle() },
    { keys: "ArrowLeft", does: "5 seconds back", run: () => seek(now_us() - 5_000_000) },
    { keys: "ArrowRight", does: "5 seconds on", run: () => seek(now_us() + 5_000_000) },
    { keys: "[", does: "Command, marker or hit before", run: () => next(false) },
    { keys: "]", does: "Next command, marker or hit", run: () => next(true) },
    { keys: "<", does: "Slower", run: () => stride(-1) },
    { keys: ">", does: "Faster", run: () => stride(1) },
    { keys: "i", does: "Skip idle time, or not", run: () => setSkipsIdle(!skipsIdle) },
    { keys: "c", does: "Elapsed time or wall clock", run: () => setMode(mode === "wall" ? "elapsed" : "wall") },
    { keys: "l", does: "Link to this moment", run: link },
  ]);
  return (
    <>
      <div className={classes.terminal} style={{ aspectRatio: aspect(index) }} ref={element} />
      {failure !== undefined && (
        <p className={classes.failure} role="alert">
          A part of the recording cannot be fetched, and is tried again: {failure}
        </p>
      )}
      {from_us !== undefined && from_us > index.duration_us && (
        <p className="soft" role="status">
          {index.ended
            ? `The recording ends at ${show(index.duration_us)}: there is nothing later.`
            : `What came after ${show(index.duration_us)} was not looked through yet: it can be seen live.`}
        </p>
      )}
      <Timeline index={index} moments={moments} ticking={ticking} show={show} seek={seek} />
      <div className={classes.controls}>
        <ActionIcon variant="filled" size="lg" aria-label={isPlaying ? "Pause" : "Play"} onClick={toggle}>
          <svg viewBox="0 0 16 16" width="16" aria-hidden="true">
            <path fill="currentColor" d={isPlaying ? "M3 2h4v12H3zM9 2h4v12H9z" : "M3 1.5l11 6.5-11 6.5z"} />
          </svg>
        </ActionIcon>
        <span className={classes.clock}>
          <Now ticking={ticking} show={show} />
          <span className="soft"> of {clock(index.duration_us, 1)}</span>
        </span>
        <SegmentedControl
          size="xs"
          aria-label="Clock"
          value={mode}
          onChange={(value) => setMode(value as ClockMode)}
          disabled={index.started_at_us == null}
          data={[
            { value: "elapsed", label: "Elapsed" },
            { value: "wall", label: "Wall clock" },
          ]}
        />
        <NativeSelect
          size="xs"
          aria-label="Speed"
          value={speed}
          onChange={({ currentTarget: { value } }) => setSpeed(value)}
          data={SPEEDS.map((value) => ({ value, label: `${value}×` }))}
        />
        <Checkbox
          size="xs"
          label="Skip idle"
          checked={skipsIdle}
          onChange={({ currentTarget: { checked } }) => setSkipsIdle(checked)}
        />
        <span className={classes.right}>
          {goLive !== undefined && (
            <Button size="compact-sm" variant="filled" onClick={goLive}>
              Return to live
            </Button>
          )}
          <Channels index={index} />
          <Button size="compact-sm" variant="default" onClick={link}>
            {linked ?? "Link to this moment"}
          </Button>
          <Menu position="bottom-end">
            <Menu.Target>
              <Button size="compact-sm" variant="default">
                Download
              </Button>
            </Menu.Target>
            <Menu.Dropdown>
              {FORMATS.map(([format, name]) => (
                <Menu.Item key={format} component="a" href={exported(index, format)} download>
                  {name}
                </Menu.Item>
              ))}
            </Menu.Dropdown>
          </Menu>
        </span>
      </div>
      <Happened moments={moments} ticking={ticking} show={show} seek={seek} find={find} sought={sought}>
        {searching !== undefined && (
          <p className="soft" role="status">
            {searching}
          </p>
        )}
        {session?.events_truncated && (
          <p className="soft">There are more events than the first {session.events.length}.</p>
        )}
        {given.data?.rows.some(({ found_by }) => found_by === "prompt") && (
          <p className="soft">Commands are told by what looks like a prompt: likely, not certain.</p>
        )}
        {(given.data?.rows.length ?? 0) >= COMMANDS_MAX && (
          <p className="soft">There may be more commands than the first {COMMANDS_MAX}.</p>
        )}
        {given.isError && (
          <p className="alarm" role="alert">
            Its commands could not be read: {ApiError.from(given.error).message}
          </p>
        )}
      </Happened>
      <Transcript recorded={recorded} show={show} />
    </>
  );
}

function Now({ ticking, show }: { ticking: Ticking; show: (at_us: number, digits: 1) => string }) {
  return <span>{show(useNow(ticking, (now_us) => now_us) ?? 0, 1)}</span>;
}

/** A player in an element, its state, and its clock. */
function usePlayback(index: Schemas["ReplayIndex"], which: Which, from_us: number | undefined) {
  const element = useRef<HTMLDivElement>(null);
  const [playback, setPlayback] = useState<Playback>();
  const [isPlaying, setPlaying] = useState(false);
  const [failure, setFailure] = useState<string>();
  const [ticking] = useState(() => new Ticking());
  const queries = useQueryClient();
  // Where another index of the same recording goes on.
  const last_us = useRef<number>(undefined);
  const base = replayAddress(which);
  useEffect(() => {
    let made: Playback | undefined;
    let isOver = false;
    import("../../replay/players").then(({ playRecording }) => {
      if (isOver || element.current === null) return;
      made = playRecording(element.current, index, base, {
        onPlaying: setPlaying,
        onTime: (now_us) => {
          last_us.current = now_us;
          ticking.set(now_us);
        },
        onFailure: (error) => {
          setFailure(error?.message);
          // It was looked through again: there is another index.
          if (error?.status === 410) void queries.invalidateQueries({ queryKey: ["replay"] });
        },
      });
      if (last_us.current !== undefined) made.seek(last_us.current);
      setPlayback(made);
    });
    return () => {
      isOver = true;
      made?.dispose();
      setPlayback(undefined);
      setPlaying(false);
    };
  }, [index, base, queries, ticking]);
  useEffect(() => {
    if (from_us !== undefined) playback?.seek(Math.min(Math.max(from_us, 0), index.duration_us));
  }, [from_us, index, playback]);
  return { element, playback, isPlaying, failure, ticking };
}

/** The time that an address means: since the start, or an instant. */
function timeOf(at: string, { started_at_us }: Schemas["ReplayIndex"]): number | undefined {
  const instant = at.includes("T") ? micros(at) : undefined;
  if (instant === undefined) return fromClock(at);
  return started_at_us == null ? undefined : instant - started_at_us;
}

/** Finds a text on the screen of this recording: the one that the address names. */
function useHits({ session_id, source, channel }: Schemas["ReplayIndex"]) {
  const [params, setParams] = useSearchParams();
  const sought = params.get("find") ?? "";
  const [hits, setHits] = useState<Moment[]>([]);
  const [searching, setSearching] = useState<string>();
  // What failed is looked for again when somebody asks again.
  const [asked, setAsked] = useState(0);
  // biome-ignore lint/correctness/useExhaustiveDependencies: `asked` counts how often the same is asked
  useEffect(() => {
    setHits([]);
    setSearching(undefined);
    if (sought.trim() === "") return;
    const controller = new AbortController();
    const { signal } = controller;
    setSearching("Searching…");
    void (async () => {
      const found: Moment[] = [];
      try {
        for await (const line of search({ text: sought, session: session_id, limit: HITS_MAX }, signal)) {
          if ("hit" in line && line.hit.source === source && (line.hit.channel ?? null) === (channel ?? null)) {
            found.push({ kind: "hit", at_us: line.hit.whole_us, text: line.hit.text, detail: undefined });
          }
          if ("end" in line) {
            const { cut, recordings_not_indexed: not_indexed } = line.end;
            const rest = cut
              ? "; there may be more"
              : not_indexed > 0
                ? "; the recording was not looked through to its end yet"
                : "";
            setSearching(`${found.length} ${found.length === 1 ? "line has" : "lines have"} it${rest}`);
            setHits(found);
          }
        }
      } catch (error) {
        if (!signal.aborted) setSearching(ApiError.from(error).message);
      }
    })();
    return () => controller.abort();
  }, [sought, session_id, source, channel, asked]);
  const find = (text: string) => {
    setAsked(asked + 1);
    const next = new URLSearchParams(params);
    if (text.trim() === "") next.delete("find");
    else next.set("find", text);
    setParams(next, { replace: true });
  };
  return { hits, find, sought, searching };
}

/** Puts the moment into the address, and the address into the clipboard where the browser lets it. */
function useLink(now_us: () => number) {
  const [, setParams] = useSearchParams();
  const [linked, setLinked] = useState<string>();
  useEffect(() => {
    if (linked === undefined) return;
    const timer = setTimeout(() => setLinked(undefined), 2500);
    return () => clearTimeout(timer);
  }, [linked]);
  const link = () => {
    const url = new URL(location.href);
    url.searchParams.set("at", (now_us() / 1e6).toFixed(3));
    setParams(url.searchParams, { replace: true });
    navigator.clipboard?.writeText(url.href).then(
      () => setLinked("Copied"),
      () => setLinked("It is in the address bar"),
    ) ?? setLinked("It is in the address bar");
  };
  return { linked, link };
}

/** Which of a session's recordings is shown, where its gateway makes several. */
function Channels({ index: { channels, channel } }: Pick<Props, "index">) {
  const [, setParams] = useSearchParams();
  if (channels.length < 2) return null;
  return (
    <NativeSelect
      size="xs"
      aria-label="Recording"
      value={channel ?? ""}
      onChange={({ currentTarget: { value } }) => setParams({ channel: value })}
      data={channels.map((name) => ({ value: name ?? "", label: name ?? "without a name" }))}
    />
  );
}

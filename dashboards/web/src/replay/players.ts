/** Terminals that play, loaded when the first one is shown: the player is larger than everything else. */
import "asciinema-player/dist/bundle/asciinema-player.css";
import "./terminal.css";
import { SegmentDriver } from "@replay/driver.js";
import { fetched } from "@replay/fetched.js";
import { create, type Options, type Player, type Source } from "asciinema-player";
import type { Schemas } from "../api/client";
import { LiveDriver, type LiveState } from "./LiveDriver";

const OPTIONS: Options = {
  controls: false,
  fit: "both",
  terminalFontFamily: "ui-monospace, 'Cascadia Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace",
};

const mount = (source: unknown, element: HTMLElement): Player => create(source as Source, element, OPTIONS);

/** How often the time is told while nothing is sought, in milliseconds. */
const TICK_MS = 100;

/** A recording that is played. Times are microseconds since its start. */
export interface Playback {
  play(): void;
  pause(): void;
  seek(at_us: number): void;
  now_us(): number;
  setSpeed(speed: number): void;
  setSkipsIdle(skipsIdle: boolean): void;
  dispose(): void;
}

export interface PlaybackEvents {
  onPlaying: (isPlaying: boolean) => void;
  /** Told where it stands: at intervals, and at once where it was sought. */
  onTime: (now_us: number) => void;
  /** Told of a part that could not be fetched, and with `null` when it was. */
  onFailure: (error: (Error & { status?: number }) | null) => void;
}

/** Plays a recording whose parts are fetched from `base`, the address that the index came from. */
export function playRecording(
  element: HTMLElement,
  index: Schemas["ReplayIndex"],
  base: string,
  { onPlaying, onTime, onFailure }: PlaybackEvents,
): Playback {
  const [recording, segments] = fetched(index, base, fetch.bind(window));
  const driver = new SegmentDriver(recording, segments, onFailure);
  const player = mount(driver.source, element);
  player.addEventListener("playing", () => onPlaying(true));
  player.addEventListener("pause", () => onPlaying(false));
  player.addEventListener("ended", () => onPlaying(false));
  const now_us = () => Math.round(driver.getCurrentTime() * 1e6);
  const tell = () => onTime(now_us());
  const timer = setInterval(tell, TICK_MS);
  return {
    play: () => void player.play(),
    pause: () => void player.pause(),
    seek: (at_us) => void player.seek(at_us / 1e6).then(tell),
    now_us,
    setSpeed: (speed) => driver.setSpeed(speed),
    setSkipsIdle: (skipsIdle) => driver.setSkipsIdle(skipsIdle),
    dispose: () => {
      clearInterval(timer);
      player.dispose();
    },
  };
}

/** Follows a recording that goes on. */
export function follow(element: HTMLElement, url: string, onState: (state: LiveState) => void) {
  const driver = new LiveDriver(url, onState);
  const player = mount(driver.source, element);
  void player.play();
  return {
    now_us: () => Math.round(driver.getCurrentTime() * 1e6),
    dispose: () => {
      driver.stop();
      player.dispose();
    },
  };
}

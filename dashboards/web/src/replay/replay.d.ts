/** The scripts of exported pages, which play recordings here too: see `vite.config.ts`. */

declare module "@replay/driver.js" {
  interface Recording {
    duration_us: number;
    started_at_us?: number | null;
    markers: [time_us: number, label: string][];
  }

  interface Segment {
    start_us: number;
    read(signal: AbortSignal): unknown;
  }

  export class SegmentDriver {
    constructor(recording: Recording, segments: Segment[], onFailure?: (error: Error | null) => void);
    /** A source that asciinema-player's own types do not know. */
    get source(): unknown;
    setSpeed(speed: number): void;
    setSkipsIdle(skipsIdle: boolean): void;
    getCurrentTime(): number;
  }
}

declare module "@replay/fetched.js" {
  import type { Recording, Segment } from "@replay/driver.js";

  export function fetched(index: unknown, base: string, fetch: typeof globalThis.fetch): [Recording, Segment[]];
}

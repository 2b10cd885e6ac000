/** What asciinema-player lets a driver say. */
type Dispatch = (event: string, data?: unknown) => void;

/** A screen as it is, or `[time, "o" | "i", text]`, with times in seconds. */
type Message = { cols: number; rows: number; time: number; init: string } | [number, string, string];

export type LiveState = "connecting" | "live" | "ended" | "failed";

/**
 * A driver for asciinema-player that shows a recording while it goes on, as it comes: whoever joins late sees the screen as
 * it is. (The player's own driver for server-sent events holds output back to smooth it.)
 */
export class LiveDriver {
  #dispatch: Dispatch = () => {};
  #events: EventSource | undefined;
  #time = 0;

  constructor(
    readonly url: string,
    readonly onState: (state: LiveState) => void,
  ) {}

  /** The `src` of a player. */
  get source(): unknown {
    return ({ dispatch }: { dispatch: Dispatch }) => {
      this.#dispatch = dispatch;
      return this;
    };
  }

  play(): boolean {
    if (this.#events !== undefined) return true;
    this.#dispatch("play");
    this.#dispatch("loading");
    this.onState("connecting");
    const events = new EventSource(this.url);
    this.#events = events;
    events.addEventListener("message", ({ data }: MessageEvent<string>) => this.#show(JSON.parse(data) as Message));
    events.addEventListener("done", () => {
      events.close();
      this.#dispatch("ended");
      this.onState("ended");
    });
    events.addEventListener("error", () => {
      this.#dispatch("loading");
      // The browser comes again by itself, unless the server has refused.
      this.onState(events.readyState === EventSource.CLOSED ? "failed" : "connecting");
    });
    return true;
  }

  stop(): void {
    this.#events?.close();
  }

  /** Time of what is shown, in seconds since the start of the recording. */
  getCurrentTime(): number {
    return this.#time;
  }

  #show(message: Message): void {
    if (!Array.isArray(message)) {
      const { cols, rows, time, init } = message;
      this.#time = time;
      this.#dispatch("reset", { size: { cols, rows }, init });
      this.#dispatch("playing");
      this.onState("live");
      return;
    }
    const [time, code, text] = message;
    this.#time = time;
    if (code === "o") this.#dispatch("output", [text]);
    else if (code === "i") this.#dispatch("input", { data: text });
  }
}

"use strict";

/**
 * The segments around one, which may have to be fetched: this one, the one before and the one after.
 *
 * At most one is waited for: whatever is asked for later overtakes it. A segment that comes when it is no longer near is
 * dropped.
 */
class SegmentWindow {
  /** A fetch that has failed is made again after so long, then after twice as long, as long as somebody waits. */
  static RETRY_MS = 500;
  static RETRY_MS_MAX = 8_000;

  #segments;
  #onFailure;

  /** Whether they have to be fetched, as far as is known. */
  areFetched = false;

  /** Those that are there, and what aborts the fetches of others, by number. */
  #held = new Map();
  #fetches = new Map();
  #prefetched;
  #wait;

  constructor(segments, onFailure) {
    this.#segments = segments;
    this.#onFailure = onFailure;
  }

  /** The segment; or nothing while it is not there, and `then` is called when it is. */
  get(index, then) {
    this.cancel();
    this.#move(index);
    this.#prefetched = undefined;
    const segment = this.#held.get(index) ?? this.#read(index);
    if (segment === undefined) this.#wait = { index, then, failures: 0 };
    return segment;
  }

  /** Fetches the segment after this one, unless that failed before: it will be asked for. */
  prefetchAfter(index) {
    const next = index + 1;
    if (!this.areFetched || this.#prefetched === next || next >= this.#segments.length) return;
    this.#prefetched = next;
    this.#move(index);
    if (!this.#held.has(next)) this.#read(next);
  }

  /** Nothing is waited for any more. */
  cancel() {
    const wait = this.#wait;
    this.#wait = undefined;
    clearTimeout(wait?.timer);
    if (wait?.failures > 0) this.#onFailure(null);
  }

  #move(index) {
    const isFar = (other) => Math.abs(other - index) > 1;
    for (const other of [...this.#held.keys()].filter(isFar)) this.#held.delete(other);
    for (const other of [...this.#fetches.keys()].filter(isFar)) {
      this.#fetches.get(other).abort();
      this.#fetches.delete(other);
    }
  }

  /** The segment if it is given at once; otherwise it is being fetched. */
  #read(index) {
    if (this.#fetches.has(index)) return undefined;
    const abort = new AbortController();
    const answer = this.#segments[index].read(abort.signal);
    if (typeof answer.then !== "function") {
      this.#held.set(index, answer);
      return answer;
    }
    this.areFetched = true;
    this.#fetches.set(index, abort);
    const isGivenUp = () => this.#fetches.get(index) !== abort || !this.#fetches.delete(index);
    answer.then(
      (segment) => {
        if (isGivenUp()) return;
        this.#held.set(index, segment);
        this.#deliver(index);
      },
      // What fails in showing it is no failure to fetch it.
      (error) => {
        if (!isGivenUp()) this.#retry(index, error);
      },
    );
    return undefined;
  }

  #deliver(index) {
    if (this.#wait?.index !== index) return;
    const { then } = this.#wait;
    this.cancel();
    then();
  }

  #retry(index, error) {
    const wait = this.#wait;
    if (wait?.index !== index) return;
    const { RETRY_MS, RETRY_MS_MAX } = SegmentWindow;
    const retry = () => {
      if (this.#read(index) !== undefined) this.#deliver(index);
    };
    wait.timer = setTimeout(retry, Math.min(RETRY_MS * 2 ** wait.failures, RETRY_MS_MAX));
    wait.failures += 1;
    this.#onFailure(error);
  }
}

/**
 * A driver for asciinema-player that shows a recording from keyframes.
 *
 * The recording is a list of segments. Each has what the terminal was at its start, and its events up to the start of the
 * next one: any time is shown from the keyframe before it. The size of the terminal changes only where a segment begins,
 * or with an event that is a keyframe too, so the player is never asked to resize: its terminal would wrap lines in
 * another way than the one that was recorded.
 *
 * A segment may have to be fetched. The clock stands while it is waited for, under the player's sign for that, and nothing
 * is shown but what was on the screen at the time of the clock: playing waits before the segment with the end of the one
 * before it, seeking with an empty terminal. No method waits, since the player makes one call after the other: a later one
 * could not overtake.
 *
 * Times are integer microseconds since the start of the recording; the player's own interface has seconds. They are
 * always those of the recording: idle time that is skipped is jumped over, not cut out.
 */
class SegmentDriver {
  /** Output is shown at most so often. */
  static FRAME_MS = 1000 / 60;
  /** When idle time is skipped, so much of it is left after the event before and again before the event after. */
  static IDLE_KEPT_US = 1_000_000;
  /** Timers of browsers cannot wait for months. */
  static WAIT_MS_MAX = 60_000;

  #recording;
  #segments;
  #window;
  #dispatch;
  #speed = 1;
  #skipsIdle = false;

  /** The segment that is shown, its number (none while nothing is shown), its next event, and the time of what is shown. */
  #segment;
  #index;
  #next;
  #shown_us;
  #size;

  /** Whether it plays, or will when what it waits for is there; and whether the player was told of such waiting. */
  #isPlaying = false;
  #isLoading = false;

  /** Where the clock began to go, by the recording's clock and by `performance.now()`; no second one while it stands. */
  #position_us = 0;
  #since_ms;
  #timer;

  /**
   * @param recording `{duration_us, theme, markers: [[time_us, label]…]}`
   * @param segments `[{start_us, read(signal)}…]` in order, the first at 0; `read` gives, or promises,
   *   `{cols, rows, init, events: [[time_us, "o" | "i", text] | [time_us, "r", {cols, rows, init}]…]}`; the signal says
   *   that nobody wants it any more
   * @param onFailure is told the error when a segment that is waited for could not be fetched, and `null` when it was, or
   *   is no longer waited for
   */
  constructor(recording, segments, onFailure = () => {}) {
    this.#recording = recording;
    this.#segments = segments;
    this.#window = new SegmentWindow(segments, onFailure);
  }

  /** The `src` of a player. */
  get source() {
    return ({ dispatch }) => {
      this.#dispatch = dispatch;
      return this;
    };
  }

  /** How many times faster than it was. */
  setSpeed(speed) {
    this.#anchor(this.#now());
    this.#speed = speed;
    this.#schedule();
  }

  /** Whether playing jumps over time in which nothing happens. */
  setSkipsIdle(skipsIdle) {
    this.#skipsIdle = skipsIdle;
    this.#schedule();
  }

  init() {
    const { duration_us, markers } = this.#recording;
    this.#dispatch("metadata", {
      duration: duration_us / 1e6,
      markers: markers.map(([time_us, label]) => [time_us / 1e6, label]),
    });
    // Until it is there, the player's large button stands before an empty terminal.
    this.#show(0, () => this.#show(0));
  }

  play() {
    if (this.#isPlaying) return true;
    this.#halt(this.#position_us >= this.#recording.duration_us ? 0 : this.#position_us);
    this.#isPlaying = true;
    this.#isLoading = false;
    this.#dispatch("play");
    this.#since_ms = performance.now();
    this.#dispatch("playing");
    this.#tick();
    return true;
  }

  pause() {
    if (!this.#isPlaying) return true;
    this.#isPlaying = false;
    // What was sought is shown all the same when it is there.
    if (this.#index !== undefined) {
      this.#halt(this.#now());
      if (this.#isLoading) this.#dispatch("play");
      this.#isLoading = false;
    }
    this.#dispatch("pause");
    return true;
  }

  stop() {
    this.#halt(this.#now());
    this.#isPlaying = false;
  }

  seek(where) {
    const target_us = this.#target(where);
    if (Number.isNaN(target_us)) return false;
    this.#halt(Math.min(Math.max(target_us, 0), this.#recording.duration_us));
    this.#arrive();
    return true;
  }

  /** Goes to the next time at which the screen changed, or with -1 to the one before. */
  step(n = 1) {
    if (this.#isPlaying || this.#index === undefined) return;
    this.#window.cancel();
    const again = () => this.step(n);
    const position_us = this.#position_us;
    const isPast = (time_us) => time_us <= position_us;
    // It is in the segment of this time or, forward, where the next one begins.
    const from_us = n < 0 ? this.#frames(this.#index, this.#segment).findLast(isPast) - 1 : position_us;
    const index = this.#find(from_us);
    const segment = index === this.#index ? this.#segment : this.#window.get(index, again);
    if (segment === undefined) {
      this.#wait(position_us);
      return;
    }
    const frames = this.#frames(index, segment);
    const before_us = frames.findLast((time_us) => time_us <= from_us);
    const after_us = frames.find((time_us) => time_us > from_us) ?? this.#segments[index + 1]?.start_us;
    const to_us = n < 0 ? before_us : after_us;
    if (to_us === undefined && !this.#isLoading) return;
    if (!this.#show(to_us ?? position_us, again)) {
      this.#wait(position_us);
      return;
    }
    this.#position_us = to_us ?? position_us;
    this.#dispatch("play");
    // The player has looked at the clock when the call returned.
    if (this.#isLoading) this.#dispatch("seeked");
    this.#isLoading = false;
  }

  getDuration() {
    return this.#recording.duration_us / 1e6;
  }

  getCurrentTime() {
    return this.#now() / 1e6;
  }

  #now() {
    if (this.#since_ms === undefined) return this.#position_us;
    const played_us = (performance.now() - this.#since_ms) * 1000 * this.#speed;
    return Math.min(Math.round(this.#position_us + played_us), this.#recording.duration_us);
  }

  /** Sets the clock, which goes on when it was going. */
  #anchor(time_us) {
    this.#position_us = time_us;
    if (this.#since_ms !== undefined) this.#since_ms = performance.now();
  }

  /** Stops the clock at a time, and waits for nothing any more. */
  #halt(time_us) {
    clearTimeout(this.#timer);
    this.#window.cancel();
    this.#since_ms = undefined;
    this.#position_us = time_us;
  }

  /** Stops the clock at a time until there is what is waited for. */
  #wait(time_us) {
    this.#since_ms = undefined;
    this.#position_us = time_us;
    this.#isLoading = true;
    this.#dispatch("loading");
  }

  /** Shows the time at which the clock stands, and plays on. */
  #arrive() {
    const to_us = this.#position_us;
    if (!this.#show(to_us, () => this.#arrive())) {
      this.#blank();
      this.#wait(to_us);
      return;
    }
    const wasLoading = this.#isLoading;
    this.#isLoading = false;
    // It takes the large button away that would hide what is shown.
    this.#dispatch("play");
    this.#dispatch("seeked");
    if (to_us >= this.#recording.duration_us) {
      this.#isPlaying = false;
      this.#dispatch("ended");
    } else if (this.#isPlaying) {
      this.#since_ms = performance.now();
      if (wasLoading) this.#dispatch("playing");
      this.#tick();
    }
  }

  #tick() {
    const now_us = this.#playTo(this.#now());
    if (now_us === undefined) return;
    if (now_us >= this.#recording.duration_us) {
      this.#halt(now_us);
      this.#isPlaying = false;
      this.#dispatch("ended");
      return;
    }
    this.#window.prefetchAfter(this.#index);
    this.#schedule();
  }

  /** Shows a time while playing, and tells which was shown: none if it has to wait. */
  #playTo(time_us) {
    const edge_us = this.#segments[this.#index + 1]?.start_us;
    // A late timer may be more than one segment late; what is fetched is there for one.
    const isFar = this.#window.areFetched && time_us >= this.#segments[this.#index + 2]?.start_us;
    const to_us = isFar ? edge_us : time_us;
    if (isFar) this.#anchor(edge_us);
    if (this.#show(to_us, () => this.#arrive(), true)) return to_us;
    if (to_us >= edge_us) {
      this.#feed(edge_us - 1, true);
      this.#wait(edge_us - 1);
    } else {
      this.#blank();
      this.#wait(to_us);
    }
    return undefined;
  }

  #schedule() {
    clearTimeout(this.#timer);
    if (this.#since_ms === undefined) return;
    let wake_us = this.#nextTime();
    if (this.#skipsIdle) {
      const idle_us = this.#shown_us + SegmentDriver.IDLE_KEPT_US;
      const over_us = wake_us - SegmentDriver.IDLE_KEPT_US;
      const now_us = this.#now();
      if (now_us < idle_us && idle_us < over_us) wake_us = idle_us;
      else if (now_us < over_us) this.#anchor(over_us);
    }
    const wait_ms = (wake_us - this.#now()) / 1000 / this.#speed;
    const { FRAME_MS, WAIT_MS_MAX } = SegmentDriver;
    this.#timer = setTimeout(() => this.#tick(), Math.min(Math.max(wait_ms, FRAME_MS), WAIT_MS_MAX));
  }

  /** When something happens next. */
  #nextTime() {
    const event = this.#segment.events[this.#next];
    return event?.[0] ?? this.#segments[this.#index + 1]?.start_us ?? this.#recording.duration_us;
  }

  /**
   * Shows a time: from where it was shown up to now if that is in the same segment, else from the keyframe before.
   *
   * Nothing is done if the segment is not there; `then` is called when it is, unless something else is done before.
   */
  #show(to_us, then, showsInput = false) {
    const index = this.#find(to_us);
    if (index !== this.#index || to_us < this.#shown_us) {
      const segment = this.#window.get(index, then);
      if (segment === undefined) return false;
      this.#enter(index, segment);
    }
    this.#feed(to_us, showsInput);
    return true;
  }

  /** Begins a segment with its keyframe. */
  #enter(index, segment) {
    this.#segment = segment;
    this.#index = index;
    this.#next = 0;
    this.#shown_us = this.#segments[index].start_us;
    this.#reset(segment);
  }

  /** Shows nothing. The player's sign for waiting would let through what was shown before. */
  #blank() {
    if (this.#index === undefined) return;
    this.#index = undefined;
    this.#segment = undefined;
    this.#reset({ ...this.#size, init: "" });
  }

  /** Shows the events of the segment up to a time, that one included. */
  #feed(to_us, showsInput) {
    const { events } = this.#segment;
    let keyframe;
    let output = [];
    for (; this.#next < events.length && events[this.#next][0] <= to_us; this.#next += 1) {
      const [time_us, code, data] = events[this.#next];
      if (code === "o") {
        output.push(data);
      } else if (code === "r") {
        // Nothing is left of what was before.
        keyframe = data;
        output = [];
      } else if (showsInput) {
        this.#dispatch("input", { data });
      }
      this.#shown_us = time_us;
    }
    if (keyframe !== undefined) this.#reset(keyframe);
    if (output.length > 0) this.#dispatch("output", output);
  }

  #reset({ cols, rows, init }) {
    this.#size = { cols, rows };
    this.#dispatch("reset", { size: this.#size, init, theme: this.#recording.theme });
  }

  /** The last segment that begins not later than this. */
  #find(time_us) {
    let [low, high] = [0, this.#segments.length];
    while (low + 1 < high) {
      const middle = (low + high) >> 1;
      if (this.#segments[middle].start_us <= time_us) low = middle;
      else high = middle;
    }
    return low;
  }

  /** Times at which the screen of a segment changes. */
  #frames(index, { events }) {
    return [this.#segments[index].start_us, ...events.filter(([, code]) => code !== "i").map(([time_us]) => time_us)];
  }

  /** What the player asks for, in microseconds. */
  #target(where) {
    const now_us = this.#now();
    const { duration_us, markers } = this.#recording;
    if (typeof where === "number") return Math.round(where * 1e6);
    if (where === "<<") return now_us - 5_000_000;
    if (where === ">>") return now_us + 5_000_000;
    if (where === "<<<") return Math.round(now_us - duration_us / 10);
    if (where === ">>>") return Math.round(now_us + duration_us / 10);
    if (typeof where === "string") return Math.round((Number.parseFloat(where) / 100) * duration_us);
    const times = markers.map(([time_us]) => time_us);
    if (where.marker === "next") return times.find((time_us) => time_us > now_us) ?? duration_us;
    if (where.marker === "prev") {
      // While it plays, the marker that has just gone by is not meant.
      const before_us = this.#isPlaying ? now_us - 1_000_000 : now_us;
      return times.findLast((time_us) => time_us < before_us) ?? 0;
    }
    return times[where.marker] ?? NaN;
  }
}

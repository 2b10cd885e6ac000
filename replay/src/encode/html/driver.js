"use strict";

/**
 * A driver for asciinema-player that shows a recording from keyframes.
 *
 * The recording is a list of segments. Each has what the terminal was at its start, and its events up to the start of the
 * next one: any time is shown from the keyframe before it. The size of the terminal changes only where a segment begins,
 * so the player is never asked to resize: its terminal would wrap lines in another way than the one that was recorded.
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
  #dispatch;
  #speed = 1;
  #skipsIdle = false;

  /** The segment that is shown, its number, its next event, and the time of what is shown of it. */
  #segment;
  #index;
  #next;
  #shown_us;

  /** Where playing began, by the recording's clock and by `performance.now()`; no second one while paused. */
  #position_us = 0;
  #since_ms;
  #timer;

  /**
   * @param recording `{duration_us, theme, markers: [[time_us, label]…]}`
   * @param segments `[{start_us, read()}…]` in order, the first at 0; `read` gives
   *   `{cols, rows, init, events: [[time_us, "o" | "i", text]…]}`
   */
  constructor(recording, segments) {
    this.#recording = recording;
    this.#segments = segments;
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
    this.#show(0);
  }

  play() {
    if (this.#isPlaying()) return true;
    if (this.#position_us >= this.#recording.duration_us) this.#position_us = 0;
    this.#dispatch("play");
    this.#since_ms = performance.now();
    this.#dispatch("playing");
    this.#tick();
    return true;
  }

  pause() {
    if (!this.#isPlaying()) return true;
    this.#halt(this.#now());
    this.#dispatch("pause");
    return true;
  }

  stop() {
    this.#halt(this.#now());
  }

  seek(where) {
    const target_us = this.#target(where);
    if (Number.isNaN(target_us)) return false;
    const isPlaying = this.#isPlaying();
    const to_us = Math.min(Math.max(target_us, 0), this.#recording.duration_us);
    this.#halt(to_us);
    this.#show(to_us);
    // It takes the large button away that would hide what is shown.
    this.#dispatch("play");
    this.#dispatch("seeked");
    if (to_us >= this.#recording.duration_us) {
      this.#dispatch("ended");
    } else if (isPlaying) {
      this.#since_ms = performance.now();
      this.#tick();
    }
    return true;
  }

  /** Goes to the next time at which something was written, or with -1 to the one before. */
  step(n = 1) {
    if (this.#isPlaying()) return;
    const to_us = n < 0 ? this.#frameBefore() : this.#frameAfter();
    if (to_us === undefined) return;
    this.#position_us = to_us;
    this.#show(to_us);
    this.#dispatch("play");
  }

  getDuration() {
    return this.#recording.duration_us / 1e6;
  }

  getCurrentTime() {
    return this.#now() / 1e6;
  }

  #isPlaying() {
    return this.#since_ms !== undefined;
  }

  #now() {
    if (!this.#isPlaying()) return this.#position_us;
    const played_us = (performance.now() - this.#since_ms) * 1000 * this.#speed;
    return Math.min(Math.round(this.#position_us + played_us), this.#recording.duration_us);
  }

  /** Sets the clock, which goes on when it was going. */
  #anchor(time_us) {
    this.#position_us = time_us;
    if (this.#isPlaying()) this.#since_ms = performance.now();
  }

  #halt(time_us) {
    clearTimeout(this.#timer);
    this.#since_ms = undefined;
    this.#position_us = time_us;
  }

  #tick() {
    const now_us = this.#now();
    this.#show(now_us, true);
    if (now_us >= this.#recording.duration_us) {
      this.#halt(now_us);
      this.#dispatch("ended");
      return;
    }
    this.#schedule();
  }

  #schedule() {
    clearTimeout(this.#timer);
    if (!this.#isPlaying()) return;
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

  /** Shows a time: from where it was shown up to now if that is in the same segment, else from the keyframe before. */
  #show(to_us, showsInput = false) {
    const index = this.#find(to_us);
    if (index !== this.#index || to_us < this.#shown_us) this.#enter(index);
    this.#feed(to_us, showsInput);
  }

  /** Begins a segment with its keyframe. */
  #enter(index) {
    const { start_us, read } = this.#segments[index];
    this.#segment = read();
    this.#index = index;
    this.#next = 0;
    this.#shown_us = start_us;
    const { cols, rows, init } = this.#segment;
    this.#dispatch("reset", { size: { cols, rows }, init, theme: this.#recording.theme });
  }

  /** Shows the events of the segment up to a time, that one included. */
  #feed(to_us, showsInput) {
    const { events } = this.#segment;
    const output = [];
    for (; this.#next < events.length && events[this.#next][0] <= to_us; this.#next += 1) {
      const [time_us, code, text] = events[this.#next];
      if (code === "o") output.push(text);
      else if (showsInput) this.#dispatch("input", { data: text });
      this.#shown_us = time_us;
    }
    if (output.length > 0) this.#dispatch("output", output);
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
  #frames(index) {
    const { start_us, read } = this.#segments[index];
    const { events } = index === this.#index ? this.#segment : read();
    return [start_us, ...events.filter(([, code]) => code === "o").map(([time_us]) => time_us)];
  }

  #frameAfter() {
    for (let index = this.#index; index < this.#segments.length; index += 1) {
      const frame = this.#frames(index).find((time_us) => time_us > this.#position_us);
      if (frame !== undefined) return frame;
    }
  }

  #frameBefore() {
    const shown_us = this.#frames(this.#index).findLast((time_us) => time_us <= this.#position_us);
    for (let index = this.#index; index >= 0; index -= 1) {
      const frame = this.#frames(index).findLast((time_us) => time_us < shown_us);
      if (frame !== undefined) return frame;
    }
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
      const before_us = this.#isPlaying() ? now_us - 1_000_000 : now_us;
      return times.findLast((time_us) => time_us < before_us) ?? 0;
    }
    return times[where.marker] ?? NaN;
  }
}

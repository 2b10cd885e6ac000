// A recording whose segments are fetched is shown as one whose segments are there, in whatever order they come.
//
// Run by the tests: `node async.mjs`. The driver and `fetched` are run as they are, with a clock and a server that do what
// they are told when they are told; of the player there are its terminal, and what it does with what a driver tells it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import v8 from "node:v8";
import vm from "node:vm";

import { Clock, Terminal } from "./harness.mjs";

const file = (name) => readFileSync(new URL(name, import.meta.url), "utf8");
const clock = new Clock();
const [SegmentWindow, SegmentDriver, fetched] = vm.runInContext(
  `${file("driver.js")};${file("fetched.js")};[SegmentWindow, SegmentDriver, fetched]`,
  clock.context(),
);
const player = file("asciinema-player-3.17.0.min.js");
const terminals = await Promise.all([player, player, player].map((script) => Terminal.load(script)));
const [shownTerminal, referenceTerminal, expectedTerminal] = terminals;

v8.setFlagsFromString("--expose-gc");
const collectGarbage = vm.runInNewContext("gc");

/** All promises that can be kept are, and what they lead to is done. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

/** Numbers that are the same in every run. */
class Random {
  #state;

  constructor(seed) {
    this.#state = seed;
    for (let n = 0; n < 3; n += 1) this.below(1);
  }

  below(bound) {
    this.#state = (this.#state * 48271) % 2147483647;
    return Math.floor((this.#state / 2147483647) * bound);
  }

  of(items) {
    return items[this.below(items.length)];
  }
}

const TEXTS = [
  ...["a", "some words ", "\r\n", "世界", "─┼", "█▌"],
  ...["\x1b[2;3H", "\x1b[A", "\x1b[31m", "\x1b[0m", "\x1b[K", "\x1b[2J", "\x1b7", "\x1b8"],
];

/**
 * Segments as the server gives them. The keyframe of each is all that was written since the last reset.
 *
 * @param has which of `resets`, `twins` (a segment begins where the one before it does) there are
 */
function recorded(random, count, has) {
  const segments = [];
  let screen = { cols: 20, rows: 5, init: "" };
  let time_us = 0;
  let written = 0;
  for (let n = 0; n < count; n += 1) {
    const start_us = n === 0 ? 0 : time_us;
    const segment = { ...screen, events: [] };
    for (let left = has.twins && random.below(3) === 0 ? 1 : 3 + random.below(12); left > 0; left -= 1) {
      const kind = random.below(10);
      if (kind === 0 && has.resets) {
        screen = { cols: 10 + random.below(20), rows: 2 + random.below(6), init: random.of(TEXTS) };
        segment.events.push([time_us, "r", screen]);
      } else if (kind < 3) {
        segment.events.push([time_us, "i", "k"]);
      } else {
        // No two are the same.
        written += 1;
        const text = `${random.of(TEXTS)}${random.of(TEXTS)}${written}`;
        screen = { ...screen, init: screen.init + text };
        segment.events.push([time_us, "o", text]);
      }
      if (left > 1 || !has.twins || random.below(2) === 0) time_us += random.of([0, 300, 40_000, 700_000, 5_000_000]);
    }
    if (!has.twins) time_us += 100_000;
    segments.push({ start_us, end_us: segment.events.at(-1)[0], json: JSON.stringify(segment) });
  }
  const duration_us = time_us + 1_500_000;
  const markers = Array.from({ length: 3 }, (_, n) => [Math.round((duration_us / 3) * n) + 7, `marker ${n}`]);
  const events = segments.flatMap(({ json }) => JSON.parse(json).events);
  return { recording: { duration_us, started_at_us: null, theme: null, markers }, segments, events, screens: new Map() };
}

/** What is on the screen, and its cursor. */
const screenOf = (terminal) => JSON.stringify([terminal.rows(), terminal.cursor()]);

/** What is on the screen at a time, from the events alone. */
function expectedScreen(recorded, time_us) {
  const past = recorded.events.filter(([at_us]) => at_us <= time_us);
  if (!recorded.screens.has(past.length)) {
    let { cols, rows, init } = JSON.parse(recorded.segments[0].json);
    let texts = [];
    for (const [, code, data] of past) {
      if (code === "r") [{ cols, rows, init }, texts] = [data, []];
      if (code === "o") texts.push(data);
    }
    expectedTerminal.reset({ size: { cols, rows }, init });
    expectedTerminal.output(texts);
    recorded.screens.set(past.length, screenOf(expectedTerminal));
  }
  return recorded.screens.get(past.length);
}

const drivers = [];

/** What asciinema-player does with what a driver tells it. */
class Player {
  overlay = "start";
  isPlaying = false;
  log = [];
  texts = [];
  size = { cols: 80, rows: 24 };

  constructor(driver, terminal) {
    drivers.push(driver);
    this.terminal = terminal;
    terminal.reset({ size: this.size, init: "" });
    driver.source({ dispatch: (name, data) => this.#see(name, data) });
    assert.equal(driver.init(), undefined, "the player's next call is not to wait");
  }

  /** Whether there is nothing on the screen. */
  get isBlank() {
    return this.terminal.rows().every((row) => row === "");
  }

  #see(name, data) {
    this.log.push([clock.now_ms, name, name === "metadata" ? null : JSON.stringify(data)]);
    if (name === "reset") this.terminal.reset(data);
    if (name === "reset") this.size = data.size;
    if (name === "output") this.terminal.output(data);
    if (name === "output") this.texts.push(...data);
    if (name === "play") this.overlay = null;
    if (name === "playing") [this.overlay, this.isPlaying] = [null, true];
    if (name === "loading") [this.overlay, this.isPlaying] = ["loader", false];
    if (name === "pause" || name === "ended") this.isPlaying = false;
  }
}

/** Gives segments when it is told to. */
class Server {
  pending = [];
  reads = [];
  given = [];

  constructor({ segments }) {
    this.jsons = segments.map(({ json }) => json);
    this.segments = segments.map(({ start_us }, index) => ({ start_us, read: (signal) => this.#read(index, signal) }));
  }

  #read(index, signal) {
    this.reads.push(index);
    return new Promise((resolve, reject) => this.pending.push({ index, signal, resolve, reject }));
  }

  take(index) {
    const at = this.pending.findLastIndex((request) => request.index === index);
    assert.ok(at >= 0, `segment ${index} is asked for`);
    return this.pending.splice(at, 1)[0];
  }

  async give(index) {
    const { resolve } = this.take(index);
    const segment = JSON.parse(this.jsons[index]);
    this.given.push(new WeakRef(segment));
    resolve(segment);
    await settle();
  }

  async fail(index) {
    this.take(index).reject(new Error(`no segment ${index}`));
    await settle();
  }

  async giveAll() {
    while (this.pending.length > 0) await this.give(this.pending[0].index);
  }

  /** So many segments that were given are still held by somebody. */
  held() {
    collectGarbage();
    this.given = this.given.filter((segment) => segment.deref() !== undefined);
    return this.given.length;
  }
}

function start(recorded) {
  const server = new Server(recorded);
  const failures = [];
  const driver = new SegmentDriver(recorded.recording, server.segments, (error) => failures.push(error?.message ?? null));
  const player = new Player(driver, shownTerminal);
  return { recorded, server, failures, driver, player };
}

/** The same with segments that are there. */
function startReference({ recording, segments }) {
  const there = segments.map(({ start_us, json }) => ({ start_us, read: () => JSON.parse(json) }));
  const driver = new SegmentDriver(recording, there);
  return { driver, player: new Player(driver, referenceTerminal) };
}

const timeOf = (driver) => Math.round(driver.getCurrentTime() * 1e6);

function assertShown({ recorded, driver, player }, how) {
  assert.equal(player.overlay, null, how);
  assert.equal(screenOf(player.terminal), expectedScreen(recorded, timeOf(driver)), `${how}, at ${timeOf(driver)} µs`);
}

function assertLoading({ driver, player }, time_us, how) {
  assert.equal(player.overlay, "loader", how);
  assert.equal(timeOf(driver), time_us, how);
}

/** Six segments of a few seconds; the first is shown. */
async function ready() {
  const run = start(recorded(new Random(11), 6, { resets: true }));
  await run.server.give(0);
  return run;
}

const middle = ({ segments }, index) => Math.round((segments[index].start_us + segments[index].end_us) / 2);

let passed = 0;
async function test(name, run) {
  try {
    await run();
  } catch (error) {
    console.error(`failed: ${name}`);
    throw error;
  }
  // The terminals are those of the next.
  for (const driver of drivers.splice(0)) driver.stop();
  passed += 1;
}

await test("the first screen is that of the first segment", async () => {
  const run = start(recorded(new Random(11), 6, { resets: true }));
  assert.ok(run.player.isBlank);
  assert.equal(run.player.overlay, "start");
  await run.server.give(0);
  assert.equal(screenOf(run.player.terminal), expectedScreen(run.recorded, 0));
  assert.equal(run.player.overlay, "start");
});

await test("playing before the first segment is there waits for it", async () => {
  const run = start(recorded(new Random(11), 6, { resets: true }));
  run.driver.play();
  clock.advance(clock.now_ms + 9_000);
  assertLoading(run, 0, "while it is not there");
  await run.server.give(0);
  assert.ok(run.player.isPlaying);
  clock.advance(clock.now_ms + 50);
  assert.equal(timeOf(run.driver), 50_000);
});

await test("a late segment is not shown after a second seek", async () => {
  const run = await ready();
  const { driver, server, player } = run;
  assert.equal(driver.seek(middle(run.recorded, 2) / 1e6), true);
  assert.ok(player.isBlank);
  assertLoading(run, middle(run.recorded, 2), "after the first seek");
  assert.equal(driver.seek(middle(run.recorded, 5) / 1e6), true);
  assertLoading(run, middle(run.recorded, 5), "after the second seek");
  assert.ok(server.pending[0].signal.aborted);
  const seen = player.log.length;
  await server.give(2);
  assert.equal(player.log.length, seen);
  assert.equal(server.held(), 0, "it is dropped, as is what was shown");
  await server.give(5);
  assertShown(run, "when the second is there");
  assert.ok(!player.isPlaying);
  driver.seek(middle(run.recorded, 2) / 1e6);
  assert.deepEqual(server.reads, [0, 2, 5, 2], "it is fetched again");
});

await test("a late segment that is near is kept", async () => {
  const run = await ready();
  run.driver.seek(middle(run.recorded, 3) / 1e6);
  run.driver.seek(middle(run.recorded, 4) / 1e6);
  await run.server.give(3);
  assert.ok(run.player.isBlank);
  await run.server.give(4);
  assertShown(run, "the second");
  run.driver.seek(middle(run.recorded, 3) / 1e6);
  assertShown(run, "the first, at once");
  assert.deepEqual(run.server.reads, [0, 3, 4]);
});

await test("a seek to what is there overtakes one to what is not", async () => {
  const run = await ready();
  run.driver.play();
  run.driver.seek(middle(run.recorded, 1) / 1e6);
  assertLoading(run, middle(run.recorded, 1), "after the first seek");
  run.driver.seek(0);
  assertShown(run, "after the second");
  assert.ok(run.player.isPlaying, "the player knows that it goes on");
  await run.server.give(1);
  assertShown(run, "after the late segment");
  assert.equal(timeOf(run.driver), 0);
});

await test("playing goes on after a seek, from its time", async () => {
  const run = await ready();
  run.driver.play();
  run.driver.seek(middle(run.recorded, 4) / 1e6);
  clock.advance(clock.now_ms + 60_000);
  assertLoading(run, middle(run.recorded, 4), "the clock stands");
  await run.server.give(4);
  assertShown(run, "when it is there");
  assert.ok(run.player.isPlaying);
  clock.advance(clock.now_ms + 100);
  assert.equal(timeOf(run.driver), middle(run.recorded, 4) + 100_000);
});

await test("a pause overtakes playing, not the seek", async () => {
  const run = await ready();
  run.driver.play();
  run.driver.seek(middle(run.recorded, 4) / 1e6);
  run.driver.pause();
  await run.server.give(4);
  clock.advance(clock.now_ms + 5_000);
  assertShown(run, "it is shown");
  assert.equal(timeOf(run.driver), middle(run.recorded, 4));
  assert.ok(!run.player.isPlaying);
});

await test("nothing is shown after a stop", async () => {
  const run = await ready();
  run.driver.play();
  run.driver.seek(middle(run.recorded, 4) / 1e6);
  run.driver.stop();
  const seen = run.player.log.length;
  await run.server.giveAll();
  clock.advance(clock.now_ms + 60_000);
  assert.equal(run.player.log.length, seen);
});

await test("playing waits before a segment that is not there", async () => {
  const run = await ready();
  const edge_us = run.recorded.segments[1].start_us;
  run.driver.play();
  assert.deepEqual(run.server.reads, [0, 1], "the next is fetched while playing");
  clock.advance(clock.now_ms + edge_us / 1e3 + 30_000);
  assertLoading(run, edge_us - 1, "at the edge");
  assert.equal(screenOf(run.player.terminal), expectedScreen(run.recorded, edge_us - 1));
  run.driver.pause();
  assertShown(run, "paused at the edge");
  run.driver.play();
  clock.advance(clock.now_ms + 1_000);
  assertLoading(run, edge_us - 1, "at the edge again");
  await run.server.give(1);
  assert.ok(run.player.isPlaying);
  clock.advance(clock.now_ms + 100);
  assert.ok(timeOf(run.driver) > edge_us);
  assert.deepEqual(run.server.reads, [0, 1, 2]);
});

await test("a late timer leaves no segment out that has to be fetched", async () => {
  const run = await ready();
  const { segments } = run.recorded;
  run.driver.play();
  await run.server.give(1);
  // The browser lets no timer run for so long, and then one.
  clock.now_ms += middle(run.recorded, 3) / 1e3;
  clock.advance(clock.now_ms);
  assert.equal(timeOf(run.driver), segments[1].start_us);
  assertShown(run, "it goes on from the first that is there");
  clock.advance(clock.now_ms + 60_000);
  assertLoading(run, segments[2].start_us - 1, "before the first that is not");
});

await test("a failed fetch is made again and again", async () => {
  const run = await ready();
  const { driver, server, failures } = run;
  driver.play();
  driver.seek(middle(run.recorded, 4) / 1e6);
  const waits_ms = [500, 1_000, 2_000, 4_000, 8_000, 8_000];
  for (const [n, wait_ms] of waits_ms.entries()) {
    await server.fail(4);
    assert.deepEqual(failures, Array(n + 1).fill("no segment 4"));
    clock.advance(clock.now_ms + wait_ms - 1);
    assert.ok(!server.pending.some(({ index }) => index === 4), `not before ${wait_ms} ms`);
    clock.advance(clock.now_ms + 1);
    assertLoading(run, middle(run.recorded, 4), "while it fails");
  }
  await server.give(4);
  assert.deepEqual(failures, [...Array(waits_ms.length).fill("no segment 4"), null]);
  assertShown(run, "when it does not");
  assert.ok(run.player.isPlaying);
});

await test("a first segment that fails is shown when it does not", async () => {
  const run = start(recorded(new Random(11), 6, { resets: true }));
  await run.server.fail(0);
  clock.advance(clock.now_ms + 500);
  await run.server.give(0);
  assert.equal(screenOf(run.player.terminal), expectedScreen(run.recorded, 0));
  assert.deepEqual(run.failures, ["no segment 0", null]);
});

await test("nothing is fetched again that nobody waits for", async () => {
  const run = await ready();
  run.driver.seek(middle(run.recorded, 4) / 1e6);
  await run.server.fail(4);
  run.driver.seek(0);
  await run.server.give(0);
  assert.deepEqual(run.failures, ["no segment 4", null]);
  clock.advance(clock.now_ms + 60_000);
  assert.deepEqual(run.server.reads, [0, 4, 0]);
});

await test("a failed prefetch is told and made again only when it is needed", async () => {
  const run = await ready();
  run.driver.play();
  await run.server.fail(1);
  const edge_ms = run.recorded.segments[1].start_us / 1e3;
  clock.advance(clock.now_ms + edge_ms - 1);
  assert.deepEqual([run.server.reads, run.failures], [[0, 1], []]);
  clock.advance(clock.now_ms + 50);
  assert.deepEqual(run.server.reads, [0, 1, 1]);
  await run.server.fail(1);
  assert.deepEqual(run.failures, ["no segment 1"]);
  clock.advance(clock.now_ms + 500);
  await run.server.give(1);
  assert.ok(run.player.isPlaying);
  assert.deepEqual(run.failures, ["no segment 1", null]);
});

await test("a step over an edge waits with what is shown", async () => {
  const run = await ready();
  const { segments } = run.recorded;
  run.driver.seek(segments[3].start_us / 1e6);
  await run.server.give(3);
  run.driver.step(-1);
  assertLoading(run, segments[3].start_us, "back");
  assert.equal(screenOf(run.player.terminal), expectedScreen(run.recorded, segments[3].start_us));
  // A step that needs nothing overtakes it.
  run.driver.step();
  const to_us = timeOf(run.driver);
  assert.ok(to_us > segments[3].start_us);
  await run.server.giveAll();
  assert.equal(timeOf(run.driver), to_us);
  assertShown(run, "forward");
  run.driver.step(-1);
  run.driver.step(-1);
  assert.ok(timeOf(run.driver) < segments[3].start_us);
  assertShown(run, "back, at once");
  run.driver.seek(segments[2].start_us / 1e6);
  run.driver.step(-1);
  await run.server.give(1);
  assert.equal(run.player.log.at(-1)[1], "seeked", "the player looks at the clock again");
  assert.ok(timeOf(run.driver) < segments[2].start_us);
  assertShown(run, "back");
});

await test("a window waits for what it was asked for last", async () => {
  const { segments } = recorded(new Random(11), 3, {});
  const server = new Server({ segments });
  const window = new SegmentWindow(server.segments, () => assert.fail("nothing failed"));
  const come = [];
  assert.equal(window.get(1, () => come.push(1)), undefined);
  assert.equal(window.get(0, () => come.push(0)), undefined);
  await server.give(0);
  assert.equal(window.get(1, () => come.push(1)), undefined);
  assert.notEqual(window.get(0, () => come.push(0)), undefined);
  await server.give(1);
  assert.deepEqual(come, [0]);
});

await test("a window is around what is shown, also while the next is fetched", async () => {
  const server = new Server(recorded(new Random(11), 4, {}));
  const window = new SegmentWindow(server.segments, () => assert.fail("nothing failed"));
  for (const index of [1, 0]) {
    window.get(index, () => {});
    await server.give(index);
  }
  await settle();
  window.prefetchAfter(2);
  await server.give(3);
  assert.equal(server.held(), 2, "the first is no longer near");
});

await test("a segment that was to be fetched may be there when it is asked for again", async () => {
  const answers = [Promise.reject(new Error("not now")), { events: [] }];
  const failures = [];
  const window = new SegmentWindow([{ start_us: 0, read: () => answers.shift() }], (error) => failures.push(error?.message));
  let come = 0;
  window.get(0, () => (come += 1));
  await settle();
  clock.advance(clock.now_ms + 500);
  assert.equal(come, 1);
  assert.deepEqual(failures, ["not now", undefined]);
});

await test("the next is fetched again when it is next again", async () => {
  const run = await ready();
  run.driver.play();
  await run.server.give(1);
  run.driver.pause();
  for (const index of [4, 0]) {
    run.driver.seek(run.recorded.segments[index].start_us / 1e6);
    await run.server.give(index);
  }
  run.driver.play();
  assert.deepEqual(run.server.reads, [0, 1, 4, 0, 1]);
});

await test("a reset inside a segment is a change of the screen", async () => {
  const events = [
    [0, "o", "before"],
    [1_000_000, "r", { cols: 7, rows: 3, init: "new\r\n" }],
    [1_000_000, "o", "line"],
    [2_000_000, "o", "!"],
    [2_500_000, "r", { cols: 9, rows: 2, init: "" }],
    [3_000_000, "i", "k"],
  ];
  const json = JSON.stringify({ cols: 20, rows: 5, init: "", events });
  const segments = [{ start_us: 0, end_us: 3_000_000, json }];
  const recording = { duration_us: 4_000_000, started_at_us: null, theme: null, markers: [] };
  const made = { recording, segments, events, screens: new Map() };
  const run = start(made);
  await run.server.give(0);
  const rows = (time_s, expected, size) => {
    assert.equal(timeOf(run.driver), time_s * 1e6);
    assert.deepEqual(run.player.terminal.rows(), expected);
    assert.equal(JSON.stringify(run.player.size), JSON.stringify(size));
  };
  for (const time_s of [1.5, 0.5, 3, 2, 1, 4, 0]) {
    run.driver.seek(time_s);
    assertShown(run, "sought");
  }
  rows(0, ["before", "", "", "", ""], { cols: 20, rows: 5 });
  run.driver.step();
  rows(1, ["new", "line", ""], { cols: 7, rows: 3 });
  run.driver.step();
  rows(2, ["new", "line!", ""], { cols: 7, rows: 3 });
  run.driver.step();
  rows(2.5, ["", ""], { cols: 9, rows: 2 });
  run.driver.step();
  rows(2.5, ["", ""], { cols: 9, rows: 2 });
  run.driver.step(-1);
  rows(2, ["new", "line!", ""], { cols: 7, rows: 3 });
  run.driver.play();
  clock.advance(clock.now_ms + 600);
  run.driver.pause();
  rows(2.6, ["", ""], { cols: 9, rows: 2 });
});

/** Advances the clock; promises are kept between any two timers. */
async function advance(to_ms) {
  while (clock.next_ms <= to_ms) {
    clock.advance(clock.next_ms);
    await settle();
  }
  clock.advance(to_ms);
}

for (const [seed, speed, skipsIdle] of [[1, 1, false], [2, 2, true], [3, 16, true], [4, 0.5, false]]) {
  await test(`what is fetched in time plays like what is there (${seed})`, async () => {
    const made = recorded(new Random(seed), 5, { resets: true });
    const play = async ({ driver, player }) => {
      await settle();
      player.log.length = 0;
      driver.setSpeed(speed);
      driver.setSkipsIdle(skipsIdle);
      driver.play();
      for (let n = 0; player.log.at(-1)[1] !== "ended"; n += 1) {
        assert.ok(n < 1000, "it ends");
        await advance(clock.now_ms + 1_000);
      }
      return player.log.map(([now_ms, ...seen]) => [Math.round(now_ms - player.log[0][0]), ...seen]);
    };
    const there = await play(startReference(made));
    for (const name of ["input", "output", "reset"]) assert.ok(there.some(([, seen]) => seen === name), name);
    const segments = made.segments.map(({ start_us, json }) => ({ start_us, read: async () => JSON.parse(json) }));
    const driver = new SegmentDriver(made.recording, segments);
    assert.deepEqual(await play({ driver, player: new Player(driver, shownTerminal) }), there);
    if (skipsIdle) assert.ok(there.at(-1)[0] < (made.recording.duration_us / 1e3 / speed) * 0.9, "idle time is skipped");
  });
}

for (let seed = 1; seed <= 20; seed += 1) {
  await test(`no output is left out, however late it comes (${seed})`, async () => {
    const random = new Random(seed);
    const run = start(recorded(random, 5, {}));
    const { driver, server, player } = run;
    const speed = random.of([1, 4, 16]);
    driver.setSpeed(speed);
    driver.setSkipsIdle(random.below(2) === 0);
    driver.play();
    for (let n = 0; player.log.at(-1)[1] !== "ended"; n += 1) {
      assert.ok(n < 100_000, "it ends");
      await advance(clock.now_ms + random.below(300));
      if (server.pending.length > 0 && random.below(8) === 0) await server.give(server.pending[0].index);
      else if (server.pending.length > 0 && random.below(8) === 0) await server.fail(server.pending[0].index);
      if (player.overlay === "loader") {
        const isThere = screenOf(player.terminal) === expectedScreen(run.recorded, timeOf(driver));
        assert.ok(isThere || player.isBlank, "what is shown while it waits");
      }
    }
    // Of the last frame of a segment there may be only what it did to the screen, in the keyframe of the next one.
    const frame_us = (SegmentDriver.FRAME_MS + 1) * 1000 * speed;
    const { segments } = run.recorded;
    const expected = segments.flatMap(({ json }, index) => {
      const end_us = segments[index + 1]?.start_us ?? Infinity;
      const output = JSON.parse(json).events.filter(([, code]) => code === "o");
      return output.filter(([at_us, , text]) => at_us < end_us - frame_us || player.texts.includes(text));
    });
    assert.deepEqual(player.texts, expected.map(([, , text]) => text));
  });
}

/** One thing that somebody may do, or that may happen. */
async function act(random, { recorded: { recording, segments }, driver, server }) {
  const request = random.of(server.pending)?.index;
  const time_us = random.below(2) === 0 ? random.below(recording.duration_us + 1) : random.of(segments).start_us;
  const where = random.of(["<<", ">>", "<<<", ">>>", "37%", { marker: "next" }, { marker: "prev" }, { marker: 1 }]);
  const acts = {
    seek: () => driver.seek(time_us / 1e6),
    seekFrom: () => driver.seek(where),
    play: () => driver.play(),
    pause: () => driver.pause(),
    forward: () => driver.step(),
    back: () => driver.step(-1),
    speed: () => driver.setSpeed(random.of([0.5, 1, 8])),
    idle: () => driver.setSkipsIdle(random.below(2) === 0),
    time: () => advance(clock.now_ms + random.of([1, 20, 400, 3_000])),
    give: () => request !== undefined && server.give(request),
    fail: () => request !== undefined && server.fail(request),
  };
  const name = random.of(["seek", "give", "give", "give", "time", "time", ...Object.keys(acts)]);
  const answer = acts[name]();
  if (!["time", "give", "fail"].includes(name)) {
    assert.ok([true, false, undefined].includes(answer), `${name} does not make the player's next call wait`);
  }
  await answer;
  await settle();
  return name;
}

/** What is shown is that of the time of the clock, or up to a frame before; or nothing, under the sign for waiting. */
function assertHonest({ recorded, driver, player }, how) {
  const time_us = timeOf(driver);
  const shown = screenOf(player.terminal);
  if (player.overlay !== null && player.isBlank) return;
  // The frame at eightfold speed, and a millisecond for what is rounded.
  const first_us = time_us - (SegmentDriver.FRAME_MS + 1) * 8 * 1000;
  const times = recorded.events.map(([at_us]) => at_us).filter((at_us) => at_us > first_us && at_us <= time_us);
  const isIt = [time_us, first_us, ...times].some((at_us) => shown === expectedScreen(recorded, at_us));
  assert.ok(isIt, `${how}: what is shown is not that of ${time_us} µs`);
}

let acted = 0;
let heldMost = 0;
for (let seed = 1; seed <= 60; seed += 1) {
  await test(`whatever is done in whatever order (${seed})`, async () => {
    const random = new Random(seed * 7919);
    const run = start(recorded(random, 4 + random.below(6), { resets: true, twins: seed % 2 === 0 }));
    const reference = startReference(run.recorded);
    const { driver, server, player } = run;
    const done = [];
    for (let n = 0; n < 50; n += 1) {
      done.push(await act(random, run));
      acted += 1;
      assertHonest(run, done.join(" "));
      assert.ok(server.pending.filter(({ signal }) => !signal.aborted).length <= 3, "fetches at one time");
      // It takes long.
      if (seed % 3 === 0 && n % 16 === 15) {
        const held = server.held();
        heldMost = Math.max(heldMost, held);
        assert.ok(held <= 3, `${held} segments are held after ${done.join(" ")}`);
        await settle();
      }
      if (n % 10 !== 4) continue;

      // When all is there, it is as if all had been there.
      driver.pause();
      const time_us = timeOf(driver);
      driver.seek(time_us / 1e6);
      reference.driver.seek(time_us / 1e6);
      for (const n of [undefined, random.of([1, -1]), random.of([1, -1])]) {
        if (n !== undefined) [driver, reference.driver].forEach((either) => either.step(n));
        await server.giveAll();
        assert.equal(timeOf(driver), timeOf(reference.driver), done.join(" "));
        assertShown(run, done.join(" "));
        assert.equal(screenOf(player.terminal), screenOf(reference.player.terminal), done.join(" "));
        assert.equal(JSON.stringify(player.size), JSON.stringify(reference.player.size));
      }
    }
    assert.equal(player.log.filter(([, name]) => name === "error").length, 0);
  });
}
assert.ok(acted >= 300);
assert.equal(heldMost, 3, "the bound is reached");

await test("an index becomes what a driver is made of", async () => {
  const made = recorded(new Random(5), 3, { resets: true });
  const base = "https://custody.example/api/sessions/s%201/recording?x=1";
  const index = {
    ...made.recording,
    segments: made.segments.map(({ start_us, end_us }, n) => ({ start_us, end_us, url: `recording/segments/${n}` })),
  };
  const asked = [];
  const answer = (status, body) => new Response(body, { status });
  const json = (value) => JSON.stringify(value);
  const answers = [
    answer(200, made.segments[0].json),
    answer(404, json({ error: { kind: "not_found", message: "there is no such segment" } })),
    answer(502, "<h1>Bad Gateway</h1>"),
    answer(200, "<h1>Log in</h1>"),
    answer(200, "null"),
    answer(204, null),
    answer(403, "null"),
  ];
  const fetch = async (address, options) => {
    asked.push([address, options.credentials, options.signal instanceof AbortSignal]);
    return answers.shift();
  };
  const [recording, segments] = fetched(index, base, fetch);
  assert.equal(json(recording), json(made.recording));
  assert.deepEqual([...segments].map(({ start_us }) => start_us), made.segments.map(({ start_us }) => start_us));
  const read = (n) => segments[n].read(new AbortController().signal);
  assert.equal(json(await read(0)), made.segments[0].json);
  const failure = async (n) => {
    const error = await read(n).then(() => assert.fail("it was read"), (error) => error);
    return [error.message, error.status, error.kind];
  };
  assert.deepEqual(await failure(1), ["there is no such segment", 404, "not_found"]);
  assert.deepEqual(await failure(2), ["the server answered with status 502", 502, undefined]);
  assert.match((await failure(2))[0], /JSON/);
  assert.deepEqual(await failure(2), ["the server answered with something else than a segment", undefined, undefined]);
  assert.deepEqual(await failure(2), ["the server answered with status 204", 204, undefined]);
  assert.deepEqual(await failure(2), ["the server answered with status 403", 403, undefined]);
  const address = (n) => `https://custody.example/api/sessions/s%201/recording/segments/${n}`;
  assert.deepEqual(asked, [0, 1, 2, 2, 2, 2, 2].map((n) => [address(n), "same-origin", true]));
});

await test("a driver that fetches tells why it cannot, and goes on when it can", async () => {
  const made = recorded(new Random(5), 3, { resets: true });
  const index = { ...made.recording, segments: made.segments.map(({ start_us }, n) => ({ start_us, url: `${n}` })) };
  let isDown = false;
  const fetch = async (address) =>
    isDown ? new Response(JSON.stringify({ error: { message: "not now" } }), { status: 503 })
      : new Response(made.segments[address.split("/").at(-1)].json);
  const failures = [];
  const driver = new SegmentDriver(...fetched(index, "http://localhost/", fetch), (error) => {
    failures.push(error && `${error.status} ${error.message}`);
  });
  const run = { recorded: made, driver, player: new Player(driver, shownTerminal) };
  const answered = async (isIt) => {
    for (let n = 0; !isIt(); n += 1) {
      assert.ok(n < 1000, "it is answered");
      await settle();
    }
  };
  await answered(() => run.player.log.some(([, name]) => name === "reset"));
  isDown = true;
  driver.seek(middle(made, 2) / 1e6);
  await answered(() => failures.length === 1);
  isDown = false;
  clock.advance(clock.now_ms + 500);
  await answered(() => run.player.overlay === null);
  assertShown(run, "when it can");
  assert.deepEqual(failures, ["503 not now", null]);
});

console.log(`${passed} cases passed, ${acted} random operations among them`);

// What the player shows is what the emulator of this crate shows, at any time, by seeking as by playing.
//
// Run by the tests: `node contract.mjs PAGE EXPECTED`, an exported page and a file with
// `[[time_us, ["row", ...], [column, row] or null], ...]` in order of time: what is on the screen, and the cursor. The
// page's own scripts are run: the driver as it is, and of the player its terminal, a WebAssembly module, since the rest of
// it needs a browser.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import vm from "node:vm";

import { Clock, Terminal } from "./harness.mjs";

const [pagePath, expectedPath] = process.argv.slice(2);
const page = readFileSync(pagePath, "utf8");
const expected = JSON.parse(readFileSync(expectedPath, "utf8"));

const blocks = [...page.matchAll(/<script(?<attributes>[^>]*)>(?<content>[\s\S]*?)<\/script>/g)].map((match) => match.groups);
const recording = JSON.parse(blocks.find(({ attributes }) => attributes.includes('id="recording"')).content);
const segments = blocks
  .filter(({ attributes }) => attributes.includes('class="segment"'))
  .map(({ attributes, content }) => ({
    start_us: Number(/data-start="(\d+)"/.exec(attributes)[1]),
    read: () => JSON.parse(content),
  }));
const scripts = blocks.filter(({ attributes }) => attributes === "").map(({ content }) => content);

const clock = new Clock();
const SegmentDriver = vm.runInContext(`${scripts[1]};SegmentDriver`, clock.context());
const terminal = await Terminal.load(scripts[0]);

function start() {
  const driver = new SegmentDriver(recording, segments);
  const seen = [];
  driver.source({
    dispatch(name, data) {
      seen.push(name);
      if (name === "reset") terminal.reset(data);
      if (name === "output") terminal.output(data);
    },
  });
  driver.init();
  return { driver, seen };
}

function check(how, [time_us, rows, cursor]) {
  assert.deepEqual(terminal.rows(), rows, `rows after ${how} ${time_us} µs`);
  assert.deepEqual(terminal.cursor(), cursor, `cursor after ${how} ${time_us} µs`);
}

/** The same order in every run. */
function shuffled(items) {
  let state = 1;
  const keyed = items.map((item) => {
    state = (state * 48271) % 2147483647;
    return [state, item];
  });
  return keyed.sort(([a], [b]) => a - b).map(([, item]) => item);
}

{
  const { driver } = start();
  for (const screen of shuffled(expected)) {
    driver.seek(screen[0] / 1e6);
    assert.equal(driver.getCurrentTime(), screen[0] / 1e6);
    check("seeking to", screen);
  }
}

{
  const { driver } = start();
  for (const screen of expected) {
    const left_us = screen[0] - driver.getCurrentTime() * 1e6;
    driver.play();
    clock.advance(clock.now_ms + left_us / 1e3);
    driver.pause();
    // What is shown may be that of a frame before: this goes on from there.
    driver.seek(screen[0] / 1e6);
    check("playing to", screen);
  }
}

for (const { start_us } of segments) {
  const { driver } = start();
  driver.seek(start_us / 1e6);
  for (let n = 0; n < 10; n += 1) driver.step(-1);
  const forward = [driver.getCurrentTime()];
  for (let n = 0; n < 20; n += 1) {
    driver.step();
    if (driver.getCurrentTime() > forward.at(-1)) forward.push(driver.getCurrentTime());
  }
  assert.ok(forward.length >= Math.min(10, expected.length));
  for (const time_s of forward.reverse()) {
    assert.equal(driver.getCurrentTime(), time_s, "steps back are those forward");
    driver.step(-1);
  }
}

{
  const { driver, seen } = start();
  driver.setSkipsIdle(true);
  driver.setSpeed(2);
  driver.play();
  const began_ms = clock.now_ms;
  let idle_ms = 0;
  for (const time_us of changes()) idle_ms += Math.max(time_us / 1e3 - 2000, 0);
  clock.advance(began_ms + (recording.duration_us / 1e3 - idle_ms) / 2 + 1000);
  assert.equal(driver.getCurrentTime(), recording.duration_us / 1e6, "idle time is skipped");
  assert.equal(seen.at(-1), "ended");
}

/** Lengths of the times between events. */
function* changes() {
  let last_us = 0;
  for (const { start_us, read } of segments) {
    for (const time_us of [start_us, ...read().events.map(([time_us]) => time_us)]) {
      yield time_us - last_us;
      last_us = time_us;
    }
  }
  yield recording.duration_us - last_us;
}

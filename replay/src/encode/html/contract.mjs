// What the player shows is what the emulator of this crate shows, at any time, by seeking as by playing.
//
// Run by the tests: `node contract.mjs PAGE EXPECTED`, an exported page and a file with
// `[[time_us, ["row", ...], [column, row] or null], ...]` in order of time: what is on the screen, and the cursor. The
// page's own scripts are run: the driver as it is, and of the player its terminal, a WebAssembly module, since the rest of
// it needs a browser.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import vm from "node:vm";

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

/** The player's terminal, and what the player's glue gives to and takes from its module. */
class Terminal {
  /** Objects by their numbers, none of which is also the index of a row. Nothing is ever freed. */
  #heap = new Array(1024);
  #wasm;
  #vt;
  #size;

  static async load() {
    const terminal = new Terminal();
    const heap = terminal.#heap;
    const give = (object) => heap.push(object) - 1;
    const text = (address, length) => terminal.#bytes(address, length).toString();
    // By the beginning of their names: what follows is a hash.
    const imports = [
      [/__wbindgen_throw/, (address, length) => assert.fail(text(address, length))],
      [/__wbindgen_cast/, (...args) => give(args.length === 2 ? text(...args) : args[0])],
      [/__wbindgen_object_clone_ref/, (object) => give(heap[object])],
      [/__wbindgen_object_drop_ref/, () => {}],
      [/__wbg_new/, () => give({})],
      // A key is a string on the heap, or the index of an array.
      [/__wbg_set/, (object, key, value) => {
        heap[object][typeof heap[key] === "string" ? heap[key] : key] = heap[value];
      }],
    ];
    const base64 = /"(AGFzbQ[A-Za-z0-9+/=]+)"/.exec(scripts[0])[1];
    const module = await WebAssembly.compile(Buffer.from(base64, "base64"));
    const names = WebAssembly.Module.imports(module).map(({ name }) => name);
    const wbg = Object.fromEntries(names.map((name) => [name, imports.find(([pattern]) => pattern.test(name))[1]]));
    terminal.#wasm = (await WebAssembly.instantiate(module, { wbg })).exports;
    return terminal;
  }

  reset({ size, init }) {
    // As the player does: with 100 lines above the screen.
    this.#vt = this.#wasm.create(size.cols, size.rows, 100, false);
    this.#size = size;
    this.output([init]);
  }

  output(texts) {
    for (const text of texts) {
      const length = Buffer.byteLength(text);
      const address = this.#wasm.__wbindgen_export(length, 1);
      this.#bytes(address, length).write(text);
      this.#wasm.vt_feed(this.#vt, address, length);
    }
  }

  cursor() {
    const cursor = this.#heap[this.#wasm.vt_getCursor(this.#vt)];
    return cursor ? [cursor[0], cursor[1]] : null;
  }

  rows() {
    return Array.from({ length: this.#size.rows }, (_, row) => this.#row(row));
  }

  #row(row) {
    const line = this.#heap[this.#wasm.vt_getLine(this.#vt, row, false)];
    const items = ({ 0: address, 1: count }, size, read) =>
      Array.from({ length: count }, (_, n) => read(this.#bytes(address + n * size, size)));
    const characters = items(line.codepoints, 4, (bytes) => String.fromCodePoint(bytes.readUInt32LE()));
    // What is drawn and not written stands at a column. Only a span of its own is wide.
    const spans = items(line.text, 12, (bytes) => [bytes.readUInt16LE(), bytes.readUInt16LE(2)]);
    const symbol = (bytes) => [bytes.readUInt16LE(), String.fromCodePoint(bytes.readUInt32LE(4))];
    for (const [column, character] of [
      ...items(line.raster_symbols, 12, symbol),
      ...items(line.vector_symbols, 16, symbol),
    ]) {
      const [start, index] = spans.findLast(([start]) => start <= column);
      characters[index + column - start] = character;
    }
    return characters.join("").replace(/[\u202a-\u202e\u2066-\u2069\u2028\u2029\p{Cc}]/gu, "\ufffd").replace(/\s+$/u, "");
  }

  #bytes(address, length) {
    return Buffer.from(this.#wasm.memory.buffer, address, length);
  }
}

/** Time that goes on when it is told to. */
class Clock {
  now_ms = 0;
  #timers = [];
  #last = 0;

  setTimeout(run, wait_ms) {
    this.#last += 1;
    this.#timers.push({ id: this.#last, at_ms: this.now_ms + wait_ms, run });
    return this.#last;
  }

  clearTimeout(id) {
    this.#timers = this.#timers.filter((timer) => timer.id !== id);
  }

  advance(to_ms) {
    for (;;) {
      const timer = this.#timers.sort((a, b) => a.at_ms - b.at_ms)[0];
      if (timer === undefined || timer.at_ms > to_ms) break;
      this.clearTimeout(timer.id);
      this.now_ms = timer.at_ms;
      timer.run();
    }
    this.now_ms = to_ms;
  }
}

const clock = new Clock();
const context = vm.createContext({
  performance: { now: () => clock.now_ms },
  setTimeout: (run, wait_ms) => clock.setTimeout(run, wait_ms),
  clearTimeout: (id) => clock.clearTimeout(id),
});
const SegmentDriver = vm.runInContext(`${scripts[1]};SegmentDriver`, context);
const terminal = await Terminal.load();

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

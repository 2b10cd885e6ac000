// What the tests of the driver run it in: the player's terminal, and a clock.

import assert from "node:assert/strict";
import vm from "node:vm";

/** The player's terminal, and what the player's glue gives to and takes from its module. */
export class Terminal {
  /** Objects by their numbers, none of which is also the index of a row. Nothing is ever freed. */
  #heap = new Array(1024);
  #wasm;
  #vt;
  #size;

  /** From the player's script. */
  static async load(player) {
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
    const base64 = /"(AGFzbQ[A-Za-z0-9+/=]+)"/.exec(player)[1];
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
export class Clock {
  now_ms = 0;
  #timers = [];
  #last = 0;

  /** What a script of the page finds in a browser, with this clock. */
  context() {
    return vm.createContext({
      AbortController,
      URL,
      performance: { now: () => this.now_ms },
      setTimeout: (run, wait_ms) => this.setTimeout(run, wait_ms),
      clearTimeout: (id) => this.clearTimeout(id),
    });
  }

  setTimeout(run, wait_ms) {
    this.#last += 1;
    this.#timers.push({ id: this.#last, at_ms: this.now_ms + wait_ms, run });
    return this.#last;
  }

  clearTimeout(id) {
    this.#timers = this.#timers.filter((timer) => timer.id !== id);
  }

  /** When something is to happen next. */
  get next_ms() {
    return Math.min(...this.#timers.map(({ at_ms }) => at_ms));
  }

  advance(to_ms) {
    for (;;) {
      const timer = this.#timers.sort((a, b) => a.at_ms - b.at_ms)[0];
      if (timer === undefined || timer.at_ms > to_ms) break;
      this.clearTimeout(timer.id);
      this.now_ms = Math.max(this.now_ms, timer.at_ms);
      timer.run();
    }
    this.now_ms = to_ms;
  }
}

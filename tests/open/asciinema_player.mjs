// Opens one asciicast in the stock asciinema-player, and seeks in it: what Custody's replay is measured beside.
//
//   node asciinema_player.mjs FILE.cast [--seeks 20] [--seed 1]
//
// The player is the bundle that the HTML export carries, unchanged, and is driven through its public interface as a
// page does: `AsciinemaPlayer.create(url, element, { preload: true })`, then `player.seek(seconds)`. A server on
// 127.0.0.1 gives it the file, without compression. One line of JSON says what was measured:
//
// - `open_s`: from `create` to the player's event `ready`: the file is fetched and parsed, all its events are held, and
//   the terminal is there. Without `preload` the player does the same when somebody presses play.
// - `seek_ms`: from `seek` to when its promise is resolved: the player's terminal holds what was on the screen then.
//   Times are uniformly random over the duration. The player is paused, as it is after opening.
// - `rss_mb_peak`: highest resident size of the process of the player; the server is in another one.
//
// Painting is not measured: the DOM is a stub, and no frame is ever asked for. Everything else is the player's own code
// and WebAssembly. It runs in V8 as in Chrome, but `fetch`, the limit of the heap and pointers of 8 bytes, where Chrome
// has 4, are those of Node: opening and memory may differ in a browser, which has itself and its painting on top.
//
// A file that the player cannot load is a result: `failed` says why, and the exit code is 0.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import vm from "node:vm";

const BUNDLE = new URL("../../replay/src/encode/html/asciinema-player-3.17.0.min.js", import.meta.url);
const MB = 1e6;

/** As much of an element as the player needs to be built. Its relatives are made when they are asked for. */
class Element {
  nodeType = 1;
  parentNode = null;
  children = [];
  style = { setProperty() {}, removeProperty() {} };
  classList = { add() {}, remove() {}, toggle() {} };
  clientWidth = 800;
  clientHeight = 600;
  offsetWidth = 800;
  offsetHeight = 600;
  #firstChild;
  #nextSibling;

  get firstChild() {
    return (this.#firstChild ??= new Element());
  }
  get nextSibling() {
    return (this.#nextSibling ??= new Element());
  }
  get content() {
    return this;
  }
  cloneNode() {
    return new Element();
  }
  getContext() {
    return {};
  }
  appendChild() {}
  insertBefore() {}
  removeChild() {}
  replaceChild() {}
  remove() {}
  setAttribute() {}
  removeAttribute() {}
  addEventListener() {}
  removeEventListener() {}
}

/** The player's bundle in a page that is never painted. */
function loadPlayer() {
  const create = () => new Element();
  const document = Object.assign(new Element(), {
    body: new Element(),
    createElement: create,
    createElementNS: create,
    createTextNode: create,
    createDocumentFragment: create,
    importNode: create,
  });
  Object.assign(globalThis, {
    Element,
    document,
    window: { document },
    getComputedStyle: () => ({ getPropertyValue: () => "" }),
    requestAnimationFrame: () => 1,
    cancelAnimationFrame() {},
    ResizeObserver: class {
      observe() {}
    },
  });
  return vm.runInThisContext(`${readFileSync(BUNDLE, "utf8")};AsciinemaPlayer`);
}

/** The same numbers in [0, 1) in every run (mulberry32). */
function* randoms(seed) {
  for (let state = seed | 0; ; ) {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    yield ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }
}

/** By nearest rank. */
function percentiles(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share) => Number(sorted[Math.ceil(share * sorted.length) - 1].toFixed(2));
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
}

async function open(AsciinemaPlayer, url) {
  const began_ms = performance.now();
  const player = AsciinemaPlayer.create(url, new Element(), { preload: true });
  await new Promise((resolve, reject) => {
    player.addEventListener("ready", resolve);
    player.addEventListener("error", ({ name, message }) => reject(new Error(`${name}: ${message}`)));
  });
  return { player, open_s: Number(((performance.now() - began_ms) / 1e3).toFixed(3)) };
}

async function measure(url, seeks, seed) {
  const result = { duration_s: null, open_s: null, seek_ms: null, seeks: 0, failed: null };
  try {
    const { player, open_s } = await open(loadPlayer(), url);
    const duration_s = player.getDuration();
    Object.assign(result, { duration_s, open_s });
    const random = randoms(seed);
    const took_ms = [];
    while (took_ms.length < seeks) {
      const to_s = random.next().value * duration_s;
      const began_ms = performance.now();
      const sought = await player.seek(to_s);
      took_ms.push(performance.now() - began_ms);
      if (!sought || Math.abs(player.getCurrentTime() - to_s) > 1e-6) throw new Error(`no seek to ${to_s} s`);
    }
    Object.assign(result, { seek_ms: percentiles(took_ms), seeks });
  } catch (error) {
    result.failed = error.message;
  }
  result.rss_mb_peak = Math.round((process.resourceUsage().maxRSS * 1024) / MB);
  return result;
}

/** Lines that the player takes for events. This reads the file once, so that it is in the page cache from then on. */
async function countEvents(path) {
  let events = 0;
  let last = "";
  for await (const chunk of createReadStream(path, { encoding: "latin1", highWaterMark: 1 << 20 })) {
    const text = last + chunk;
    for (let at = text.indexOf("\n["); at !== -1; at = text.indexOf("\n[", at + 1)) events += 1;
    last = text.at(-1);
  }
  return events;
}

async function serve(path) {
  const server = createServer((_request, response) => {
    response.writeHead(200, { "Content-Length": statSync(path).size, "Content-Type": "application/x-asciicast" });
    createReadStream(path, { highWaterMark: 1 << 20 }).pipe(response);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return server;
}

/** In a process of its own: what the player needs is not mixed with the server, and it may run out of memory. */
async function measureApart(url, seeks, seed) {
  const self = fileURLToPath(import.meta.url);
  const child = spawn(process.execPath, [self, "--page", url, "--seeks", seeks, "--seed", seed]);
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text) => (stderr += text));
  const [code, signal] = await once(child, "close");
  if (code === 0) return JSON.parse(stdout);
  const fatal = /^FATAL ERROR: .*$/m.exec(stderr)?.[0];
  if (fatal === undefined) throw new Error(`the player's process ended with ${signal ?? code}\n${stderr}`);
  return { duration_s: null, open_s: null, seek_ms: null, seeks: 0, rss_mb_peak: null, failed: fatal };
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seeks: { type: "string", default: "20" },
    seed: { type: "string", default: "1" },
    page: { type: "string" },
  },
});
const isNumber = (text) => /^[1-9]\d{0,8}$/.test(text);
if (positionals.length !== (values.page ? 0 : 1) || !isNumber(values.seeks) || !isNumber(values.seed)) {
  console.error("usage: node asciinema_player.mjs FILE.cast [--seeks 20] [--seed 1]");
  process.exit(2);
}

if (values.page) {
  const result = await measure(values.page, Number(values.seeks), Number(values.seed));
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
} else {
  const [path] = positionals;
  const facts = { file_bytes: statSync(path).size, events: await countEvents(path) };
  const server = await serve(path);
  const result = await measureApart(`http://127.0.0.1:${server.address().port}/`, values.seeks, values.seed);
  const { duration_s, open_s, seek_ms, seeks, rss_mb_peak, failed } = result;
  console.log(JSON.stringify({ ...facts, duration_s, open_s, seek_ms, seeks, rss_mb_peak, failed }));
  server.close();
  server.closeAllConnections();
}

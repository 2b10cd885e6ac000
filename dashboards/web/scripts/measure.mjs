// What pages take on a ledger of one's own, however large: npm --prefix dashboards/web run measure -- URL [SESSION]
// Prints how long the sessions page takes to show rows, and of a session's page how long a jump anywhere takes and what memory
// its browser has.
import { readFile } from "node:fs/promises";
import { chromium } from "playwright-core";
import { CHROMIUM } from "../tests/server.mjs";

const JUMPS = 60;
const RUNS = 10;

const [url, session] = process.argv.slice(2);
if (url === undefined) {
  console.error("usage: npm --prefix dashboards/web run measure -- URL [SESSION]");
  process.exit(2);
}

const tell = (what, value) => console.log(`${what.padEnd(72)} ${value}`);

function quantiles(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]);
  return `p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, at most ${Math.round(sorted.at(-1))} ms`;
}

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
const context = await browser.newContext({ baseURL: url, viewport: { width: 1280, height: 720 } });
context.setDefaultTimeout(120_000);
const page = await context.newPage();

async function megabytes() {
  const cdp = await browser.newBrowserCDPSession();
  const { processInfo } = await cdp.send("SystemInfo.getProcessInfo");
  const own = await page.context().newCDPSession(page);
  await own.send("HeapProfiler.collectGarbage");
  await own.send("Performance.enable");
  const { metrics } = await own.send("Performance.getMetrics");
  const heap = metrics.find(({ name }) => name === "JSHeapUsedSize").value / 1e6;
  const renderers = processInfo.filter(({ type }) => type === "renderer");
  const sizes = renderers.map(async ({ id }) => {
    const status = await readFile(`/proc/${id}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1000;
  });
  const largest = Math.max(...(await Promise.all(sizes)));
  return `heap of scripts ${heap.toFixed(1)} MB, all of its process ${largest.toFixed(0)} MB`;
}

async function sessions(query) {
  const answered = [];
  const shown = [];
  for (let run = 0; run < RUNS; run += 1) {
    const began = performance.now();
    const answer = await fetch(new URL(`/api/v1/sessions${query}`, url));
    await answer.arrayBuffer();
    answered.push(performance.now() - began);
    const at = performance.now();
    await page.goto(`/sessions${query}`);
    await page.locator("tbody tr").first().waitFor();
    shown.push(performance.now() - at);
  }
  tell(`/api/v1/sessions${query}`, quantiles(answered));
  tell(`/sessions${query}, from the address to its rows`, quantiles(shown));
}

for (const query of ["", "?state=running", "?link=none"]) await sessions(query);

if (session !== undefined) {
  const began = performance.now();
  await page.goto(`/sessions/${session}`);
  const pause = page.getByRole("button", { name: "Pause" });
  await page.getByRole("button", { name: "Play" }).or(pause).waitFor();
  await page.waitForFunction(() => document.querySelector(".ap-term-text")?.textContent.trim() !== "");
  tell("a session's page, from the address to its first screen", `${Math.round(performance.now() - began)} ms`);
  tell("memory then", await megabytes());
  // While it plays, the screen changes by itself.
  if (await pause.isVisible()) await pause.click();
  const timeline = page.getByRole("slider", { name: "Time of the recording" });
  const { x, y, width, height } = await timeline.boundingBox();
  const took = [];
  for (let jump = 0; jump < JUMPS; jump += 1) {
    // The screen of then is another: it is looked at each time the browser draws.
    await page.evaluate(() => {
      let from_ms;
      window.jumpMs = undefined;
      const text = () => document.querySelector(".ap-term-text").textContent;
      const before = text();
      document.addEventListener("pointerdown", () => (from_ms = performance.now()), { capture: true, once: true });
      const look = () => {
        if (from_ms !== undefined && text() !== before) window.jumpMs = performance.now() - from_ms;
        else requestAnimationFrame(look);
      };
      look();
    });
    // Far from where it stands, each time somewhere else.
    const share = ((jump * 0.381966) % 1) * 0.96 + 0.02;
    await page.mouse.click(x + width * share, y + height / 2);
    took.push(await (await page.waitForFunction(() => window.jumpMs)).jsonValue());
  }
  tell(`${JUMPS} jumps, from the click to the screen of then`, quantiles(took));
  tell("memory after these", await megabytes());
}
await browser.close();

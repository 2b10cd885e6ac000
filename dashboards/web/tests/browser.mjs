// What all browser tests share: one server, one Chromium, pages that notice what the security policy refused, axe, and
// figures, which are printed at the end. It is all there once this is imported.
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after } from "node:test";
import { chromium } from "playwright-core";
import { CHROMIUM, startDemo, storyIsTold, WAIT_MS } from "./server.mjs";

/** Where pictures go; none are made without it. */
const SCREENSHOTS = process.env.CUSTODY_SCREENSHOTS;

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const demo = process.env.CUSTODY_URL === undefined ? await startDemo() : undefined;
const SERVER = demo?.url ?? process.env.CUSTODY_URL;
await storyIsTold(SERVER);

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  // Chromium's own sandbox needs more rights than a container gives.
  args: ["--no-sandbox"],
});

after(async () => {
  await browser.close();
  await demo?.stop();
});

const figures = [];

/** Keeps a figure for the table at the end: what is measured depends on the machine, so nothing fails by it. */
export const measured = (what, value, unit) => figures.push([what, `${Math.round(value * 10) / 10} ${unit}`]);

process.on("exit", () => {
  if (figures.length === 0) return;
  console.log(`\nMeasured, on this machine and with what else it does:\n`);
  for (const [what, value] of figures) console.log(`  ${what.padEnd(64)} ${value.padStart(12)}`);
});

/** Runs `use` with a page; afterwards nothing may have been refused by the security policy, and nothing thrown. */
export async function withPage(options, use) {
  const context = await browser.newContext({ baseURL: SERVER, viewport: { width: 1280, height: 720 }, ...options });
  context.setDefaultTimeout(WAIT_MS);
  const wrong = [];
  await context.exposeBinding("refused", (_, what) => wrong.push(what));
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (violation) =>
      window.refused(`the policy refused ${violation.blockedURI} for ${violation.violatedDirective}`),
    );
  });
  const page = await context.newPage();
  page.on("pageerror", (error) => wrong.push(`thrown: ${error.message}`));
  try {
    await use(page);
    assert.deepEqual(wrong, []);
  } finally {
    await context.close();
  }
}

/** No finding of axe that is serious or worse. */
export async function assertAccessible(page, what) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run(document));
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const found = serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
  assert.deepEqual(found, [], `axe on ${what}`);
}

/** Nothing is wider than the window. */
export async function assertFits(page) {
  const [scrollWidth, clientWidth] = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return [scrollWidth, clientWidth];
  });
  assert.ok(scrollWidth <= clientWidth, `the page is ${scrollWidth} wide in a window of ${clientWidth}`);
}

export async function picture(page, name) {
  if (SCREENSHOTS === undefined) return;
  await mkdir(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
}

/** What the API says. */
export async function ask(path) {
  const response = await fetch(new URL(path, SERVER));
  assert.equal(response.status, 200, path);
  return response.json();
}

/** What the terminal shows. */
export const screen = (page) => page.locator(".ap-term-text").innerText();

/** Waits until the terminal shows anything but blanks. */
export const showsSomething = (page) =>
  page.waitForFunction(() => document.querySelector(".ap-term-text")?.textContent.trim());

/** Waits until the terminal shows a text. */
export const shows = (page, text) =>
  page.waitForFunction((text) => document.querySelector(".ap-term-text")?.textContent.includes(text), text);

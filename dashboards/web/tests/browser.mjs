// What all browser tests share: one Chromium, pages that notice what the security policy refused, and axe.
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

/** A running server with the pages, and with the demo's ledger. */
export const SERVER = process.env.CUSTODY_URL;
/** Where pictures go; none are made without it. */
const SCREENSHOTS = process.env.CUSTODY_SCREENSHOTS;
const WAIT_MS = Number(process.env.CUSTODY_WAIT_MS ?? 30_000);

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let browser;

export async function open() {
  if (SERVER === undefined)
    throw new Error("CUSTODY_URL has to be the address of a running server with the demo's ledger");
  browser = await chromium.launch({
    executablePath: process.env.CUSTODY_CHROMIUM ?? "/usr/bin/chromium",
    // Chromium's own sandbox needs more rights than a container gives.
    args: ["--no-sandbox"],
  });
}

export const close = () => browser.close();

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

/** Waits until the terminal shows a text. */
export const shows = (page, text) =>
  page.waitForFunction((text) => document.querySelector(".ap-term-text")?.textContent.includes(text), text);

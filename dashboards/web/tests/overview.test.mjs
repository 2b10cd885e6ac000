import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, measured, withPage } from "./browser.mjs";
import { goTo } from "./pages.mjs";

const region = (page, name) => page.getByRole("region", { name, exact: true });

test("overview: what nobody approved stands first, in red, and a click leads to why nothing explains it", async () => {
  await withPage({}, async (page) => {
    await page.goto("/");
    const alarm = region(page, "Not approved");
    await alarm.getByRole("heading", { name: /that nobody approved/ }).waitFor();
    const dave = alarm.getByRole("listitem").filter({ hasText: "dave@example.com on prod-web-01" }).first();
    await dave.waitFor();
    // Red in a way that is seen, and in sight without scrolling.
    const [red, green, blue] = await alarm.evaluate((element) =>
      getComputedStyle(element).borderLeftColor.match(/\d+/g).map(Number),
    );
    assert.ok(red > 1.5 * green && red > 1.5 * blue, `its border is rgb(${red}, ${green}, ${blue})`);
    const { y, height } = await alarm.boundingBox();
    assert.ok(y + height <= 720, "it is in sight");
    await dave.getByRole("link").click();
    await page.waitForURL(/\/sessions\/[^?]+$/);
    await page.getByText("This session has no proven approval.").waitFor();
    await page.getByRole("heading", { name: "dave@example.com on prod-web-01" }).waitFor();
  });
});

test("overview: who was in there last, why and who said yes, without a click", async () => {
  await withPage({}, async (page) => {
    await page.goto("/");
    const row = page.getByRole("row").filter({ hasText: "INC-79103 state after the deploy" }).first();
    for (const text of ["bob@example.com", "prod-web-01", "carol@example.com"]) await row.getByText(text).waitFor();
    await region(page, "Running now").getByRole("link", { name: "alice@example.com on prod-web-01" }).first().waitFor();
  });
});

test("overview: sessions over time by gateway, and the share that is explained", async () => {
  await withPage({}, async (page) => {
    await page.goto("/");
    const card = region(page, "Sessions over time");
    for (const gateway of ["teleport", "boundary", "hoop"]) await card.getByText(gateway).first().waitFor();
    const percent = Number.parseInt(await card.getByText(/\d+ % explained/).innerText(), 10);
    assert.ok(percent > 50 && percent < 100, `${percent} % are explained`);
    await page.getByText("7 days", { exact: true }).click();
    await page.waitForURL(/days=7/);
    await page.reload();
    await region(page, "Not approved")
      .getByText(/of the last 7 days/)
      .waitFor();
  });
});

test("overview: figures of just-in-time access, each with the report that it is of", async () => {
  await withPage({}, async (page) => {
    await page.goto("/");
    const card = region(page, "Just-in-time access");
    // The week of the story has hours of credentials: one of its last two weeks is not zero.
    await card
      .getByText(/[1-9][\d.]* h/)
      .first()
      .waitFor();
    await card.getByRole("link", { name: "M01" }).click();
    await page.getByRole("heading", { name: /^M01/ }).waitFor();
  });
});

test("overview: how long it takes until it can be used", async () => {
  await withPage({}, async (page) => {
    await page.addInitScript(() => {
      window.quietSince = 0;
      new PerformanceObserver((list) => {
        for (const { startTime, duration } of list.getEntries()) window.quietSince = startTime + duration;
      }).observe({ type: "longtask", buffered: true });
    });
    await page.goto("/");
    await page.getByRole("link", { name: "Sessions", exact: true }).waitFor();
    const paint = () => page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
    await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length > 0);
    measured("overview: first contentful paint", await paint(), "ms");
    await page.locator("tbody tr a").first().waitFor();
    const there = await page.evaluate(() => performance.now());
    const quiet = await page.evaluate(() => window.quietSince);
    measured("overview: to interactive (its rows are there, no long task goes on)", Math.max(there, quiet), "ms");
  });
});

test("overview: all keys are listed, and the list is accessible", async () => {
  await withPage({}, async (page) => {
    await goTo(page, "overview");
    await page.keyboard.press("?");
    const keys = page.getByRole("dialog");
    await keys.getByText("Pipeline").waitFor();
    await assertAccessible(page, "the list of keys");
    await page.keyboard.press("Escape");
    await keys.waitFor({ state: "detached" });
    await page.keyboard.press("g");
    await page.keyboard.press("p");
    await page.waitForURL(/\/pipeline$/);
  });
});

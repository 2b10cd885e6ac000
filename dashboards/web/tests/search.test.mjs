import assert from "node:assert/strict";
import { test } from "node:test";
import { measured, shows, withPage } from "./browser.mjs";
import { APPROVED } from "./demo.mjs";

const box = (page) => page.getByLabel("Text on the screen");
const hits = (page) => page.locator("mark");

test("search: what was on a screen is found, with who, why and who said yes; a hit opens at its second", async () => {
  await withPage({}, async (page) => {
    await page.goto("/search");
    await box(page).fill("upstream timed out");
    const from_ms = performance.now();
    await page.keyboard.press("Enter");
    await hits(page).first().waitFor();
    measured("search page: from the enter key to the first hit", performance.now() - from_ms, "ms");
    const session = page
      .getByRole("listitem")
      .filter({ hasText: "alice@example.com on prod-web-01" })
      .filter({ hasText: "Investigating dashboard latency" })
      .filter({ hasText: "approved by bob@example.com" });
    const hit = session.getByRole("link", { name: /^at / }).first();
    const href = await hit.getAttribute("href");
    assert.ok(href.startsWith(`${APPROVED}?at=`), href);
    await hit.click();
    await shows(page, "upstream timed out");
    const at = Number(new URL(page.url()).searchParams.get("at"));
    await page.waitForFunction(
      (at) => Math.abs(Number(document.querySelector("[role=slider]")?.getAttribute("aria-valuenow")) - at) <= 1,
      at,
    );
    // The other places of the same session are found there, too.
    assert.equal(await page.getByLabel("Find on the screen").inputValue(), "upstream timed out");
    await page.locator("li[data-kind=hit]").first().waitFor();
  });
});

test("search: by person, and the address is a link to the same", async () => {
  await withPage({}, async (page) => {
    await page.goto("/search?q=upstream");
    await hits(page).first().waitFor();
    await page.getByLabel("Person").fill("bob@example.com");
    await page.waitForURL(/user=bob/);
    const all = page.locator("ol > li.card");
    await page.waitForFunction(() => {
      const found = [...document.querySelectorAll("ol > li.card")];
      return found.length > 0 && found.every((one) => one.innerText.startsWith("bob@example.com"));
    });
    await page.reload();
    await all.first().waitFor();
    assert.equal(await page.getByLabel("Person").inputValue(), "bob@example.com");
    assert.equal(await box(page).inputValue(), "upstream");
  });
});

test("search: a regular expression, one that is none, and nothing that fits", async () => {
  await withPage({}, async (page) => {
    await page.goto("/search");
    await box(page).fill("timed\\s+out \\(1\\d+\\)");
    await page.getByLabel("regular expression").check();
    await page.getByRole("link", { name: /^at / }).first().waitFor();
    const pattern = page.getByLabel("Regular expression", { exact: true }).first();
    await pattern.fill("timed(");
    await page.keyboard.press("Enter");
    await page.getByRole("alert").waitFor();
    assert.equal(await pattern.inputValue(), "timed(");
    await pattern.fill("nobody has ever written th[i]s");
    await page.keyboard.press("Enter");
    await page.getByText("Nothing like it was on a screen").waitFor();
  });
});

test("search: a search that breaks off says so, and keeps what was found and typed", async () => {
  await withPage({}, async (page) => {
    let isAway = true;
    await page.route("**/api/v1/search", async (route) => {
      if (!isAway) return route.continue();
      const response = await route.fetch();
      // All but its last line, which says that it is whole.
      const lines = (await response.text()).trimEnd().split("\n").slice(0, -1);
      await route.fulfill({ response, body: `${lines.join("\n")}\n` });
    });
    await page.goto("/search?q=upstream");
    await page.getByText("The search broke off: what came before is not all.").waitFor();
    await hits(page).first().waitFor();
    assert.equal(await box(page).inputValue(), "upstream");
    isAway = false;
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByRole("alert").waitFor({ state: "detached" });
    await page.getByText(/hits in \d+ sessions/).waitFor();
  });
});

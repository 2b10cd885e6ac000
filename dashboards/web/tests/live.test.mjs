import assert from "node:assert/strict";
import { test } from "node:test";
import { screen, shows, withPage } from "./browser.mjs";
import { running } from "./demo.mjs";

const isLive = (page) => page.getByRole("status").getByText("live", { exact: true }).waitFor();

const changes = async (page) => {
  const before = await screen(page);
  await page.waitForFunction((before) => document.querySelector(".ap-term-text").innerText !== before, before);
};

test("live: the list leads to a session that runs, and its screen goes on by itself", async () => {
  await running();
  await withPage({}, async (page) => {
    await page.goto("/live");
    await page.getByRole("link", { name: "Follow" }).first().click();
    await isLive(page);
    await changes(page);
    await changes(page);
  });
});

test("live: who joins late sees the same screen, and both go on", async () => {
  const path = await running();
  await withPage({}, async (page) => {
    await page.goto(path);
    await isLive(page);
    await changes(page);
    const late = await page.context().newPage();
    await late.goto(path);
    await isLive(late);
    await shows(late, " ");
    await changes(late);
    await page.bringToFront();
    await changes(page);
    // What was drawn before it came is there too: between two changes, which come every two seconds, both are the same.
    let isSame = false;
    for (let turn = 0; turn < 20 && !isSame; turn += 1) {
      const [one, other] = await Promise.all([screen(page), screen(late)]);
      isSame = one === other;
      if (!isSame) await changes(page);
    }
    assert.ok(isSame, "the late screen is that of who was there before");
  });
});

test("live: pause shows what was recorded until then, and one click returns", async () => {
  const path = await running();
  await withPage({}, async (page) => {
    await page.goto(path);
    await isLive(page);
    await changes(page);
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByRole("button", { name: "Play" }).waitFor();
    await page.getByRole("slider", { name: "Time of the recording" }).focus();
    await page.keyboard.press("Home");
    await page.waitForFunction(() => document.querySelector("[role=slider]").getAttribute("aria-valuenow") === "0");
    await page.getByRole("button", { name: "Return to live" }).click();
    await isLive(page);
    await changes(page);
  });
});

test("live: a connection that breaks is made again", async () => {
  const path = await running();
  await withPage({}, async (page) => {
    let isAway = true;
    await page.route(/\/live\?/, (route) => (isAway ? route.abort("connectionreset") : route.continue()));
    await page.goto(path);
    await page.getByRole("status").getByText("connecting").waitFor();
    isAway = false;
    await isLive(page);
    await shows(page, " ");
    await changes(page);
  });
});

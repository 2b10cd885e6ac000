import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, close, open, screen, shows, withPage } from "./browser.mjs";

before(open);
after(close);

/** A session whose screen changes at this moment. */
async function running() {
  const { sessions } = await ask("/api/v1/sessions?state=running");
  const found = sessions.find(({ output_bytes }) => output_bytes > 0);
  assert.ok(found, "a recorded session is running: live tests need `custody demo`");
  return `/sessions/${found.session_id}`;
}

const changes = async (page) => {
  const before = await screen(page);
  await page.waitForFunction((before) => document.querySelector(".ap-term-text").innerText !== before, before);
};

test("live: the list leads to a session that runs, and its screen goes on by itself", async () => {
  await running();
  await withPage({}, async (page) => {
    await page.goto("/live");
    await page.getByRole("link", { name: "Follow" }).first().click();
    await page.getByRole("status").getByText("live", { exact: true }).waitFor();
    await shows(page, " ");
    await changes(page);
    await changes(page);
  });
});

test("live: pause shows what was recorded until then, and one click returns", async () => {
  const path = await running();
  await withPage({}, async (page) => {
    await page.goto(path);
    await page.getByRole("status").getByText("live", { exact: true }).waitFor();
    await changes(page);
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByRole("button", { name: "Play" }).waitFor();
    await page.getByRole("slider", { name: "Time of the recording" }).focus();
    await page.keyboard.press("Home");
    await page.waitForFunction(() => document.querySelector("[role=slider]").getAttribute("aria-valuenow") === "0");
    await page.getByRole("button", { name: "Return to live" }).click();
    await page.getByRole("status").getByText("live", { exact: true }).waitFor();
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
    await page.getByRole("status").getByText("live", { exact: true }).waitFor();
    await changes(page);
  });
});

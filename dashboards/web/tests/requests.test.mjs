import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { withPage } from "./browser.mjs";
import { APPROVED, REQUEST, STORY_TO } from "./demo.mjs";

const rows = (page) => page.locator("tbody tr");

test("requests: filtered by person and state, and the address keeps it", async () => {
  await withPage({}, async (page) => {
    await page.goto(`/requests?to=${STORY_TO}`);
    await rows(page).nth(3).waitFor();
    const all = await rows(page).count();
    await page.getByLabel("Person").fill("erin@example.com");
    await page.waitForFunction((all) => {
      const rows = [...document.querySelectorAll("tbody tr")];
      return rows.length > 0 && rows.length < all && rows.every((row) => row.innerText.includes("erin@example.com"));
    }, all);
    assert.match(page.url(), /person=erin/);
    await page.reload();
    await rows(page).first().waitFor();
    assert.equal(await page.getByLabel("Person").inputValue(), "erin@example.com");
    await page.getByLabel("Person").fill("nobody@example.com");
    await page.getByText("No request fits these filters").waitFor();
    await page.getByRole("button", { name: "Show all requests" }).click();
    await rows(page).nth(3).waitFor();
  });
});

test("requests: one that its maker approved stands out, alone under its filter", async () => {
  await withPage({}, async (page) => {
    await page.goto("/requests");
    await rows(page).first().waitFor();
    await page.getByLabel("State").selectOption("self_approved");
    await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
    assert.match(await rows(page).innerText(), /bob@example\.com[\s\S]*by oneself/);
    assert.equal(await page.locator("tr[data-alarming]").count(), 1);
    await rows(page).getByRole("link").click();
    await page.getByText("approved by oneself").waitFor();
    await page.getByRole("heading", { name: "Request of bob@example.com" }).waitFor();
  });
});

test("request: asked, approved, used: in this order, with the words of each, and a session is a click away", async () => {
  await withPage({}, async (page) => {
    await page.goto(REQUEST);
    const happened = page.getByRole("region", { name: "What happened" });
    await happened.getByRole("link", { name: /opened a session on prod-web-01/ }).waitFor();
    const steps = await happened.getByRole("listitem").allInnerTexts();
    assert.deepEqual(
      steps.map((text) => /asked for access|voted APPROVED|opened a session|access ended/.exec(text)?.[0]),
      ["asked for access", "voted APPROVED", "opened a session", "access ended"],
    );
    assert.match(steps[0], /alice@example\.com[\s\S]*Investigating dashboard latency/);
    assert.match(steps[1], /bob@example\.com[\s\S]*ok/);
    await page.getByRole("region", { name: "What was asked for" }).getByText("OPS-1412").waitFor();
    await happened.getByRole("link", { name: /opened a session/ }).click();
    await page.waitForURL(`**${APPROVED}`);
  });
});

test("requests: CSV has what is shown", async () => {
  await withPage({}, async (page) => {
    await page.goto(`/requests?to=${STORY_TO}&person=alice@example.com`);
    await rows(page).first().waitFor();
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: /^CSV/ }).click(),
    ]);
    assert.equal(download.suggestedFilename(), "requests.csv");
    const csv = await readFile(await download.path(), "utf8");
    assert.equal(csv.trimEnd().split("\r\n").length, 1 + (await rows(page).count()));
    assert.ok(csv.includes("Investigating dashboard latency"));
  });
});

test("request: an id that no gateway has told of", async () => {
  await withPage({}, async (page) => {
    await page.goto("/requests/%3Cscript%3Ealert(1)%3C%2Fscript%3E");
    await page.getByText("It is not there").waitFor();
    await page.getByRole("link", { name: "All requests" }).click();
    await rows(page).first().waitFor();
  });
});

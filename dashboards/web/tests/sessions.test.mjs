import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { ask, assertFits, withPage } from "./browser.mjs";
import { STORY_TO, story } from "./demo.mjs";

/** Questions for a page of sessions. */
const LIST = /\/api\/v1\/sessions(\?|$)/;

const rows = (page) => page.locator("tbody tr");

test("sessions: those that nothing approved stand out, and a filter leaves them alone", async () => {
  const sessions = await story("link=none");
  assert.ok(sessions.length > 0, "the ledger has sessions without an approval");
  await withPage({}, async (page) => {
    await page.goto(`/sessions?to=${STORY_TO}`);
    await rows(page).first().waitFor();
    assert.ok((await page.locator("tr[data-alarming]").count()) > 0);
    await page.getByLabel("Link").selectOption("none");
    await page.waitForFunction((count) => document.querySelectorAll("tbody tr").length === count, sessions.length);
    assert.equal(await page.locator("tr[data-alarming]").count(), sessions.length);
    assert.match(page.url(), /link=none/);
    await page.reload();
    await page.waitForFunction((count) => document.querySelectorAll("tbody tr").length === count, sessions.length);
  });
});

test("sessions: a reason is looked for as it is typed, and the address keeps it", async () => {
  await withPage({}, async (page) => {
    await page.goto("/sessions");
    await rows(page).first().waitFor();
    await page.getByLabel("Reason or ticket contains").fill("rotate app.log");
    await page.waitForURL(/reason=rotate/);
    await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
    assert.match(await rows(page).innerText(), /OPS-1433 rotate app\.log/);
    await page.getByLabel("Reason or ticket contains").fill("nobody has ever written this");
    await page.getByText("No session fits these filters").waitFor();
    await page.getByRole("button", { name: "Show all sessions" }).click();
    await rows(page).nth(1).waitFor();
    assert.equal(await page.getByLabel("Reason or ticket contains").inputValue(), "");
  });
});

test("sessions: approver, gateway and recording narrow the list together", async () => {
  const recorded = await story("gateway=teleport&recording=recorded");
  const approver = recorded.flatMap(({ links }) => links.flatMap(({ approvers }) => approvers))[0];
  const wanted = recorded.filter(({ links }) => links.some(({ approvers }) => approvers.includes(approver)));
  assert.ok(wanted.length > 0 && wanted.length < recorded.length, `${wanted.length} of ${recorded.length}`);
  await withPage({}, async (page) => {
    await page.goto(`/sessions?to=${STORY_TO}`);
    await page.getByLabel("Gateway").selectOption("teleport");
    await page.getByLabel("Recording").selectOption("recorded");
    await page.waitForFunction((count) => document.querySelectorAll("tbody tr").length === count, recorded.length);
    await page.getByLabel("Approver").fill(approver);
    await page.waitForFunction((count) => document.querySelectorAll("tbody tr").length === count, wanted.length);
    assert.match(page.url(), /gateway=teleport/);
  });
});

test("sessions: a policy that said yes does not look like a person", async () => {
  const decided = (await story()).flatMap(({ links }) => links).filter(({ link_method }) => link_method !== "inferred");
  const { approvers } = decided.find(({ decision_id, approvers }) => decision_id != null && approvers.length > 0);
  await withPage({}, async (page) => {
    await page.goto(`/sessions?approver=${encodeURIComponent(approvers[0])}`);
    await rows(page)
      .first()
      .getByText(`policy ${approvers.join(", ")}`)
      .waitFor();
  });
});

test("sessions: pages follow each other without a session twice or left out", async () => {
  await withPage({}, async (page) => {
    // Pages of four, from the real server.
    await page.route(LIST, (route) => route.continue({ url: `${route.request().url()}&limit=4` }));
    const { sessions } = await ask(`/api/v1/sessions?limit=8&to=${STORY_TO}`);
    const wanted = sessions.map(({ session_id }) => session_id);
    assert.equal(wanted.length, 8);
    await page.goto(`/sessions?to=${STORY_TO}`);
    const shown = async () => {
      const links = await page
        .locator("tbody a")
        .evaluateAll((links) => links.map((link) => link.getAttribute("href")));
      return links.map((href) => decodeURIComponent(href.split("/").at(-1)));
    };
    await rows(page).nth(3).waitFor();
    assert.deepEqual(await shown(), wanted.slice(0, 4));
    await page.getByRole("button", { name: "Next page" }).click();
    await page.locator(`a[href$="${wanted[4]}"]`).waitFor();
    assert.deepEqual(await shown(), wanted.slice(4));
    await page.goBack();
    await page.locator(`a[href$="${wanted[0]}"]`).waitFor();
    assert.deepEqual(await shown(), wanted.slice(0, 4));
  });
});

test("sessions: columns that are chosen stay, and CSV has what is shown", async () => {
  await withPage({}, async (page) => {
    await page.goto(`/sessions?link=none&to=${STORY_TO}`);
    await rows(page).first().waitFor();
    await page.getByRole("button", { name: "Columns" }).click();
    await page.getByRole("menuitemcheckbox", { name: "Session", exact: true }).click();
    await page.keyboard.press("Escape");
    await page.reload();
    await page.getByRole("columnheader", { name: "Session", exact: true }).waitFor();
    await rows(page).first().waitFor();
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: /^CSV/ }).click(),
    ]);
    const csv = await readFile(await download.path(), "utf8");
    const [head, ...lines] = csv.trimEnd().split("\r\n");
    assert.ok(head.split(",").includes("session_id"));
    assert.equal(lines.length, await rows(page).count());
    for (const { session_id } of await story("link=none")) assert.ok(csv.includes(session_id), session_id);
  });
});

test("sessions: the keyboard alone walks through them, opens one and comes back", async () => {
  await withPage({}, async (page) => {
    await page.goto("/sessions?link=none");
    await rows(page).first().waitFor();
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    await page.keyboard.press("k");
    assert.equal(await page.locator("tbody tr").first().getAttribute("aria-current"), "true");
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/sessions\/[^?]+$/);
    await page.keyboard.press("?");
    await page
      .getByRole("dialog")
      .getByText("Play or pause")
      .or(page.getByRole("dialog").getByText("Show these keys"))
      .first()
      .waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await page.keyboard.press("g");
    await page.keyboard.press("s");
    await page.waitForURL(/\/sessions$/);
  });
});

test("times: UTC or local, and always with their zone", async () => {
  await withPage({ timezoneId: "Asia/Kolkata" }, async (page) => {
    await page.goto("/sessions?link=none");
    const first = page.locator("tbody time").first();
    const at = await first.getAttribute("datetime");
    assert.match(await first.innerText(), /^\d{4}-\d\d-\d\d \d\d:\d\d UTC$/);
    await page.keyboard.press("z");
    await page.waitForFunction(() => document.querySelector("tbody time").textContent.endsWith(" +05:30"));
    const [day, time] = (await first.innerText()).split(" ");
    assert.equal(Date.parse(`${day}T${time}+05:30`), Math.floor(Date.parse(at) / 60_000) * 60_000);
    await page.reload();
    await page.getByText("+05:30").first().waitFor();
  });
});

test("sessions: a server that is away, or broken, loses nothing that was typed", async () => {
  await withPage({}, async (page) => {
    let answer;
    await page.route(LIST, (route) => answer(route));
    answer = (route) => route.abort("connectionrefused");
    await page.goto("/sessions");
    await page.getByLabel("Person").fill("alice@example.com");
    await page.getByRole("alert").getByText("The server cannot be reached").first().waitFor();
    answer = (route) =>
      route.fulfill({ status: 500, json: { error: { kind: "internal", message: "see the server's log" } } });
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByText("see the server's log").waitFor();
    answer = (route) =>
      route.fulfill({ status: 403, json: { error: { kind: "forbidden", message: "not with this role" } } });
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByText("You may not see this").waitFor();
    answer = (route) => route.fulfill({ status: 502, contentType: "text/html", body: "<h1>Bad gateway</h1>" });
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByText("The server cannot be reached").waitFor();
    answer = (route) => route.continue();
    await page.getByRole("button", { name: "Try again" }).click();
    await rows(page).first().waitFor();
    assert.equal(await page.getByLabel("Person").inputValue(), "alice@example.com");
  });
});

test("names from outside are text: HTML, direction marks, controls and 500 emoji", async () => {
  const hostile = {
    person: '<script>window.wasRun = 1</script><img src=x onerror="window.wasRun = 1">',
    target: "👩‍💻".repeat(500),
    reason: "\u202Eevil\u202C \u0007\u001b[31mred\u200b",
    login: "=HYPERLINK(1)",
  };
  await withPage({ viewport: { width: 390, height: 844 } }, async (page) => {
    await page.route(LIST, async (route) => {
      const response = await route.fetch();
      const json = await response.json();
      const [first] = json.sessions;
      Object.assign(first, hostile, { links: [{ ...first.links[0], ...{ reason: hostile.reason } }] });
      await route.fulfill({ response, json });
    });
    await page.goto("/sessions");
    const row = rows(page).first();
    await row.waitFor();
    const text = await row.innerText();
    assert.ok(text.includes(hostile.person), text);
    assert.ok(text.includes("‹U+202E›evil‹U+202C›"), text);
    assert.ok(text.includes("␇␛[31mred‹U+200B›"), text);
    assert.equal(await page.evaluate(() => window.wasRun), undefined);
    assert.ok((await row.boundingBox()).height < 120, "a long name does not push all else away");
    await assertFits(page);
  });
});

test("an address with nothing at it says so", async () => {
  await withPage({}, async (page) => {
    await page.goto("/no/such/page");
    await page.getByRole("heading", { name: "There is no such page" }).waitFor();
    await page.goto("/sessions/no-such-session");
    await page.getByText("It is not there").waitFor();
  });
});

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { assertAccessible, withPage } from "./browser.mjs";
import { day } from "./demo.mjs";

/** The days of the story: what the demo adds while it runs is later. */
const WEEK = `${day(1)}..${day(6)}`;

const rows = (page) => page.locator("tbody tr");
const result = (page) => page.getByRole("region", { name: "Result" });
const count = (page, name) =>
  page.getByRole("list", { name: "Rows of each verdict" }).getByRole("listitem").filter({ hasText: name });

const run = async (page) => {
  await page.getByLabel("Period (UTC)").fill(WEEK);
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await result(page).getByRole("region", { name: "What makes it evidence" }).waitFor();
};

test("reports: the catalogue by control and by word, and one is opened from it", async () => {
  await withPage({}, async (page) => {
    await page.goto("/reports");
    await rows(page).first().waitFor();
    const all = await rows(page).count();
    assert.ok(all > 25, `${all} reports`);
    const control = page.getByLabel("Control");
    await control.selectOption({ index: 1 });
    await page.waitForFunction((all) => document.querySelectorAll("tbody tr").length < all, all);
    const chosen = await control.inputValue();
    for (const row of await rows(page).all()) assert.ok((await row.innerText()).includes(chosen), chosen);
    await control.selectOption("");
    await page.getByLabel("Words").fill("self-approval");
    await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
    await page.getByRole("link", { name: "R03" }).click();
    await page.getByRole("heading", { name: "R03 Self-approval and conflicted approval" }).waitFor();
  });
});

test("report: it runs for a period, and says what makes it evidence", async () => {
  await withPage({}, async (page) => {
    await page.goto("/reports/R02");
    await run(page);
    const exceptions = Number.parseInt(await count(page, "exceptions").innerText(), 10);
    assert.equal(exceptions, 2, "the story has two sessions of Dave without a request");
    await result(page).getByText("dave@example.com").first().waitFor();
    // Codes are told in words, and when it was is not out of sight.
    await result(page).getByText("Nothing links the session to a request or a decision").waitFor();
    const heads = await result(page).getByRole("columnheader").allInnerTexts();
    const [when, who] = ["started_at", "person"].map((head) => heads.indexOf(head));
    assert.ok(0 < when && when < who, heads.join(", "));
    const evidence = page.getByRole("region", { name: "What makes it evidence" });
    await evidence.getByText("Example Ltd (demo)").waitFor();
    for (const name of ["Population", "Result", "SQL"])
      await evidence.getByText(name, { exact: true }).first().waitFor();
    // A link to the run shows the same.
    assert.match(page.url(), /run=/);
    await page.reload();
    await result(page).getByText("dave@example.com").first().waitFor();
    await result(page).getByRole("link", { name: "Look" }).first().click();
    await page.waitForURL(/\/sessions\//);
  });
});

test("report: a parameter that is changed changes what it judges, and stands in the evidence", async () => {
  await withPage({}, async (page) => {
    await page.goto("/reports/R08");
    await run(page);
    const passed = await count(page, "pass").innerText();
    await page.getByLabel("reuse_max").fill("0");
    await run(page);
    await page.getByRole("region", { name: "What makes it evidence" }).getByText("reuse_max = 0").waitFor();
    assert.notEqual(await count(page, "pass").innerText(), passed);
  });
});

test("report: a parameter that cannot be read is refused in the server's words, and what is typed stays", async () => {
  await withPage({}, async (page) => {
    await page.goto("/reports/R05");
    await page.getByLabel("grace_s").fill("soon");
    await page.getByLabel("Period (UTC)").fill(WEEK);
    await page.getByRole("button", { name: "Run", exact: true }).click();
    await page
      .getByRole("alert")
      .getByText(/grace_s/)
      .waitFor();
    assert.equal(await page.getByLabel("grace_s").inputValue(), "soon");
    assert.equal(await page.getByLabel("Period (UTC)").inputValue(), WEEK);
    await page.getByLabel("grace_s").fill("60");
    await run(page);
  });
});

test("report: an evidence pack is made and downloaded, and is what its hash says", async () => {
  await withPage({}, async (page) => {
    await page.goto("/reports/R03");
    await page.getByLabel("Period (UTC)").fill(WEEK);
    await page.getByRole("button", { name: "Make an evidence pack" }).click();
    const pack = page.getByRole("region", { name: "Evidence pack" });
    const link = pack.getByRole("link", { name: "custody-evidence.zip" });
    await link.waitFor();
    const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
    const zip = await readFile(await download.path());
    assert.equal(zip.subarray(0, 4).toString("latin1"), "PK\u0003\u0004");
    await pack.getByText(createHash("sha256").update(zip).digest("hex")).waitFor();
  });
});

test("report: a sample is drawn with the auditor's word, the same each time", async () => {
  await withPage({}, async (page) => {
    const draw = async () => {
      await page.goto("/reports/R01");
      await page.getByLabel("Period (UTC)").fill(WEEK);
      await page.getByText("As of when, and a sample").click();
      await page.getByLabel("Sample: the auditor's word").fill("blue heron");
      await page.getByLabel("Items").fill("3");
      await page.getByRole("button", { name: "Draw the sample" }).click();
      await result(page).locator("tbody tr").nth(2).waitFor();
      assert.equal(await rows(page).count(), 3);
      const links = await result(page).getByRole("link", { name: "Look" }).all();
      return Promise.all(links.map((link) => link.getAttribute("href")));
    };
    const [first, second] = [await draw(), await draw()];
    assert.equal(first.length, 3);
    assert.deepEqual(second, first);
  });
});

test("report: what is said of an exception is written down, with why", async () => {
  const why = `<b>seen</b> in review ${Date.now()}`;
  await withPage({}, async (page) => {
    await page.goto("/reports/R03");
    await run(page);
    await result(page).locator("tbody").getByRole("button").first().click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Why").fill(why);
    await assertAccessible(page, "the life of an exception");
    // The server is away for a moment: what was typed is still there.
    let isAway = true;
    await page.route("**/api/v1/exceptions*", (route) =>
      isAway && route.request().method() === "POST" ? route.abort("connectionrefused") : route.continue(),
    );
    await dialog.getByRole("button", { name: "Write it down" }).click();
    await dialog.getByRole("alert").getByText("The server cannot be reached").first().waitFor();
    assert.equal(await dialog.getByLabel("Why").inputValue(), why);
    isAway = false;
    await dialog.getByRole("button", { name: "Write it down" }).click();
    await dialog.getByText("It is written down.").waitFor();
    await dialog.getByRole("listitem").getByText(why).waitFor();
  });
});

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { withPage } from "./browser.mjs";
import { until } from "./server.mjs";

const editor = (page) => page.getByRole("textbox", { name: "SQL" });
const answer = (page) => page.getByRole("region", { name: "Answer" });

const write = async (page, sql) => {
  await editor(page).click();
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.insertText(sql);
};

/** What stands in the editor. */
const written = (page) => editor(page).innerText();

const open = async (page, path = "/sql") => {
  await page.goto(path);
  await editor(page).waitFor();
};

test("sql: tables and columns are completed, and the answer has types that are right", async () => {
  await withPage({}, async (page) => {
    await open(page);
    await write(page, "SELECT count(*) AS n FROM ");
    await page.keyboard.type("session_acc");
    const option = page.getByRole("option", { name: "session_access", exact: true });
    // The names of the tables may come after what is typed.
    await until("a completion", async () => {
      await page.keyboard.press("Control+Space");
      return option.isVisible();
    });
    // The editor passes over what is picked the moment the list appears.
    await until("the name to be taken", async () => {
      if (await option.isVisible()) await option.click();
      return (await written(page)).includes("FROM session_access");
    });
    await page.keyboard.press("ControlOrMeta+Enter");
    await answer(page).getByRole("columnheader", { name: "n", exact: true }).waitFor();
    await page
      .getByRole("status")
      .filter({ hasText: /^1 row in/ })
      .waitFor();
    assert.match(await answer(page).getByRole("cell").nth(1).innerText(), /^\d+$/);
  });
});

test("sql: a mistake is told in the server's words, and the text stays", async () => {
  await withPage({}, async (page) => {
    await open(page);
    const sql = "SELECT nothing_like_it FROM session_access";
    await write(page, sql);
    await page.keyboard.press("ControlOrMeta+Enter");
    const alert = page.getByRole("alert");
    await alert
      .getByText(/nothing_like_it/)
      .first()
      .waitFor();
    assert.equal(await written(page), sql);
    // The ledger is only read.
    await write(page, "DROP TABLE records");
    await page.getByRole("button", { name: "Run", exact: true }).click();
    await alert.getByText(/nothing_like_it/).waitFor({ state: "detached" });
    await alert.waitFor();
  });
});

test("sql: a server that is away loses nothing of it", async () => {
  await withPage({}, async (page) => {
    let isAway = false;
    await page.route("**/api/v1/**", (route) => (isAway ? route.abort("connectionrefused") : route.continue()));
    await open(page);
    await write(page, "SELECT 'written with care' AS text");
    isAway = true;
    await page.getByRole("button", { name: "Run", exact: true }).click();
    await page.getByRole("alert").getByText("The server cannot be reached").first().waitFor();
    await page.reload();
    await editor(page).getByText("written with care").waitFor();
    isAway = false;
    await page.getByRole("button", { name: "Run", exact: true }).click();
    await answer(page).getByRole("cell", { name: "written with care" }).waitFor();
  });
});

test("sql: what was asked is remembered, and a link shares it without a server", async () => {
  await withPage({ permissions: ["clipboard-read", "clipboard-write"] }, async (page) => {
    await open(page);
    await write(page, "SELECT 1 AS first");
    await page.keyboard.press("ControlOrMeta+Enter");
    await answer(page).getByRole("columnheader", { name: "first" }).waitFor();
    await write(page, "SELECT 2 AS second");
    await page.keyboard.press("ControlOrMeta+Enter");
    await answer(page).getByRole("columnheader", { name: "second" }).waitFor();
    await page.getByText("What was asked in this browser (2)").click();
    await page.getByRole("button", { name: "SELECT 1 AS first" }).click();
    await editor(page).getByText("first").waitFor();
    await page.getByRole("button", { name: "Share" }).click();
    await page.getByRole("button", { name: "Copied" }).waitFor();
    const link = await page.evaluate(() => navigator.clipboard.readText());
    assert.equal(new URL(link).hash, `#q=${encodeURIComponent("SELECT 1 AS first")}`);
    // Whoever gets it has another browser; what it asked is not sent to a server before somebody runs it.
    await withPage({}, async (other) => {
      const asked = [];
      other.on("request", (request) => asked.push(`${request.url()} ${request.postData() ?? ""}`));
      await open(other, link);
      await editor(other).getByText("first").waitFor();
      assert.ok(!asked.some((text) => text.includes("first")), "it is in no request");
    });
  });
});

test("sql: a long answer is there at once, and can be saved as CSV", async () => {
  await withPage({}, async (page) => {
    await open(page);
    const digits = "(VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9))";
    const from = ["a", "b", "c"].map((name) => `${digits} AS ${name}(digit)`).join(", ");
    const number = "100 * a.digit + 10 * b.digit + c.digit + 1";
    const text = "'<img src=x onerror=alert(1)>' AS text";
    await write(page, `SELECT ${number} AS number, ${text} FROM ${from} WHERE a.digit < 9 ORDER BY number`);
    await page.keyboard.press("ControlOrMeta+Enter");
    await page
      .getByRole("status")
      .filter({ hasText: /^900 rows in/ })
      .waitFor();
    // Only what is in sight is there.
    assert.ok((await answer(page).getByRole("row").count()) < 100);
    await answer(page).getByText("<img src=x onerror=alert(1)>").first().waitFor();
    await page.getByRole("button", { name: "Save as" }).click();
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("menuitem", { name: "csv" }).click(),
    ]);
    const csv = await readFile(await download.path(), "utf8");
    assert.equal(csv.trimEnd().split(/\r?\n/).length, 901);
  });
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, withPage } from "./browser.mjs";

const region = (page, name) => page.getByRole("region", { name, exact: true });
const rows = (page, name) => region(page, name).locator("tbody tr");

test("pipeline: parts that are up, sources that sent something, streams without holes, tables with a size", async () => {
  await withPage({}, async (page) => {
    await page.goto("/pipeline");
    const parts = page.getByRole("list", { name: "Parts" });
    for (const part of ["ledger", "kafka", "store"]) {
      await parts.getByRole("listitem").filter({ hasText: part }).getByText("up", { exact: true }).waitFor();
    }
    await parts.getByText("messages wait at the broker").waitFor();
    for (const source of ["teleport", "boundary", "hoop", "opa"]) {
      await rows(page, "Sources").filter({ hasText: source }).first().waitFor();
    }
    await rows(page, "Streams").filter({ hasText: "teleport.audit" }).first().waitFor();
    await rows(page, "Tables").filter({ hasText: "records" }).first().waitFor();
    await region(page, "Forwarding").getByText("Nothing is forwarded").waitFor();
  });
});

test("pipeline: a message that could not be decoded says why, and its bytes can be seen as they came", async () => {
  await withPage({}, async (page) => {
    await page.goto("/pipeline");
    await rows(page, "Dead letters").first().waitFor();
    const letters = rows(page, "Dead letters");
    assert.ok((await letters.count()) >= 9, "the demo has nine");
    const why = await letters.first().getByRole("cell").nth(2).innerText();
    await letters.first().getByRole("button").click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText(why).first().waitFor();
    // Offset, bytes in hex, and what of them can be read.
    await dialog
      .getByText(/^00000000 /)
      .or(dialog.getByText("It has no value."))
      .waitFor();
    await assertAccessible(page, "a dead letter");
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
  });
});

test("pipeline: a part that is down is seen at once, with why", async () => {
  await withPage({}, async (page) => {
    const parts = [
      { component: "ledger", state: "up" },
      { component: "kafka", state: "down", why: "<b>no broker</b> answers" },
    ];
    await page.route("**/readyz", (route) => route.fulfill({ status: 503, json: { ready: false, parts } }));
    await page.goto("/pipeline");
    const kafka = page.getByRole("list", { name: "Parts" }).getByRole("listitem").filter({ hasText: "kafka" });
    await kafka.getByText("down", { exact: true }).waitFor();
    await kafka.getByText("<b>no broker</b> answers").waitFor();
  });
});

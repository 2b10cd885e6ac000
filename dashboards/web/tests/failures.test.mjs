// Every page while the server is slow, away, broken and there again: what happens is said, nothing is thrown, and one click
// tries again.
import { test } from "node:test";
import { picture, withPage } from "./browser.mjs";
import { PAGES } from "./pages.mjs";

const ASKED = /\/(api\/v1\/|readyz$|metrics$)/;
const BROKEN = { error: { kind: "internal", message: "<b>see</b> the server's log" } };

/** These ask nothing before something is done, or nothing at all. */
const SILENT = new Set(["sql", "report-run", "not-found"]);

for (const name of Object.keys(PAGES).filter((name) => !SILENT.has(name))) {
  test(`${name}: a server that is slow, away, broken and there again`, async () => {
    const [address, isThere] = PAGES[name];
    const path = typeof address === "string" ? address : await address();
    await withPage({}, async (page) => {
      let held = [];
      let answer = (route) => held.push(route);
      await page.route(ASKED, (route) => answer(route));
      const tryAgain = page.getByRole("button", { name: "Try again" });
      const main = page.getByRole("main");

      await page.goto(path);
      await main.getByRole("status").first().waitFor();
      await picture(page, `slow-${name}`);

      answer = (route) => route.abort("connectionrefused");
      for (const route of held) await answer(route);
      held = [];
      await main.getByText("The server cannot be reached").first().waitFor();
      await picture(page, `away-${name}`);

      answer = (route) => route.fulfill({ status: 500, json: BROKEN });
      await tryAgain.first().click();
      await main.getByText("<b>see</b> the server's log").first().waitFor();

      answer = (route) => route.continue();
      // What is tried again goes away, until nothing is left to be tried.
      const all = async () => {
        while ((await tryAgain.count()) > 0) {
          const before = await tryAgain.count();
          await tryAgain.first().click();
          await page.waitForFunction(
            (before) =>
              [...document.querySelectorAll("button")].filter(({ innerText }) => innerText === "Try again").length <
              before,
            before,
          );
        }
      };
      await all();
      await isThere(page);
    });
  });
}

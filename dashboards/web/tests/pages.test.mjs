// Every page in both themes and three windows: nothing is too wide, axe finds nothing serious, and a picture is made.
import { after, before, test } from "node:test";
import { ask, assertAccessible, assertFits, close, open, picture, shows, withPage } from "./browser.mjs";

before(open);
after(close);

/** Address, and what is there when the page is. */
const PAGES = {
  sessions: ["/sessions", (page) => page.locator("tbody tr").first().waitFor()],
  session: [
    "/sessions/00005125-5e55-4000-8000-000000000001?at=31",
    async (page) => {
      await shows(page, "upstream timed out");
      await page.getByText("SHA-256").waitFor();
      await page.locator("li[data-kind=command]").first().waitFor();
    },
  ],
  unapproved: [
    async () => `/sessions/${(await ask("/api/v1/sessions?link=none&limit=1")).sessions[0].session_id}`,
    async (page) => {
      await page.getByText("This session has no proven approval.").waitFor();
      await page.getByRole("button", { name: "Play" }).waitFor();
    },
  ],
  live: ["/live", (page) => page.locator("tbody tr").or(page.getByText("Nobody is in there now")).first().waitFor()],
  "not-found": ["/no/such/page", (page) => page.getByText("There is no such page").waitFor()],
};

const WINDOWS = [
  [1280, 720],
  [1920, 1080],
  [390, 844],
];

for (const [name, [address, isThere]] of Object.entries(PAGES)) {
  for (const colorScheme of ["light", "dark"]) {
    test(`${name}, ${colorScheme}: fits every window, and is accessible`, async () => {
      const path = typeof address === "string" ? address : await address();
      await withPage({ colorScheme }, async (page) => {
        await page.goto(path);
        await isThere(page);
        for (const [width, height] of WINDOWS) {
          await page.setViewportSize({ width, height });
          await assertFits(page);
          await picture(page, `${name}-${colorScheme}-${width}x${height}`);
        }
        await page.setViewportSize({ width: 1280, height: 720 });
        await assertAccessible(page, name);
      });
    });
  }
}

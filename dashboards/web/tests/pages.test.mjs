// Every page in both themes and three windows: nothing is too wide, axe finds nothing serious, and a picture is made.
import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { assertAccessible, assertFits, measured, picture, withPage } from "./browser.mjs";
import { goTo, PAGES } from "./pages.mjs";

/** What the first load may weigh at most. */
const FIRST_LOAD_KB_MAX = 300;

test("the first load: what its scripts weigh", async () => {
  await withPage({}, async (page) => {
    const scripts = [];
    page.on("response", (response) => {
      if (response.request().resourceType() === "script") scripts.push(response.body());
    });
    // No page of the list is at this address, so that nothing but the first load is loaded.
    await goTo(page, "not-found");
    const kb = (await Promise.all(scripts)).reduce((sum, body) => sum + gzipSync(body).length / 1024, 0);
    measured("first load: script, gzip", kb, "KB");
    assert.ok(kb > 0 && kb < FIRST_LOAD_KB_MAX, `${kb} KB`);
  });
});

const WINDOWS = [
  [1280, 720],
  [1920, 1080],
  [390, 844],
];

for (const name of Object.keys(PAGES)) {
  for (const colorScheme of ["light", "dark"]) {
    test(`${name}, ${colorScheme}: fits every window, and is accessible`, async () => {
      await withPage({ colorScheme }, async (page) => {
        await goTo(page, name);
        await assertAccessible(page, name);
        for (const [width, height] of WINDOWS) {
          await page.setViewportSize({ width, height });
          await assertFits(page);
          await picture(page, `${name}-${colorScheme}-${width}x${height}`);
        }
      });
    });
  }
}

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { ask, measured, picture, shows, showsSomething, withPage } from "./browser.mjs";
import { APPROVED, day, LONGEST, story } from "./demo.mjs";

const timeline = (page) => page.getByRole("slider", { name: "Time of the recording" });

/** Seconds at which the recording stands. */
const now = async (page) => Number(await timeline(page).getAttribute("aria-valuenow"));

const until = (page, compare, seconds) =>
  page.waitForFunction(
    ([compare, seconds]) => {
      const now = Number(document.querySelector("[role=slider]")?.getAttribute("aria-valuenow"));
      return compare === "past" ? now > seconds : Math.abs(now - seconds) <= 1;
    },
    [compare, seconds],
  );

test("session: it plays, pauses, and goes on from where it was", async () => {
  await withPage({}, async (page) => {
    await page.goto(APPROVED);
    await page.getByRole("button", { name: "Play" }).click();
    await shows(page, "alice@prod-web-01");
    await until(page, "past", 4);
    await page.keyboard.press("Space");
    await page.getByRole("button", { name: "Play" }).waitFor();
    const paused = await now(page);
    await page.getByLabel("Speed").selectOption("32");
    await page.getByRole("button", { name: "Play" }).click();
    await until(page, "past", paused + 20);
  });
});

test("session: a link leads to its moment, and a new one is made of where it stands", async () => {
  await withPage({}, async (page) => {
    await page.goto(`${APPROVED}?at=3:44`);
    await shows(page, "upstream timed out");
    await until(page, "at", 224);
    await page.keyboard.press("ArrowRight");
    await until(page, "at", 229);
    await page.getByRole("button", { name: "Link to this moment" }).click();
    await page.waitForURL(/at=229/);
    await page.reload();
    await until(page, "at", 229);
  });
});

test("session: from a click late on the timeline of the longest recording to the screen of then", async () => {
  await withPage({}, async (page) => {
    await page.goto(`/sessions/${LONGEST.session_id}`);
    await page.getByRole("button", { name: "Play" }).waitFor();
    await showsSomething(page);
    const { x, y, width, height } = await timeline(page).boundingBox();
    // The screen of then is another: it is looked at each time the browser draws.
    await page.evaluate(() => {
      let from_ms;
      const text = () => document.querySelector(".ap-term-text").textContent;
      const before = text();
      document.addEventListener("pointerdown", () => (from_ms = performance.now()), { capture: true, once: true });
      const look = () => {
        if (from_ms !== undefined && text() !== before) window.seekMs = performance.now() - from_ms;
        else requestAnimationFrame(look);
      };
      look();
    });
    await page.mouse.click(x + width * 0.98, y + height / 2);
    const seek = await page.waitForFunction(() => window.seekMs);
    measured("longest demo session: from a click late on its timeline to the screen", await seek.jsonValue(), "ms");
    const length_s = LONGEST.duration_ms / 1000;
    assert.ok(length_s > 3600, "the longest session is hours long");
    await until(page, "past", 0.95 * length_s);
    // It plays on from there, to its end.
    await page.getByLabel("Speed").selectOption("32");
    await page.getByRole("button", { name: "Play" }).click();
    await until(page, "past", 0.99 * length_s);
  });
});

test("session: what its page takes", async () => {
  await withPage({}, async (page) => {
    const cdp = await page.context().newCDPSession(page);
    await cdp.send("Performance.enable");
    const heap = async () => {
      await cdp.send("HeapProfiler.collectGarbage");
      const { metrics } = await cdp.send("Performance.getMetrics");
      return metrics.find(({ name }) => name === "JSHeapUsedSize").value / 2 ** 20;
    };
    await page.goto(`/sessions/${LONGEST.session_id}`);
    await page.getByRole("button", { name: "Play" }).waitFor();
    await showsSomething(page);
    const before = await heap();
    measured("session page: JavaScript heap", before, "MiB");
    // Back and forth through the recording: what is left behind is given back.
    await timeline(page).focus();
    for (let turn = 0; turn < 10; turn += 1) {
      await page.keyboard.press("End");
      await until(page, "past", 0.98 * (LONGEST.duration_ms / 1000));
      await page.keyboard.press("Home");
      await until(page, "at", 0);
    }
    const after = await heap();
    measured("session page: JavaScript heap after 20 seeks from end to end", after, "MiB");
    assert.ok(after < before + 20, `${before} MiB became ${after} MiB`);
  });
});

test("session: elapsed or wall clock, in the zone that is chosen", async () => {
  await withPage({}, async (page) => {
    await page.goto(`${APPROVED}?at=60`);
    await until(page, "at", 60);
    await page.keyboard.press("c");
    await page.waitForFunction(
      (at) => document.querySelector("[role=slider]").getAttribute("aria-valuetext").startsWith(at),
      `${day(1)} 10:09:02 UTC`,
    );
  });
});

test("session: beside it stands why, who said yes, and what that rests on", async () => {
  await withPage({}, async (page) => {
    await page.goto(APPROVED);
    const evidence = page.getByRole("complementary", { name: "Evidence" });
    await evidence.getByText("Investigating dashboard latency").first().waitFor();
    for (const text of [
      "request id on session.start",
      "OPS-1412",
      "bob@example.com",
      `${day(1)} 10:06:11 UTC`,
      "“ok”",
    ]) {
      await evidence.getByText(text).first().waitFor();
    }
    const { output_sha256 } = await ask(`/api/v1${APPROVED}/replay`);
    await evidence.getByText(output_sha256).waitFor();
  });
});

test("session: one that nothing approved says so before anything else", async () => {
  const [unapproved] = await story("link=none");
  await withPage({}, async (page) => {
    await page.goto(`/sessions/${unapproved.session_id}`);
    await page.getByText("This session has no proven approval.").waitFor();
  });
});

test("session: commands stand on its clock, and each leads there", async () => {
  await withPage({}, async (page) => {
    await page.goto(APPROVED);
    const command = page.getByRole("listitem").filter({ hasText: "kubectl get pods" });
    await command.getByRole("button").click();
    await until(page, "at", 176);
    await page.waitForFunction(() =>
      document.querySelector("li[aria-current=time]")?.textContent.includes("kubectl get pods"),
    );
  });
});

test("session: a text is found inside it, and a hit leads there", async () => {
  await withPage({}, async (page) => {
    await page.goto(APPROVED);
    await page.getByLabel("Find on the screen").fill("upstream timed out");
    await page.getByRole("button", { name: "Find", exact: true }).click();
    const hit = page.locator("li[data-kind=hit]").first();
    await hit.getByRole("button").click();
    await shows(page, "upstream timed out");
    await until(page, "at", 30);
  });
});

test("session: the transcript has what was on the screen as text", async () => {
  await withPage({}, async (page) => {
    await page.goto(APPROVED);
    await page.getByText("Transcript: every line").click();
    // What is scrolled out of sight is drawn when it is scrolled to.
    await page.getByText("orders: connection pool at 18 of 20").first().waitFor({ state: "attached" });
  });
});

test("session: a part that cannot be fetched is tried again, and what was there stays", async () => {
  await withPage({}, async (page) => {
    let isAway = true;
    await page.route(/\/replay\/\d+\/\d+$/, (route) => (isAway ? route.abort("connectionreset") : route.continue()));
    await page.goto(`${APPROVED}?at=31`);
    await page.getByText("A part of the recording cannot be fetched").waitFor();
    isAway = false;
    await shows(page, "upstream timed out");
    await page.getByText("A part of the recording cannot be fetched").waitFor({ state: "detached" });
  });
});

test("session: without a recording, its evidence and events are there all the same", async () => {
  const announced = (await story()).find(({ recording, frames }) => recording === "announced" && frames === 0);
  await withPage({}, async (page) => {
    await page.goto(`/sessions/${announced.session_id}`);
    await page.getByText("There is nothing to play").waitFor();
    await page.getByRole("region", { name: "What happened" }).getByText("session.start").waitFor();
  });
});

test("session: the page that is downloaded plays from the disk, and asks no server", async () => {
  const folder = await mkdtemp(join(tmpdir(), "custody-web-"));
  try {
    const file = join(folder, "session.html");
    await withPage({ acceptDownloads: true }, async (page) => {
      await page.goto(APPROVED);
      await page.getByRole("button", { name: "Download" }).click();
      const item = page.getByRole("menuitem", { name: /page/i });
      const [download] = await Promise.all([page.waitForEvent("download"), item.click()]);
      await download.saveAs(file);
    });
    await withPage({}, async (page) => {
      const asked = [];
      page.on("request", (request) => asked.push(request.url()));
      await page.goto(pathToFileURL(file).href);
      await page.getByRole("row", { name: "Approved by bob@example.com" }).waitFor();
      await page.locator(".ap-player").click();
      // To a tenth of it.
      await page.keyboard.press("1");
      await shows(page, "journalctl -u web-app");
      await picture(page, "downloaded");
      assert.deepEqual(
        asked.filter((url) => !/^(file|data|blob):/.test(url)),
        [],
      );
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, close, open, shows, withPage } from "./browser.mjs";

before(open);
after(close);

/** A session of the demo's story: recorded, with a request, a review and a reason. */
const APPROVED = "/sessions/00005125-5e55-4000-8000-000000000001";

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
    assert.equal(await now(page), 224);
    await page.keyboard.press("ArrowRight");
    await until(page, "at", 229);
    await page.getByRole("button", { name: "Link to this moment" }).click();
    await page.waitForURL(/at=229/);
    await page.reload();
    await until(page, "at", 229);
  });
});

test("session: from a click on the timeline to the screen of then", async (t) => {
  await withPage({}, async (page) => {
    await page.goto(APPROVED);
    await page.getByRole("button", { name: "Play" }).waitFor();
    await shows(page, "");
    const { x, y, width, height } = await timeline(page).boundingBox();
    // What the terminal shows is looked at each time the browser draws.
    await page.evaluate(() => {
      let from_ms;
      document.addEventListener("pointerdown", () => (from_ms = performance.now()), { capture: true, once: true });
      const look = () => {
        const text = document.querySelector(".ap-term-text").textContent;
        if (from_ms !== undefined && text.includes("$ exit")) window.seekMs = performance.now() - from_ms;
        else requestAnimationFrame(look);
      };
      look();
    });
    await page.mouse.click(x + width * 0.99, y + height / 2);
    const seek = await page.waitForFunction(() => window.seekMs);
    t.diagnostic(`seek to screen: ${Math.round(await seek.jsonValue())} ms`);
    assert.ok((await now(page)) > 1290);
  });
});

test("session: elapsed or wall clock, in the zone that is chosen", async () => {
  await withPage({}, async (page) => {
    await page.goto(`${APPROVED}?at=60`);
    await until(page, "at", 60);
    await page.keyboard.press("c");
    await page.waitForFunction(() =>
      document.querySelector("[role=slider]").getAttribute("aria-valuetext").startsWith("2026-11-16 10:09:02 UTC"),
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
      "2026-11-16 10:06:11 UTC",
      "“ok”",
    ]) {
      await evidence.getByText(text).first().waitFor();
    }
    const { output_sha256 } = await ask(`/api/v1${APPROVED}/replay`);
    await evidence.getByText(output_sha256).waitFor();
  });
});

test("session: one that nothing approved says so before anything else", async () => {
  const { sessions } = await ask("/api/v1/sessions?link=none&limit=1");
  await withPage({}, async (page) => {
    await page.goto(`/sessions/${sessions[0].session_id}`);
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
    await page.keyboard.press("Enter");
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
  const { sessions } = await ask("/api/v1/sessions?limit=1000");
  const announced = sessions.find(({ recording, frames }) => recording === "announced" && frames === 0);
  await withPage({}, async (page) => {
    await page.goto(`/sessions/${announced.session_id}`);
    await page.getByText("There is nothing to play").waitFor();
    await page.getByRole("region", { name: "What happened" }).getByText("session.start").waitFor();
  });
});

// What the browser tests need: a Chromium, and a server with the demo's ledger, which is started here unless one is named.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const { env } = process;
const TARGET = env.CARGO_TARGET_DIR ?? join(homedir(), ".cache/custody/target");
const BINARY = env.CUSTODY_BIN ?? join(TARGET, "debug/custody");
const onPath = (env.PATH ?? "").split(":").map((folder) => join(folder, "chromium"));
export const CHROMIUM = env.CUSTODY_CHROMIUM ?? onPath.find((file) => existsSync(file)) ?? "chromium";

/** How long is waited for anything. */
export const WAIT_MS = Number(env.CUSTODY_WAIT_MS ?? 60_000);
/** The demo records its story in real terminals before it publishes it. */
const STORY_MS = 5 * WAIT_MS;
const LOOK_EVERY_MS = 250;
const STOP_MS = 20_000;

/** What the browser tests cannot do without and this machine has not, each in a line. */
export const lacking = [
  existsSync(CHROMIUM) || "NO CHROMIUM",
  env.CUSTODY_URL !== undefined || existsSync(BINARY) || `NO BINARY at ${BINARY}`,
].filter((line) => line !== true);

/** Starts the demo on a free port with a ledger of its own; it ends with this process at the latest. */
export async function startDemo() {
  const folder = await mkdtemp(join(tmpdir(), "custody-web-"));
  const demo = spawn(BINARY, ["demo", "--data", join(folder, "ledger"), "--listen", "127.0.0.1:0"], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const kill = () => demo.kill("SIGKILL");
  process.on("exit", kill);
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
  let said = "";
  demo.stderr.setEncoding("utf8").on("data", (text) => {
    said = (said + text).slice(-4_000);
  });
  const ended = once(demo, "exit");
  const announced = (async () => {
    for await (const line of createInterface({ input: demo.stdout })) {
      const [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(line) ?? [];
      if (url === undefined) continue;
      // Nobody reads the rest of what it says.
      demo.stdout.resume();
      return url;
    }
  })();
  const url = await Promise.race([announced, ended.then(() => undefined)]);
  if (url === undefined) throw new Error(`${BINARY} demo ended before it was there:\n${said}`);
  return {
    url,
    stop: async () => {
      demo.kill("SIGINT");
      const late = setTimeout(kill, STOP_MS);
      await ended;
      clearTimeout(late);
      process.off("exit", kill);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Asks until there is what is waited for: the server has no event that says so. */
export async function until(what, ask, wait_ms = WAIT_MS) {
  const till = performance.now() + wait_ms;
  for (;;) {
    const found = await ask();
    if (found) return found;
    if (performance.now() > till) throw new Error(`${what}: not within ${wait_ms / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** Waits until all of the demo's story can be seen, played and searched, and a session is running. */
export async function storyIsTold(server) {
  const ask = async (path, question) => {
    const body = question && { method: "POST", body: JSON.stringify(question) };
    const response = await fetch(new URL(path, server), { headers: { "content-type": "application/json" }, ...body });
    return response.ok ? response.text() : "";
  };
  const sessions = async (query) =>
    JSON.parse((await ask(`/api/v1/sessions?limit=1000&${query}`)) || "{}").sessions ?? [];
  await until(
    "the story of the demo",
    async () => {
      const told = await sessions("state=ended");
      // Boundary's recordings are files, and come last.
      if (told.filter(({ source, recording }) => source === "boundary" && recording === "recorded").length < 2)
        return false;
      const [first] = await sessions("reason=Investigating%20dashboard%20latency");
      return first && (await ask("/api/v1/search", { text: "upstream timed out" })).includes(first.session_id);
    },
    STORY_MS,
  );
  await until("a running session with a screen", async () =>
    (await sessions("state=running")).some(({ output_bytes }) => output_bytes > 0),
  );
}

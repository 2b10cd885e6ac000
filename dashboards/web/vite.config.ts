import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

const REPLAY = fileURLToPath(new URL("../../replay/src/encode/html/", import.meta.url));

/**
 * The scripts of exported pages, as modules: they are put into a page as they are there, and say what they have nowhere.
 */
function replayScripts(exported: Record<string, string>): Plugin {
  return {
    name: "replay-scripts",
    transform(code, id) {
      const name = id.startsWith(REPLAY) ? exported[id.slice(REPLAY.length)] : undefined;
      return name === undefined ? undefined : { code: `${code}\nexport { ${name} };\n`, map: null };
    },
  };
}

export default defineConfig({
  plugins: [react(), replayScripts({ "driver.js": "SegmentDriver", "fetched.js": "fetched" })],
  resolve: { alias: { "@replay": REPLAY.replace(/\/$/, "") } },
  build: {
    target: "es2023",
    manifest: true,
    // Nothing is inlined: the content security policy allows what has an address of its own.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    fs: { allow: [".", REPLAY] },
    proxy: Object.fromEntries(
      ["/api", "/readyz", "/metrics"].map((path) => [path, process.env.CUSTODY_URL ?? "http://127.0.0.1:7878"]),
    ),
  },
});

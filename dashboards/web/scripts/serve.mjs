// Serves dist/ under the content security policy of the server, and passes the API on to a running one.
//
//   CUSTODY_URL=http://127.0.0.1:7878 node scripts/serve.mjs [port]
import { readFile } from "node:fs/promises";
import { createServer, request } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const DIST = fileURLToPath(new URL("../dist/", import.meta.url));
const SERVER = new URL(process.env.CUSTODY_URL ?? "http://127.0.0.1:7878");
const PORT = Number(process.argv[2] ?? 5173);

export const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
  ".woff2": "font/woff2",
};

const pass = (from, to) => {
  const { method, url, headers } = from;
  const host = SERVER.host;
  const asked = request(new URL(url, SERVER), { method, headers: { ...headers, host } }, (answer) => {
    to.writeHead(answer.statusCode, answer.headers);
    answer.pipe(to);
  });
  asked.on("error", (error) => {
    if (!to.headersSent) to.writeHead(502, { "content-type": "application/json" });
    to.end(JSON.stringify({ error: { kind: "unreachable", message: error.message } }));
  });
  to.on("close", () => asked.destroy());
  from.pipe(asked);
};

createServer(async (from, to) => {
  const path = normalize(decodeURIComponent(new URL(from.url, "http://localhost").pathname));
  if (path.startsWith("/api/") || path === "/readyz" || path === "/metrics") return pass(from, to);
  const file = extname(path) === "" ? "index.html" : path;
  const type = TYPES[extname(file)];
  const bytes = type && (await readFile(join(DIST, file)).catch(() => undefined));
  if (bytes === undefined) {
    to.writeHead(404).end();
    return;
  }
  to.writeHead(200, {
    "content-type": type,
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "cache-control": path.startsWith("/assets/") ? "public, max-age=31536000, immutable" : "no-cache",
  });
  to.end(bytes);
}).listen(PORT, "127.0.0.1", () => console.log(`http://127.0.0.1:${PORT} with the API of ${SERVER}`));

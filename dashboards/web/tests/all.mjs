// All tests in one process, one after the other, with one server and one Chromium. Without these the browser tests are
// skipped, which is said; where CI is set they have to be there.
import "./units.test.mjs";
import { lacking } from "./server.mjs";

if (lacking.length === 0) {
  for (const name of ["overview", "sessions", "session", "live", "requests", "reports", "search", "sql", "pipeline"]) {
    await import(`./${name}.test.mjs`);
  }
  await import("./failures.test.mjs");
  await import("./pages.test.mjs");
} else {
  for (const line of lacking) console.error(`\n*** ${line}: the browser tests are SKIPPED\n`);
  if (process.env.CI) process.exitCode = 1;
}

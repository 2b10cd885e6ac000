// The pages: the address of each, and what is there when it is.
import { shows, showsSomething } from "./browser.mjs";
import { APPROVED, day, LONGEST, REQUEST, running, STORY_TO, story } from "./demo.mjs";

const rows = (page) => page.locator("tbody tr").first().waitFor();
const region = (page, name) => page.getByRole("region", { name, exact: true });

const WEEK = `${day(1)}..${day(8)}`;

export const PAGES = {
  overview: [
    "/",
    async (page) => {
      await region(page, "Not approved").getByRole("listitem").first().waitFor();
      await rows(page);
      await region(page, "Sessions over time").getByText("explained").first().waitFor();
      await region(page, "Running now").getByRole("listitem").first().waitFor();
      await region(page, "Pipeline").getByText("kafka").waitFor();
    },
  ],
  sessions: [`/sessions?to=${STORY_TO}`, rows],
  session: [
    `${APPROVED}?at=31`,
    async (page) => {
      await shows(page, "upstream timed out");
      await page.getByText("SHA-256").waitFor();
      await page.locator("li[data-kind=command]").first().waitFor();
    },
  ],
  "session-long": [
    `/sessions/${LONGEST.session_id}`,
    async (page) => {
      await page.getByRole("button", { name: "Play" }).waitFor();
      await showsSomething(page);
      await page.getByText("SHA-256").waitFor();
    },
  ],
  "session-unapproved": [
    async () => `/sessions/${(await story("link=none"))[0].session_id}`,
    async (page) => {
      await page.getByText("This session has no proven approval.").waitFor();
      await page.getByRole("button", { name: "Play" }).waitFor();
    },
  ],
  "session-live": [running, (page) => page.getByRole("status").getByText("live", { exact: true }).waitFor()],
  requests: ["/requests", rows],
  request: [REQUEST, (page) => page.getByRole("link", { name: /opened a session/ }).waitFor()],
  reports: ["/reports", rows],
  report: ["/reports/R02", (page) => page.getByRole("button", { name: "Run", exact: true }).waitFor()],
  "report-run": [
    "/reports/R02",
    async (page) => {
      await page.getByLabel("Period (UTC)").fill(WEEK);
      await page.getByRole("button", { name: "Run", exact: true }).click();
      await region(page, "What makes it evidence").waitFor();
      await rows(page);
    },
  ],
  search: ["/search?q=upstream+timed+out", (page) => page.locator("mark").first().waitFor()],
  sql: [
    "/sql",
    async (page) => {
      await page.getByRole("textbox", { name: "SQL" }).waitFor();
      await page.getByRole("button", { name: "Run", exact: true }).click();
      await region(page, "Answer").getByRole("cell").first().waitFor();
    },
  ],
  pipeline: [
    "/pipeline",
    async (page) => {
      for (const name of ["Sources", "Dead letters", "Streams", "Tables"]) await rows(region(page, name));
      await region(page, "Forwarding").getByText("Nothing is forwarded").waitFor();
    },
  ],
  live: ["/live", rows],
  "not-found": ["/no/such/page", (page) => page.getByText("There is no such page").waitFor()],
};

/** Opens a page of the list, and waits until it is there. */
export async function goTo(page, name) {
  const [address, isThere] = PAGES[name];
  await page.goto(typeof address === "string" ? address : await address());
  await isThere(page);
}

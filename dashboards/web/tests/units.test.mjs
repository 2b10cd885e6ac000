// What needs no browser: quoting of SQL, exact numbers, figures, metrics, periods, pieces of hits.
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runnerImport } from "vite";

const load = async (path) =>
  (await runnerImport(fileURLToPath(new URL(`../src/${path}`, import.meta.url)), { logLevel: "silent" })).module;

const { text, transcript } = await load("api/questions.ts");
const { addressOf, deadLetters } = await load("api/pipeline.ts");
const { exactJson } = await load("api/json.ts");
const { samples } = await load("api/operation.ts");
const { stacked } = await load("ui/stacked.ts");
const { bytes } = await load("ui/size.ts");
const figures = await load("pages/Overview/figures.ts");
const { hrefOf, parameterOf, periods } = await load("pages/Report/runs.ts");
const { marked, withFound, NOTHING } = await load("pages/Search/hits.ts");
const { share, shared, withAsked } = await load("pages/Sql/history.ts");
const { dump } = await load("pages/Pipeline/hex.ts");
const { stateOf } = await load("api/access.ts");

const HOSTILE = [
  "'",
  "''",
  "\\'",
  "\\' OR 1=1 --",
  "'; DROP TABLE records; --",
  "$1 $from ? %s {0}",
  "/* */ -- \n\r\t",
  "E'\\x27'",
  "\u2019\u02bc\uff07 look like it",
  "\u0000\u0001\u001b[31m",
  "<script>alert('1')</script>",
  "😀".repeat(500),
  "",
];

/** Reads a literal as the standard says, and nothing else. */
function unquoted(literal) {
  const [, inner] = /^'((?:[^']|'')*)'$/s.exec(literal) ?? [];
  assert.notEqual(inner, undefined, `${literal} is not one literal`);
  return inner.replaceAll("''", "'");
}

/** What was sent, instead of sending it. */
async function sent(question) {
  const before = globalThis.fetch;
  let address;
  let body;
  globalThis.fetch = async (to, init) => {
    address = to;
    body = init.body === undefined ? undefined : JSON.parse(init.body);
    return new Response("[]");
  };
  try {
    await question();
  } finally {
    globalThis.fetch = before;
  }
  return { address, sql: body?.sql };
}

test("a text in SQL is one literal, whatever it has", () => {
  for (const value of HOSTILE) assert.equal(unquoted(text(value)), value);
});

test("a recording that is asked for stays within its literals", async () => {
  for (const value of HOSTILE) {
    const of = (name) => transcript({ session_id: name, source: name, channel: name }, undefined);
    const { sql } = await sent(() => of(value));
    const plain = (await sent(() => of("a"))).sql;
    assert.equal(sql.replaceAll(text(value), "?"), plain.replaceAll("'a'", "?"));
  }
});

test("a place among dead letters is a part of the address, whatever it has", async () => {
  assert.equal(
    addressOf({ topic: "a/b?c#d", partition: 1, offset: "9007199254740993" }),
    "/api/v1/dead-letters/a%2Fb%3Fc%23d/1/9007199254740993",
  );
  const { address } = await sent(() => deadLetters("a&limit=1"));
  assert.equal(new URL(address, "http://x").searchParams.get("after"), "a&limit=1");
});

test("whole numbers of JSON keep their digits", { skip: !hasSource() && "this JSON.parse tells no digits" }, () => {
  const read = exactJson('[9007199254740993,-9223372036854775808,9007199254740991,1e300,0.5,"9007199254740993"]');
  const exact = ["9007199254740993", "-9223372036854775808", 9007199254740991, 1e300, 0.5, "9007199254740993"];
  assert.deepEqual(read, exact);
});

function hasSource() {
  let has = false;
  JSON.parse("1", (_, value, context) => {
    has = context?.source === "1";
    return value;
  });
  return has;
}

test("metrics are read with their labels; what is none is left out", () => {
  const read = samples('# TYPE a gauge\na{topic="x\\"y\\\\n",partition="0"} 7\nb 1.5 1700000000\nbroken{\nc +Inf\n');
  assert.deepEqual(read, [
    { name: "a", labels: { topic: 'x"y\\n', partition: "0" }, value: 7 },
    { name: "b", labels: {}, value: 1.5 },
    { name: "c", labels: {}, value: Number.POSITIVE_INFINITY },
  ]);
});

test("values stand on each other", () => {
  assert.deepEqual(
    stacked([
      [1, 2],
      [3, 4],
      [0, 1],
    ]),
    [
      [1, 2],
      [4, 6],
      [4, 7],
    ],
  );
});

test("sizes are read at a glance", () => {
  assert.deepEqual([0, 999, 1000, 1_234_567, 5e15].map(bytes), ["0 B", "999 B", "1.0 KB", "1.2 MB", "5.0 PB"]);
});

test("days have no holes", () => {
  const from = new Date("2026-11-20T00:00:00Z");
  const row = (day, source, sessions) => ({ day, source, link_method: "none", sessions, approved: 0 });
  const rows = [
    row("2026-11-22T00:00:00Z", "b", 2),
    row("2026-11-20T00:00:00Z", "a", 1),
    row("2026-10-01T00:00:00Z", "a", 9),
  ];
  assert.deepEqual(figures.byGateway(rows, from, 3).series, [
    { name: "b", values: [0, 0, 2] },
    { name: "a", values: [1, 0, 0] },
  ]);
});

test("a session is explained by what is certain", () => {
  const row = (link_method, sessions, approved) => ({ day: "", source: "", link_method, sessions, approved });
  const counted = figures.byLink([row("none", 1, 0), row("explicit", 5, 4), row("inferred", 2, 0)]);
  assert.deepEqual(counted, {
    methods: [
      ["explicit", 5],
      ["inferred", 2],
      ["none", 1],
    ],
    all: 8,
    explained: 5,
  });
});

test("periods are those of the day, in UTC", () => {
  const names = periods(new Date("2027-01-01T00:30:00Z")).map(([period]) => period);
  assert.deepEqual(names.slice(0, 4), ["2027-Q1", "2026-Q4", "2027-01", "2026-12"]);
  assert.equal(names[4], "2026-12-26..2027-01-02");
});

test("a parameter is a number where it can be read as one, else what was typed", () => {
  const read = [
    ["integer", "10"],
    ["number", "0.5"],
    ["integer", "ten"],
    ["text", "10"],
    ["boolean", "true"],
  ];
  assert.deepEqual(
    read.map((typed) => parameterOf(...typed)),
    [10, 0.5, "ten", "10", true],
  );
});

test("a row leads to its session or request by what its key means, and nowhere else", () => {
  const of = (means, key, more = {}) => hrefOf({ columns: { key: means } }, { key, ...more });
  assert.equal(of("The session: source/session id", "teleport/a/b?c"), "/sessions/a%2Fb%3Fc");
  assert.equal(of("The request: source/request id", "hoop/x"), "/requests/x");
  assert.equal(of("The person and the week: person/week", "a/2026-W47"), undefined);
  assert.equal(of("Something else", "a/b", { session_id: "s" }), "/sessions/s");
});

test("hits come together by session, in the order in which they were found", () => {
  const hit = (session_id, number) => ({ hit: { source: "t", session_id, number } });
  const first = withFound(NOTHING, [hit("a", 1), { progress: { bytes: 1, of: 2 } }, hit("b", 1)]);
  const then = withFound(first, [hit("a", 2), { end: { hits: 3, cut: false } }]);
  assert.deepEqual(
    then.sessions.map(({ key, hits }) => [key, hits.length]),
    [
      ["t a", 2],
      ["t b", 1],
    ],
  );
  assert.deepEqual([then.count, then.end.cut, first.sessions[0].hits.length], [3, false, 1]);
});

test("what was looked for is marked, and no character is lost", () => {
  for (const [value, word] of [
    ["Drop drop", "drop"],
    ["Drop drop", "Drop"],
    ["İ drop", "drop"],
    ["a", ""],
    ["<b>aa</b>", "a"],
  ]) {
    assert.equal(
      marked(value, word)
        .map((piece) => piece.text)
        .join(""),
      value,
    );
  }
  assert.equal(marked("Drop drop", "drop").filter(({ isHit }) => isHit).length, 2);
  assert.equal(marked("Drop drop", "Drop").filter(({ isHit }) => isHit).length, 1);
});

test("a shared statement is the same when it is opened; one that cannot be read is none", () => {
  for (const sql of HOSTILE) assert.equal(shared(share(sql)), sql);
  assert.equal(shared("#q=%"), undefined);
  assert.equal(shared("#other"), undefined);
});

test("the history has each statement once, and is bounded", () => {
  let history = [];
  for (let place = 0; place < 80; place += 1)
    history = withAsked(history, { sql: `SELECT ${place % 70}`, at: "", ms: 1 });
  assert.equal(history.length, 50);
  assert.equal(new Set(history.map(({ sql }) => sql)).size, 50);
  assert.equal(withAsked([], { sql: "x".repeat(100_000), at: "", ms: 1 }).length, 0);
});

test("bytes are shown as they are", () => {
  assert.equal(dump("3c62003e"), "00000000  3c 62 00 3e                                      <b.>");
  assert.equal(dump(""), "");
});

test("what became of a request follows from its state and its end", () => {
  const now = new Date("2026-11-22T00:00:00Z");
  const request = { state: "PENDING", expired: false, deleted: false, expires_at: null, closed_at: null };
  const of = (changed) => stateOf({ ...request, ...changed }, now);
  assert.equal(of({}), "pending");
  assert.equal(of({ expires_at: "2026-11-21T00:00:00Z" }), "unanswered");
  assert.equal(of({ state: "APPROVED", expires_at: "2026-11-23T00:00:00Z" }), "in_force");
  assert.equal(of({ state: "APPROVED", expires_at: "2026-11-21T00:00:00Z" }), "over");
  assert.equal(of({ state: "DENIED", expired: true }), "denied");
  assert.equal(of({ state: "<script>" }), "<script>");
});

import { Button, Menu, NativeSelect } from "@mantine/core";
import { useClipboard, useLocalStorage } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useRef, useState } from "react";
import { send } from "../../api/client";
import { ApiError } from "../../api/error";
import { ask, catalogue, type Rows } from "../../api/questions";
import { duration } from "../../time/format";
import { Instant } from "../../time/zone";
import { download } from "../../ui/csv";
import { HostileText } from "../../ui/HostileText";
import { Empty, Failure, Loading } from "../../ui/states";
import { Title } from "../../ui/Title";
import { Grid } from "./Grid";
import { type Asked, share, shared, withAsked } from "./history";
import classes from "./Sql.module.css";

const Editor = lazy(() => import("./Editor"));

const ROWS_MAX = ["100", "1000", "10000"];
const FORMATS = ["csv", "ndjson", "json", "arrow", "parquet"];

const EXAMPLES: [string, string][] = [
  [
    "Who was in there, why, who said yes",
    "SELECT started_at, session_id, actor, link_method, reason, approvers, target\nFROM session_access\nORDER BY started_at DESC",
  ],
  [
    "Sessions that nobody approved",
    "SELECT started_at, person, target, login, protocol\nFROM session_approval\nWHERE approved_at IS NULL AND NOT refused\nORDER BY started_at DESC",
  ],
  ["Commands that were given", "SELECT given_at, session_id, text, exit_status\nFROM commands\nORDER BY given_at DESC"],
  [
    "Who asked Custody for what",
    "SELECT at, actor, verb, object, outcome, rows, duration_ms\nFROM custody_activity\nORDER BY at DESC",
  ],
];

type Answer =
  | { state: "running"; since_ms: number }
  | { state: "done"; sql: string; answer: Rows<Record<string, unknown>>; ms: number }
  | { state: "failed"; error: unknown };

/** Questions in SQL, read-only. */
export default function Sql() {
  const [draft, setDraft] = useLocalStorage({
    key: "custody.sql.draft",
    defaultValue: EXAMPLES[0]?.[1] ?? "",
    getInitialValueInEffect: false,
  });
  const [history, setHistory] = useLocalStorage<Asked[]>({
    key: "custody.sql.history",
    defaultValue: [],
    getInitialValueInEffect: false,
  });
  const [rowsMax, setRowsMax] = useState("1000");
  const [answer, setAnswer] = useState<Answer>();
  const [saving, setSaving] = useState<string>();
  const [notSaved, setNotSaved] = useState<unknown>();
  const asking = useRef<AbortController>(undefined);
  const clipboard = useClipboard();
  const tables = useQuery({
    queryKey: ["catalogue"],
    queryFn: ({ signal }) => catalogue(signal),
    staleTime: Number.POSITIVE_INFINITY,
  });

  useEffect(() => {
    const take = () => {
      const sql = shared(location.hash);
      if (sql !== undefined) setDraft(sql);
    };
    take();
    addEventListener("hashchange", take);
    return () => removeEventListener("hashchange", take);
  }, [setDraft]);
  useEffect(() => () => asking.current?.abort(), []);

  const run = async (text: string) => {
    const sql = text.trim();
    if (sql === "") return;
    asking.current?.abort();
    const controller = new AbortController();
    asking.current = controller;
    const begun = performance.now();
    setAnswer({ state: "running", since_ms: Date.now() });
    setNotSaved(undefined);
    const asked = { sql, at: new Date().toISOString() };
    try {
      const answer = await ask<Record<string, unknown>>(sql, { rowsMax: Number(rowsMax), signal: controller.signal });
      const ms = performance.now() - begun;
      setAnswer({ state: "done", sql, answer, ms });
      setHistory((before) => withAsked(before, { ...asked, ms, rows: answer.rows.length }));
    } catch (error) {
      if (controller.signal.aborted) return;
      setAnswer({ state: "failed", error });
      const { message } = ApiError.from(error);
      setHistory((before) =>
        withAsked(before, { ...asked, ms: performance.now() - begun, error: message.slice(0, 500) }),
      );
    }
  };
  const cancel = () => {
    asking.current?.abort();
    setAnswer(undefined);
  };

  /** Asks again for a file, of the same state of the ledger. */
  const save = async (format: string) => {
    if (answer?.state !== "done") return;
    setSaving(format);
    setNotSaved(undefined);
    try {
      const { versions } = answer.answer;
      const body = JSON.stringify({ sql: answer.sql, format, ...(versions === "" ? {} : { state: versions }) });
      const response = await send("/api/v1/sql", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
      });
      download(`answer.${format}`, response.headers.get("content-type") ?? "", await response.blob());
      if (response.headers.get("x-custody-truncated") === "true") {
        throw new Error(
          "The file is cut off: there are more rows than the server gives. `custody sql` has no such bound.",
        );
      }
    } catch (error) {
      setNotSaved(error);
    } finally {
      setSaving(undefined);
    }
  };

  return (
    <>
      <Title>SQL</Title>
      <div className={classes.editor}>
        <Suspense fallback={<Loading what="Loading the editor" />}>
          <Editor value={draft} onChange={setDraft} onRun={(sql) => void run(sql)} schema={tables.data} />
        </Suspense>
      </div>
      <div className={classes.bar}>
        <Button size="xs" onClick={() => void run(draft)} loading={answer?.state === "running"}>
          Run
        </Button>
        <span className="soft">Ctrl+Enter</span>
        <NativeSelect
          size="xs"
          aria-label="Rows at most"
          value={rowsMax}
          onChange={({ currentTarget: { value } }) => setRowsMax(value)}
          data={ROWS_MAX.map((value) => ({ value, label: `${Number(value).toLocaleString("en")} rows at most` }))}
        />
        <Menu position="bottom-start">
          <Menu.Target>
            <Button size="compact-sm" variant="default">
              Examples
            </Button>
          </Menu.Target>
          <Menu.Dropdown>
            {EXAMPLES.map(([name, sql]) => (
              <Menu.Item key={name} onClick={() => setDraft(sql)}>
                {name}
              </Menu.Item>
            ))}
          </Menu.Dropdown>
        </Menu>
        <Button
          data-end
          size="compact-sm"
          variant="default"
          onClick={() => {
            window.history.replaceState(window.history.state, "", share(draft));
            clipboard.copy(location.href);
          }}
        >
          {clipboard.copied ? "Copied" : "Share"}
        </Button>
        <Menu position="bottom-end">
          <Menu.Target>
            <Button
              size="compact-sm"
              variant="default"
              disabled={answer?.state !== "done"}
              loading={saving !== undefined}
            >
              Save as
            </Button>
          </Menu.Target>
          <Menu.Dropdown>
            {FORMATS.map((format) => (
              <Menu.Item key={format} onClick={() => void save(format)}>
                {format}
              </Menu.Item>
            ))}
          </Menu.Dropdown>
        </Menu>
      </div>
      {notSaved !== undefined && <Failure error={notSaved} />}
      {tables.isError && <p className="soft">Tables cannot be completed: {ApiError.from(tables.error).message}</p>}
      <Answered answer={answer} cancel={cancel} />
      <History history={history} take={setDraft} clear={() => setHistory([])} />
    </>
  );
}

function Answered({ answer, cancel }: { answer: Answer | undefined; cancel: () => void }) {
  if (answer === undefined) return null;
  if (answer.state === "failed") return <Failure error={answer.error} />;
  if (answer.state === "running") return <Running since_ms={answer.since_ms} cancel={cancel} />;
  const { rows, truncated, versions } = answer.answer;
  return (
    <>
      {truncated && (
        <p className={classes.cut} role="status">
          Cut off at {rows.length.toLocaleString("en")} rows: there are more. Ask for more rows, or for less.
        </p>
      )}
      <p className="soft" role="status" title={versions}>
        {rows.length.toLocaleString("en")} {rows.length === 1 ? "row" : "rows"} in {duration(answer.ms)}
      </p>
      {rows.length === 0 ? <Empty title="No row fits this question" /> : <Grid rows={rows} />}
    </>
  );
}

function Running({ since_ms, cancel }: { since_ms: number; cancel: () => void }) {
  const [now_ms, setNow] = useState(since_ms);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return (
    <div className={classes.bar} role="status">
      <Loading what={`It is being asked, for ${Math.max(0, Math.round((now_ms - since_ms) / 1000))} s`} />
      <Button size="compact-sm" variant="default" onClick={cancel}>
        Cancel
      </Button>
    </div>
  );
}

function History({ history, take, clear }: { history: Asked[]; take: (sql: string) => void; clear: () => void }) {
  if (history.length === 0) return null;
  return (
    <details style={{ marginTop: 12 }}>
      <summary className="soft">What was asked in this browser ({history.length})</summary>
      <ul className={classes.past}>
        {history.map(({ sql, at, ms, rows, error }) => (
          <li key={`${at} ${sql}`}>
            <button type="button" className="link" onClick={() => take(sql)}>
              <HostileText clamp={3}>{sql}</HostileText>
            </button>
            <div className="soft">
              <Instant at={at} />, {duration(ms)},{" "}
              {error === undefined ? (
                `${rows} rows`
              ) : (
                <span className="alarm">
                  <HostileText clamp={1}>{error}</HostileText>
                </span>
              )}
            </div>
          </li>
        ))}
      </ul>
      <button type="button" className="link" onClick={clear}>
        Forget all
      </button>
    </details>
  );
}

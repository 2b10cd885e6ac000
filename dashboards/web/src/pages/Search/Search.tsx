import { Button, Checkbox, Progress, TextInput } from "@mantine/core";
import { useEffect, useState } from "react";
import { Link } from "wouter";
import { search } from "../../api/search";
import { clock } from "../../time/format";
import { Instant } from "../../time/zone";
import { LinkMethod } from "../../ui/Badges";
import { Filters, InstantFilter, TextFilter, useFilters } from "../../ui/filters";
import { HostileText } from "../../ui/HostileText";
import { Empty, Failure } from "../../ui/states";
import { Title } from "../../ui/Title";
import { type End, type Hit, hrefOf, marked, NOTHING, type Searched, withFound } from "./hits";
import classes from "./Search.module.css";

const NAMES = ["q", "regex", "user", "target", "gateway", "from", "to", "limit"] as const;
const LIMIT = 200;
const LIMIT_MAX = 10_000;
/** What comes faster is shown together. */
const SHOW_EVERY_MS = 150;
/** Hits of a session that stand there before somebody asks for all. */
const OF_SESSION = 5;

/** Finds what was on the screens of recorded sessions. */
export default function Search() {
  const [filters, set] = useFilters(NAMES);
  const [draft, setDraft] = useState(filters.q);
  const [known, setKnown] = useState(filters.q);
  if (filters.q !== known) {
    setKnown(filters.q);
    setDraft(filters.q);
  }
  // What was stopped by hand is not asked again until somebody asks.
  const [asked, setAsked] = useState(0);
  const isRegex = filters.regex !== "";
  const limit = Math.min(Math.max(Number(filters.limit) || LIMIT, 1), LIMIT_MAX);
  const { searched, error, isRunning, stop } = useSearch(filters, limit, asked);
  const filter = (name: (typeof NAMES)[number]) => ({
    value: filters[name],
    onChange: (value: string) => set({ [name]: value }),
  });
  return (
    <>
      <Title>Search</Title>
      <form
        className={classes.bar}
        onSubmit={(event) => {
          event.preventDefault();
          if (draft === filters.q) setAsked(asked + 1);
          else set({ q: draft, limit: "" });
        }}
      >
        <TextInput
          className={classes.word ?? ""}
          size="sm"
          label={isRegex ? "Regular expression" : "Text on the screen"}
          placeholder={isRegex ? "drop\\s+table" : "what somebody typed or saw"}
          value={draft}
          onChange={({ currentTarget: { value } }) => setDraft(value)}
          data-autofocus
        />
        <Checkbox
          className={classes.switch ?? ""}
          size="xs"
          label="regular expression"
          checked={isRegex}
          onChange={({ currentTarget: { checked } }) => set({ q: draft, regex: checked ? "1" : "" })}
        />
        <Button size="sm" type="submit" disabled={draft === ""}>
          Search
        </Button>
      </form>
      <Filters>
        <TextFilter label="Person" placeholder="exact name" {...filter("user")} />
        <TextFilter label="Target" placeholder="exact name" {...filter("target")} />
        <TextFilter label="Gateway" placeholder="name or kind" {...filter("gateway")} />
        <InstantFilter label="From" {...filter("from")} />
        <InstantFilter label="Before" {...filter("to")} />
      </Filters>
      {filters.q === "" ? (
        <p className="soft">
          Everything that was shown in a recorded terminal can be found: commands, their answers, the text of editors.
          Capital letters count where you type one.
        </p>
      ) : (
        <>
          <div className={classes.state} role="status">
            {isRunning ? (
              <>
                <Progress
                  className={classes.progress ?? ""}
                  aria-label="Looked through"
                  value={
                    searched.progress === undefined ? 0 : (100 * searched.progress.bytes) / (searched.progress.of || 1)
                  }
                />
                <span>
                  {searched.count} {searched.count === 1 ? "hit" : "hits"} so far
                </span>
                <Button size="compact-sm" variant="default" onClick={stop}>
                  Stop
                </Button>
              </>
            ) : (
              error === undefined && (
                <span>
                  {searched.count} {searched.count === 1 ? "hit" : "hits"} in {searched.sessions.length}{" "}
                  {searched.sessions.length === 1 ? "session" : "sessions"}
                  {searched.end === undefined && ", stopped: this is not all"}
                </span>
              )
            )}
          </div>
          {error !== undefined && <Failure error={error} retry={() => setAsked(asked + 1)} />}
          {searched.end !== undefined && (
            <Ended
              end={searched.end}
              more={limit < LIMIT_MAX ? () => set({ limit: String(Math.min(10 * limit, LIMIT_MAX)) }) : undefined}
            />
          )}
          {searched.end !== undefined && searched.count === 0 && <Empty title="Nothing like it was on a screen" />}
          <ol className={classes.hits}>
            {searched.sessions.map(({ key, hits }) => (
              <OfSession key={key} hits={hits} word={isRegex ? "" : filters.q} />
            ))}
          </ol>
        </>
      )}
    </>
  );
}

type Asked = Record<(typeof NAMES)[number], string>;

/** Searches again whenever the question changes; hits are shown as they come. */
function useSearch({ q, regex, user, target, gateway, from, to }: Asked, limit: number, asked: number) {
  const [searched, setSearched] = useState<Searched>(NOTHING);
  const [error, setError] = useState<unknown>();
  const [running, setRunning] = useState<AbortController>();

  // biome-ignore lint/correctness/useExhaustiveDependencies: `asked` counts how often the same is asked
  useEffect(() => {
    setSearched(NOTHING);
    setError(undefined);
    if (q === "") return;
    const controller = new AbortController();
    setRunning(controller);
    const question = {
      ...(regex === "" ? { text: q } : { regex: q }),
      ...Object.fromEntries(Object.entries({ user, target, gateway, from, to }).filter(([, value]) => value !== "")),
      limit,
    };
    void (async () => {
      let shown = NOTHING;
      let waiting: Parameters<typeof withFound>[1] = [];
      let shown_ms = Number.NEGATIVE_INFINITY;
      const show = () => {
        shown = withFound(shown, waiting);
        waiting = [];
        shown_ms = performance.now();
        if (!controller.signal.aborted) setSearched(shown);
      };
      try {
        for await (const found of search(question, controller.signal)) {
          waiting.push(found);
          if (performance.now() - shown_ms > SHOW_EVERY_MS) show();
        }
      } catch (thrown) {
        if (!controller.signal.aborted) setError(thrown);
      }
      show();
      setRunning((running) => (running === controller ? undefined : running));
    })();
    return () => controller.abort();
  }, [q, regex, user, target, gateway, from, to, limit, asked]);

  return { searched, error, isRunning: running !== undefined, stop: () => running?.abort() };
}

function Ended({ end, more }: { end: End; more: (() => void) | undefined }) {
  const { cut, recordings_not_indexed, recordings_failed, texts_missed } = end;
  const unsearched = [
    recordings_not_indexed > 0 &&
      `${recordings_not_indexed} recordings were not looked through yet, or have grown since`,
    recordings_failed > 0 && `${recordings_failed} recordings could not be looked through`,
    texts_missed > 0 && `${texts_missed} texts were too many to be kept`,
  ].filter((part) => part !== false);
  return (
    <>
      {cut && (
        <p className={classes.cut}>
          Cut off: there may be more hits.{" "}
          {more !== undefined && (
            <button type="button" className="link" onClick={more}>
              Look for more
            </button>
          )}
        </p>
      )}
      {unsearched.length > 0 && <p className={classes.cut}>This is not all: {unsearched.join("; ")}.</p>}
    </>
  );
}

function OfSession({ hits, word }: { hits: Hit[]; word: string }) {
  const [isWhole, setWhole] = useState(false);
  const [first] = hits;
  if (first === undefined) return null;
  const { person, target, reason, approvers, link_method, source } = first;
  return (
    <li className={`card ${classes.session}`}>
      <div className={classes.who}>
        <strong>
          <HostileText none="somebody">{person}</HostileText> on <HostileText none="something">{target}</HostileText>
        </strong>
        {link_method != null && <LinkMethod method={link_method} />}
        <span>
          <HostileText none="no reason" clamp={1}>
            {reason}
          </HostileText>
        </span>
        {approvers.length > 0 && (
          <span className="soft">
            approved by <HostileText>{approvers.join(", ")}</HostileText>
          </span>
        )}
        <span className="soft">{source}</span>
      </div>
      <ol className={classes.lines}>
        {(isWhole ? hits : hits.slice(0, OF_SESSION)).map((hit) => (
          <li key={`${hit.channel} ${hit.run} ${hit.number}`}>
            <div>
              <Link href={hrefOf(hit, word)}>at {clock(hit.from_us)}</Link>
              {hit.shown_at != null && (
                <div className="soft">
                  <Instant at={hit.shown_at} />
                </div>
              )}
            </div>
            <pre>
              {hit.before != null && (
                <div className="soft">
                  <HostileText none="">{hit.before}</HostileText>
                </div>
              )}
              <div>
                {marked(hit.text, word).map(({ text, isHit }, place) =>
                  isHit ? (
                    // biome-ignore lint/suspicious/noArrayIndexKey: pieces never move
                    <mark key={place}>
                      <HostileText>{text}</HostileText>
                    </mark>
                  ) : (
                    // biome-ignore lint/suspicious/noArrayIndexKey: pieces never move
                    <HostileText key={place}>{text}</HostileText>
                  ),
                )}
              </div>
              {hit.after != null && (
                <div className="soft">
                  <HostileText none="">{hit.after}</HostileText>
                </div>
              )}
            </pre>
          </li>
        ))}
      </ol>
      {hits.length > OF_SESSION && !isWhole && (
        <button type="button" className="link" onClick={() => setWhole(true)}>
          {hits.length - OF_SESSION} more in this session
        </button>
      )}
    </li>
  );
}

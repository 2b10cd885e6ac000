import { Button, Chip, TextInput } from "@mantine/core";
import { memo, type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import { type Ticking, useNow } from "../../replay/ticking";
import { HostileText } from "../../ui/HostileText";
import classes from "./Happened.module.css";
import { inOrder, type Moment } from "./moments";

const KINDS: [Moment["kind"], string][] = [
  ["command", "Commands"],
  ["event", "Events"],
  ["marker", "Markers"],
  ["finding", "Findings"],
  ["hit", "Hits"],
];

interface Props {
  moments: Moment[];
  /** Nothing is played where it is not given. */
  ticking: Ticking | undefined;
  show: (at_us: number) => string;
  seek: ((at_us: number) => void) | undefined;
  /** Looks for a text inside the recording. */
  find: ((text: string) => void) | undefined;
  /** What was looked for. */
  sought?: string;
  /** What is to be said of the list. */
  children?: ReactNode;
}

/** What happened, on the clock of the recording; each leads there. */
export function Happened({ moments, ticking, show, seek, find, sought = "", children }: Props) {
  const there = KINDS.filter(([kind]) => moments.some((moment) => moment.kind === kind));
  const [left, setLeft] = useState<string[]>([]);
  const shown = useMemo(() => inOrder(moments.filter(({ kind }) => !left.includes(kind))), [moments, left]);
  const current =
    useNow(ticking, (now_us) => shown.findLastIndex(({ at_us }) => at_us !== undefined && at_us <= now_us)) ?? -1;
  const list = useRef<HTMLOListElement>(null);
  useEffect(() => {
    const row = list.current?.children[current];
    if (!(row instanceof HTMLElement) || list.current === null) return;
    // Only the list scrolls, not the page.
    const { scrollTop, clientHeight } = list.current;
    if (row.offsetTop < scrollTop || row.offsetTop + row.offsetHeight > scrollTop + clientHeight) {
      list.current.scrollTop = row.offsetTop - clientHeight / 3;
    }
  }, [current]);
  return (
    <section className={classes.happened} aria-label="What happened">
      <div className={classes.bar}>
        <h2>What happened</h2>
        <Chip.Group multiple value={there.map(([kind]) => kind).filter((kind) => !left.includes(kind))}>
          {there.map(([kind, name]) => (
            <Chip
              key={kind}
              value={kind}
              size="xs"
              onChange={(isOn) => setLeft(isOn ? left.filter((other) => other !== kind) : [...left, kind])}
            >
              {name} {moments.filter((moment) => moment.kind === kind).length}
            </Chip>
          ))}
        </Chip.Group>
        {find !== undefined && <Find find={find} sought={sought} />}
      </div>
      {children}
      <ol className={classes.list} ref={list}>
        {shown.map((moment, place) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: two may be the same but for their place
          <Row key={place} moment={moment} isCurrent={place === current} show={show} seek={seek} />
        ))}
      </ol>
    </section>
  );
}

interface RowProps extends Pick<Props, "show" | "seek"> {
  moment: Moment;
  isCurrent: boolean;
}

/** There may be thousands, of which two change when the next is reached. */
const Row = memo(function Row({ moment: { kind, at_us, text, detail }, isCurrent, show, seek }: RowProps) {
  return (
    <li data-kind={kind} aria-current={isCurrent ? "time" : undefined}>
      <At at_us={at_us} show={show} seek={seek} />
      <span className={classes.text}>
        <HostileText clamp={3}>{text}</HostileText>
        {detail !== undefined && (
          <span className="soft">
            {" "}
            <HostileText>{detail}</HostileText>
          </span>
        )}
      </span>
    </li>
  );
});

function At({ at_us, show, seek }: Pick<Props, "show" | "seek"> & { at_us: number | undefined }) {
  if (at_us === undefined) return <span className={classes.at}>all of it</span>;
  if (seek === undefined) return <span className={classes.at}>{show(at_us)}</span>;
  return (
    <button type="button" className={`link ${classes.at}`} onClick={() => seek(Math.max(at_us, 0))}>
      {show(at_us)}
    </button>
  );
}

function Find({ find, sought }: { find: (text: string) => void; sought: string }) {
  const [text, setText] = useState(sought);
  const [known, setKnown] = useState(sought);
  if (sought !== known) {
    setKnown(sought);
    setText(sought);
  }
  return (
    <form
      className={classes.find}
      onSubmit={(event) => {
        event.preventDefault();
        find(text);
      }}
    >
      <TextInput
        size="xs"
        type="search"
        aria-label="Find on the screen"
        placeholder="Find on the screen"
        value={text}
        onChange={({ currentTarget: { value } }) => {
          setText(value);
          if (value === "") find("");
        }}
      />
      <Button size="xs" type="submit" variant="default" disabled={text === ""}>
        Find
      </Button>
    </form>
  );
}

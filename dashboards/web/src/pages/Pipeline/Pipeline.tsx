import { Modal } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { metrics, readiness, type Sample } from "../../api/operation";
import { addressOf, type DeadLetter, deadLetter, deadLetters, pipeline } from "../../api/pipeline";
import { duration } from "../../time/format";
import { Instant } from "../../time/zone";
import { Badge, type Tone } from "../../ui/Badge";
import { Fact, Facts } from "../../ui/Facts";
import { HostileText } from "../../ui/HostileText";
import { bytes } from "../../ui/size";
import { Empty, Fetched } from "../../ui/states";
import { type Column, Table } from "../../ui/Table";
import { Title } from "../../ui/Title";
import { dump } from "./hex";
import { lags } from "./lags";
import classes from "./Pipeline.module.css";

type SourceHealth = Schemas["SourceHealth"];
type Stream = Schemas["StreamState"];
type Destination = Schemas["DestinationStatus"];
type TableStanding = Schemas["TableStanding"];

const REFRESH_MS = 15_000;

/** A source that said nothing for so long is pointed out. Report R24 judges by what is usual of it. */
const SILENT_S = 24 * 3600;

const count = (value: number | null | undefined) =>
  value == null ? <span className="soft">—</span> : value.toLocaleString("en");

/** Something that should be none. */
const none = (value: number | null | undefined) => (
  <span className={value == null || value === 0 ? "soft" : "alarm"}>
    {value == null ? "—" : value.toLocaleString("en")}
  </span>
);

/** A column of numbers that a row has under that name. */
const numbers = <Name extends string>(id: Name, title: string, cell: typeof count = count) => ({
  id,
  title,
  numeric: true,
  narrow: true,
  cell: (row: Partial<Record<Name, number | null | undefined>>) => cell(row[id]),
  text: (row: Partial<Record<Name, number | null | undefined>>) => row[id],
});

/** From the sources to the ledger and on to who it is forwarded to: what arrives, what is missing, what waits. */
export default function Pipeline() {
  const measured = useQuery({
    queryKey: ["metrics"],
    queryFn: ({ signal }) => metrics(signal),
    refetchInterval: REFRESH_MS,
  });
  const found = useQuery({
    queryKey: ["pipeline"],
    queryFn: ({ signal }) => pipeline(signal),
    refetchInterval: 2 * REFRESH_MS,
  });
  return (
    <>
      <Title>Pipeline</Title>
      <Parts samples={measured.data} freshness={found.data?.freshness} />
      <Fetched of={found} what="Asking how everything is doing">
        {({ sources, destinations, streams, tables, dead_letters }) => (
          <>
            <Sources rows={sources} />
            <DeadLetters count={dead_letters} />
            <Destinations rows={destinations} />
            <Streams rows={streams} samples={measured.data} />
            <Tables rows={tables} />
          </>
        )}
      </Fetched>
    </>
  );
}

const Section = ({ name, children }: { name: string; children: ReactNode }) => (
  <section className={classes.section} aria-label={name}>
    <h2>{name}</h2>
    {children}
  </section>
);

/** The parts of the server, how many messages wait, and how old what can be asked is. */
function Parts({ samples, freshness }: { samples: Sample[] | undefined; freshness: Schemas["Freshness"] | undefined }) {
  const ready = useQuery({
    queryKey: ["readiness"],
    queryFn: ({ signal }) => readiness(signal),
    refetchInterval: REFRESH_MS,
  });
  const waiting = samples === undefined ? [] : [...lags(samples).values()];
  return (
    <Fetched of={ready} what="Asking the server's parts">
      {({ parts }) => (
        <ul className={classes.parts} aria-label="Parts">
          {parts.map(({ component, state, why }) => (
            <li key={component} data-alarming={state !== "up" || undefined}>
              <strong>{state}</strong>
              <span className="soft">{component}</span>
              {why != null && (
                <div>
                  <HostileText>{why}</HostileText>
                </div>
              )}
            </li>
          ))}
          {waiting.length > 0 && (
            <li>
              <strong className="number">{waiting.reduce((sum, value) => sum + value, 0).toLocaleString("en")}</strong>
              <span className="soft">messages wait at the broker</span>
            </li>
          )}
          {freshness?.p99_s != null && (
            <li>
              <strong className="number">{duration(freshness.p99_s * 1000)}</strong>
              <span className="soft">from broker to ledger, 99 % sooner in the last hour</span>
            </li>
          )}
        </ul>
      )}
    </Fetched>
  );
}

const SOURCES: Column<SourceHealth>[] = [
  {
    id: "source",
    title: "Source",
    narrow: true,
    cell: ({ source }) => <HostileText>{source}</HostileText>,
    text: ({ source }) => source,
  },
  {
    id: "cluster",
    title: "Cluster",
    fit: true,
    cell: ({ cluster }) => <HostileText clamp={2}>{cluster}</HostileText>,
    text: ({ cluster }) => cluster,
  },
  {
    id: "last_event_at",
    title: "Last event",
    narrow: true,
    cell: ({ last_event_at }) =>
      last_event_at == null ? <span className="soft">none</span> : <Instant at={last_event_at} />,
    text: ({ last_event_at }) => last_event_at,
  },
  {
    id: "silent_s",
    title: "Nothing came for",
    numeric: true,
    narrow: true,
    cell: ({ silent_s }) =>
      silent_s == null ? (
        <span className="soft">—</span>
      ) : (
        <span className={silent_s > SILENT_S ? "alarm" : undefined}>{duration(silent_s * 1000)}</span>
      ),
    text: ({ silent_s }) => silent_s,
  },
  numbers("events", "Events"),
  numbers("errors", "Undecodable", none),
  numbers("conflicting_ids", "Conflicting ids", none),
  numbers("duplicates", "Repeated"),
  numbers("recordings_missing", "Recordings missing", none),
  numbers("missing_bytes", "Bytes missing", none),
  {
    id: "audit_off",
    title: "Audit",
    narrow: true,
    cell: ({ audit_off }) =>
      audit_off ? (
        <Badge tone="alarm" means="The gateway said that its audit log was switched off.">
          was off
        </Badge>
      ) : (
        <span className="soft">on</span>
      ),
    text: ({ audit_off }) => audit_off,
  },
];

const Sources = ({ rows }: { rows: SourceHealth[] }) => (
  <Section name="Sources">
    {rows.length === 0 ? (
      <Empty title="No source has sent anything yet" />
    ) : (
      <Table
        name="sources"
        columns={SOURCES}
        rows={rows}
        keyOf={({ source, cluster }) => `${source} ${cluster}`}
        isAlarming={({ audit_off }) => audit_off}
      >
        Whether that is usual of a source is judged by <Link href="/reports/R24">R24</Link>
      </Table>
    )}
  </Section>
);

function DeadLetters({ count: all }: { count: number }) {
  const [after, setAfter] = useState<string>();
  const [open, setOpen] = useState<DeadLetter>();
  const found = useQuery({
    queryKey: ["deadLetters", after],
    queryFn: ({ signal }) => deadLetters(after, signal),
    placeholderData: keepPreviousData,
  });
  const columns: Column<DeadLetter>[] = [
    {
      id: "ingested_at",
      title: "Taken in",
      narrow: true,
      cell: (letter) => (
        <button type="button" className="link" onClick={() => setOpen(letter)}>
          <Instant at={letter.ingested_at} />
        </button>
      ),
      text: ({ ingested_at }) => ingested_at,
    },
    {
      id: "place",
      title: "Topic/partition/offset",
      fit: true,
      cell: ({ topic, partition, offset }) => <HostileText clamp={2}>{`${topic}/${partition}/${offset}`}</HostileText>,
      text: ({ topic, partition, offset }) => `${topic}/${partition}/${offset}`,
    },
    {
      id: "error",
      title: "Why",
      cell: ({ error, error_kind }) => <HostileText clamp={2}>{error ?? error_kind}</HostileText>,
      text: ({ error }) => error,
    },
    {
      id: "bytes",
      title: "Bytes",
      numeric: true,
      narrow: true,
      cell: ({ value_bytes }) => count(value_bytes),
      text: ({ value_bytes }) => value_bytes,
    },
    {
      id: "preview",
      title: "Begins with",
      cell: ({ preview }) => (
        <span className="mono">
          <HostileText clamp={2} none="nothing">
            {preview}
          </HostileText>
        </span>
      ),
      text: ({ preview }) => preview,
    },
  ];
  return (
    <Section name="Dead letters">
      <Fetched of={found} what="Looking for dead letters">
        {({ dead_letters, next }) =>
          dead_letters.length === 0 ? (
            <p className="soft">Every message could be decoded.</p>
          ) : (
            <Table
              name="dead-letters"
              columns={columns}
              rows={dead_letters}
              keyOf={({ topic, partition, offset }) => `${topic} ${partition} ${offset}`}
              older={next == null ? undefined : () => setAfter(next)}
              newest={after === undefined ? undefined : () => setAfter(undefined)}
            >
              {dead_letters.length} of {Math.max(all, dead_letters.length).toLocaleString("en")} messages that could not
              be decoded; all are kept as they came
            </Table>
          )
        }
      </Fetched>
      {open !== undefined && <Letter letter={open} close={() => setOpen(undefined)} />}
    </Section>
  );
}

function Letter({ letter, close }: { letter: DeadLetter; close: () => void }) {
  const { topic, partition, offset, source, error_kind, error, value_bytes } = letter;
  const found = useQuery({
    queryKey: ["deadLetter", topic, partition, offset],
    queryFn: ({ signal }) => deadLetter(letter, signal),
    staleTime: Number.POSITIVE_INFINITY,
  });
  return (
    <Modal opened onClose={close} size="xl" title="A message that could not be decoded">
      <Facts>
        <Fact name="Place">
          <HostileText>{`${topic}, partition ${partition}, offset ${offset}`}</HostileText>
        </Fact>
        <Fact name="Source">
          <HostileText>{source}</HostileText>
        </Fact>
        <Fact name="Why">
          <HostileText>{error}</HostileText> <code>{error_kind}</code>
        </Fact>
        <Fact name="Bytes">{count(value_bytes)}</Fact>
      </Facts>
      <Fetched of={found} what="Fetching its bytes">
        {({ value }) =>
          value == null ? (
            <p className="soft">It has no value.</p>
          ) : (
            <>
              {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keyboard */}
              <pre className={classes.bytes} tabIndex={0}>
                {dump(value.hex)}
              </pre>
              <p className="soft">
                {value.truncated && <>These are the first {value.hex.length / 2} bytes. </>}
                <a href={`${addressOf(letter)}/bytes`} download>
                  Download all of it
                </a>
              </p>
            </>
          )
        }
      </Fetched>
    </Modal>
  );
}

const TONES: Record<string, Tone> = {
  delivering: "good",
  failing: "alarm",
  unauthorised: "alarm",
  paused: "warn",
  stopped: "warn",
};

const DESTINATIONS: Column<Destination>[] = [
  {
    id: "destination",
    title: "Destination",
    fit: true,
    cell: ({ destination }) => <HostileText clamp={2}>{destination}</HostileText>,
    text: ({ destination }) => destination,
  },
  {
    id: "state",
    title: "State",
    narrow: true,
    cell: ({ state }) => <Badge tone={TONES[state] ?? "plain"}>{state}</Badge>,
    text: ({ state }) => state,
  },
  {
    id: "ingested_at",
    title: "Has all until",
    narrow: true,
    cell: ({ ingested_at }) =>
      ingested_at == null ? <span className="soft">nothing yet</span> : <Instant at={ingested_at} />,
    text: ({ ingested_at }) => ingested_at,
  },
  numbers("sent", "Sent"),
  numbers("filtered", "Left out"),
  numbers("dead_letters", "Not taken", none),
  numbers("behind_events", "Waiting"),
  {
    id: "why",
    title: "Why",
    cell: ({ why }) => <HostileText clamp={2}>{why}</HostileText>,
    text: ({ why }) => why,
  },
  {
    id: "at",
    title: "Told at",
    narrow: true,
    cell: ({ at }) => (at == null ? <span className="soft">—</span> : <Instant at={at} />),
    text: ({ at }) => at,
  },
  {
    id: "worker",
    title: "By",
    hidden: true,
    fit: true,
    cell: ({ worker }) => <HostileText clamp={2}>{worker}</HostileText>,
    text: ({ worker }) => worker,
  },
];

const Destinations = ({ rows }: { rows: Destination[] }) => (
  <Section name="Forwarding">
    {rows.length === 0 ? (
      <p className="soft">Nothing is forwarded.</p>
    ) : (
      <Table
        name="destinations"
        columns={DESTINATIONS}
        rows={rows}
        keyOf={({ destination }) => destination}
        isAlarming={({ state, dead_letters }) => TONES[state] === "alarm" || dead_letters > 0}
      >
        What has not arrived is sent again; <code>custody forward dlq</code> deals with what is not taken
      </Table>
    )}
  </Section>
);

function Streams({ rows, samples }: { rows: Stream[]; samples: Sample[] | undefined }) {
  const waiting = samples === undefined ? undefined : lags(samples);
  const lag = ({ topic, partition }: Stream) => waiting?.get(`${topic} ${partition}`);
  const columns: Column<Stream>[] = [
    {
      id: "topic",
      title: "Topic",
      cell: ({ topic }) => <HostileText clamp={1}>{topic}</HostileText>,
      text: ({ topic }) => topic,
    },
    {
      id: "partition",
      title: "Partition",
      numeric: true,
      narrow: true,
      cell: ({ partition }) => partition,
      text: ({ partition }) => partition,
    },
    {
      id: "last_ingested_at",
      title: "Last message",
      narrow: true,
      cell: ({ last_ingested_at }) => <Instant at={last_ingested_at} />,
      text: ({ last_ingested_at }) => last_ingested_at,
    },
    { id: "lag", title: "Waiting", numeric: true, narrow: true, cell: (stream) => count(lag(stream)), text: lag },
    numbers("records", "Messages"),
    numbers("missing", "Offsets missing", none),
    numbers("errors", "Undecodable", none),
    {
      id: "offsets",
      title: "Offsets",
      numeric: true,
      narrow: true,
      hidden: true,
      cell: ({ first_offset, last_offset }) => `${first_offset} to ${last_offset}`,
      text: ({ first_offset, last_offset }) => `${first_offset}-${last_offset}`,
    },
  ];
  return (
    <Section name="Streams">
      {rows.length === 0 ? (
        <p className="soft">No message has come yet.</p>
      ) : (
        <Table name="streams" columns={columns} rows={rows} keyOf={({ topic, partition }) => `${topic} ${partition}`}>
          {rows.length} streams
          {waiting?.size === 0 && "; this process does not ingest, so what waits at the broker is not known"}
        </Table>
      )}
    </Section>
  );
}

const TABLES: Column<TableStanding>[] = [
  { id: "table", title: "Table", cell: ({ table }) => table, text: ({ table }) => table },
  numbers("rows", "Rows"),
  numbers("files", "Files"),
  {
    id: "bytes",
    title: "Size",
    numeric: true,
    narrow: true,
    cell: (table) => bytes(table.bytes),
    text: (table) => table.bytes,
  },
  numbers("files_due", "Files to put together"),
  numbers("log_entries", "Log entries"),
];

const Tables = ({ rows }: { rows: TableStanding[] }) => (
  <Section name="Tables">
    <Table name="tables" columns={TABLES} rows={rows} keyOf={({ table }) => table}>
      {bytes(rows.reduce((sum, table) => sum + table.bytes, 0))} in{" "}
      {rows.reduce((sum, { files }) => sum + files, 0).toLocaleString("en")} files
    </Table>
  </Section>
);

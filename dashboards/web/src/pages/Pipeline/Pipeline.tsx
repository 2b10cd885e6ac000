import { Modal } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { Link } from "wouter";
import { metrics, readiness, type Sample } from "../../api/operation";
import {
  bytesOf,
  DEAD_LETTERS_MAX,
  type DeadLetter,
  type Destination,
  deadLetters,
  destinations,
  SHOWN_BYTES_MAX,
  type SourceHealth,
  type Stream,
  sourceHealth,
  streams,
} from "../../api/questions";
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
import classes from "./Pipeline.module.css";
import { lags, type TableSize, tables, worst } from "./tables";

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

/** From the sources to the ledger and on to who it is forwarded to: what arrives, what is missing, what waits. */
export default function Pipeline() {
  const measured = useQuery({
    queryKey: ["metrics"],
    queryFn: ({ signal }) => metrics(signal),
    refetchInterval: REFRESH_MS,
  });
  return (
    <>
      <Title>Pipeline</Title>
      <Parts samples={measured.data} />
      <Sources />
      <DeadLetters />
      <Destinations />
      <Streams samples={measured.data} />
      <Section name="Tables">
        <Fetched of={measured} what="Reading metrics">
          {(samples) => <Tables found={tables(samples)} />}
        </Fetched>
      </Section>
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
function Parts({ samples }: { samples: Sample[] | undefined }) {
  const ready = useQuery({
    queryKey: ["readiness"],
    queryFn: ({ signal }) => readiness(signal),
    refetchInterval: REFRESH_MS,
  });
  const waiting = samples === undefined ? [] : [...lags(samples).values()];
  const fresh_s = samples === undefined ? undefined : worst(samples, "custody_ingest_freshness_seconds", "0.99");
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
          {fresh_s !== undefined && (
            <li>
              <strong className="number">{duration(fresh_s * 1000)}</strong>
              <span className="soft">from broker to ledger, 99 % sooner</span>
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
      last_event_at === null ? <span className="soft">none</span> : <Instant at={last_event_at} />,
    text: ({ last_event_at }) => last_event_at,
  },
  {
    id: "silent_s",
    title: "Silent for",
    numeric: true,
    narrow: true,
    cell: ({ silent_s }) =>
      silent_s === null ? (
        <span className="soft">—</span>
      ) : (
        <span className={silent_s > SILENT_S ? "alarm" : undefined}>{duration(silent_s * 1000)}</span>
      ),
    text: ({ silent_s }) => silent_s,
  },
  {
    id: "events",
    title: "Events",
    numeric: true,
    narrow: true,
    cell: ({ events }) => count(events),
    text: ({ events }) => events,
  },
  {
    id: "errors",
    title: "Undecodable",
    numeric: true,
    narrow: true,
    cell: ({ errors }) => none(errors),
    text: ({ errors }) => errors,
  },
  {
    id: "conflicting_ids",
    title: "Conflicting ids",
    numeric: true,
    narrow: true,
    cell: ({ conflicting_ids }) => none(conflicting_ids),
    text: ({ conflicting_ids }) => conflicting_ids,
  },
  {
    id: "duplicates",
    title: "Repeated",
    numeric: true,
    narrow: true,
    cell: ({ duplicates }) => count(duplicates),
    text: ({ duplicates }) => duplicates,
  },
  {
    id: "recordings_missing",
    title: "Recordings missing",
    numeric: true,
    narrow: true,
    cell: ({ recordings_missing }) => none(recordings_missing),
    text: ({ recordings_missing }) => recordings_missing,
  },
  {
    id: "missing_bytes",
    title: "Bytes missing",
    numeric: true,
    narrow: true,
    cell: ({ missing_bytes }) => none(missing_bytes),
    text: ({ missing_bytes }) => missing_bytes,
  },
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

function Sources() {
  const found = useQuery({
    queryKey: ["sourceHealth"],
    queryFn: ({ signal }) => sourceHealth(signal),
    refetchInterval: 2 * REFRESH_MS,
  });
  return (
    <Section name="Sources">
      <Fetched of={found} what="Asking how sources are doing">
        {({ rows }) =>
          rows.length === 0 ? (
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
          )
        }
      </Fetched>
    </Section>
  );
}

function DeadLetters() {
  const [after, setAfter] = useState<DeadLetter>();
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
        {({ rows }) =>
          rows.length === 0 ? (
            <p className="soft">Every message could be decoded.</p>
          ) : (
            <Table
              name="dead-letters"
              columns={columns}
              rows={rows.slice(0, DEAD_LETTERS_MAX)}
              keyOf={({ topic, partition, offset }) => `${topic} ${partition} ${offset}`}
              older={rows.length > DEAD_LETTERS_MAX ? () => setAfter(rows[DEAD_LETTERS_MAX - 1]) : undefined}
              newest={after === undefined ? undefined : () => setAfter(undefined)}
            >
              {Math.min(rows.length, DEAD_LETTERS_MAX)} messages that could not be decoded
              {rows.length > DEAD_LETTERS_MAX && ", and more on the next page"}; all are kept as they came
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
    queryKey: ["bytes", topic, partition, offset],
    queryFn: ({ signal }) => bytesOf(letter, signal),
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
        {(hex) =>
          hex === null ? (
            <p className="soft">It has no value.</p>
          ) : (
            <>
              {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keyboard */}
              <pre className={classes.bytes} tabIndex={0}>
                {dump(hex)}
              </pre>
              {(value_bytes ?? 0) > SHOWN_BYTES_MAX && (
                <p className="soft">These are the first {SHOWN_BYTES_MAX} bytes; the table records has all.</p>
              )}
            </>
          )
        }
      </Fetched>
    </Modal>
  );
}

const TONES: Record<string, Tone> = { delivering: "good", failing: "alarm", unauthorised: "alarm", paused: "warn" };

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
      ingested_at === null ? <span className="soft">nothing yet</span> : <Instant at={ingested_at} />,
    text: ({ ingested_at }) => ingested_at,
  },
  { id: "sent", title: "Sent", numeric: true, narrow: true, cell: ({ sent }) => count(sent), text: ({ sent }) => sent },
  {
    id: "filtered",
    title: "Left out",
    numeric: true,
    narrow: true,
    cell: ({ filtered }) => count(filtered),
    text: ({ filtered }) => filtered,
  },
  {
    id: "undelivered",
    title: "Not taken",
    numeric: true,
    narrow: true,
    cell: ({ undelivered }) => none(undelivered),
    text: ({ undelivered }) => undelivered,
  },
  {
    id: "reason",
    title: "Why",
    cell: ({ reason }) => <HostileText clamp={2}>{reason}</HostileText>,
    text: ({ reason }) => reason,
  },
  { id: "at", title: "Since", narrow: true, cell: ({ at }) => <Instant at={at} />, text: ({ at }) => at },
  {
    id: "worker",
    title: "By",
    hidden: true,
    fit: true,
    cell: ({ worker }) => <HostileText clamp={2}>{worker}</HostileText>,
    text: ({ worker }) => worker,
  },
];

function Destinations() {
  const found = useQuery({
    queryKey: ["destinations"],
    queryFn: ({ signal }) => destinations(signal),
    refetchInterval: 2 * REFRESH_MS,
  });
  return (
    <Section name="Forwarding">
      <Fetched of={found} what="Asking where destinations are">
        {({ rows }) =>
          rows.length === 0 ? (
            <p className="soft">Nothing is forwarded.</p>
          ) : (
            <Table
              name="destinations"
              columns={DESTINATIONS}
              rows={rows}
              keyOf={({ destination }) => destination}
              isAlarming={({ state, undelivered }) => TONES[state] === "alarm" || undelivered > 0}
            >
              What has not arrived is sent again; <code>custody forward dlq</code> deals with what is not taken
            </Table>
          )
        }
      </Fetched>
    </Section>
  );
}

function Streams({ samples }: { samples: Sample[] | undefined }) {
  const found = useQuery({
    queryKey: ["streams"],
    queryFn: ({ signal }) => streams(signal),
    refetchInterval: 2 * REFRESH_MS,
  });
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
    {
      id: "records",
      title: "Messages",
      numeric: true,
      narrow: true,
      cell: ({ records }) => count(records),
      text: ({ records }) => records,
    },
    {
      id: "missing",
      title: "Offsets missing",
      numeric: true,
      narrow: true,
      cell: ({ missing }) => none(missing),
      text: ({ missing }) => missing,
    },
    {
      id: "errors",
      title: "Undecodable",
      numeric: true,
      narrow: true,
      cell: ({ errors }) => none(errors),
      text: ({ errors }) => errors,
    },
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
      <Fetched of={found} what="Counting messages">
        {({ rows, truncated }) =>
          rows.length === 0 ? (
            <p className="soft">No message has come yet.</p>
          ) : (
            <Table
              name="streams"
              columns={columns}
              rows={rows}
              keyOf={({ topic, partition }) => `${topic} ${partition}`}
            >
              {rows.length} streams{truncated && ", and more"}
              {waiting?.size === 0 && "; this process does not ingest, so what waits at the broker is not known"}
            </Table>
          )
        }
      </Fetched>
    </Section>
  );
}

const SIZES: Column<TableSize>[] = [
  { id: "table", title: "Table", cell: ({ table }) => table, text: ({ table }) => table },
  { id: "rows", title: "Rows", numeric: true, narrow: true, cell: ({ rows }) => count(rows), text: ({ rows }) => rows },
  {
    id: "files",
    title: "Files",
    numeric: true,
    narrow: true,
    cell: ({ files }) => count(files),
    text: ({ files }) => files,
  },
  {
    id: "bytes",
    title: "Size",
    numeric: true,
    narrow: true,
    cell: (size) => (size.bytes === undefined ? <span className="soft">—</span> : bytes(size.bytes)),
    text: (size) => size.bytes,
  },
  {
    id: "due",
    title: "Files to put together",
    numeric: true,
    narrow: true,
    cell: ({ due }) => count(due),
    text: ({ due }) => due,
  },
  {
    id: "log",
    title: "Log entries",
    numeric: true,
    narrow: true,
    cell: ({ log }) => count(log),
    text: ({ log }) => log,
  },
];

function Tables({ found }: { found: TableSize[] }) {
  if (found.length === 0) {
    return (
      <p className="soft">
        This process does not maintain the ledger, so it does not know. <code>custody maintain</code> and{" "}
        <code>custody up</code> do.
      </p>
    );
  }
  return (
    <Table name="tables" columns={SIZES} rows={found} keyOf={({ table }) => table}>
      {bytes(found.reduce((sum, size) => sum + (size.bytes ?? 0), 0))} in{" "}
      {found.reduce((sum, { files }) => sum + (files ?? 0), 0).toLocaleString("en")} files
    </Table>
  );
}

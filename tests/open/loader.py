"""Loads a topic of Teleport-like audit events into Delta tables: what Custody's ingest is measured beside.

    loader.py --brokers HOST:PORT --topic TOPIC --messages N --folder FOLDER [--batch N]

This is what one would write in Python with the usual libraries, and not more slowly than need be: librdkafka consumes,
messages are taken by the batch, rows become columns once a batch, and what is written is compressed, sorted and written
outside Python. Every batch is one commit of each table, with the next offsets in it as application transactions: a run
that is killed goes on where each table stands.

Two tables, as Custody has them and without some of their columns: `records`, every message as it came, and `events`,
what was read of it, with what has no column as canonical JSON in `detail`. There is no `frames`: these topics hold no
terminal output. Ends after N messages with one line of JSON that says what it took.
"""

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition
from deltalake import ColumnProperties, CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake

TIMESTAMP = pa.timestamp("us", tz="UTC")
SOURCE = "teleport"


def required(name: str, of: pa.DataType) -> pa.Field:
    return pa.field(name, of, nullable=False)


RECORDS = pa.schema(
    [
        required("date", pa.date32()),
        required("source", pa.string()),
        required("topic", pa.string()),
        required("partition", pa.int32()),
        required("offset", pa.int64()),
        pa.field("broker_at", TIMESTAMP),
        required("ingested_at", TIMESTAMP),
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("error", pa.string()),
    ]
)

EVENTS = pa.schema(
    [
        required("date", pa.date32()),
        required("event_id", pa.string()),
        required("source", pa.string()),
        pa.field("cluster", pa.string()),
        pa.field("occurred_at", TIMESTAMP),
        pa.field("broker_at", TIMESTAMP),
        required("ingested_at", TIMESTAMP),
        required("source_type", pa.string()),
        pa.field("source_code", pa.string()),
        pa.field("actor", pa.string()),
        pa.field("actor_kind", pa.string()),
        pa.field("actor_roles", pa.list_(pa.string())),
        pa.field("action", pa.string()),
        pa.field("target", pa.string()),
        pa.field("target_kind", pa.string()),
        pa.field("login", pa.string()),
        pa.field("outcome", pa.string()),
        pa.field("session_id", pa.string()),
        pa.field("request_ids", pa.list_(pa.string())),
        pa.field("mfa_device", pa.string()),
        pa.field("remote_addr", pa.string()),
        required("detail", pa.string()),
        required("topic", pa.string()),
        required("partition", pa.int32()),
        required("offset", pa.int64()),
    ]
)

ACTOR_KINDS = {1: "human", 2: "bot", 3: "system"}

# Long values that hardly repeat: a dictionary and the lowest and highest of them are work for nothing.
PAYLOAD = ColumnProperties(dictionary_enabled=False, statistics_enabled="NONE")


class Table:
    """A Delta table and how far it has read each partition."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema, sort: list[str], payload: str) -> None:
        self.schema = schema
        self.sort = [(column, "ascending") for column in sort]
        self.delta = DeltaTable.create(
            folder / name,
            schema,
            mode="ignore",
            partition_by=["date"],
            configuration={"delta.appendOnly": "true"},
        )
        self.properties = WriterProperties(
            compression="ZSTD", compression_level=3, column_properties={payload: PAYLOAD}
        )

    def next_offset(self, topic: str, partition: int) -> int | None:
        return self.delta.transaction_version(f"{topic}/{partition}")

    def append(self, rows: list[tuple], topic: str, ends: dict[int, int]) -> None:
        """Commits rows, and with them the offsets that come next."""
        columns = zip(*rows) if rows else [()] * len(self.schema)
        table = pa.table(dict(zip(self.schema.names, columns)), schema=self.schema).sort_by(self.sort)
        cursors = [Transaction(f"{topic}/{partition}", end) for partition, end in ends.items()]
        write_deltalake(
            self.delta,
            table,
            mode="append",
            writer_properties=self.properties,
            commit_properties=CommitProperties(app_transactions=cursors),
        )


def text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def texts(value: object) -> list[str] | None:
    return [str(item) for item in value] if isinstance(value, list) else None


def event_row(value: bytes, now: datetime, broker_at: int | None, message: Message) -> tuple:
    """One event's columns, in the order of EVENTS. What becomes a column is taken out; the rest is the detail."""
    event = json.loads(value)
    take = event.pop
    source_type = take("event")
    cluster = text(take("cluster_name", None))
    occurred_at = take("time", None)
    program = event.get("path") or event.get("program")
    action = " ".join([program, *event.get("argv", ())]) if program else text(take("command", None))
    target, target_kind = take("server_hostname", None), "node"
    if target is None:
        target, target_kind = take("db_service", None), "database"
    succeeded = event.get("success", event.get("return_code", 0) == 0)
    return (
        now.date(),
        f"{SOURCE}/{cluster or ''}/{take('uid', '')}",
        SOURCE,
        cluster,
        datetime.fromisoformat(occurred_at) if occurred_at else None,
        broker_at,
        now,
        text(source_type),
        text(take("code", None)),
        text(take("user", None)),
        ACTOR_KINDS.get(take("user_kind", None)),
        texts(take("user_roles", None)),
        action,
        text(target),
        None if target is None else target_kind,
        text(take("login", None)),
        "success" if succeeded else "failure",
        text(take("sid", None)),
        texts(take("access_requests", None)),
        text(take("with_mfa", None)),
        text(take("addr.remote", None)),
        json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False),
        message.topic(),
        message.partition(),
        message.offset(),
    )


def load(consumer: Consumer, topic: str, messages: int, batch: int, records: Table, events: Table) -> tuple[int, int]:
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    # A run that died between the two commits of a batch left `events` behind.
    done = {p: [table.next_offset(topic, p) or 0 for table in (records, events)] for p in partitions}
    consumer.assign([TopicPartition(topic, p, min(at) or OFFSET_BEGINNING) for p, at in done.items()])

    count = size = idle = 0
    while count < messages:
        # A batch is what came in a second, so that little traffic does not wait for much.
        taken = consumer.consume(num_messages=min(batch, messages - count), timeout=1.0)
        if not taken:
            idle += 1
            if idle == 10:
                sys.exit(f"{topic}: ended after {count} of {messages} messages")
            continue
        idle = 0
        now = datetime.now(UTC)
        record_rows, event_rows, ends = [], [], {}
        for message in taken:
            if message.error():
                sys.exit(f"{topic}: {message.error()}")
            partition, offset, value = message.partition(), message.offset(), message.value()
            kind, millis = message.timestamp()
            broker_at = millis * 1000 if kind else None
            ends[partition] = offset + 1
            in_records, in_events = done[partition]
            size += len(value or b"")
            try:
                row, error = event_row(value or b"", now, broker_at, message), None
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as failed:
                # Kept as it came, with the reason: nothing is dropped.
                row, error = None, f"{type(failed).__name__}: {failed}"
            if offset >= in_records:
                record_rows.append(
                    (now.date(), SOURCE, topic, partition, offset, broker_at, now, message.key(), value, error)
                )
            if row and offset >= in_events:
                event_rows.append(row)
        count += len(taken)
        # The evidence first. A cursor never goes back.
        records.append(record_rows, topic, {p: max(end, done[p][0]) for p, end in ends.items()})
        events.append(event_rows, topic, {p: max(end, done[p][1]) for p, end in ends.items()})
    return count, size


def rss_bytes_max() -> int:
    """Highest resident memory of this process so far, read where Custody reads its own."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def main() -> None:
    arguments = argparse.ArgumentParser(description="Loads a topic into Delta tables, and says what it took.")
    arguments.add_argument("--brokers", required=True)
    arguments.add_argument("--topic", required=True)
    arguments.add_argument("--messages", type=int, required=True, help="end after so many")
    arguments.add_argument("--folder", type=Path, required=True, help="where the tables are, or are to be")
    arguments.add_argument("--batch", type=int, default=20_000, help="messages a commit, at most")
    args = arguments.parse_args()

    records = Table(args.folder, "records", RECORDS, ["topic", "partition", "offset"], "value")
    events = Table(args.folder, "events", EVENTS, ["occurred_at", "topic", "partition", "offset"], "detail")
    started = time.monotonic()
    consumer = Consumer({"bootstrap.servers": args.brokers, "group.id": "custody-loader", "enable.auto.commit": False})
    count, size = load(consumer, args.topic, args.messages, args.batch, records, events)
    seconds = time.monotonic() - started
    consumer.close()
    report = {
        "messages": count,
        "bytes": size,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(time.process_time(), 2),
        "rss_bytes_max": rss_bytes_max(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()

//! Builders from records, events and pieces to the Arrow columns of their tables.
//!
//! A builder is pushed to in the order of arrival; [`finish`](RecordColumns::finish) yields one batch with the table's
//! schema, rows in the table's order, and leaves the builder empty.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, Date32Builder, Int32Builder, Int64Builder,
    ListArray, ListBuilder, PrimitiveArray, RecordBatch, StringBuilder, StructBuilder, TimestampMicrosecondBuilder,
    new_null_array,
};
use arrow::compute::{SortColumn, cast, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;

use crate::event::{ActorKind, Event, Integrity, Kind, Outcome, Text};
use crate::frame::{Clock, Code, FRAME_BYTES_MAX, FRAME_PIECES_MAX, Frame, FramePiece, Piece};
use crate::record::{DecodeError, Message, Origin};
use crate::table::{Table, element, header_fields};
use crate::time::{Micros, date_of};

/// What is the same for every row of one message: its place, its source and its times.
#[derive(Debug, Clone, Copy)]
pub struct RowContext<'a> {
    /// Where the message stood.
    pub origin: Origin<'a>,
    /// Name of the source that the topic is mapped to.
    pub source: &'a str,
    /// Kafka's time of the message.
    pub broker_at: Option<Micros>,
    /// When Custody took the message from Kafka. Its UTC day is the partition of the row.
    pub ingested_at: Micros,
}

pub(crate) fn timestamps() -> TimestampMicrosecondBuilder {
    TimestampMicrosecondBuilder::new().with_timezone("UTC")
}

fn texts() -> ListBuilder<StringBuilder> {
    ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8))
}

pub(crate) fn numbers() -> ListBuilder<Int64Builder> {
    ListBuilder::new(Int64Builder::new()).with_field(element(DataType::Int64))
}

fn push_texts(list: &mut ListBuilder<StringBuilder>, values: &[Text<'_>]) {
    for value in values {
        list.values().append_value(value);
    }
    list.append(!values.is_empty());
}

/// Puts the columns together and the rows into the table's order.
pub(crate) fn batch(table: Table, columns: Vec<ArrayRef>) -> Result<RecordBatch, ArrowError> {
    let batch = RecordBatch::try_new(table.schema(), columns)?;
    let mut keys = Vec::new();
    for name in table.sort_columns() {
        let values = batch.column(batch.schema().index_of(name)?);
        // Most batches are of one topic: comparing its name once a row is cheaper than in every comparison of rows.
        if !is_one_text(values) {
            keys.push(SortColumn { values: values.clone(), options: None });
        }
    }
    let order = lexsort_to_indices(&keys, None)?;
    if order.values().windows(2).all(|pair| matches!(pair, [a, b] if a < b)) {
        return Ok(batch);
    }
    take_record_batch(&batch, &order)
}

/// Whether a column is one text in every row.
fn is_one_text(values: &ArrayRef) -> bool {
    let Some(texts) = values.as_string_opt::<i32>() else { return false };
    let mut texts = texts.iter();
    let first = texts.next();
    texts.all(|text| Some(text) == first)
}

/// Builder of `records`.
#[derive(Debug)]
pub struct RecordColumns {
    date: Date32Builder,
    source: StringBuilder,
    topic: StringBuilder,
    partition: Int32Builder,
    offset: Int64Builder,
    broker_at: TimestampMicrosecondBuilder,
    ingested_at: TimestampMicrosecondBuilder,
    key: BinaryBuilder,
    headers: ListBuilder<StructBuilder>,
    value: BinaryBuilder,
    error_kind: StringBuilder,
    error: StringBuilder,
}

impl Default for RecordColumns {
    fn default() -> Self {
        Self {
            date: Date32Builder::new(),
            source: StringBuilder::new(),
            topic: StringBuilder::new(),
            partition: Int32Builder::new(),
            offset: Int64Builder::new(),
            broker_at: timestamps(),
            ingested_at: timestamps(),
            key: BinaryBuilder::new(),
            headers: ListBuilder::new(StructBuilder::from_fields(header_fields(), 0))
                .with_field(element(DataType::Struct(header_fields()))),
            value: BinaryBuilder::new(),
            error_kind: StringBuilder::new(),
            error: StringBuilder::new(),
        }
    }
}

impl RecordColumns {
    /// Number of rows so far.
    pub fn len(&self) -> usize {
        self.offset.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a message, with the error of its decoding if there was one.
    pub fn push(&mut self, row: &RowContext<'_>, message: &Message<'_>, error: Option<&DecodeError>) {
        self.date.append_value(date_of(row.ingested_at));
        self.source.append_value(row.source);
        self.topic.append_value(row.origin.topic);
        self.partition.append_value(row.origin.partition);
        self.offset.append_value(row.origin.offset);
        self.broker_at.append_option(row.broker_at);
        self.ingested_at.append_value(row.ingested_at);
        self.key.append_option(message.key);
        for (name, value) in message.headers {
            let header = self.headers.values();
            // The builders were made from `header_fields`: a string and a binary column, in this order.
            if let Some(names) = header.field_builder::<StringBuilder>(0) {
                names.append_value(name);
            }
            if let Some(values) = header.field_builder::<BinaryBuilder>(1) {
                values.append_option(*value);
            }
            header.append(true);
        }
        self.headers.append(!message.headers.is_empty());
        self.value.append_option(message.value);
        self.error_kind.append_option(error.map(|error| error.kind.as_str()));
        self.error.append_option(error.map(|error| error.detail.as_str()));
    }

    /// The rows as a batch of `records`.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        // The next batch is likely as large as this one: growing its largest column step by step would copy it twice.
        let (rows, value_bytes) = (self.len(), self.value.values_slice().len());
        let value = std::mem::replace(&mut self.value, BinaryBuilder::with_capacity(rows, value_bytes)).finish();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.date.finish()),
            Arc::new(self.source.finish()),
            Arc::new(self.topic.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.broker_at.finish()),
            Arc::new(self.ingested_at.finish()),
            Arc::new(self.key.finish()),
            Arc::new(self.headers.finish()),
            Arc::new(value),
            Arc::new(self.error_kind.finish()),
            Arc::new(self.error.finish()),
        ];
        batch(Table::Records, columns)
    }
}

/// Builder of `events`.
#[derive(Debug)]
pub struct EventColumns {
    date: Date32Builder,
    occurred_at: TimestampMicrosecondBuilder,
    broker_at: TimestampMicrosecondBuilder,
    ingested_at: TimestampMicrosecondBuilder,
    session_started_at: TimestampMicrosecondBuilder,
    session_ended_at: TimestampMicrosecondBuilder,
    expires_at: TimestampMicrosecondBuilder,
    approved_at: TimestampMicrosecondBuilder,
    recorded: BooleanBuilder,
    /// The text columns, in the order of [`EventColumns::TEXTS`].
    texts: Vec<StringBuilder>,
    actor_roles: ListBuilder<StringBuilder>,
    participants: ListBuilder<StringBuilder>,
    request_ids: ListBuilder<StringBuilder>,
    requested_roles: ListBuilder<StringBuilder>,
    partition: Int32Builder,
    offset: Int64Builder,
    index: Int32Builder,
}

impl Default for EventColumns {
    fn default() -> Self {
        Self {
            date: Date32Builder::new(),
            occurred_at: timestamps(),
            broker_at: timestamps(),
            ingested_at: timestamps(),
            session_started_at: timestamps(),
            session_ended_at: timestamps(),
            expires_at: timestamps(),
            approved_at: timestamps(),
            recorded: BooleanBuilder::new(),
            texts: Self::TEXTS.iter().map(|_| StringBuilder::new()).collect(),
            actor_roles: texts(),
            participants: texts(),
            request_ids: texts(),
            requested_roles: texts(),
            partition: Int32Builder::new(),
            offset: Int64Builder::new(),
            index: Int32Builder::new(),
        }
    }
}

impl EventColumns {
    const TEXTS: [&'static str; 31] = [
        "event_id",
        "source",
        "cluster",
        "kind",
        "source_type",
        "source_code",
        "actor",
        "actor_kind",
        "delegator",
        "action",
        "target",
        "target_kind",
        "login",
        "outcome",
        "session_id",
        "protocol",
        "reason",
        "request_state",
        "proposed_state",
        "decision_id",
        "policy_path",
        "policy_revision",
        "ticket",
        "approver",
        "correlation_id",
        "recording_id",
        "integrity",
        "mfa_device",
        "remote_addr",
        "detail",
        "topic",
    ];

    /// Number of rows so far.
    pub fn len(&self) -> usize {
        self.offset.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends an event; `index` counts the events of one message from 0.
    pub fn push(&mut self, row: &RowContext<'_>, event: &Event<'_>, index: i32) {
        fn some<'t>(text: &'t Option<Text<'_>>) -> Option<&'t str> {
            text.as_deref()
        }
        let Origin { topic, partition, offset } = row.origin;
        let event_id: Cow<'_, str> = if event.event_id.is_empty() {
            format!("kafka/{topic}/{partition}/{offset}/{index}").into()
        } else {
            Cow::Borrowed(&*event.event_id)
        };
        let values: [Option<&str>; Self::TEXTS.len()] = [
            Some(&event_id),
            Some(row.source),
            some(&event.cluster),
            Some(event.kind.as_str()),
            Some(&event.source_type),
            some(&event.source_code),
            some(&event.actor),
            event.actor_kind.map(|kind| kind.as_str()),
            some(&event.delegator),
            some(&event.action),
            some(&event.target),
            some(&event.target_kind),
            some(&event.login),
            event.outcome.map(|outcome| outcome.as_str()),
            some(&event.session_id),
            some(&event.protocol),
            some(&event.reason),
            some(&event.request_state),
            some(&event.proposed_state),
            some(&event.decision_id),
            some(&event.policy_path),
            some(&event.policy_revision),
            some(&event.ticket),
            some(&event.approver),
            some(&event.correlation_id),
            some(&event.recording_id),
            event.integrity.map(|integrity| integrity.as_str()),
            some(&event.mfa_device),
            some(&event.remote_addr),
            Some(if event.detail.is_empty() { "{}" } else { &event.detail }),
            Some(topic),
        ];
        for (column, value) in self.texts.iter_mut().zip(values) {
            column.append_option(value);
        }
        self.date.append_value(date_of(row.ingested_at));
        self.occurred_at.append_option(event.occurred_at);
        self.broker_at.append_option(row.broker_at);
        self.ingested_at.append_value(row.ingested_at);
        self.session_started_at.append_option(event.session_started_at);
        self.session_ended_at.append_option(event.session_ended_at);
        self.expires_at.append_option(event.expires_at);
        self.approved_at.append_option(event.approved_at);
        self.recorded.append_option(event.recorded);
        push_texts(&mut self.actor_roles, &event.actor_roles);
        push_texts(&mut self.participants, &event.participants);
        push_texts(&mut self.request_ids, &event.request_ids);
        push_texts(&mut self.requested_roles, &event.requested_roles);
        self.partition.append_value(partition);
        self.offset.append_value(offset);
        self.index.append_value(index);
    }

    /// The rows as a batch of `events`.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let mut columns: HashMap<&str, ArrayRef> = HashMap::new();
        let rows = self.len();
        for (name, builder) in Self::TEXTS.into_iter().zip(&mut self.texts) {
            // As for `records`: the next batch is likely as large as this one.
            let next = StringBuilder::with_capacity(rows, builder.values_slice().len());
            columns.insert(name, Arc::new(std::mem::replace(builder, next).finish()));
        }
        let others: [(&str, &mut dyn ArrayBuilder); 16] = [
            ("date", &mut self.date),
            ("occurred_at", &mut self.occurred_at),
            ("broker_at", &mut self.broker_at),
            ("ingested_at", &mut self.ingested_at),
            ("session_started_at", &mut self.session_started_at),
            ("session_ended_at", &mut self.session_ended_at),
            ("expires_at", &mut self.expires_at),
            ("approved_at", &mut self.approved_at),
            ("recorded", &mut self.recorded),
            ("actor_roles", &mut self.actor_roles),
            ("participants", &mut self.participants),
            ("request_ids", &mut self.request_ids),
            ("requested_roles", &mut self.requested_roles),
            ("partition", &mut self.partition),
            ("offset", &mut self.offset),
            ("index", &mut self.index),
        ];
        for (name, builder) in others {
            columns.insert(name, builder.finish());
        }
        let ordered = Table::Events
            .schema()
            .fields()
            .iter()
            .map(|field: &Arc<Field>| {
                columns
                    .remove(field.name().as_str())
                    .ok_or_else(|| ArrowError::SchemaError(format!("events.{} has no builder", field.name())))
            })
            .collect::<Result<Vec<_>, _>>()?;
        batch(Table::Events, ordered)
    }
}

/// What the pieces of one frame have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct FrameKey {
    session_id: String,
    channel: Option<String>,
    topic: String,
    partition: i32,
}

/// A frame that pieces are still being added to.
#[derive(Debug)]
struct OpenFrame {
    cluster: Option<String>,
    source: String,
    clock: Clock,
    ingested_at: Micros,
    first_offset: i64,
    last_offset: i64,
    codes: String,
    seqs: Vec<i64>,
    times_us: Vec<Option<i64>>,
    ats: Vec<Option<i64>>,
    positions: Vec<Option<i64>>,
    lens: Vec<i32>,
    output_bytes: i64,
    data: Vec<u8>,
}

/// Builder of `frames`: packs the pieces of each session of each partition into runs.
///
/// Frames are closed when they are full and all of them when the batch is finished, so a session that is still running
/// can be watched up to the last flush.
#[derive(Debug)]
pub struct FrameColumns {
    open: HashMap<FrameKey, OpenFrame>,
    date: Date32Builder,
    source: StringBuilder,
    cluster: StringBuilder,
    session_id: StringBuilder,
    channel: StringBuilder,
    first_seq: Int64Builder,
    last_seq: Int64Builder,
    first_at: TimestampMicrosecondBuilder,
    last_at: TimestampMicrosecondBuilder,
    ingested_at: TimestampMicrosecondBuilder,
    clock: StringBuilder,
    codes: StringBuilder,
    seqs: ListBuilder<Int64Builder>,
    times_us: ListBuilder<Int64Builder>,
    ats: ListBuilder<Int64Builder>,
    positions: ListBuilder<Int64Builder>,
    lens: ListBuilder<Int32Builder>,
    output_bytes: Int64Builder,
    data: BinaryBuilder,
    topic: StringBuilder,
    partition: Int32Builder,
    first_offset: Int64Builder,
    last_offset: Int64Builder,
}

impl Default for FrameColumns {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            date: Date32Builder::new(),
            source: StringBuilder::new(),
            cluster: StringBuilder::new(),
            session_id: StringBuilder::new(),
            channel: StringBuilder::new(),
            first_seq: Int64Builder::new(),
            last_seq: Int64Builder::new(),
            first_at: timestamps(),
            last_at: timestamps(),
            ingested_at: timestamps(),
            clock: StringBuilder::new(),
            codes: StringBuilder::new(),
            seqs: numbers(),
            times_us: numbers(),
            ats: numbers(),
            positions: numbers(),
            lens: ListBuilder::new(Int32Builder::new()).with_field(element(DataType::Int32)),
            output_bytes: Int64Builder::new(),
            data: BinaryBuilder::new(),
            topic: StringBuilder::new(),
            partition: Int32Builder::new(),
            first_offset: Int64Builder::new(),
            last_offset: Int64Builder::new(),
        }
    }
}

impl FrameColumns {
    /// Number of frames so far, open ones included.
    pub fn len(&self) -> usize {
        self.open.len() + self.first_offset.len()
    }

    /// Whether there are no frames.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a piece to the frame of its session, closing that frame first when it is full or when the piece does not
    /// follow it (its position goes back, or its times are of another sort).
    pub fn push(&mut self, row: &RowContext<'_>, piece: &Piece<'_>) {
        let key = FrameKey {
            session_id: piece.session_id.to_string(),
            channel: piece.channel.as_deref().map(str::to_owned),
            topic: row.origin.topic.to_owned(),
            partition: row.origin.partition,
        };
        let fits = self.open.get(&key).is_none_or(|frame| {
            frame.data.len() + piece.data.len() <= FRAME_BYTES_MAX
                && frame.seqs.len() < FRAME_PIECES_MAX
                && frame.seqs.last().is_none_or(|last| *last < piece.seq)
                && frame.clock == piece.clock
                && frame.cluster.as_deref() == piece.cluster.as_deref()
        });
        if !fits && let Some((key, frame)) = self.open.remove_entry(&key) {
            self.close(&key, frame);
        }
        let frame = self.open.entry(key).or_insert_with(|| OpenFrame {
            cluster: piece.cluster.as_deref().map(str::to_owned),
            source: row.source.to_owned(),
            clock: piece.clock,
            ingested_at: row.ingested_at,
            first_offset: row.origin.offset,
            last_offset: row.origin.offset,
            codes: String::new(),
            seqs: Vec::new(),
            times_us: Vec::new(),
            ats: Vec::new(),
            positions: Vec::new(),
            lens: Vec::new(),
            output_bytes: 0,
            data: Vec::new(),
        });
        frame.last_offset = row.origin.offset;
        frame.codes.push(piece.code.as_char());
        frame.seqs.push(piece.seq);
        frame.times_us.push(piece.time_us);
        frame.ats.push(piece.at);
        frame.positions.push(piece.position);
        // A piece is part of one Kafka message, which is far below 2 GiB.
        frame.lens.push(i32::try_from(piece.data.len()).unwrap_or(i32::MAX));
        if piece.code == Code::Output {
            frame.output_bytes += piece.data.len() as i64;
        }
        frame.data.extend_from_slice(&piece.data);
    }

    fn close(&mut self, key: &FrameKey, frame: OpenFrame) {
        self.date.append_value(date_of(frame.ingested_at));
        self.source.append_value(frame.source);
        self.cluster.append_option(frame.cluster);
        self.session_id.append_value(&key.session_id);
        self.channel.append_option(key.channel.as_deref());
        // A frame is opened with its first piece: the lists are never empty.
        self.first_seq.append_value(frame.seqs.first().copied().unwrap_or_default());
        self.last_seq.append_value(frame.seqs.last().copied().unwrap_or_default());
        self.first_at.append_option(frame.ats.iter().flatten().min().copied());
        self.last_at.append_option(frame.ats.iter().flatten().max().copied());
        self.ingested_at.append_value(frame.ingested_at);
        self.clock.append_value(frame.clock.as_str());
        self.codes.append_value(frame.codes);
        self.seqs.append_value(frame.seqs.into_iter().map(Some));
        self.times_us.append_value(frame.times_us);
        self.ats.append_value(frame.ats);
        self.positions.append_value(frame.positions);
        self.lens.append_value(frame.lens.into_iter().map(Some));
        self.output_bytes.append_value(frame.output_bytes);
        self.data.append_value(frame.data);
        self.topic.append_value(&key.topic);
        self.partition.append_value(key.partition);
        self.first_offset.append_value(frame.first_offset);
        self.last_offset.append_value(frame.last_offset);
    }

    /// Closes every frame and yields them as a batch of `frames`.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        for (key, frame) in std::mem::take(&mut self.open) {
            self.close(&key, frame);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.date.finish()),
            Arc::new(self.source.finish()),
            Arc::new(self.cluster.finish()),
            Arc::new(self.session_id.finish()),
            Arc::new(self.channel.finish()),
            Arc::new(self.first_seq.finish()),
            Arc::new(self.last_seq.finish()),
            Arc::new(self.first_at.finish()),
            Arc::new(self.last_at.finish()),
            Arc::new(self.ingested_at.finish()),
            Arc::new(self.clock.finish()),
            Arc::new(self.codes.finish()),
            Arc::new(self.seqs.finish()),
            Arc::new(self.times_us.finish()),
            Arc::new(self.ats.finish()),
            Arc::new(self.positions.finish()),
            Arc::new(self.lens.finish()),
            Arc::new(self.output_bytes.finish()),
            Arc::new(self.data.finish()),
            Arc::new(self.topic.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.first_offset.finish()),
            Arc::new(self.last_offset.finish()),
        ];
        batch(Table::Frames, columns)
    }
}

/// Reads rows of `frames` back. Columns are found by name; a batch that lacks one, or has it in another type, is an
/// error, a row whose lists disagree in length yields as many pieces as the shortest has.
pub fn read_frames(batch: &RecordBatch) -> Result<Vec<Frame>, ArrowError> {
    let column = |name: &str| column(Table::Frames, batch, name);
    let text = |name: &str| column(name).map(|array| array.as_string::<i32>().clone());
    let int64 = |name: &str| column(name).map(|array| array.as_primitive::<Int64Type>().clone());
    let lists = |name: &str| column(name).map(|array| array.as_list::<i32>().clone());
    let (session_id, cluster, channel, clock, codes, topic) =
        (text("session_id")?, text("cluster")?, text("channel")?, text("clock")?, text("codes")?, text("topic")?);
    let partition = column("partition")?.as_primitive::<Int32Type>().clone();
    let (first_offset, last_offset) = (int64("first_offset")?, int64("last_offset")?);
    let (seqs, times_us, ats, positions, lens) =
        (lists("seqs")?, lists("times_us")?, lists("ats")?, lists("positions")?, lists("lens")?);
    let data = column("data")?.as_binary::<i32>().clone();
    (0..batch.num_rows())
        .map(|row| {
            let clock = Clock::from_name(clock.value(row)).ok_or_else(|| {
                ArrowError::CastError(format!("frames.clock: no clock is named {:?}", clock.value(row)))
            })?;
            let numbers = |list: &ListArray| list.value(row).as_primitive::<Int64Type>().iter().collect::<Vec<_>>();
            let lens = lens.value(row).as_primitive::<Int32Type>().iter().collect::<Vec<_>>();
            let (seqs, times_us) = (numbers(&seqs), numbers(&times_us));
            let (ats, positions) = (numbers(&ats), numbers(&positions));
            let pieces = codes
                .value(row)
                .chars()
                .zip(seqs.into_iter().zip(times_us))
                .zip(ats.into_iter().zip(positions).zip(lens))
                .map(|((code, (seq, time_us)), ((at, position), len))| {
                    let code = Code::from_char(code)
                        .ok_or_else(|| ArrowError::CastError(format!("frames.codes: no code is written {code:?}")))?;
                    let seq = seq.unwrap_or_default();
                    let len = usize::try_from(len.unwrap_or_default()).unwrap_or_default();
                    Ok(FramePiece { code, seq, time_us, at, position, len })
                })
                .collect::<Result<_, ArrowError>>()?;
            Ok(Frame {
                session_id: session_id.value(row).to_owned(),
                cluster: cluster.is_valid(row).then(|| cluster.value(row).to_owned()),
                channel: channel.is_valid(row).then(|| channel.value(row).to_owned()),
                topic: topic.value(row).to_owned(),
                partition: partition.value(row),
                first_offset: first_offset.value(row),
                last_offset: last_offset.value(row),
                clock,
                pieces,
                data: data.value(row).to_vec(),
            })
        })
        .collect()
}

/// An event as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// The fact.
    pub event: Event<'static>,
    /// Name of the source that its topic is mapped to.
    pub source: String,
    /// Topic of its message.
    pub topic: String,
    /// Partition of its message.
    pub partition: i32,
    /// Offset of its message.
    pub offset: i64,
    /// Which of the events of that message, from 0.
    pub index: i32,
    /// Kafka's time of the message.
    pub broker_at: Option<Micros>,
    /// When Custody took the message.
    pub ingested_at: Micros,
}

/// Rows of `events` as what they were made from.
///
/// # Errors
///
/// When a column is missing that every event has, or holds a word that this version does not know.
pub fn read_events(batch: &RecordBatch) -> Result<Vec<StoredEvent>, ArrowError> {
    let table = Table::Events;
    let column = |name: &str| column(table, batch, name);
    let text = |name: &str| column(name).map(|array| array.as_string::<i32>().clone());
    let time = |name: &str| column(name).map(|array| array.as_primitive::<TimestampMicrosecondType>().clone());
    let list = |name: &str| column(name).map(|array| array.as_list::<i32>().clone());
    let texts = EventColumns::TEXTS.into_iter().map(|name| Ok((name, text(name)?)));
    let texts = texts.collect::<Result<HashMap<_, _>, ArrowError>>()?;
    let [occurred_at, broker_at, ingested_at] = [time("occurred_at")?, time("broker_at")?, time("ingested_at")?];
    let [session_started_at, session_ended_at] = [time("session_started_at")?, time("session_ended_at")?];
    let [expires_at, approved_at] = [time("expires_at")?, time("approved_at")?];
    let [actor_roles, participants] = [list("actor_roles")?, list("participants")?];
    let [request_ids, requested_roles] = [list("request_ids")?, list("requested_roles")?];
    let recorded = column("recorded")?.as_boolean().clone();
    let [partition, index] = [column("partition")?, column("index")?].map(|of| of.as_primitive::<Int32Type>().clone());
    let offset = column("offset")?.as_primitive::<Int64Type>().clone();
    let at = |times: &PrimitiveArray<TimestampMicrosecondType>, row| times.is_valid(row).then(|| times.value(row));
    let all = |lists: &ListArray, row| -> Vec<Text<'static>> {
        let values = lists.is_valid(row).then(|| lists.value(row));
        let values = values.iter().flat_map(|values| values.as_string::<i32>().iter().flatten());
        values.map(|value| Text::Owned(value.to_owned())).collect()
    };
    let unknown = |name: &str, word: &str| ArrowError::CastError(format!("events.{name}: {word:?} is not known"));
    (0..batch.num_rows())
        .map(|row| {
            let some = |name: &str| {
                let column = texts.get(name).filter(|column| column.is_valid(row));
                column.map(|column| column.value(row).to_owned())
            };
            let has = |name: &str| some(name).unwrap_or_default();
            let text = |name: &str| some(name).map(Text::Owned);
            fn known<T>(name: &str, word: Option<String>, of: fn(&str) -> Option<T>) -> Result<Option<T>, ArrowError> {
                let unknown = |word: &str| ArrowError::CastError(format!("events.{name}: {word:?} is not known"));
                word.map(|word| of(&word).ok_or_else(|| unknown(&word))).transpose()
            }
            let kind = has("kind");
            let event = Event {
                event_id: Text::Owned(has("event_id")),
                cluster: text("cluster"),
                occurred_at: at(&occurred_at, row),
                kind: Kind::from_name(&kind).ok_or_else(|| unknown("kind", &kind))?,
                source_type: Text::Owned(has("source_type")),
                source_code: text("source_code"),
                actor: text("actor"),
                actor_kind: known("actor_kind", some("actor_kind"), ActorKind::from_name)?,
                actor_roles: all(&actor_roles, row),
                delegator: text("delegator"),
                action: text("action"),
                target: text("target"),
                target_kind: text("target_kind"),
                login: text("login"),
                outcome: known("outcome", some("outcome"), Outcome::from_name)?,
                session_id: text("session_id"),
                protocol: text("protocol"),
                session_started_at: at(&session_started_at, row),
                session_ended_at: at(&session_ended_at, row),
                participants: all(&participants, row),
                request_ids: all(&request_ids, row),
                reason: text("reason"),
                request_state: text("request_state"),
                proposed_state: text("proposed_state"),
                requested_roles: all(&requested_roles, row),
                expires_at: at(&expires_at, row),
                decision_id: text("decision_id"),
                policy_path: text("policy_path"),
                policy_revision: text("policy_revision"),
                ticket: text("ticket"),
                approver: text("approver"),
                approved_at: at(&approved_at, row),
                correlation_id: text("correlation_id"),
                recording_id: text("recording_id"),
                recorded: recorded.is_valid(row).then(|| recorded.value(row)),
                integrity: known("integrity", some("integrity"), Integrity::from_name)?,
                mfa_device: text("mfa_device"),
                remote_addr: text("remote_addr"),
                detail: has("detail"),
            };
            Ok(StoredEvent {
                event,
                source: has("source"),
                topic: has("topic"),
                partition: partition.value(row),
                offset: offset.value(row),
                index: index.value(row),
                broker_at: at(&broker_at, row),
                ingested_at: ingested_at.value(row),
            })
        })
        .collect()
}

/// A column in the type that its table gives it, whatever view or dictionary type a query engine chose for it. A file that
/// is older than a column has nothing in it.
fn column(table: Table, batch: &RecordBatch, name: &str) -> Result<ArrayRef, ArrowError> {
    let schema = table.schema();
    let wanted = schema.field_with_name(name)?;
    match batch.column_by_name(name) {
        Some(have) if have.data_type() == wanted.data_type() => Ok(have.clone()),
        Some(have) => cast(have, wanted.data_type()),
        None if wanted.is_nullable() => Ok(new_null_array(wanted.data_type(), batch.num_rows())),
        None => Err(ArrowError::SchemaError(format!("{}.{name} is not in the batch", table.name()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(offset: i64) -> RowContext<'static> {
        let origin = Origin { topic: "casts", partition: 3, offset };
        RowContext { origin, source: "asciicast", broker_at: Some(7), ingested_at: 11 }
    }

    fn piece(session: &'static str, seq: i64, data: &'static [u8]) -> Piece<'static> {
        Piece {
            session_id: session.into(),
            cluster: None,
            channel: None,
            clock: Clock::AsciicastLine,
            code: Code::Output,
            seq,
            time_us: Some(seq * 10),
            at: None,
            position: None,
            data: data.into(),
        }
    }

    #[test]
    fn pieces_are_packed_by_session_and_read_back() {
        let mut columns = FrameColumns::default();
        for (offset, (session, data)) in
            [("b", &b"1"[..]), ("a", b"\xff\xfe"), ("b", b""), ("b", b"23")].into_iter().enumerate()
        {
            let offset = offset as i64;
            columns.push(&row(offset), &piece(session, offset, data));
        }
        let batch = columns.finish().unwrap();
        let frames = read_frames(&batch).unwrap();
        let seen: Vec<_> = frames
            .iter()
            .map(|frame| (frame.session_id.as_str(), frame.first_offset, frame.last_offset, frame.data.as_slice()))
            .collect();
        assert_eq!(seen, [("a", 1, 1, &b"\xff\xfe"[..]), ("b", 0, 3, b"123")]);
        let datas: Vec<_> = frames[1].iter().map(|(piece, data)| (piece.seq, data)).collect();
        assert_eq!(datas, [(0, &b"1"[..]), (2, b""), (3, b"23")]);
        assert!(columns.is_empty());
    }

    #[test]
    fn a_frame_is_closed_when_it_is_full_or_the_stream_steps_back() {
        let mut columns = FrameColumns::default();
        let big: &'static [u8] = Box::leak(vec![b'x'; FRAME_BYTES_MAX].into_boxed_slice());
        for (offset, seq, data) in [(0, 0, &b"1"[..]), (1, 1, big), (2, 2, b"2"), (3, 0, b"1")] {
            columns.push(&row(offset), &piece("a", seq, data));
        }
        let frames = read_frames(&columns.finish().unwrap()).unwrap();
        let seqs: Vec<Vec<i64>> = frames.iter().map(|f| f.pieces.iter().map(|p| p.seq).collect()).collect();
        assert_eq!(seqs, [vec![0], vec![0], vec![1], vec![2]]);
    }

    #[test]
    fn rows_stand_in_the_order_of_their_table() {
        let mut columns = EventColumns::default();
        for (offset, occurred_at) in [(0, Some(5)), (1, None), (2, Some(3))] {
            let event = Event { occurred_at, ..Event::default() };
            columns.push(&row(offset), &event, 0);
        }
        let batch = columns.finish().unwrap();
        let ids = batch.column_by_name("event_id").unwrap().as_string::<i32>().clone();
        let ids: Vec<_> = ids.iter().flatten().collect();
        assert_eq!(ids, ["kafka/casts/3/1/0", "kafka/casts/3/2/0", "kafka/casts/3/0/0"]);
    }
}

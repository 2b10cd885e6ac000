//! Messages that could not be decoded, as typed values: pages of them, and one as it came.

use arrow::array::{Array, AsArray};
use custody_schemas::table::Table;
use datafusion::logical_expr::{Expr, ident, lit};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine::{AsOf, Bounds, Engine, Reading, Versions};
use crate::error::QueryError;
use crate::pages::{self, By, PAGE_ROWS_MAX, instant};
use crate::sessions::{Time, columns};
use crate::text::visible;

/// Bytes of a key, a header or a value that are shown.
pub const SHOWN_BYTES_MAX: usize = 4096;

/// Headers that are shown.
pub const SHOWN_HEADERS_MAX: usize = 100;

/// Which dead letters a page shows. Everything that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    /// Of a topic of this source.
    pub source: Option<String>,
    /// Of this class of error.
    pub error_kind: Option<String>,
    /// Taken in at this time or later.
    pub from: Option<Time>,
    /// Taken in before this time.
    pub to: Option<Time>,
    /// The cursor that the page before gave.
    pub after: Option<String>,
}

/// Where a message stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePlace {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

impl MessagePlace {
    fn condition(&self) -> Expr {
        let Self { topic, partition, offset } = self;
        let of_partition = ident("topic").eq(lit(topic.as_str())).and(ident("partition").eq(lit(*partition)));
        of_partition.and(ident("offset").eq(lit(*offset)))
    }
}

/// A row of the view `dead_letters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// Where it stood.
    pub topic: String,
    /// Where it stood.
    pub partition: i32,
    /// Where it stood.
    pub offset: i64,
    /// Kafka's time of it.
    pub broker_at: Option<Time>,
    /// When it was taken in.
    pub ingested_at: Time,
    /// The source that its topic is mapped to.
    pub source: String,
    /// Class of the error.
    pub error_kind: String,
    /// What was expected.
    pub error: Option<String>,
    /// Size of its value; null where it has none.
    pub value_bytes: Option<i64>,
    /// The first bytes of its value, with everything replaced that a terminal would obey.
    pub preview: Option<String>,
}

/// A page of dead letters, the latest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeadLetterPage {
    /// The dead letters.
    pub dead_letters: Vec<DeadLetter>,
    /// Cursor of the next page; `None` on the last.
    pub next: Option<String>,
    /// What the page is made from.
    pub versions: Versions,
}

/// The beginning of some bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ShownBytes {
    /// How many there are.
    pub bytes: usize,
    /// There are more than are shown.
    pub truncated: bool,
    /// The first of them, up to [`SHOWN_BYTES_MAX`], in hexadecimal.
    pub hex: String,
    /// The same as text, with everything replaced that a terminal would obey.
    pub text: String,
}

impl ShownBytes {
    fn of(bytes: &[u8]) -> Self {
        let shown = bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes);
        Self {
            bytes: bytes.len(),
            truncated: shown.len() < bytes.len(),
            hex: shown.iter().map(|byte| format!("{byte:02x}")).collect(),
            text: visible(&String::from_utf8_lossy(shown)).into_owned(),
        }
    }
}

/// A header of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ShownHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Option<ShownBytes>,
}

/// A dead letter as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeadLetterDetail {
    /// The dead letter.
    #[serde(flatten)]
    pub letter: DeadLetter,
    /// Its key.
    pub key: Option<ShownBytes>,
    /// Its headers in order, up to [`SHOWN_HEADERS_MAX`].
    pub headers: Vec<ShownHeader>,
    /// There are more headers than are shown.
    pub headers_truncated: bool,
    /// Its value.
    pub value: Option<ShownBytes>,
    /// What this is made from.
    pub versions: Versions,
}

/// A part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessagePart {
    /// Its key.
    Key,
    /// Its value.
    Value,
    /// One of its headers, counted from 0.
    Header(usize),
}

/// A message as it came.
#[derive(Debug, Default)]
struct Message {
    key: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    value: Option<Vec<u8>>,
}

/// Where a page ended.
type Place = (i64, String, i32, i64);

fn order() -> [By; 4] {
    [
        By::descending(ident("ingested_at")),
        By::ascending(ident("topic")),
        By::ascending(ident("partition")),
        By::ascending(ident("offset")),
    ]
}

impl Engine {
    /// A page of at most `count` dead letters, the latest first.
    ///
    /// # Errors
    ///
    /// [`QueryError::Invalid`] for a cursor that no page gave.
    pub fn dead_letters<'a>(
        &'a self,
        filter: &'a DeadLetterFilter,
        count: usize,
    ) -> BoxFuture<'a, Result<DeadLetterPage, QueryError>> {
        Box::pin(async move {
            let count = count.clamp(1, PAGE_ROWS_MAX);
            let after: Option<Place> = filter.after.as_deref().map(pages::place).transpose()?;
            let reading = self.read(AsOf::Newest, Bounds::default().time).await?;
            let conditions = [
                filter.source.as_deref().map(|source| ident("source").eq(lit(source))),
                filter.error_kind.as_deref().map(|kind| ident("error_kind").eq(lit(kind))),
                filter.from.map(|from| ident("ingested_at").gt_eq(instant(from))),
                filter.to.map(|to| ident("ingested_at").lt(instant(to))),
                after.map(|(at, topic, partition, offset)| {
                    pages::behind(&order(), vec![instant(Time(at)), lit(topic), lit(partition), lit(offset)])
                }),
            ];
            let mut rows = reading.context.table("dead_letters").await?;
            for condition in conditions.into_iter().flatten() {
                rows = rows.filter(condition)?;
            }
            let rows = rows.sort(pages::sorted(&order()))?.limit(0, Some(count + 1))?.select(columns(DEAD_LETTER))?;
            let (dead_letters, next) = pages::page(reading.rows::<DeadLetter>(rows).await?, count, |last| {
                let DeadLetter { ingested_at: Time(at), topic, partition, offset, .. } = last;
                pages::cursor::<Place>(&(*at, topic.clone(), *partition, *offset))
            });
            Ok(DeadLetterPage { dead_letters, next, versions: reading.versions })
        })
    }

    /// A dead letter and how its parts begin; `None` when none stands there.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn dead_letter<'a>(
        &'a self,
        at: &'a MessagePlace,
    ) -> BoxFuture<'a, Result<Option<DeadLetterDetail>, QueryError>> {
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, Bounds::default().time).await?;
            let Some(letter) = reading.dead_letter(at).await? else { return Ok(None) };
            let Message { key, headers, value } = reading.message(at).await?;
            let shown = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(ShownBytes::of);
            let headers_truncated = headers.len() > SHOWN_HEADERS_MAX;
            let header = |(name, value)| ShownHeader { name, value: shown(&value) };
            Ok(Some(DeadLetterDetail {
                letter,
                key: shown(&key),
                headers: headers.into_iter().take(SHOWN_HEADERS_MAX).map(header).collect(),
                headers_truncated,
                value: shown(&value),
                versions: reading.versions,
            }))
        })
    }

    /// A part of a dead letter, byte for byte; `None` when none stands there, or when it has no such part.
    ///
    /// # Errors
    ///
    /// As [`Engine::query`].
    pub fn dead_letter_bytes<'a>(
        &'a self,
        at: &'a MessagePlace,
        part: MessagePart,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, QueryError>> {
        Box::pin(async move {
            let reading = self.read(AsOf::Newest, Bounds::default().time).await?;
            if reading.dead_letter(at).await?.is_none() {
                return Ok(None);
            }
            let Message { key, mut headers, value } = reading.message(at).await?;
            Ok(match part {
                MessagePart::Key => key,
                MessagePart::Value => value,
                MessagePart::Header(number) if number < headers.len() => headers.swap_remove(number).1,
                MessagePart::Header(_) => None,
            })
        })
    }
}

impl Reading {
    async fn dead_letter(&self, at: &MessagePlace) -> Result<Option<DeadLetter>, QueryError> {
        let rows = self.table("dead_letters", at.condition()).await?.select(columns(DEAD_LETTER))?;
        Ok(self.rows(rows.limit(0, Some(1))?).await?.pop())
    }

    async fn message(&self, at: &MessagePlace) -> Result<Message, QueryError> {
        let rows = self.table(Table::Records.name(), at.condition()).await?;
        let rows = self.collect(rows.select(columns(&["key", "headers", "value"]))?.limit(0, Some(1))?).await?;
        let Some([key, headers, value]) = rows.iter().find(|batch| batch.num_rows() > 0).map(|batch| batch.columns())
        else {
            return Ok(Message::default());
        };
        let bytes = |column: &dyn Array| {
            let column = column.as_binary_opt::<i32>().filter(|column| column.is_valid(0));
            column.map(|column| column.value(0).to_vec())
        };
        let pairs = headers.as_list_opt::<i32>().filter(|headers| headers.is_valid(0)).map(|headers| headers.value(0));
        let headers = pairs.as_ref().and_then(|pairs| pairs.as_struct_opt()).map_or_else(Vec::new, |pairs| {
            let (names, values) = (pairs.column(0).as_string::<i32>(), pairs.column(1).as_binary::<i32>());
            let pair = |(name, value): (Option<&str>, Option<&[u8]>)| {
                (name.unwrap_or_default().to_owned(), value.map(<[u8]>::to_vec))
            };
            names.iter().zip(values).map(pair).collect()
        });
        Ok(Message { key: bytes(key), headers, value: bytes(value) })
    }
}

/// The columns of [`DeadLetter`].
const DEAD_LETTER: &[&str] = &[
    "topic",
    "partition",
    "offset",
    "broker_at",
    "ingested_at",
    "source",
    "error_kind",
    "error",
    "value_bytes",
    "preview",
];

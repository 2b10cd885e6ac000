//! Custody's own records: what it did to the ledger, and what it found to be missing.
//!
//! They take the road that everyone's messages take, in streams of their own, `custody/<what>`, that no topic of Kafka can
//! be mapped to.

use custody_ledger::{AppendError, Ledger, LedgerError, Stream};
use custody_schemas::time::Micros;
use serde::Serialize;
use uuid::Uuid;

use crate::batch::PerTable;
use crate::direct::{Content, Direct, DirectError};
use crate::source::custody::{LOSS, LossRecord};
use crate::source::{Source, SourceKind};

pub use crate::source::custody::{
    FINDING, FindingRecord, HEARTBEAT, HeartbeatRecord, RETENTION, RetentionRecord, SourceCount,
};

/// Writes Custody's own records.
#[derive(Debug)]
pub struct Journal {
    direct: Direct,
    source: Source,
    instance: Uuid,
}

impl Journal {
    /// Opens the tables for appending.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when they cannot be opened.
    pub async fn open(ledger: &Ledger) -> Result<Self, LedgerError> {
        Ok(Self {
            direct: Direct::open(ledger).await?,
            source: Source::new(SourceKind::Custody),
            instance: Uuid::new_v4(),
        })
    }

    /// Writes down that something was done; it is committed when this returns.
    ///
    /// # Errors
    ///
    /// [`DirectError`]; nothing is written then.
    pub async fn did(&mut self, what: &str, record: &impl Serialize, now: Micros) -> Result<(), DirectError> {
        // A stream that nobody else writes: of two processes that do the same at once, both are told.
        let topic = format!("custody/{what}/{}", self.instance);
        let stream = Stream { cluster: "custody".to_owned(), topic, partition: 0 };
        self.write(&stream, None, record, now).await
    }

    /// Writes down that messages of a stream are missing from an offset on, once however often it is found out.
    ///
    /// # Errors
    ///
    /// [`DirectError`]; nothing is written then.
    pub async fn lost(
        &mut self,
        of: &Stream,
        from: i64,
        first_left: i64,
        at: String,
        now: Micros,
    ) -> Result<(), DirectError> {
        let record = LossRecord {
            custody: LOSS,
            cluster: &of.cluster,
            topic: &of.topic,
            partition: of.partition,
            first_lost: from,
            first_left,
            at,
        };
        let topic = format!("custody/{LOSS}/{}/{}", of.cluster, of.topic);
        let stream = Stream { cluster: "custody".to_owned(), topic, partition: of.partition };
        self.write(&stream, Some(from), &record, now).await
    }

    /// The number of the next finding. What was told so far is to be read after this.
    ///
    /// # Errors
    ///
    /// [`DirectError`] when the store fails.
    pub async fn next_finding(&mut self) -> Result<i64, DirectError> {
        self.direct.reset().await?;
        let cursors: PerTable<Option<i64>> = self.direct.begin(&Self::shared(FINDING)).await?;
        Ok(cursors.into_iter().flatten().max().unwrap_or(0))
    }

    /// Writes down what was found, all or nothing.
    ///
    /// # Errors
    ///
    /// [`DirectError`]; nothing is written then. One that [`is_fenced`](DirectError::is_fenced) when another process
    /// wrote what it found since that was the next number: what was found is to be compared with it.
    pub async fn found(&mut self, from: i64, records: &[FindingRecord<'_>], now: Micros) -> Result<(), DirectError> {
        let stream = Self::shared(FINDING);
        for (offset, record) in (from..).zip(records) {
            let value = serde_json::to_vec(record).unwrap_or_default();
            let content = Content { source: &self.source, sent_at: Some(now), key: None, headers: &[], value: &value };
            let _ = self.direct.place((&stream, offset), &content, now);
        }
        self.direct.settle().await
    }

    /// Writes down how much came in until a time, once however many processes do. The number of the span counts up with
    /// time.
    ///
    /// # Errors
    ///
    /// [`DirectError`]; nothing is written then.
    pub async fn beat(&mut self, span: i64, record: &HeartbeatRecord<'_>, now: Micros) -> Result<(), DirectError> {
        self.write(&Self::shared(HEARTBEAT), Some(span), record, now).await
    }

    /// A stream that every process writes.
    fn shared(what: &str) -> Stream {
        Stream { cluster: "custody".to_owned(), topic: format!("custody/{what}"), partition: 0 }
    }

    async fn write(
        &mut self,
        stream: &Stream,
        at: Option<i64>,
        record: &impl Serialize,
        now: Micros,
    ) -> Result<(), DirectError> {
        // Serialising these structures cannot fail; an empty record would be a dead letter, and seen.
        let value = serde_json::to_vec(record).unwrap_or_default();
        let content = Content { source: &self.source, sent_at: Some(now), key: None, headers: &[], value: &value };
        loop {
            let cursors: PerTable<Option<i64>> = self.direct.begin(stream).await?;
            let next = cursors.into_iter().flatten().max().unwrap_or(0);
            let _ = self.direct.place((stream, at.unwrap_or(next)), &content, now);
            match self.direct.settle().await {
                // Another process wrote into the same stream.
                Err(DirectError::Append(AppendError::Fenced { .. })) => self.direct.reset().await?,
                done => return done,
            }
        }
    }
}

//! What was forwarded: how far each destination has come, and what it did not take.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::error::ArrowError;

use crate::table::Table;
use crate::time::{Micros, date_of};

/// A step of a destination: a row of `forwarding`. The one with the highest number says where it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// The destination.
    pub destination: String,
    /// Grows from step to step. Of two that begin at the same one, only one is committed.
    pub step: i64,
    /// When.
    pub at: Micros,
    /// The process that made it, and does the next ones until `lease_until`.
    pub worker: String,
    /// Until then no other process takes over.
    pub lease_until: Micros,
    /// How far it has come, as JSON.
    pub position: String,
    /// `delivering`, `paused`.
    pub state: String,
    /// Events that were taken since the step before.
    pub sent: i64,
    /// Events since then that it will never take.
    pub dead: i64,
    /// Events since then that its filter left out.
    pub filtered: i64,
    /// When the last event of them was ingested.
    pub ingested_at: Option<Micros>,
    /// Who asked for this step, where somebody did: a pause, a rewind.
    pub actor: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// Something about an event that a destination did not take: a row of `undelivered`. The newest of an event counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undelivered {
    /// The destination.
    pub destination: String,
    /// When.
    pub at: Micros,
    /// The event, as the destination knows it.
    pub event_id: String,
    /// Its topic.
    pub topic: String,
    /// See `topic`.
    pub partition: i32,
    /// See `topic`.
    pub offset: i64,
    /// See `topic`.
    pub index: i32,
    /// `refused`, `replayed`, `dropped`.
    pub outcome: String,
    /// Status of HTTP.
    pub status: Option<i32>,
    /// What the destination said.
    pub answer: Option<String>,
    /// How often it was sent.
    pub attempts: i32,
    /// Who sent it again, or dropped it.
    pub actor: Option<String>,
}

fn texts<'a>(of: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(of.collect::<StringArray>())
}

fn times(of: impl Iterator<Item = Option<Micros>>) -> ArrayRef {
    Arc::new(of.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn numbers(of: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(of))
}

/// Steps as rows of their table.
///
/// # Errors
///
/// When the columns do not fit the table, which is a defect.
pub fn steps(of: &[Step]) -> Result<RecordBatch, ArrowError> {
    let all = || of.iter();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Date32Array::from_iter_values(all().map(|step| date_of(step.at)))),
        texts(all().map(|step| Some(step.destination.as_str()))),
        numbers(all().map(|step| step.step)),
        times(all().map(|step| Some(step.at))),
        texts(all().map(|step| Some(step.worker.as_str()))),
        times(all().map(|step| Some(step.lease_until))),
        texts(all().map(|step| Some(step.position.as_str()))),
        texts(all().map(|step| Some(step.state.as_str()))),
        numbers(all().map(|step| step.sent)),
        numbers(all().map(|step| step.dead)),
        numbers(all().map(|step| step.filtered)),
        times(all().map(|step| step.ingested_at)),
        texts(all().map(|step| step.actor.as_deref())),
        texts(all().map(|step| step.reason.as_deref())),
    ];
    RecordBatch::try_new(Table::Forwarding.schema(), columns)
}

/// What was not delivered as rows of its table.
///
/// # Errors
///
/// When the columns do not fit the table, which is a defect.
pub fn undelivered(of: &[Undelivered]) -> Result<RecordBatch, ArrowError> {
    let all = || of.iter();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Date32Array::from_iter_values(all().map(|dead| date_of(dead.at)))),
        texts(all().map(|dead| Some(dead.destination.as_str()))),
        times(all().map(|dead| Some(dead.at))),
        texts(all().map(|dead| Some(dead.event_id.as_str()))),
        texts(all().map(|dead| Some(dead.topic.as_str()))),
        Arc::new(Int32Array::from_iter_values(all().map(|dead| dead.partition))),
        numbers(all().map(|dead| dead.offset)),
        Arc::new(Int32Array::from_iter_values(all().map(|dead| dead.index))),
        texts(all().map(|dead| Some(dead.outcome.as_str()))),
        Arc::new(all().map(|dead| dead.status).collect::<Int32Array>()),
        texts(all().map(|dead| dead.answer.as_deref())),
        Arc::new(Int32Array::from_iter_values(all().map(|dead| dead.attempts))),
        texts(all().map(|dead| dead.actor.as_deref())),
    ];
    RecordBatch::try_new(Table::Undelivered.schema(), columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fit_their_tables() {
        assert_eq!(steps(&[Step::default(), Step::default()]).unwrap().num_rows(), 2);
        assert_eq!(undelivered(&[Undelivered::default()]).unwrap().num_rows(), 1);
    }
}

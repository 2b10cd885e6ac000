//! Who looked is evidence too: what Custody is asked for is written into the ledger before it is answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use custody_ledger::{Ledger, TableWriter};
use custody_schemas::activity::{Activity, rows};
use custody_schemas::table::Table;
use custody_schemas::time::Micros;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::config::Config;
use crate::exit::Failure;

/// Where activity is written down.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    /// None where nothing is written down, because the configuration says so.
    writer: Option<Arc<Mutex<TableWriter>>>,
    channel: &'static str,
}

/// How something ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ended {
    pub(crate) rows: Option<u64>,
    pub(crate) bytes: Option<u64>,
    /// Rows were left out.
    pub(crate) cut: bool,
}

impl Ended {
    /// With so many rows.
    pub(crate) fn rows(rows: u64) -> Self {
        Self { rows: Some(rows), ..Self::default() }
    }

    /// With so many bytes.
    pub(crate) fn bytes(bytes: u64) -> Self {
        Self { bytes: Some(bytes), ..Self::default() }
    }
}

/// Something that was written down and is now being done.
#[derive(Debug)]
pub(crate) struct Entry {
    journal: Journal,
    activity: Activity,
    began: Instant,
}

impl Journal {
    /// # Errors
    ///
    /// When the table cannot be opened.
    pub(crate) async fn open(config: &Config, ledger: &Ledger, channel: &'static str) -> Result<Self, Failure> {
        let writer = match config.activity.record {
            true => Some(Arc::new(Mutex::new(ledger.writer(Table::Activity).await?))),
            false => None,
        };
        Ok(Self { writer, channel })
    }

    /// Writes down what is asked for; it is in the ledger when this returns.
    ///
    /// # Errors
    ///
    /// When it cannot be written: then it is not to be answered.
    pub(crate) async fn begin(&self, activity: Activity) -> Result<Entry, Failure> {
        let activity_id = Uuid::new_v4().to_string();
        let activity = Activity { activity_id, at: now(), channel: self.channel.to_owned(), ..activity };
        self.write(&activity).await?;
        if activity.outcome.is_some() {
            count(&activity, Duration::ZERO);
        }
        Ok(Entry { journal: self.clone(), activity, began: Instant::now() })
    }

    /// Does something between writing down that it was asked for and how it ended.
    ///
    /// # Errors
    ///
    /// As [`Journal::begin`], and those of the work.
    pub(crate) async fn during<T>(
        &self,
        activity: Activity,
        work: impl Future<Output = Result<(T, Ended), Failure>>,
    ) -> Result<T, Failure> {
        let entry = self.begin(activity).await?;
        let done = work.await;
        entry.end(done.as_ref().map(|(_, ended)| ended.clone())).await;
        done.map(|(value, _)| value)
    }

    /// Writes down what is done by being written down.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) async fn did(&self, activity: Activity) -> Result<(), Failure> {
        if self.writer.is_none() {
            let why = "activity.record is off: what is said of exceptions would be kept nowhere";
            return Err(Failure::usage(anyhow::anyhow!(why)));
        }
        self.begin(Activity { outcome: Some("done"), ..activity }).await.map(drop)
    }

    async fn write(&self, activity: &Activity) -> Result<(), Failure> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let rows = rows(std::slice::from_ref(activity)).map_err(Failure::broken)?;
        let mut writer = writer.lock().await;
        writer.append(&rows, &[]).await.map(drop).map_err(|error| {
            Failure::broken(anyhow::Error::new(error).context(
                "who asks for what cannot be written into the ledger, so it is not answered (activity.record = false \
                 in the configuration goes without)",
            ))
        })
    }
}

impl Entry {
    /// Writes down how it ended. That this fails changes no answer that was given.
    pub(crate) async fn end(self, ended: Result<Ended, &Failure>) {
        match ended {
            Ok(ended) => self.close(if ended.cut { "cut" } else { "done" }, None, ended).await,
            Err(failure) => {
                let outcome = if failure.is_refusal() { "refused" } else { "failed" };
                let (channel, kind) = (self.journal.channel, failure.kind());
                metrics::counter!("custody_query_failures_total", "channel" => channel, "kind" => kind).increment(1);
                self.close(outcome, Some(failure.to_string()), Ended::default()).await;
            }
        }
    }

    /// The same in the words of the table.
    pub(crate) async fn close(self, outcome: &'static str, error: Option<String>, ended: Ended) {
        let number = |of: Option<u64>| of.and_then(|of| i64::try_from(of).ok());
        let took = self.began.elapsed();
        let activity = Activity {
            at: now(),
            outcome: Some(outcome),
            error,
            rows: number(ended.rows),
            bytes: number(ended.bytes),
            duration_ms: i64::try_from(took.as_millis()).ok(),
            ..self.activity
        };
        count(&activity, took);
        if let Err(error) = self.journal.write(&activity).await {
            tracing::warn!(%error, activity = activity.activity_id, "how it ended was not written down");
        }
    }
}

/// What dashboards and alarms look at: how much is asked for, how it ends, and what it takes.
fn count(activity: &Activity, took: Duration) {
    let labels = || [("channel", activity.channel.clone()), ("verb", activity.verb.clone())];
    let outcome = activity.outcome.unwrap_or_default();
    let (channel, verb) = (activity.channel.clone(), activity.verb.clone());
    metrics::counter!("custody_query_questions_total", "channel" => channel, "verb" => verb, "outcome" => outcome)
        .increment(1);
    metrics::histogram!("custody_query_seconds", &labels()).record(took);
    let amounts = [("custody_query_rows_total", activity.rows), ("custody_query_bytes_total", activity.bytes)];
    for (name, amount) in amounts {
        if let Some(amount) = amount.and_then(|amount| u64::try_from(amount).ok()) {
            metrics::counter!(name, &labels()).increment(amount);
        }
    }
}

/// The time, in microseconds since the Unix epoch.
pub(crate) fn now() -> Micros {
    chrono::Utc::now().timestamp_micros()
}

/// What the operator at this terminal asks for.
pub(crate) fn asked(verb: &str, object: Option<&str>) -> Activity {
    Activity { actor: operator(), verb: verb.to_owned(), object: object.map(str::to_owned), ..Activity::default() }
}

/// Who sits at this terminal, as the operating system says.
pub(crate) fn operator() -> String {
    whoami::username().unwrap_or_else(|_| "unknown".to_owned())
}

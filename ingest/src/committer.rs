//! The ledger side of ingest: commits batches in order, and keeps trying while the store fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use custody_ledger::{Advance, AppendError, LedgerError, Location, Stream, Uploaded};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::batch::{Batch, Counts, PerTable, TableBatch};
use crate::consumer::now;
use crate::health::{Component, Health, State};
use crate::lane::Lane;

/// What the consumer asks of the committer. Requests are served in order.
pub(crate) enum Request {
    /// Commit a batch.
    Commit(Box<Batch>),
    /// Commit what is held back, and say where the tables are with these streams.
    Cursors(Vec<Stream>, oneshot::Sender<Vec<PerTable<Option<i64>>>>),
    /// Commit what is held back, and say so.
    Settle(oneshot::Sender<()>),
}

/// Pauses between attempts while the store fails.
pub(crate) const RETRY_PAUSES: [Duration; 6] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// Why the committer stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitterError {
    /// Another process has taken a partition over. The group has to be joined again.
    #[error(transparent)]
    Fenced(AppendError),
    /// Asked to stop while the store failed.
    #[error("stopped while the ledger's store was failing: {0}")]
    Stopped(AppendError),
}

/// For so long a store may take to open what is asked for, before it is asked anew: an answer that never comes would be
/// waited for without end.
const OPEN_MAX: Duration = Duration::from_secs(60);

/// Opens something of the ledger, again and again while its store fails. `None` when asked to stop meanwhile.
///
/// # Errors
///
/// What no retry can mend: another schema, a place that is none.
pub(crate) async fn open<T, F: Future<Output = Result<T, LedgerError>>>(
    location: &Location,
    health: &Health,
    stop: &mut watch::Receiver<bool>,
    attempt: impl Fn(Location) -> F,
) -> Result<Option<T>, LedgerError> {
    let mut pauses = RETRY_PAUSES.into_iter().chain(std::iter::repeat(Duration::from_secs(10)));
    loop {
        let opened = tokio::select! {
            opened = tokio::time::timeout(OPEN_MAX, attempt(location.clone())) => opened,
            _ = stop.wait_for(|stop| *stop) => return Ok(None),
        };
        let why = match opened {
            Ok(Ok(opened)) => {
                health.set(Component::Store, State::Up);
                return Ok(Some(opened));
            }
            Ok(Err(error @ LedgerError::Store { .. })) => error.to_string(),
            Ok(Err(error)) => return Err(error),
            Err(_) => format!("the store of the ledger at {} gave no answer in {OPEN_MAX:?}", location.url()),
        };
        health.set(Component::Store, State::Down(why));
        if sleep_or_stop(pauses.next().unwrap_or(Duration::from_secs(10)), stop).await {
            return Ok(None);
        }
    }
}

/// Sleeps, and says whether it was asked to stop.
pub(crate) async fn sleep_or_stop(pause: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = tokio::time::sleep(pause) => false,
        _ = stop.wait_for(|stop| *stop) => true,
    }
}

/// Called with the streams and next offsets that every table has, after each batch.
pub(crate) type OnCommitted = Arc<dyn Fn(&[(Stream, i64)]) + Send + Sync>;

pub(crate) struct Committer {
    lanes: Vec<Lane>,
    health: Health,
    stop: watch::Receiver<bool>,
    on_committed: OnCommitted,
}

impl Committer {
    pub(crate) fn new(
        lanes: Vec<Lane>,
        health: Health,
        stop: watch::Receiver<bool>,
        on_committed: OnCommitted,
    ) -> Self {
        Self { lanes, health, stop, on_committed }
    }

    /// Serves requests until the consumer hangs up.
    ///
    /// # Errors
    ///
    /// [`CommitterError`]: the caller has to join the group again, or is stopping.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Request>) -> Result<(), CommitterError> {
        while let Some(request) = requests.recv().await {
            match request {
                Request::Commit(batch) => self.commit(*batch).await?,
                Request::Cursors(streams, reply) => {
                    self.settle().await?;
                    let cursors = self.cursors(&streams).await?;
                    // The consumer may be gone; then nobody needs the answer.
                    let _ = reply.send(cursors);
                }
                Request::Settle(reply) => {
                    self.settle().await?;
                    let _ = reply.send(());
                }
            }
        }
        self.settle().await
    }

    async fn commit(&mut self, batch: Batch) -> Result<(), CommitterError> {
        let started = Instant::now();
        let mut reached: BTreeMap<Stream, i64> = BTreeMap::new();
        // All of them begin here: three tables are encoded at once.
        let uploads: Vec<_> = batch.tables.iter().zip(&self.lanes).map(|(table, lane)| upload(table, lane)).collect();
        // The evidence first: a fact that was derived from a record never stands alone.
        for (position, (TableBatch { rows, advances }, upload)) in batch.tables.iter().zip(uploads).enumerate() {
            let uploaded = upload.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            for Advance { stream, to, .. } in advances {
                reached.entry(stream.clone()).and_modify(|least| *least = (*to).min(*least)).or_insert(*to);
            }
            let Some(lane) = self.lanes.get_mut(position) else { continue };
            lane.hold(advances);
            if rows.num_rows() > 0 || lane.is_due() {
                self.append(position, rows, uploaded.ok()).await?;
            }
        }
        metrics::histogram!("custody_ingest_commit_seconds").record(started.elapsed().as_secs_f64());
        count(&batch.counts);
        let reached: Vec<_> = reached.into_iter().collect();
        (self.on_committed)(&reached);
        Ok(())
    }

    /// Commits the cursors that are held back, so that another process finds every table at the same offset.
    async fn settle(&mut self) -> Result<(), CommitterError> {
        for position in 0..self.lanes.len() {
            if let Some(lane) = self.lanes.get(position)
                && lane.holds()
            {
                let nothing = RecordBatch::new_empty(lane.writer.table().schema());
                self.append(position, &nothing, None).await?;
            }
        }
        Ok(())
    }

    async fn cursors(&mut self, streams: &[Stream]) -> Result<Vec<PerTable<Option<i64>>>, CommitterError> {
        let mut found = vec![PerTable::default(); streams.len()];
        for position in 0..self.lanes.len() {
            let mut pauses = RETRY_PAUSES.into_iter();
            loop {
                match self.read_cursors(position, streams).await {
                    Ok(cursors) => {
                        for (all, cursor) in found.iter_mut().zip(cursors) {
                            if let Some(slot) = all.get_mut(position) {
                                *slot = cursor;
                            }
                        }
                        break;
                    }
                    Err(error) => self.wait_after(error, pauses.next()).await?,
                }
            }
        }
        Ok(found)
    }

    async fn read_cursors(&mut self, position: usize, streams: &[Stream]) -> Result<Vec<Option<i64>>, AppendError> {
        let mut cursors = Vec::with_capacity(streams.len());
        if let Some(lane) = self.lanes.get_mut(position) {
            // Another process may have moved them since: what this one remembers is worth nothing here.
            lane.writer.refresh().await?;
            for stream in streams {
                cursors.push(lane.writer.cursor(stream).await?);
            }
        }
        Ok(cursors)
    }

    /// Commits rows, whose files may have been written already, again and again while the store fails.
    async fn append(
        &mut self,
        position: usize,
        rows: &RecordBatch,
        mut uploaded: Option<Uploaded>,
    ) -> Result<(), CommitterError> {
        let mut pauses = RETRY_PAUSES.into_iter();
        loop {
            let Some(lane) = self.lanes.get_mut(position) else { return Ok(()) };
            // Files that waited for the store for too long may be gone.
            if !uploaded.as_ref().is_some_and(Uploaded::is_fresh) {
                uploaded = match lane.writer.uploader().upload(rows).await {
                    Ok(uploaded) => Some(uploaded),
                    Err(error) => {
                        self.wait_after(error, pauses.next()).await?;
                        continue;
                    }
                };
            }
            let Some(files) = &uploaded else { continue };
            match lane.commit(files).await {
                Ok(()) => {
                    self.health.set(Component::Store, State::Up);
                    return Ok(());
                }
                Err(error @ AppendError::Fenced { .. }) => return Err(CommitterError::Fenced(error)),
                Err(error) => self.wait_after(error, pauses.next()).await?,
            }
        }
    }

    async fn wait_after(&mut self, error: AppendError, pause: Option<Duration>) -> Result<(), CommitterError> {
        self.health.set(Component::Store, State::Down(error.to_string()));
        metrics::counter!("custody_ingest_store_failures_total").increment(1);
        if sleep_or_stop(pause.unwrap_or(Duration::from_secs(10)), &mut self.stop).await {
            // Nothing is lost: the messages are in Kafka, and the ledger knows how far it came.
            return Err(CommitterError::Stopped(error));
        }
        Ok(())
    }
}

/// Begins to write a table's files.
fn upload(table: &TableBatch, lane: &Lane) -> JoinHandle<Result<Uploaded, AppendError>> {
    let (rows, uploader) = (table.rows.clone(), lane.writer.uploader());
    tokio::spawn(async move { uploader.upload(&rows).await })
}

fn count(counts: &Counts) {
    for (source, messages) in &counts.messages {
        metrics::counter!("custody_ingest_messages_total", "source" => *source).increment(*messages);
    }
    for ((source, reason), errors) in &counts.errors {
        let reason = reason.as_str();
        metrics::counter!("custody_ingest_errors_total", "source" => *source, "reason" => reason).increment(*errors);
    }
    if let Some(oldest) = counts.oldest {
        // How long the oldest message of the batch took from Kafka into the tables.
        let age = now().saturating_sub(oldest).max(0);
        metrics::histogram!("custody_ingest_freshness_seconds").record(age as f64 / 1e6);
    }
    metrics::counter!("custody_ingest_bytes_total").increment(counts.bytes);
    metrics::counter!("custody_ingest_events_total").increment(counts.events);
    metrics::counter!("custody_ingest_pieces_total").increment(counts.pieces);
}

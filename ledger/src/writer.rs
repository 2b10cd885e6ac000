//! Appending: rows and next offsets in one commit.

use std::fmt;

use arrow::record_batch::RecordBatch;
use custody_schemas::table::Table;
use deltalake::DeltaTableError;
use deltalake::kernel::{Action, Transaction};
use deltalake::logstore::ObjectStoreRef;
use deltalake::protocol::{DeltaOperation, OutputMode};

use crate::files::{Temper, Uploaded, Uploader};
use crate::location::brief;
use crate::log::{ENTRIES_MAX, Log, Put};

/// One partition of one topic of one Kafka cluster: what a cursor is kept for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream {
    /// Name that the configuration gives the Kafka cluster.
    pub cluster: String,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
}

impl Stream {
    /// The id of the Delta transactions that move this stream's cursor.
    pub fn app_id(&self) -> String {
        format!("custody/{}/{}/{}", self.cluster, self.topic, self.partition)
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// The cursor of a stream is moved by a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// Whose cursor.
    pub stream: Stream,
    /// Where the table must be, or the commit is refused: the next offset to read, `None` when the table has never seen
    /// the stream.
    pub from: Option<i64>,
    /// Where the table is afterwards: the next offset to read.
    pub to: i64,
}

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Version of the table that has the rows.
    pub version: u64,
    /// Bytes of the Parquet files.
    pub file_bytes: u64,
}

/// Why an append did not happen.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another process has moved the stream: these rows are not ours to write. Drop them, and go on from the table's
    /// cursor if the partition is still ours.
    #[error("table {table}: the cursor of {stream} is at {found:?} where this batch begins at {expected:?}")]
    Fenced {
        /// The table.
        table: &'static str,
        /// The stream.
        stream: Stream,
        /// Where the batch begins.
        expected: Option<i64>,
        /// Where the table is.
        found: Option<i64>,
    },
    /// The store failed; nothing was committed, as far as it can be known. The same append may be tried again: it
    /// finds out first whether it had landed after all.
    #[error("table {table}: {}", brief(cause))]
    Store {
        /// The table.
        table: &'static str,
        /// What the store said.
        cause: Box<DeltaTableError>,
    },
}

pub(crate) fn store_error(table: Table, cause: DeltaTableError) -> AppendError {
    AppendError::Store { table: table.name(), cause: Box::new(cause) }
}

/// Appends to one table.
#[derive(Debug)]
pub struct TableWriter {
    table: Table,
    log: Log,
    /// The last append ended in an error: what the store holds is only known after reading it again.
    stale: bool,
    uploader: Uploader,
}

impl TableWriter {
    pub(crate) fn new(table: Table, log: Log, store: ObjectStoreRef) -> Self {
        let uploader = Uploader::new(table, table.schema(), store, Temper::Hot);
        Self { table, log, stale: false, uploader }
    }

    /// The table that is appended to.
    pub fn table(&self) -> Table {
        self.table
    }

    /// What writes this table's files, for whoever does so elsewhere than where they are committed.
    pub fn uploader(&self) -> Uploader {
        self.uploader.clone()
    }

    #[cfg(test)]
    pub(crate) fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Reads the newest version of the table.
    ///
    /// # Errors
    ///
    /// [`AppendError::Store`] when the store fails.
    pub async fn refresh(&mut self) -> Result<(), AppendError> {
        self.stale = true;
        self.log.reopen().await.map_err(|cause| store_error(self.table, cause))?;
        self.stale = false;
        Ok(())
    }

    /// The next offset to read of a stream, as far as this writer has read the log; `None` when the table has never seen
    /// the stream.
    ///
    /// # Errors
    ///
    /// [`AppendError::Store`] when the log cannot be read.
    pub async fn cursor(&mut self, stream: &Stream) -> Result<Option<i64>, AppendError> {
        let found = self.log.cursor(&stream.app_id()).await;
        // The files that were asked may be gone.
        self.stale |= found.is_err();
        found.map_err(|cause| store_error(self.table, cause))
    }

    /// Commits rows and the cursors that they move, both or neither: [`Uploader::upload`] and [`TableWriter::commit`].
    ///
    /// # Errors
    ///
    /// As [`TableWriter::commit`].
    pub async fn append(&mut self, rows: &RecordBatch, advances: &[Advance]) -> Result<Appended, AppendError> {
        let uploaded = self.uploader.upload(rows).await?;
        self.commit(&uploaded, advances).await
    }

    /// Commits files and the cursors that their rows move, both or neither.
    ///
    /// No files move the cursors alone. After [`AppendError::Store`] the same commit may be tried again: it finds out
    /// first whether it had landed after all.
    ///
    /// # Errors
    ///
    /// [`AppendError::Fenced`] when the table is not where the rows begin, [`AppendError::Store`] when the store failed
    /// and the rows are not in.
    pub async fn commit(&mut self, uploaded: &Uploaded, advances: &[Advance]) -> Result<Appended, AppendError> {
        if self.stale || self.log.is_old() {
            self.refresh().await?;
        }
        loop {
            if let Some(landed) = self.landed(advances).await? {
                return Ok(landed);
            }
            if !uploaded.is_fresh() {
                let why = "the files were written too long ago to be committed now".to_owned();
                return Err(store_error(self.table, DeltaTableError::Generic(why)));
            }
            let adds = uploaded.adds().iter().cloned().map(Action::Add).collect();
            let cursors = advances.iter().map(|Advance { stream, to, .. }| Transaction::new(stream.app_id(), *to));
            let operation = DeltaOperation::StreamingUpdate {
                output_mode: OutputMode::Append,
                query_id: "custody".to_owned(),
                epoch_id: 0,
            };
            match self.log.put(adds, operation, true, cursors.collect()).await {
                Ok(Put::Landed(version)) if !self.log.is_old() => {
                    return Ok(Appended { version, file_bytes: uploaded.file_bytes() });
                }
                // This process stood still on the way, for so long that the log's end may be far from where it wrote.
                Ok(Put::Landed(_)) => self.refresh().await?,
                Ok(Put::Taken) => {
                    self.log.catch_up(ENTRIES_MAX).await.map_err(|cause| store_error(self.table, cause))?
                }
                Err(cause) => {
                    // The error may have come after the commit, so it proves nothing. The table's own cursor does.
                    tracing::debug!(table = self.table.name(), %cause, "a commit failed, reading the table again");
                    self.refresh().await?;
                    if let Some(landed) = self.landed(advances).await? {
                        return Ok(landed);
                    }
                    self.stale = true;
                    return Err(store_error(self.table, cause));
                }
            }
        }
    }

    /// Compares the log's cursors with those that the batch begins at: `None` when they are equal, so that the batch may
    /// be the log's next entry; the version when every cursor is already at the batch's end.
    async fn landed(&mut self, advances: &[Advance]) -> Result<Option<Appended>, AppendError> {
        let mut at_end = !advances.is_empty();
        let mut fenced = None;
        for Advance { stream, from, to } in advances {
            let found = self.cursor(stream).await?;
            at_end &= found == Some(*to);
            if found != *from && fenced.is_none() {
                fenced = Some((stream.clone(), *from, found));
            }
        }
        match fenced {
            None => Ok(None),
            Some(_) if at_end => Ok(Some(Appended { version: self.log.version(), file_bytes: 0 })),
            Some((stream, expected, found)) => {
                // What is held is not what others have made of the table.
                self.stale = true;
                Err(AppendError::Fenced { table: self.table.name(), stream, expected, found })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use custody_schemas::columns::{RecordColumns, RowContext};
    use custody_schemas::record::{Message, Origin};

    use super::*;
    use crate::faults::Fault;
    use crate::testing::{batch, new_ledger, rows, stream};
    use crate::{Ledger, LedgerError, Location};

    async fn append(
        writer: &mut TableWriter,
        partition: i32,
        from: Option<i64>,
        to: i64,
    ) -> Result<Appended, AppendError> {
        let (rows, advances) = batch(partition, from, to);
        writer.append(&rows, &advances).await
    }

    #[tokio::test]
    async fn rows_and_cursors_survive_together() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = new_ledger(&folder).await;
        let mut writer = ledger.writer(Table::Records).await.unwrap();
        assert_eq!(writer.cursor(&stream(0)).await.unwrap(), None);
        append(&mut writer, 0, None, 10).await.unwrap();
        append(&mut writer, 0, Some(10), 12).await.unwrap();
        append(&mut writer, 1, None, 3).await.unwrap();

        let ledger = new_ledger(&folder).await;
        let mut writer = ledger.writer(Table::Records).await.unwrap();
        assert_eq!(writer.cursor(&stream(0)).await.unwrap(), Some(12));
        assert_eq!(writer.cursor(&stream(1)).await.unwrap(), Some(3));
        assert_eq!(rows(&ledger).await, 15);
    }

    #[tokio::test]
    async fn a_batch_over_midnight_goes_to_both_days() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = new_ledger(&folder).await;
        let mut columns = RecordColumns::default();
        for offset in 0..4 {
            let origin = Origin { topic: "audit", partition: 0, offset };
            let row = RowContext { origin, source: "opa", broker_at: None, ingested_at: (offset / 2) * 86_400_000_000 };
            let message = Message { origin, broker_at: None, key: None, headers: &[], value: None };
            columns.push(&row, &message, None);
        }
        let advances = [Advance { stream: stream(0), from: None, to: 4 }];
        let mut writer = ledger.writer(Table::Records).await.unwrap();
        writer.append(&columns.finish().unwrap(), &advances).await.unwrap();
        let delta = ledger.open(Table::Records).await.unwrap();
        let mut files: Vec<_> = delta.get_file_uris().unwrap().collect();
        files.sort();
        assert_eq!(files.len(), 2);
        assert!(files[0].contains("date=1970-01-01") && files[1].contains("date=1970-01-02"), "{files:?}");
        assert_eq!(rows(&ledger).await, 4);
    }

    #[tokio::test]
    async fn cursors_move_without_rows() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = new_ledger(&folder).await;
        let mut writer = ledger.writer(Table::Records).await.unwrap();
        let nothing = RecordBatch::new_empty(Table::Records.schema());
        let advances = [Advance { stream: stream(0), from: None, to: 7 }];
        assert_eq!(writer.append(&nothing, &advances).await.unwrap().file_bytes, 0);
        assert_eq!(ledger.writer(Table::Records).await.unwrap().cursor(&stream(0)).await.unwrap(), Some(7));
    }

    #[tokio::test]
    async fn of_two_writers_one_gets_each_offset_in() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = new_ledger(&folder).await;
        let mut zombie = ledger.writer(Table::Records).await.unwrap();
        let mut successor = ledger.writer(Table::Records).await.unwrap();
        assert_eq!(zombie.cursor(&stream(0)).await.unwrap(), None);
        append(&mut successor, 0, None, 10).await.unwrap();

        let refused = append(&mut zombie, 0, None, 4).await.unwrap_err();
        assert!(matches!(refused, AppendError::Fenced { found: Some(10), expected: None, .. }), "{refused}");
        // The same range is in already: that is success, whoever wrote it.
        append(&mut zombie, 0, None, 10).await.unwrap();
        append(&mut zombie, 0, Some(10), 11).await.unwrap();
        assert_eq!(rows(&ledger).await, 11);
    }

    #[tokio::test]
    async fn a_cursor_remembered_from_before_a_foreign_commit_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = new_ledger(&folder).await;
        let mut first = ledger.writer(Table::Records).await.unwrap();
        let mut second = ledger.writer(Table::Records).await.unwrap();
        assert_eq!(first.cursor(&stream(1)).await.unwrap(), None);
        append(&mut second, 1, None, 5).await.unwrap();
        // This commit brings the snapshot of `first` past the commit of `second` ...
        append(&mut first, 0, None, 1).await.unwrap();
        // ... so Delta itself would see no conflict here.
        let refused = append(&mut first, 1, None, 3).await.unwrap_err();
        assert!(matches!(refused, AppendError::Fenced { found: Some(5), .. }), "{refused}");
        assert_eq!(rows(&ledger).await, 6);
    }

    #[tokio::test]
    async fn a_store_that_fails_leaves_nothing_behind_and_the_append_can_be_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = new_ledger(&folder).await;
        let mut writer = ledger.writer(Table::Records).await.unwrap();
        append(&mut writer, 0, None, 2).await.unwrap();
        // The table's folder is out of reach for the time of one append.
        let (table, aside) = (folder.path().join("records"), folder.path().join("aside"));
        std::fs::rename(&table, &aside).unwrap();
        std::fs::write(&table, b"not a folder").unwrap();
        let failed = append(&mut writer, 0, Some(2), 4).await.unwrap_err();
        assert!(matches!(failed, AppendError::Store { .. }), "{failed}");
        std::fs::remove_file(&table).unwrap();
        std::fs::rename(&aside, &table).unwrap();
        append(&mut writer, 0, Some(2), 4).await.unwrap();
        assert_eq!(rows(&ledger).await, 4);
    }

    /// Every call of the store in turn fails, or is done without its reply coming back; whoever appends tries again.
    #[tokio::test]
    async fn whichever_call_of_the_store_fails_every_row_is_there_once() {
        let mut orphans = 0;
        for fault in [Fault::Fail, Fault::LoseReply, Fault::Delay(Duration::from_millis(1))] {
            for failing in 0.. {
                let folder = tempfile::tempdir().unwrap();
                let ledger = new_ledger(&folder).await;
                let reached = Arc::new(AtomicBool::new(false));
                let hit = reached.clone();
                let faulty = ledger.with_faults(move |call| {
                    let fails = call.number == failing;
                    hit.fetch_or(fails, Ordering::Relaxed);
                    fails.then_some(fault)
                });
                let mut attempts = 0;
                let mut writer = loop {
                    attempts += 1;
                    match faulty.writer(Table::Records).await {
                        Ok(writer) => break writer,
                        Err(error) => assert!(attempts < 3, "{fault:?} of call {failing}: {error}"),
                    }
                };
                let mut from = None;
                for to in [3, 5, 9] {
                    while let Err(error) = append(&mut writer, 0, from, to).await {
                        assert!(matches!(error, AppendError::Store { .. }), "{fault:?} of call {failing}: {error}");
                        attempts += 1;
                        assert!(attempts < 5, "{fault:?} of call {failing}: {error}");
                    }
                    from = Some(to);
                }
                assert_eq!(rows(&ledger).await, 9, "{fault:?} of call {failing}");
                let mut reader = ledger.writer(Table::Records).await.unwrap();
                assert_eq!(reader.cursor(&stream(0)).await.unwrap(), Some(9));
                let files = std::fs::read_dir(folder.path().join("records/date=1970-01-01")).unwrap().count();
                orphans += files - 3;
                if !reached.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
        // The replies that were lost were those of real files, too.
        assert!(orphans > 0);
    }

    /// As clients of object stores do it: a put whose reply is lost is sent again, and refused by its own first success.
    #[tokio::test]
    async fn a_commit_that_was_sent_twice_is_known_as_ones_own() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = new_ledger(&folder).await;
        let twice = ledger
            .with_faults(|call| (call.verb == "put" && call.path.contains("_delta_log")).then_some(Fault::SendTwice));
        let mut writer = twice.writer(Table::Records).await.unwrap();
        assert_eq!(append(&mut writer, 0, None, 2).await.unwrap().version, 1);
        assert_eq!(append(&mut writer, 0, Some(2), 3).await.unwrap().version, 2);
        assert_eq!(rows(&ledger).await, 3);
    }

    #[tokio::test]
    async fn many_writers_of_one_table_get_everything_in_once() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = new_ledger(&folder).await;
        let writing = (0..8).map(|partition| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                let mut writer = ledger.writer(Table::Records).await.unwrap();
                let mut from = None;
                for to in 1..=20 {
                    append(&mut writer, partition, from, to).await.unwrap();
                    from = Some(to);
                }
            })
        });
        for done in futures::future::join_all(writing).await {
            done.unwrap();
        }
        assert_eq!(rows(&ledger).await, 160);
        let mut writer = ledger.writer(Table::Records).await.unwrap();
        for partition in 0..8 {
            assert_eq!(writer.cursor(&stream(partition)).await.unwrap(), Some(20));
        }
    }

    #[tokio::test]
    async fn places_that_are_no_ledger_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::parse(folder.path().to_str().unwrap(), HashMap::new()).unwrap();
        let missing = Ledger::existing(location).await.unwrap_err();
        assert!(matches!(missing, LedgerError::NotFound { table: "records", .. }), "{missing}");

        let unsafe_store = HashMap::from([("aws_s3_allow_unsafe_rename".to_owned(), "true".to_owned())]);
        let refused = Location::parse("s3://bucket/ledger", unsafe_store).unwrap_err();
        assert!(matches!(refused, LedgerError::UnsafeStore { .. }), "{refused}");
        assert_eq!(Location::parse("s3://bucket/a", HashMap::new()).unwrap().url().as_str(), "s3://bucket/a/");
        for text in ["", "ftp://host/ledger", "s3://", "gs:///ledger", "https://host/ledger"] {
            let refused = Location::parse(text, HashMap::new()).unwrap_err();
            assert!(matches!(refused, LedgerError::BadLocation { .. }), "{text}: {refused}");
        }
    }
}

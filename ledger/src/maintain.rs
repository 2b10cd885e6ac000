//! Keeping the tables in order without changing a row of them.
//!
//! Ingest commits small files often, so that facts are seen soon. Maintenance puts small files of one day together into
//! larger ones in the table's order ([`Maintenance::compact`]), writes checkpoints and cleans away log entries that they
//! replace, and removes files that no table names. Rows leave a table in one way only, [`Maintenance::expire`]: whole days,
//! by a policy that somebody gave.
//!
//! Everything that takes files out of a table moves the cursor `custody/maintain`, so of two that do so at once one is
//! refused. (The library's own `optimize` has no such fence: run twice at once it doubles rows.)

mod compact;
mod expire;
mod fingerprint;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use custody_schemas::table::{PARTITION_COLUMN, Table};
use deltalake::kernel::{Action, Transaction};
use deltalake::logstore::object_store::ObjectStoreExt;
use deltalake::logstore::object_store::path::Path;
use deltalake::logstore::{LogStoreRef, ObjectStoreRef, commit_uri_from_version};
use deltalake::operations::vacuum::VacuumMode;
use deltalake::protocol::DeltaOperation;
use deltalake::{DeltaTable, DeltaTableError};
use futures::{StreamExt, TryStreamExt};

pub use expire::Expired;

use crate::location::{LedgerError, brief};
use crate::log::{Log, Put};

/// The cursor of whoever takes files out of a table.
const FENCE: &str = "custody/maintain";

/// Log entries are kept at least this long: a writer that stood still must find out what it missed.
pub const LOG_AGE_MIN: Duration = Duration::from_secs(3600);

/// Files that no table names are kept at least this long: they may be uploads that are about to be committed.
pub const ORPHAN_AGE_MIN: Duration = Duration::from_secs(6 * 3600);

/// A checkpoint is written when the log has this many entries without one.
const ENTRIES_PER_CHECKPOINT: u64 = 50;

/// Why maintenance did not do its work. The table is as it was.
#[derive(Debug, thiserror::Error)]
pub enum MaintainError {
    /// The table cannot be opened.
    #[error(transparent)]
    Ledger(Box<LedgerError>),
    /// The store failed.
    #[error("table {table}: {}", brief(cause))]
    Store {
        /// The table.
        table: &'static str,
        /// What the store said.
        cause: Box<DeltaTableError>,
    },
    /// The files could not be read or written.
    #[error("table {table}: the files {files} could not be put together: {why}")]
    Files {
        /// The table.
        table: &'static str,
        /// The files, or the first of them.
        files: String,
        /// What went wrong.
        why: String,
    },
    /// What was written is not what was read. Nothing was committed.
    #[error(
        "table {table}: rewriting {files} files would have changed the rows: {difference}. Nothing was changed. Keep the \
         ledger as it is and report this"
    )]
    Unproven {
        /// The table.
        table: &'static str,
        /// How many files.
        files: usize,
        /// What differs.
        difference: String,
    },
    /// Another process maintains the table at the same time.
    #[error("table {table}: another process is maintaining it; nothing was changed")]
    Raced {
        /// The table.
        table: &'static str,
    },
}

/// What is put together, and when.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Files are put together up to this size, in bytes.
    pub target_bytes: u64,
    /// So many files of like size are worth putting together.
    pub files_min: usize,
    /// At most so many at once.
    pub files_max: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { target_bytes: 64 << 20, files_min: 16, files_max: 64 }
    }
}

/// A file of a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct File {
    path: Path,
    date: NaiveDate,
    bytes: u64,
    rows: u64,
    written_at: i64,
    remove: deltalake::kernel::Remove,
}

/// Files of one day that are put together.
#[derive(Debug, Clone)]
pub struct Group {
    date: NaiveDate,
    files: Vec<File>,
}

impl Group {
    /// How many files.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// How a table stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Version of the table.
    pub version: u64,
    /// Files that it has.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their rows.
    pub rows: u64,
    /// Files that are due to be put together.
    pub files_due: u64,
    /// Log entries since the last checkpoint.
    pub entries: u64,
}

/// What putting files together did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Files before.
    pub files: usize,
    /// Bytes before.
    pub bytes_before: u64,
    /// Bytes after.
    pub bytes_after: u64,
    /// Rows, before and after.
    pub rows: u64,
}

/// One table, to be kept in order.
#[derive(Debug)]
pub struct Maintenance {
    table: Table,
    store: LogStoreRef,
    log: Log,
    /// Where the fence stood when the files were read.
    fence: Option<i64>,
    delta: DeltaTable,
    files: Vec<File>,
}

impl Maintenance {
    pub(crate) async fn open(table: Table, store: LogStoreRef) -> Result<Self, MaintainError> {
        let failed = |cause| store_error(table, cause);
        // The log first: what others take out of the table after this is noticed when something is committed.
        let mut log = Log::open(store.clone()).await.map_err(failed)?;
        let fence = log.cursor(FENCE).await.map_err(failed)?;
        let mut delta = DeltaTable::new(store.clone());
        delta.load().await.map_err(failed)?;
        let files = files(&delta).map_err(failed)?;
        Ok(Self { table, store, log, fence, delta, files })
    }

    /// The table.
    pub fn table(&self) -> Table {
        self.table
    }

    /// How the table stands.
    ///
    /// # Errors
    ///
    /// [`MaintainError::Store`].
    pub async fn standing(&self, sizes: Sizes, today: NaiveDate) -> Result<Standing, MaintainError> {
        let version = self.delta.version().unwrap_or_default();
        Ok(Standing {
            version,
            files: self.files.len() as u64,
            bytes: self.files.iter().map(|file| file.bytes).sum(),
            rows: self.files.iter().map(|file| file.rows).sum(),
            files_due: self.due(sizes, today).iter().map(|group| group.files() as u64).sum(),
            entries: version.saturating_sub(self.last_checkpoint().await?.unwrap_or_default()),
        })
    }

    /// The groups of files that are due, the smallest first. Files are put together with others of like size, so that a
    /// row is rewritten a few times in all, however often ingest commits; those of days that are over, even if they are
    /// few.
    pub fn due(&self, sizes: Sizes, today: NaiveDate) -> Vec<Group> {
        let mut alike: BTreeMap<(NaiveDate, u32), Vec<&File>> = BTreeMap::new();
        for file in self.files.iter().filter(|file| file.bytes < sizes.target_bytes / 2) {
            let is_over = file.date < today;
            // Each class holds files up to eight times the size of those of the class below.
            let class = if is_over { 0 } else { (file.bytes >> 16).max(1).ilog2() / 3 };
            alike.entry((file.date, class)).or_default().push(file);
        }
        let mut groups = Vec::new();
        for ((date, _), mut files) in alike {
            let files_min = if date < today { 2 } else { sizes.files_min };
            files.sort_by(|a, b| (a.written_at, &a.path).cmp(&(b.written_at, &b.path)));
            let mut group = Group { date, files: Vec::new() };
            for file in files {
                let is_full =
                    group.files() >= sizes.files_max || group.bytes().saturating_add(file.bytes) > sizes.target_bytes;
                if is_full && group.files() >= 2 {
                    groups.push(std::mem::replace(&mut group, Group { date, files: Vec::new() }));
                }
                group.files.push(file.clone());
            }
            if group.files() >= files_min {
                groups.push(group);
            }
        }
        groups.sort_by_key(Group::bytes);
        groups
    }

    /// Puts files together: the same rows in the table's order, proved by reading the new file back before it takes the
    /// place of the old ones.
    ///
    /// # Errors
    ///
    /// [`MaintainError`]; the table is as it was.
    pub async fn compact(&mut self, group: &Group) -> Result<Compacted, MaintainError> {
        compact::compact(self, group).await
    }

    /// Takes whole days out of the table: those before `before`. Their files stay in the store until
    /// [`Maintenance::remove_orphans`] finds them.
    ///
    /// # Errors
    ///
    /// [`MaintainError`]; the table is as it was.
    pub async fn expire(&mut self, before: NaiveDate) -> Result<Expired, MaintainError> {
        expire::expire(self, before).await
    }

    /// Makes the table say again that nothing is taken out of it, where [`Maintenance::expire`] was cut off before.
    ///
    /// # Errors
    ///
    /// [`MaintainError`].
    pub async fn close(&mut self) -> Result<(), MaintainError> {
        expire::close(self).await
    }

    /// What [`Maintenance::expire`] would take out.
    pub fn expiring(&self, before: NaiveDate) -> Expired {
        expire::expiring(self, before)
    }

    /// Writes a checkpoint, if the log has grown enough since the last one. Says whether it did.
    ///
    /// # Errors
    ///
    /// [`MaintainError::Store`].
    pub async fn checkpoint(&mut self) -> Result<bool, MaintainError> {
        let last = self.last_checkpoint().await?.unwrap_or_default();
        self.log.catch_up(u64::MAX).await.map_err(|cause| self.failed(cause))?;
        if self.log.version() < last + ENTRIES_PER_CHECKPOINT {
            return Ok(false);
        }
        let mut delta = DeltaTable::new(self.store.clone());
        delta.load().await.map_err(|cause| self.failed(cause))?;
        deltalake::checkpoints::create_checkpoint(&delta, None).await.map_err(|cause| self.failed(cause))?;
        Ok(true)
    }

    /// Deletes log entries that are older than `age` and that a checkpoint replaces. Returns how many.
    ///
    /// # Errors
    ///
    /// [`MaintainError::Store`].
    pub async fn clean_log(&self, age: Duration) -> Result<usize, MaintainError> {
        let Some(last) = self.last_checkpoint().await? else { return Ok(0) };
        let until = (self.stores_time().await? - signed(age.max(LOG_AGE_MIN))).timestamp_millis();
        deltalake::checkpoints::cleanup_expired_logs_for(last, self.store.as_ref(), until, None)
            .await
            .map_err(|cause| self.failed(cause))
    }

    /// Deletes files that no version of the table of the last `age` names: what uploads left that were never committed,
    /// and what was put together since. Returns their names; `dry_run` only lists them.
    ///
    /// # Errors
    ///
    /// [`MaintainError::Store`].
    pub async fn remove_orphans(&self, age: Duration, dry_run: bool) -> Result<Vec<String>, MaintainError> {
        let ahead = (Utc::now() - self.stores_time().await?).max(TimeDelta::zero());
        let found = self
            .delta
            .clone()
            .vacuum()
            .with_mode(VacuumMode::Full)
            .with_retention_period(signed(age.max(ORPHAN_AGE_MIN)) + ahead)
            .with_enforce_retention_duration(false)
            .with_dry_run(true)
            .await;
        let (_, found) = found.map_err(|cause| self.failed(cause))?;
        // What Custody did not write is not Custody's to delete.
        let ours: Vec<String> = found.files_deleted.into_iter().filter(|name| is_ours(name)).collect();
        if !dry_run {
            let names = futures::stream::iter(ours.clone()).map(|name| Ok(Path::from(name))).boxed();
            let deleted: Result<Vec<_>, _> = self.files_store().delete_stream(names).try_collect().await;
            deleted.map_err(|cause| self.failed(cause.into()))?;
        }
        Ok(ours)
    }

    /// Commits a change of the table's files, unless somebody else has taken files out of it since they were read.
    async fn put(&mut self, actions: Vec<Action>, operation: DeltaOperation) -> Result<(), MaintainError> {
        let to = self.fence.unwrap_or(0) + 1;
        loop {
            if self.log.is_old() {
                self.log.catch_up(u64::MAX).await.map_err(|cause| self.failed(cause))?;
            }
            if self.log.removed() {
                return Err(MaintainError::Raced { table: self.table.name() });
            }
            let fence = vec![Transaction::new(FENCE, to)];
            match self.log.put(actions.clone(), operation.clone(), false, fence).await {
                Ok(Put::Landed(_)) => {
                    self.fence = Some(to);
                    return Ok(());
                }
                Ok(Put::Taken) => {}
                // It may have landed. The next look at the table shows which files it has.
                Err(cause) => return Err(self.failed(cause)),
            }
            // However many they are: what was rewritten is worth more than reading them.
            self.log.catch_up(u64::MAX).await.map_err(|cause| self.failed(cause))?;
            if self.log.cursor(FENCE).await.map_err(|cause| self.failed(cause))? != self.fence {
                return Err(MaintainError::Raced { table: self.table.name() });
            }
        }
    }

    /// When the store wrote the newest entry of the log, or now if that is earlier: a clock of ours that is ahead must not
    /// make files look old.
    async fn stores_time(&self) -> Result<DateTime<Utc>, MaintainError> {
        let newest = commit_uri_from_version(Some(self.log.version()));
        let found = self.files_store().head(&newest).await.map_err(|cause| self.failed(cause.into()))?;
        Ok(found.last_modified.min(Utc::now()))
    }

    async fn last_checkpoint(&self) -> Result<Option<u64>, MaintainError> {
        #[derive(serde::Deserialize)]
        struct Hint {
            version: u64,
        }
        let path = Path::from("_delta_log/_last_checkpoint");
        let hint = match self.files_store().get(&path).await {
            Ok(found) => found.bytes().await,
            Err(deltalake::logstore::object_store::Error::NotFound { .. }) => return Ok(None),
            Err(cause) => Err(cause),
        };
        let hint = hint.map_err(|cause| self.failed(cause.into()))?;
        // It is no more than a hint: one that cannot be read is written anew.
        Ok(serde_json::from_slice::<Hint>(&hint).ok().map(|hint| hint.version))
    }

    fn files_store(&self) -> ObjectStoreRef {
        self.store.object_store(None)
    }

    fn failed(&self, cause: DeltaTableError) -> MaintainError {
        store_error(self.table, cause)
    }
}

fn store_error(table: Table, cause: DeltaTableError) -> MaintainError {
    MaintainError::Store { table: table.name(), cause: Box::new(cause) }
}

fn signed(time: Duration) -> TimeDelta {
    TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX)
}

/// Names of data files as writers give them: `date=2026-11-02/part-….parquet`.
fn is_ours(name: &str) -> bool {
    name.strip_prefix(PARTITION_COLUMN).and_then(|rest| rest.strip_prefix('=')).is_some_and(|rest| {
        rest.split_once('/').is_some_and(|(_, file)| file.starts_with("part-") && file.ends_with(".parquet"))
    })
}

/// The files of a table.
fn files(delta: &DeltaTable) -> Result<Vec<File>, DeltaTableError> {
    let mut files = Vec::new();
    for view in delta.snapshot()?.log_data() {
        if view.deletion_vector_descriptor().is_some() {
            let why = format!("{}: another engine has marked rows of it as deleted", view.path());
            return Err(DeltaTableError::Generic(why));
        }
        let date = view.partition_values_map().remove(PARTITION_COLUMN).flatten();
        let date = date.and_then(|date| date.parse().ok()).ok_or_else(|| {
            DeltaTableError::Generic(format!("{}: its partition is no day; Custody did not write it", view.path()))
        })?;
        files.push(File {
            path: view.object_store_path(),
            date,
            bytes: u64::try_from(view.size()).unwrap_or_default(),
            rows: view.num_records().unwrap_or_default() as u64,
            written_at: view.modification_time(),
            remove: view.remove_action(false),
        });
    }
    Ok(files)
}

//! The Delta log of one table, as a writer sees it.
//!
//! Custody only ever adds files, and rewrites files without changing a row, so a commit needs to know of the table which
//! number comes next and where the cursors are, and not which files there are. What is held is one snapshot, read when
//! the log was opened, and what the commits since have done to the cursors; each commit is one conditional write. Its
//! cost does not depend on how large the table is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use delta_kernel::snapshot::{Snapshot, SnapshotRef};
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::{CommitData, TransactionError};
use deltalake::kernel::{Action, StructField, StructType, Transaction};
use deltalake::logstore::{CommitOrBytes, LogStoreRef, get_actions};
use deltalake::protocol::DeltaOperation;
use uuid::Uuid;

/// A number is taken for the next one only if the log's end was seen this recently. Old entries are cleaned away, and a
/// number that was free again would take a commit that no reader ever looks at: so this must be far below the time for
/// which entries are kept.
const END_AGE_MAX: Duration = Duration::from_secs(600);

/// A log that has grown by more than this is opened again instead of being read entry by entry.
pub(crate) const ENTRIES_MAX: u64 = 100;

/// The version of writers that Custody's tables ask for: they have columns, days and `appendOnly`, and nothing that a
/// writer would have to keep up.
const WRITER_VERSION_MAX: i32 = 2;

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is in the log.
    Landed(u64),
    /// Its number is another's: look what that one did, then try the next.
    Taken,
}

#[derive(Debug)]
pub(crate) struct Log {
    store: LogStoreRef,
    /// The table when it was last opened; its files are not looked at.
    snapshot: SnapshotRef,
    /// Cursors of `snapshot`, as far as somebody asked.
    asked: HashMap<String, Option<i64>>,
    /// Where commits after `snapshot` left the cursors.
    moved: HashMap<String, i64>,
    version: u64,
    opened_at: SystemTime,
    end_seen_at: SystemTime,
    removed: bool,
}

impl Log {
    pub(crate) async fn open(store: LogStoreRef) -> Result<Self, DeltaTableError> {
        let opened_at = SystemTime::now();
        let snapshot = newest(&store).await?;
        let writer = snapshot.table_configuration().protocol().min_writer_version();
        if writer > WRITER_VERSION_MAX {
            let why = format!("the table asks for writer version {writer}: another engine has changed what it is");
            return Err(DeltaTableError::Generic(why));
        }
        let version = snapshot.version();
        let (asked, moved) = (HashMap::new(), HashMap::new());
        Ok(Self { store, snapshot, asked, moved, version, opened_at, end_seen_at: opened_at, removed: false })
    }

    pub(crate) async fn reopen(&mut self) -> Result<(), DeltaTableError> {
        *self = Self { removed: self.removed, ..Self::open(self.store.clone()).await? };
        Ok(())
    }

    /// The newest version that is known.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Whether files of the table were removed by a commit that came after the log was first opened.
    pub(crate) fn removed(&self) -> bool {
        self.removed
    }

    /// Whether others may have written so much since that nothing is known of the log's end.
    pub(crate) fn is_old(&self) -> bool {
        is_over(self.end_seen_at)
    }

    /// As if this process had stood still since then.
    #[cfg(test)]
    pub(crate) fn stand_still(&mut self, since: SystemTime) {
        self.opened_at = since;
        self.end_seen_at = since;
    }

    /// Columns of the table.
    pub(crate) fn schema(&self) -> Arc<StructType> {
        self.snapshot.schema()
    }

    /// Version that the table's log holds for an application, `None` when it holds none.
    pub(crate) async fn cursor(&mut self, app_id: &str) -> Result<Option<i64>, DeltaTableError> {
        if let Some(moved) = self.moved.get(app_id) {
            return Ok(Some(*moved));
        }
        if let Some(asked) = self.asked.get(app_id) {
            return Ok(*asked);
        }
        // The files that an old snapshot is made from may have been cleaned away.
        if is_over(self.opened_at) {
            self.reopen().await?;
        }
        let (snapshot, engine, id) = (self.snapshot.clone(), self.store.engine(None), app_id.to_owned());
        let cursor = blocking(move || Ok(snapshot.get_app_id_version(&id, engine.as_ref())?)).await?;
        self.asked.insert(app_id.to_owned(), cursor);
        Ok(cursor)
    }

    /// Writes the next entry. After an error it may be there all the same.
    pub(crate) async fn put(
        &mut self,
        actions: Vec<Action>,
        operation: DeltaOperation,
        is_append: bool,
        cursors: Vec<Transaction>,
    ) -> Result<Put, DeltaTableError> {
        let version = self.version + 1;
        let metadata = HashMap::from([("isBlindAppend".to_owned(), is_append.into())]);
        let entry = CommitData::new(actions, operation, metadata, cursors.clone()).get_bytes()?;
        let bytes = CommitOrBytes::LogBytes(entry.clone());
        let written = match self.store.write_commit_entry(version, bytes, Uuid::new_v4()).await {
            // Clients of object stores send a request again when its reply is lost, and are told then that the object is
            // there: their own. (No two commits have the same bytes: they name their files and the time.)
            Err(TransactionError::VersionAlreadyExists(_)) => match self.store.read_commit_entry(version).await? {
                Some(there) if there == entry => Ok(()),
                Some(_) => return Ok(Put::Taken),
                None => {
                    let why = format!("the store refuses entry {version} of the log, and does not have it");
                    return Err(DeltaTableError::Generic(why));
                }
            },
            written => written,
        };
        match written {
            Ok(()) => {
                self.version = version;
                self.moved.extend(cursors.into_iter().map(|cursor| (cursor.app_id, cursor.version)));
                if !self.is_old() {
                    self.end_seen_at = SystemTime::now();
                }
                Ok(Put::Landed(version))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the entries that others have written since; where they are more than `entries_max`, the log is opened anew.
    pub(crate) async fn catch_up(&mut self, entries_max: u64) -> Result<(), DeltaTableError> {
        for _ in 0..entries_max {
            let (asked_at, version) = (SystemTime::now(), self.version + 1);
            let Some(entry) = self.store.read_commit_entry(version).await? else {
                // After a long time this may be a hole that cleaning has left, and not the end.
                if self.is_old() {
                    break;
                }
                self.end_seen_at = asked_at;
                return Ok(());
            };
            let mut is_other = false;
            for action in get_actions(version, &entry)? {
                match action {
                    Action::Txn(cursor) => {
                        self.moved.insert(cursor.app_id, cursor.version);
                    }
                    Action::Remove(_) => self.removed = true,
                    Action::Metadata(_) | Action::Protocol(_) => is_other = true,
                    _ => {}
                }
            }
            self.version = version;
            if is_other {
                break;
            }
        }
        // What is passed over may have been anything.
        self.removed = true;
        self.reopen().await
    }
}

/// Whether so much time has passed that a log may have been cleaned since.
fn is_over(since: SystemTime) -> bool {
    // A clock that was set back says nothing.
    !since.elapsed().is_ok_and(|age| age <= END_AGE_MAX)
}

/// The table as it is now.
async fn newest(store: &LogStoreRef) -> Result<SnapshotRef, DeltaTableError> {
    let (engine, root) = (store.engine(None), store.transaction_url(None)?);
    blocking(move || Ok(Snapshot::builder_for(root).build(engine.as_ref())?)).await
}

/// How a table's columns compare with those that this version of Custody writes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fit {
    /// It has them all. Columns of a newer version, which may be empty, are left empty.
    Fits,
    /// It lacks columns that may be empty: an older version made it. They can be added.
    Lacks(Vec<StructField>),
    /// Rows of this version do not belong there.
    Differs(String),
}

/// Compares the columns of a table with the expected ones, by name.
pub(crate) fn fit(expected: &StructType, found: &StructType) -> Fit {
    let mut lacks = Vec::new();
    for field in expected.fields() {
        match found.field(field.name()) {
            Some(have) if have.data_type() == field.data_type() => {}
            Some(have) => {
                let (name, is, expected) = (field.name(), have.data_type(), field.data_type());
                return Fit::Differs(format!("{name} is {is}, and {expected} is expected"));
            }
            None if field.is_nullable() => lacks.push(field.clone()),
            None => return Fit::Differs(format!("{} is missing", field.name())),
        }
    }
    let unknown = found.fields().find(|field| !field.is_nullable() && expected.field(field.name()).is_none());
    match unknown {
        Some(field) => Fit::Differs(format!("{} is required there, and not known here", field.name())),
        None if lacks.is_empty() => Fit::Fits,
        None => Fit::Lacks(lacks),
    }
}

/// The log library reads on the thread that it is called on.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DeltaTableError> + Send + 'static,
) -> Result<T, DeltaTableError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| DeltaTableError::Generic(error.to_string()))?
}

//! What comes into a table, commit by commit: for whoever wants every row once it is committed, and no row again.

use arrow::record_batch::RecordBatch;
use custody_schemas::table::Table;
use deltalake::kernel::Action;
use deltalake::logstore::object_store::path::Path;
use deltalake::logstore::object_store::{Error as StoreError, ObjectStoreExt};
use deltalake::logstore::{LogStoreRef, get_actions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::location::{Ledger, LedgerError};

/// Reads the commits of one table in their order.
#[derive(Debug, Clone)]
pub struct Follower {
    store: LogStoreRef,
    at: String,
}

/// What one commit added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// These files, in this order; none where files were only put together, or taken by retention.
    Added(Vec<String>),
    /// The log has none of this number: it is still to come, or was so long ago that the log no longer has it.
    Missing,
}

impl Ledger {
    /// Opens a table to follow it.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Store`] when the store cannot be opened.
    pub fn follower(&self, table: Table) -> Result<Follower, LedgerError> {
        Ok(Follower { store: self.log_store(table)?, at: self.location().url().to_string() })
    }
}

impl Follower {
    /// The newest version.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Store`]
    pub async fn newest(&self) -> Result<u64, LedgerError> {
        self.store.get_latest_version(0).await.map_err(|cause| self.failed(cause))
    }

    /// What a version added.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Store`]
    pub async fn commit(&self, version: u64) -> Result<Commit, LedgerError> {
        let entry = self.store.read_commit_entry(version).await.map_err(|cause| self.failed(cause))?;
        let Some(entry) = entry else { return Ok(Commit::Missing) };
        let actions = get_actions(version, &entry).map_err(|cause| self.failed(cause))?;
        let added = actions.into_iter().filter_map(|action| match action {
            Action::Add(add) if add.data_change => Some(add.path),
            _ => None,
        });
        Ok(Commit::Added(added.collect()))
    }

    /// The rows of a file, without the partition column; `None` when the file is no longer there.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Store`], also for a file that is damaged.
    pub async fn rows(&self, path: &str) -> Result<Option<Vec<RecordBatch>>, LedgerError> {
        let path = Path::parse(path).map_err(|error| self.failed(StoreError::from(error).into()))?;
        let bytes = match self.store.object_store(None).get(&path).await {
            Ok(object) => object.bytes().await.map_err(|error| self.failed(error.into()))?,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed(error.into())),
        };
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|reader| reader.build());
        let rows = reader.map_err(|error| self.failed(error.into()))?.collect::<Result<_, _>>();
        rows.map(Some).map_err(|error| self.failed(error.into()))
    }

    fn failed(&self, cause: deltalake::DeltaTableError) -> LedgerError {
        LedgerError::Store { at: self.at.clone(), cause: Box::new(cause) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{batch, new_ledger};

    #[tokio::test]
    async fn every_commit_is_seen_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = new_ledger(&folder).await;
        let follower = ledger.follower(Table::Records).unwrap();
        let first = follower.newest().await.unwrap();
        assert_eq!(follower.commit(first + 1).await.unwrap(), Commit::Missing);

        let mut writer = ledger.writer(Table::Records).await.unwrap();
        for (from, to) in [(None, 3), (Some(3), 5)] {
            let (rows, advances) = batch(0, from, to);
            writer.append(&rows, &advances).await.unwrap();
        }
        let mut seen = Vec::new();
        for version in first + 1..=follower.newest().await.unwrap() {
            let Commit::Added(files) = follower.commit(version).await.unwrap() else {
                panic!("{version} is not there")
            };
            for file in files {
                let rows = follower.rows(&file).await.unwrap().unwrap();
                seen.push(rows.iter().map(RecordBatch::num_rows).sum::<usize>());
            }
        }
        assert_eq!(seen, [3, 2]);
        assert_eq!(follower.rows("date=2026-01-01/none.parquet").await.unwrap(), None);
    }
}

//! Where a ledger is, and how its tables come into being.

use std::collections::HashMap;
use std::path::Path;

use custody_schemas::table::{PARTITION_COLUMN, Table};
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::{StructField, StructType};
use deltalake::logstore::{LogStoreRef, ObjectStoreRef, StorageConfig, logstore_with};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::SaveMode;
use deltalake::{DeltaTable, DeltaTableError, TableProperty};
use url::Url;

use crate::diagnose::{Damage, diagnose};
use crate::log::{Fit, Log, fit};
use crate::maintain::{MaintainError, Maintenance};
use crate::writer::TableWriter;
use crate::{probe, store};

/// Why a ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The text names no place.
    #[error("{text:?} is neither a folder nor the URL of an object store (s3://, gs://, az://): {why}")]
    BadLocation {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A setting would allow two writers to overwrite one another's commits.
    #[error(
        "{setting} is set: with it the store replaces a commit instead of refusing it, and evidence could be lost. \
         Remove the setting, and use a store with conditional writes (put-if-absent)"
    )]
    UnsafeStore {
        /// The setting.
        setting: String,
    },
    /// The store lets two writers write one object.
    #[error(
        "the store at {at} replaces an object that it was told to create only if it is absent: of two commits with one \
         number both would succeed, and evidence would be lost. Use a store with conditional writes (`If-None-Match: *`)"
    )]
    NotExclusive {
        /// The place.
        at: String,
    },
    /// There is no ledger at the place.
    #[error("there is no ledger at {at} (no table {table:?}). `custody ingest` or `custody demo` makes one")]
    NotFound {
        /// The place.
        at: String,
        /// The table that was looked for.
        table: &'static str,
    },
    /// The table's columns are not those that this version knows.
    #[error("the table {table:?} at {at} has other columns than this version of Custody writes: {difference}")]
    OtherSchema {
        /// The place.
        at: String,
        /// The table.
        table: &'static str,
        /// The first difference.
        difference: String,
    },
    /// A file of a table is not as it was written.
    #[error(
        "the ledger at {at} is damaged: {table}/{file} {what}. Nothing was changed. Restore the file from a backup or from \
         an older version that the store keeps; what other files hold can be read again after that"
    )]
    Damaged {
        /// The place.
        at: String,
        /// The table.
        table: &'static str,
        /// The file, in the table's folder.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// The store did not do what was asked.
    #[error("the store of the ledger at {at} failed: {}", brief(cause))]
    Store {
        /// The place.
        at: String,
        /// What the store said.
        cause: Box<DeltaTableError>,
    },
}

/// What an error says, without the list of calls that the log library appends.
pub(crate) fn brief(cause: &DeltaTableError) -> String {
    let text = match cause {
        // The library takes every call of the store for a look at its log.
        DeltaTableError::ObjectStore { source } => source.to_string(),
        cause => cause.to_string(),
    };
    text.lines().next().unwrap_or_default().to_owned()
}

/// A place for a ledger: the URL of a folder, local or on an object store, with the store's options.
#[derive(Debug, Clone)]
pub struct Location {
    url: Url,
    options: HashMap<String, String>,
}

/// A setting with which `deltalake` renames over existing commits on S3.
const UNSAFE_RENAME: &str = "AWS_S3_ALLOW_UNSAFE_RENAME";

/// The kinds of store that this binary is built with.
const SCHEMES: [&str; 9] = ["file", "s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss"];

impl Location {
    /// Reads a path or a URL. `options` are the object store's (`AWS_ENDPOINT_URL`, ...); those of the environment are
    /// taken as well.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadLocation`] for a text that names no place, [`LedgerError::UnsafeStore`] for settings that give
    /// up the exclusion of concurrent commits.
    pub fn parse(text: &str, options: HashMap<String, String>) -> Result<Self, LedgerError> {
        let is_set = |value: Option<&str>| value.is_some_and(|value| !matches!(value, "" | "0" | "false"));
        let configured = options.iter().find(|(name, _)| name.eq_ignore_ascii_case(UNSAFE_RENAME));
        if is_set(configured.map(|(_, value)| value.as_str())) || is_set(std::env::var(UNSAFE_RENAME).ok().as_deref()) {
            return Err(LedgerError::UnsafeStore { setting: UNSAFE_RENAME.to_owned() });
        }
        let bad = |why: String| LedgerError::BadLocation { text: text.to_owned(), why };
        // A Windows-style drive letter is no scheme; everything else with "://" is meant as a URL.
        let mut url = if text.contains("://") {
            Url::parse(text).map_err(|error| bad(error.to_string()))?
        } else {
            let path = std::path::absolute(Path::new(text)).map_err(|error| bad(error.to_string()))?;
            Url::from_directory_path(&path).map_err(|()| bad("not an absolute path".to_owned()))?
        };
        // Told at once: a store that is not there is waited for, and one of another kind never comes.
        if !SCHEMES.contains(&url.scheme()) {
            return Err(bad(format!("{}: is no kind of store that Custody knows", url.scheme())));
        }
        if url.scheme() != "file" && url.host_str().is_none_or(str::is_empty) {
            return Err(bad("it names no bucket".to_owned()));
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Self { url, options })
    }

    /// The URL, with a slash at its end.
    pub fn url(&self) -> &Url {
        &self.url
    }

    fn table_url(&self, table: Table) -> Result<Url, LedgerError> {
        self.url
            .join(table.name())
            .map_err(|error| LedgerError::BadLocation { text: self.url.to_string(), why: error.to_string() })
    }

    /// The store that the place is on.
    pub(crate) fn store(&self) -> Result<ObjectStoreRef, LedgerError> {
        let opened = store::open(&self.url, self.options.clone());
        Ok(opened.map_err(|cause| self.store_error(cause))?.0)
    }

    pub(crate) fn store_error(&self, cause: DeltaTableError) -> LedgerError {
        LedgerError::Store { at: self.url.to_string(), cause: Box::new(cause) }
    }
}

/// The tables at a place.
#[derive(Debug, Clone)]
pub struct Ledger {
    location: Location,
    store: ObjectStoreRef,
    config: StorageConfig,
}

impl Ledger {
    /// Opens the ledger for writing, making the tables that are not there yet. Several processes may do so at once.
    ///
    /// # Errors
    ///
    /// [`LedgerError::OtherSchema`] when a table has other columns, [`LedgerError::Store`] when the store fails.
    pub async fn create(location: Location) -> Result<Self, LedgerError> {
        let ledger = Self::at(location)?;
        // A local disk is known to be exclusive; of a store it is found out.
        if ledger.location.url.scheme() != "file" {
            probe::exclusive(&ledger.store, &ledger.location).await?;
        }
        for table in Table::ALL {
            match ledger.open(table).await {
                Ok(delta) => match ledger.fit(table, &delta)? {
                    Fit::Lacks(columns) => ledger.add_columns(table, delta, columns).await?,
                    fit => ledger.check(table, fit)?,
                },
                Err(LedgerError::NotFound { .. }) => ledger.create_table(table).await?,
                Err(error) => return Err(error),
            }
        }
        Ok(ledger)
    }

    /// Opens a ledger that must be there already.
    ///
    /// # Errors
    ///
    /// [`LedgerError::NotFound`] when a table is missing, otherwise as [`Ledger::create`].
    pub async fn existing(location: Location) -> Result<Self, LedgerError> {
        let ledger = Self::at(location)?;
        for table in Table::ALL {
            let delta = match ledger.open(table).await {
                // Who looks writes that down, also where nobody did so before; what is derived may not be derived yet.
                Err(LedgerError::NotFound { .. }) if !Table::EVIDENCE.contains(&table) => {
                    ledger.create_table(table).await?;
                    ledger.open(table).await?
                }
                opened => opened?,
            };
            ledger.check(table, ledger.fit(table, &delta)?)?;
        }
        Ok(ledger)
    }

    /// The same ledger with faults before its store.
    #[cfg(test)]
    pub(crate) fn with_faults(
        &self,
        choose: impl Fn(crate::faults::Call<'_>) -> Option<crate::faults::Fault> + Send + Sync + 'static,
    ) -> Self {
        Self { store: crate::faults::faulty(self.store.clone(), choose), ..self.clone() }
    }

    fn at(location: Location) -> Result<Self, LedgerError> {
        let opened = store::open(&location.url, location.options.clone());
        let (store, config) = opened.map_err(|cause| location.store_error(cause))?;
        Ok(Self { location, store, config })
    }

    /// Where the ledger is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Opens a table at its newest version.
    ///
    /// # Errors
    ///
    /// [`LedgerError::NotFound`] when it is not there, [`LedgerError::Store`] when the store fails.
    pub async fn open(&self, table: Table) -> Result<DeltaTable, LedgerError> {
        let url = self.location.table_url(table)?;
        let missing = || LedgerError::NotFound { at: self.location.url.to_string(), table: table.name() };
        if url.to_file_path().is_ok_and(|folder| !folder.is_dir()) {
            return Err(missing());
        }
        let mut delta = DeltaTable::new(self.log_store(table)?);
        let is_there = delta.verify_deltatable_existence().await;
        if !is_there.map_err(|source| self.location.store_error(source))? {
            return Err(missing());
        }
        match delta.load().await {
            Ok(()) => Ok(delta),
            Err(cause) => Err(self.explain(table, cause).await),
        }
    }

    /// Why a table could not be opened: which of its files is damaged, if that is it.
    async fn explain(&self, table: Table, cause: DeltaTableError) -> LedgerError {
        let looked = match self.log_store(table) {
            Ok(store) => diagnose(&store).await,
            Err(error) => return error,
        };
        match looked {
            Ok(Some(Damage { file, what })) => {
                LedgerError::Damaged { at: self.location.url.to_string(), table: table.name(), file, what }
            }
            _ => self.location.store_error(cause),
        }
    }

    /// Opens a table for appending.
    ///
    /// # Errors
    ///
    /// [`LedgerError::OtherSchema`] when rows of this version do not belong there, [`LedgerError::Store`] when the store
    /// fails.
    pub async fn writer(&self, table: Table) -> Result<TableWriter, LedgerError> {
        let store = self.log_store(table)?;
        let files = store.object_store(None);
        let log = match Log::open(store).await {
            Ok(log) => log,
            Err(cause) => return Err(self.explain(table, cause).await),
        };
        let columns = columns(table).map_err(|cause| self.location.store_error(cause))?;
        self.check(table, fit(&columns, &log.schema()))?;
        Ok(TableWriter::new(table, log, files))
    }

    /// Opens a table to keep it in order.
    ///
    /// # Errors
    ///
    /// [`MaintainError::Store`] when the store fails.
    pub async fn maintenance(&self, table: Table) -> Result<Maintenance, MaintainError> {
        let store = self.log_store(table).map_err(|error| MaintainError::Ledger(Box::new(error)))?;
        match Maintenance::open(table, store).await {
            Err(MaintainError::Store { cause, .. }) => {
                Err(MaintainError::Ledger(Box::new(self.explain(table, *cause).await)))
            }
            opened => opened,
        }
    }

    pub(crate) fn log_store(&self, table: Table) -> Result<LogStoreRef, LedgerError> {
        let url = self.location.table_url(table)?;
        logstore_with(self.store.clone(), &url, self.config.clone()).map_err(|cause| self.location.store_error(cause))
    }

    async fn create_table(&self, table: Table) -> Result<(), LedgerError> {
        let columns = columns(table).map_err(|source| self.location.store_error(source))?;
        let created = CreateBuilder::new()
            .with_log_store(self.log_store(table)?)
            .with_table_name(table.name())
            .with_comment(table.comment())
            .with_columns(columns.fields().cloned())
            .with_partition_columns([PARTITION_COLUMN])
            .with_configuration_property(TableProperty::AppendOnly, Some("true"))
            // Every checkpoint names what was taken out in this time. It only has to outlast those who are reading.
            .with_configuration_property(TableProperty::DeletedFileRetentionDuration, Some("interval 2 hours"))
            .with_configuration_property(
                TableProperty::DataSkippingStatsColumns,
                Some(table.statistics_columns().join(",")),
            )
            .with_save_mode(SaveMode::Ignore)
            .await;
        match created {
            Ok(_) => Ok(()),
            // Another process was faster: the table is there, which is all that was wanted.
            Err(error) => self.open(table).await.map(drop).map_err(|_| self.location.store_error(error)),
        }
    }

    /// Adds columns that a newer version of Custody has. Older ones go on beside it, and leave them empty.
    async fn add_columns(&self, table: Table, delta: DeltaTable, columns: Vec<StructField>) -> Result<(), LedgerError> {
        let names: Vec<_> = columns.iter().map(|column| column.name().clone()).collect();
        match delta.add_columns().with_fields(columns).await {
            Ok(_) => tracing::info!(table = table.name(), ?names, "columns were added"),
            // Another process may have been faster.
            Err(cause) => {
                let delta = self.open(table).await?;
                if self.fit(table, &delta)? != Fit::Fits {
                    return Err(self.location.store_error(cause));
                }
            }
        }
        Ok(())
    }

    fn fit(&self, table: Table, delta: &DeltaTable) -> Result<Fit, LedgerError> {
        let columns = columns(table).map_err(|cause| self.location.store_error(cause))?;
        let snapshot = delta.snapshot().map_err(|cause| self.location.store_error(cause))?;
        Ok(fit(&columns, &snapshot.schema()))
    }

    fn check(&self, table: Table, fit: Fit) -> Result<(), LedgerError> {
        let difference = match fit {
            Fit::Fits => return Ok(()),
            Fit::Lacks(columns) => {
                let names: Vec<_> = columns.iter().map(|column| column.name().as_str()).collect();
                format!("{} is not there yet (`custody ingest` of this version adds it)", names.join(", "))
            }
            Fit::Differs(difference) => difference,
        };
        Err(LedgerError::OtherSchema { at: self.location.url.to_string(), table: table.name(), difference })
    }
}

/// The columns of a table as Delta has them.
fn columns(table: Table) -> Result<StructType, DeltaTableError> {
    table.schema().as_ref().try_into_kernel().map_err(DeltaTableError::from)
}

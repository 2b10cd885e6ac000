//! Where a ledger is, and how its tables come into being.

use std::collections::HashMap;
use std::path::Path;

use custody_schemas::table::{PARTITION_COLUMN, Table};
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::{StructField, StructType};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::SaveMode;
use deltalake::table::builder::{DeltaTableBuilder, ensure_table_uri};
use deltalake::{DeltaTable, DeltaTableError, TableProperty};
use url::Url;

use crate::writer::TableWriter;

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
    /// The store did not do what was asked.
    #[error("the store of the ledger at {at} failed: {cause}")]
    Store {
        /// The place.
        at: String,
        /// What the store said.
        cause: Box<DeltaTableError>,
    },
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

    fn store_error(&self, cause: DeltaTableError) -> LedgerError {
        LedgerError::Store { at: self.url.to_string(), cause: Box::new(cause) }
    }
}

/// The tables at a place.
#[derive(Debug, Clone)]
pub struct Ledger {
    location: Location,
}

impl Ledger {
    /// Opens the ledger for writing, making the tables that are not there yet. Several processes may do so at once.
    ///
    /// # Errors
    ///
    /// [`LedgerError::OtherSchema`] when a table has other columns, [`LedgerError::Store`] when the store fails.
    pub async fn create(location: Location) -> Result<Self, LedgerError> {
        let ledger = Self { location };
        for table in Table::ALL {
            match ledger.open(table).await {
                Ok(delta) => ledger.check_schema(table, &delta)?,
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
        let ledger = Self { location };
        for table in Table::ALL {
            let delta = ledger.open(table).await?;
            ledger.check_schema(table, &delta)?;
        }
        Ok(ledger)
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
        let mut delta = DeltaTableBuilder::from_url(url)
            .and_then(|builder| builder.with_storage_options(self.location.options.clone()).build())
            .map_err(|source| self.location.store_error(source))?;
        let is_there = delta.verify_deltatable_existence().await;
        if !is_there.map_err(|source| self.location.store_error(source))? {
            return Err(missing());
        }
        delta.load().await.map_err(|source| self.location.store_error(source))?;
        Ok(delta)
    }

    /// Opens a table for appending.
    ///
    /// # Errors
    ///
    /// As [`Ledger::open`].
    pub async fn writer(&self, table: Table) -> Result<TableWriter, LedgerError> {
        Ok(TableWriter::new(table, self.open(table).await?))
    }

    async fn create_table(&self, table: Table) -> Result<(), LedgerError> {
        let url = self.location.table_url(table)?;
        if url.scheme() == "file" {
            ensure_table_uri(url.as_str()).map_err(|source| self.location.store_error(source))?;
        }
        let fields = delta_fields(table).map_err(|source| self.location.store_error(source))?;
        let created = CreateBuilder::new()
            .with_location(url)
            .with_storage_options(self.location.options.clone())
            .with_table_name(table.name())
            .with_comment(table.comment())
            .with_columns(fields)
            .with_partition_columns([PARTITION_COLUMN])
            .with_configuration_property(TableProperty::AppendOnly, Some("true"))
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

    fn check_schema(&self, table: Table, delta: &DeltaTable) -> Result<(), LedgerError> {
        let expected = delta_fields(table).map_err(|source| self.location.store_error(source))?;
        let snapshot = delta.snapshot().map_err(|source| self.location.store_error(source))?;
        let schema = snapshot.schema();
        let found: Vec<&StructField> = schema.fields().collect();
        let difference = expected.iter().enumerate().find_map(|(position, field)| match found.get(position) {
            None => Some(format!("{} is missing", field.name())),
            Some(have) if have.name() != field.name() || have.data_type() != field.data_type() => Some(format!(
                "{} {} stands where {} {} is expected",
                have.name(),
                have.data_type(),
                field.name(),
                field.data_type()
            )),
            Some(_) => None,
        });
        match difference {
            None if found.len() == expected.len() => Ok(()),
            difference => Err(LedgerError::OtherSchema {
                at: self.location.url.to_string(),
                table: table.name(),
                difference: difference
                    .unwrap_or_else(|| format!("{} columns instead of {}", found.len(), expected.len())),
            }),
        }
    }
}

/// The columns of a table as Delta fields.
fn delta_fields(table: Table) -> Result<Vec<StructField>, DeltaTableError> {
    let schema: StructType = table.schema().as_ref().try_into_kernel().map_err(DeltaTableError::from)?;
    Ok(schema.fields().cloned().collect())
}

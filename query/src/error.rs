//! What can go wrong with a question, told apart by whose turn it is.

use std::time::Duration;

use arrow::error::ArrowError;
use custody_ledger::LedgerError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The question is wrong: its syntax, a name, a type, a value that cannot be computed, a cursor. Ask differently.
    #[error("{0}")]
    Invalid(String),
    /// The question asks for more than reading, or for several things at once.
    #[error("{0}: the ledger is only read here, by one query at a time")]
    Forbidden(String),
    /// The answer took too long.
    #[error("the query was stopped after {} s. Narrow it, or allow it more time", .0.as_secs_f32())]
    Timeout(Duration),
    /// The answer needs more memory or temporary space than one query may have.
    #[error("the query needs more memory than it may have. Narrow it, or allow it more: {0}")]
    Resources(String),
    /// There is more of something than may be loaded at once.
    #[error("{what} has more than {bytes_max} bytes")]
    TooLarge {
        /// What is so large.
        what: String,
        /// The bound, in bytes.
        bytes_max: usize,
    },
    /// The state of the ledger that was asked for is not there, or no longer.
    #[error("{0}")]
    Gone(String),
    /// A file of reference data cannot be used.
    #[error("reference data: {0}")]
    Reference(String),
    /// The ledger cannot be read: its store is out of reach, or holds something unreadable.
    #[error("the ledger cannot be read: {0}")]
    Store(String),
    /// A defect of Custody or of the query engine.
    #[error("the query engine failed: {0}")]
    Internal(String),
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        use DataFusionError as E;
        let root = error.find_root();
        let message = clean(&root.strip_backtrace());
        match root {
            E::SQL(error, _) => Self::Invalid(match error.as_ref() {
                ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.clone(),
                ParserError::RecursionLimitExceeded => "the statement is nested too deeply".to_owned(),
            }),
            E::Plan(_) | E::SchemaError(..) | E::NotImplemented(_) | E::Configuration(_) => Self::Invalid(message),
            // One of several: the first is what a person can act upon.
            E::Collection(errors) => match errors.first() {
                Some(first) => Self::Invalid(clean(&first.find_root().strip_backtrace())),
                None => Self::Internal(message),
            },
            E::Execution(_) => Self::Invalid(message),
            E::ArrowError(error, _) => match error.as_ref() {
                ArrowError::ExternalError(_) | ArrowError::ParquetError(_) | ArrowError::IoError(..) => {
                    Self::Store(message)
                }
                _ => Self::Invalid(message),
            },
            E::ResourcesExhausted(_) => Self::Resources(message),
            E::ParquetError(_) | E::ObjectStore(_) | E::IoError(_) | E::External(_) => Self::Store(message),
            _ => Self::Internal(message),
        }
    }
}

impl From<LedgerError> for QueryError {
    fn from(error: LedgerError) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<ArrowError> for QueryError {
    fn from(error: ArrowError) -> Self {
        Self::from(DataFusionError::from(error))
    }
}

/// The engine's words without what helps only its authors.
fn clean(message: &str) -> String {
    let message = ["Error during planning: ", "Execution error: ", "Schema error: ", "Arrow error: "]
        .iter()
        .fold(message, |message, prefix| message.strip_prefix(prefix).unwrap_or(message));
    message.split("\n\nbacktrace").next().unwrap_or(message).trim().to_owned()
}

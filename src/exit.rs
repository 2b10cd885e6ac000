//! How the binary ends: exit status and the message that goes with it.

use std::process::ExitCode;

use custody_ingest::IngestError;
use custody_ledger::LedgerError;
use custody_query::QueryError;

/// A command that did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    error: anyhow::Error,
}

impl Failure {
    /// Status 1: a check or a finding failed.
    pub(crate) fn check(error: impl Into<anyhow::Error>) -> Self {
        Self { status: 1, error: error.into() }
    }

    /// Status 2: what was asked for makes no sense.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { status: 2, error: error.into() }
    }

    /// Status 3: something that is needed does not answer, or is broken.
    pub(crate) fn broken(error: impl Into<anyhow::Error>) -> Self {
        Self { status: 3, error: error.into() }
    }

    /// What a query could not do, if that is it.
    pub(crate) fn into_query_error(self) -> Result<QueryError, Self> {
        let Self { status, error } = self;
        error.downcast().map_err(|error| Self { status, error })
    }

    /// A word for programs.
    pub(crate) fn kind(&self) -> &'static str {
        self.error.downcast_ref().map_or("store", |error| crate::http::kind_of(error).1)
    }

    /// Whether what was asked for was refused, and not tried.
    pub(crate) fn is_refusal(&self) -> bool {
        self.status == 2
    }

    /// Prints the message, control characters made visible (it may quote data), and yields the status.
    pub(crate) fn report(&self) -> ExitCode {
        let message = format!("{:#}", self.error);
        let lines: Vec<_> = message.lines().map(custody_query::visible).collect();
        eprintln!("custody: {}", lines.join("\n"));
        ExitCode::from(self.status)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::BadLocation { .. } | LedgerError::UnsafeStore { .. } => Self::usage(error),
            _ => Self::broken(error),
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Invalid(_) | QueryError::Forbidden(_) | QueryError::Gone(_) | QueryError::Reference(_) => {
                Self::usage(error)
            }
            QueryError::Timeout(_) | QueryError::Resources(_) | QueryError::TooLarge { .. } => Self::check(error),
            QueryError::Store(_) | QueryError::Internal(_) => Self::broken(error),
        }
    }
}

impl From<IngestError> for Failure {
    fn from(error: IngestError) -> Self {
        Self::broken(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::broken(error)
    }
}

//! What a store can do, found out by trying.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use deltalake::DeltaTableError;
use deltalake::logstore::ObjectStoreRef;
use deltalake::logstore::object_store::path::Path;
use deltalake::logstore::object_store::{Error, ObjectStoreExt, PutMode, PutOptions};
use url::Url;

use crate::location::{Ledger, LedgerError, Location};

/// The object that is written to find out. It stays, so that finding out again is one request, and needs no right to
/// delete.
const PROBE: &str = "_custody_probe";

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// How far the store's clock is ahead of ours.
    pub clock_ahead: TimeDelta,
    /// What one request took.
    pub round_trip: Duration,
}

impl Ledger {
    /// Tries whether the store at a place can be written to and read from, and whether of two writers of one object it
    /// refuses the second.
    ///
    /// # Errors
    ///
    /// [`LedgerError::NotExclusive`] when it does not, [`LedgerError::Store`] when it fails.
    pub async fn probe(location: &Location) -> Result<Probe, LedgerError> {
        let store = location.store()?;
        exclusive(&store, location).await?;
        let (path, began) = (path(location.url()), Instant::now());
        let found = store.head(&path).await.map_err(|cause| location.store_error(cause.into()))?;
        let round_trip = began.elapsed();
        // An old object says nothing of the clock now; a new one would need the right to delete.
        let clock_ahead = match store.put(&path, Utc::now().to_rfc3339().into()).await {
            Ok(_) => {
                let asked_at = Utc::now();
                let found = store.head(&path).await.map_err(|cause| location.store_error(cause.into()))?;
                found.last_modified - asked_at
            }
            Err(_) => (found.last_modified - Utc::now()).max(TimeDelta::zero()),
        };
        Ok(Probe { clock_ahead, round_trip })
    }
}

/// Refuses a store on which two writers could both succeed with one commit.
pub(crate) async fn exclusive(store: &ObjectStoreRef, location: &Location) -> Result<(), LedgerError> {
    let path = path(location.url());
    for _ in 0..2 {
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match store.put_opts(&path, "custody".into(), create).await {
            Ok(_) => {}
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => return Ok(()),
            Err(cause) => return Err(location.store_error(DeltaTableError::from(cause))),
        }
    }
    Err(LedgerError::NotExclusive { at: location.url().to_string() })
}

fn path(url: &Url) -> Path {
    let folder = Path::from_url_path(url.path()).unwrap_or_default();
    folder.join(PROBE)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use deltalake::logstore::object_store::memory::InMemory;

    use super::*;
    use crate::faults::{Fault, faulty};

    #[tokio::test]
    async fn a_store_that_replaces_what_it_should_refuse_is_found_out() {
        let location = Location::parse("s3://bucket/ledger", HashMap::new()).unwrap();
        let store: ObjectStoreRef = Arc::new(InMemory::new());
        for _ in 0..2 {
            exclusive(&store, &location).await.unwrap();
        }
        let overwriting = faulty(store.clone(), |call| (call.verb == "put").then_some(Fault::Overwrite));
        let refused = exclusive(&overwriting, &location).await.unwrap_err();
        assert!(matches!(refused, LedgerError::NotExclusive { .. }), "{refused}");
        let broken = faulty(store, |call| (call.verb == "put").then_some(Fault::Fail));
        let refused = exclusive(&broken, &location).await.unwrap_err();
        assert!(matches!(refused, LedgerError::Store { .. }), "{refused}");
    }

    #[tokio::test]
    async fn a_folder_is_probed_like_any_store() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::parse(folder.path().to_str().unwrap(), HashMap::new()).unwrap();
        for _ in 0..2 {
            let probe = Ledger::probe(&location).await.unwrap();
            assert!(probe.clock_ahead.abs() < TimeDelta::seconds(5), "{probe:?}");
        }
    }
}

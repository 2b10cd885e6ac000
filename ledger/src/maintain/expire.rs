//! Retention: whole days leave a table.

use std::collections::HashMap;

use chrono::NaiveDate;
use deltalake::TableProperty;
use deltalake::kernel::{Action, MetadataExt, Remove};
use deltalake::protocol::DeltaOperation;

use super::{File, MaintainError, Maintenance};

/// What left a table, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// The first and the last day, if there is any.
    pub days: Option<(NaiveDate, NaiveDate)>,
    /// Files.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

fn leaving(of: &Maintenance, before: NaiveDate) -> impl Iterator<Item = &File> {
    of.files.iter().filter(move |file| file.date < before)
}

pub(super) fn expiring(of: &Maintenance, before: NaiveDate) -> Expired {
    let mut expired = Expired::default();
    for file in leaving(of, before) {
        let (first, last) = expired.days.unwrap_or((file.date, file.date));
        expired.days = Some((first.min(file.date), last.max(file.date)));
        expired.files += 1;
        expired.rows += file.rows;
        expired.bytes += file.bytes;
    }
    expired
}

pub(super) async fn expire(of: &mut Maintenance, before: NaiveDate) -> Result<Expired, MaintainError> {
    let expired = expiring(of, before);
    if expired.files == 0 {
        return Ok(expired);
    }
    // The table says of itself that nothing is ever taken out: it says otherwise for as long as this takes.
    let opened = append_only(of, false)?;
    let removes = leaving(of, before).map(|file| Remove { data_change: true, ..file.remove.clone() });
    let actions = std::iter::once(opened).chain(removes.map(Action::Remove)).collect();
    of.put(actions, DeltaOperation::Delete { predicate: Some(format!("date < '{before}'")) }).await?;
    of.files.retain(|file| file.date >= before);
    let closed = append_only(of, true)?;
    of.put(vec![closed], operation()).await?;
    Ok(expired)
}

pub(super) async fn close(of: &mut Maintenance) -> Result<(), MaintainError> {
    let snapshot = of.delta.snapshot().map_err(|cause| of.failed(cause))?;
    if snapshot.metadata().configuration().get(TableProperty::AppendOnly.as_ref()).is_some_and(|is| is == "true") {
        return Ok(());
    }
    let closed = append_only(of, true)?;
    of.put(vec![closed], operation()).await
}

fn operation() -> DeltaOperation {
    DeltaOperation::SetTableProperties {
        properties: HashMap::from([("delta.appendOnly".to_owned(), "true".to_owned())]),
    }
}

/// Says that nothing is ever taken out of the table, or not.
fn append_only(of: &Maintenance, is: bool) -> Result<Action, MaintainError> {
    let metadata = of.delta.snapshot().map_err(|cause| of.failed(cause))?.metadata().clone();
    let metadata = metadata.add_config_key(TableProperty::AppendOnly.as_ref().to_owned(), is.to_string());
    Ok(Action::Metadata(metadata.map_err(|cause| of.failed(cause.into()))?))
}

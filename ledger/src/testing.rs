//! What the tests of this crate share.

use std::collections::HashMap;

use arrow::record_batch::RecordBatch;
use custody_schemas::columns::{RecordColumns, RowContext};
use custody_schemas::record::{Message, Origin};
use custody_schemas::table::Table;

use crate::{Advance, Ledger, Location, Stream};

pub(crate) fn stream(partition: i32) -> Stream {
    Stream { cluster: "kafka".to_owned(), topic: "audit".to_owned(), partition }
}

/// Records of one partition with the offsets `from..to`, and the move of the cursor that goes with them.
pub(crate) fn batch(partition: i32, from: Option<i64>, to: i64) -> (RecordBatch, [Advance; 1]) {
    let mut columns = RecordColumns::default();
    for offset in from.unwrap_or_default()..to {
        let origin = Origin { topic: "audit", partition, offset };
        let row = RowContext { origin, source: "teleport", broker_at: None, ingested_at: 0 };
        let headers = [("trace", Some(&b"1"[..])), ("empty", None)];
        let message = Message { origin, broker_at: None, key: Some(b"k"), headers: &headers, value: Some(b"{}") };
        columns.push(&row, &message, None);
    }
    (columns.finish().unwrap(), [Advance { stream: stream(partition), from, to }])
}

pub(crate) async fn new_ledger(folder: &tempfile::TempDir) -> Ledger {
    let location = Location::parse(folder.path().to_str().unwrap(), HashMap::new()).unwrap();
    Ledger::create(location).await.unwrap()
}

pub(crate) async fn rows(ledger: &Ledger) -> usize {
    let delta = ledger.open(Table::Records).await.unwrap();
    let files = delta.snapshot().unwrap().log_data();
    files.iter().map(|file| file.num_records().unwrap()).sum()
}

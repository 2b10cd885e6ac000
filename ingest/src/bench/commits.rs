//! What a commit takes while the tables grow.

use std::time::{Duration, Instant};

use custody_ledger::{Ledger, Stream};
use custody_schemas::record::{Message, Origin};
use custody_schemas::table::Table;

use super::{Failed, event};
use crate::batch::{Batcher, PerTable, TableBatch};
use crate::consumer::now;
use crate::source::{Source, SourceKind};

/// What the commits of one table took, over a run of them.
#[derive(Debug, Clone)]
pub struct CommitTimes {
    /// The table.
    pub table: Table,
    /// Number of the first commit, and of the one after the last.
    pub commits: (u64, u64),
    /// Sorted times of writing the files.
    pub uploads: Vec<Duration>,
    /// Sorted times of putting them into the table.
    pub commit: Vec<Duration>,
}

/// Value below which a share of sorted times lie.
pub fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let position = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(position.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// The number of the event that is the n-th to come: sessions have forty events each, and two thousand go on at the same
/// time.
fn beside_others(number: u64) -> u64 {
    const SESSIONS: u64 = 2000;
    const EVENTS: u64 = 40;
    let at = number % (SESSIONS * EVENTS);
    number - at + at % SESSIONS * EVENTS + at / SESSIONS
}

/// Commits `commits` batches of `rows` sample events each, one after the other with `pause` in between, and tells the
/// times after every tenth of them.
///
/// # Errors
///
/// When the ledger fails.
pub async fn commits(
    ledger: &Ledger,
    commits: u64,
    rows: u64,
    pause: Duration,
    mut tell: impl FnMut(&CommitTimes),
) -> Result<(), Failed> {
    let source = Source::new(SourceKind::Teleport);
    let stream = Stream { cluster: "bench".to_owned(), topic: "bench".to_owned(), partition: 0 };
    let mut batcher = Batcher::default();
    let mut writers = [ledger.writer(Table::Records).await?, ledger.writer(Table::Events).await?];
    let mut cursors: PerTable<Option<i64>> = PerTable::default();
    for (writer, cursor) in writers.iter_mut().zip(&mut cursors) {
        *cursor = writer.cursor(&stream).await?;
    }
    let mut number = u64::try_from(cursors.into_iter().flatten().max().unwrap_or(0))?;
    batcher.begin(stream.clone(), cursors);
    let empty = |table, first| CommitTimes { table, commits: (first, first), uploads: vec![], commit: vec![] };
    let mut times = [empty(Table::Records, 0), empty(Table::Events, 0)];
    for done in 1..=commits {
        for _ in 0..rows {
            let value = event(beside_others(number)).into_bytes();
            let origin = Origin { topic: &stream.topic, partition: 0, offset: i64::try_from(number)? };
            let at = now();
            let message = Message { origin, broker_at: Some(at), key: None, headers: &[], value: Some(&value) };
            let _ = batcher.push(&stream, &source, &message, at);
            number += 1;
        }
        let Some(batch) = batcher.finish()? else { continue };
        for ((TableBatch { rows, advances }, writer), times) in batch.tables.iter().zip(&mut writers).zip(&mut times) {
            let began = Instant::now();
            let files = writer.uploader().upload(rows).await?;
            let uploaded = Instant::now();
            writer.commit(&files, advances).await?;
            times.uploads.push(uploaded - began);
            times.commit.push(uploaded.elapsed());
        }
        if done.is_multiple_of(commits.div_ceil(10)) || done == commits {
            for times in &mut times {
                times.commits.1 = done;
                times.uploads.sort_unstable();
                times.commit.sort_unstable();
                tell(times);
                *times = empty(times.table, done);
            }
        }
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_another_order_and_each_once() {
        let mut all: Vec<u64> = (0..160_000).map(beside_others).collect();
        assert!(all.windows(2).all(|two| two[0] / 40 != two[1] / 40));
        all.sort_unstable();
        assert!(all.into_iter().eq(0..160_000));
    }
}

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use arrow::array::{AsArray, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::faults::Fault;
use crate::files::{Temper, Uploader};
use crate::testing::{batch, new_ledger, rows};
use crate::{AppendError, Ledger, TableWriter};

const SIZES: Sizes = Sizes { target_bytes: 64 << 20, files_min: 4, files_max: 8 };

fn epoch() -> NaiveDate {
    NaiveDate::default()
}

/// Commits one record after the other, of two partitions in turns.
async fn commit(writer: &mut TableWriter, from: i64, to: i64) {
    for number in from..to {
        let (partition, offset) = (i32::try_from(number % 2).unwrap(), number / 2);
        let (rows, advances) = batch(partition, (offset > 0).then_some(offset), offset + 1);
        writer.append(&rows, &advances).await.unwrap();
    }
}

/// Partition and offset of every row, in the order of files and rows.
async fn contents(ledger: &Ledger) -> Vec<(i32, i64)> {
    let delta = ledger.open(Table::Records).await.unwrap();
    let mut found = Vec::new();
    for file in delta.get_file_uris().unwrap() {
        let file = std::fs::File::open(file.trim_start_matches("file://")).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let partitions = batch.column_by_name("partition").unwrap().as_primitive::<arrow::datatypes::Int32Type>();
            let offsets = batch.column_by_name("offset").unwrap().as_primitive::<Int64Type>();
            found.extend(partitions.values().iter().copied().zip(offsets.values().iter().copied()));
        }
    }
    found
}

fn all_of(numbers: i64) -> Vec<(i32, i64)> {
    (0..2).flat_map(|partition| (0..numbers / 2).map(move |offset| (partition, offset))).collect()
}

#[tokio::test]
async fn small_files_become_one_in_the_order_of_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = new_ledger(&folder).await;
    let mut writer = ledger.writer(Table::Records).await.unwrap();
    commit(&mut writer, 0, 20).await;
    let mut maintenance = ledger.maintenance(Table::Records).await.unwrap();
    // Today, files wait until there are enough of like size.
    assert_eq!(maintenance.due(Sizes { files_min: 21, files_max: 64, ..SIZES }, epoch()).len(), 0);
    let groups = maintenance.due(SIZES, epoch());
    assert_eq!(groups.iter().map(Group::files).collect::<Vec<_>>(), [4, 8, 8]);
    for group in groups {
        let done = maintenance.compact(&group).await.unwrap();
        assert_eq!((done.files, done.rows), (group.files(), group.files() as u64));
    }
    // Once the day is over, whatever is left is put together.
    let tomorrow = epoch().succ_opt().unwrap();
    let mut maintenance = ledger.maintenance(Table::Records).await.unwrap();
    assert_eq!(maintenance.due(SIZES, epoch()).len(), 0);
    let [last] = &maintenance.due(SIZES, tomorrow)[..] else { panic!("one group") };
    maintenance.compact(last).await.unwrap();
    assert_eq!(contents(&ledger).await, all_of(20));
    let standing = maintenance.standing(SIZES, tomorrow).await.unwrap();
    assert_eq!((standing.files, standing.files_due), (0, 0));
    let standing = ledger.maintenance(Table::Records).await.unwrap().standing(SIZES, tomorrow).await.unwrap();
    assert_eq!((standing.files, standing.rows, standing.files_due), (1, 20, 0));
    // Who appends goes on as if nothing had been.
    commit(&mut writer, 20, 22).await;
    assert_eq!(rows(&ledger).await, 22);
}

#[tokio::test]
async fn of_two_that_put_the_same_files_together_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = new_ledger(&folder).await;
    let mut writer = ledger.writer(Table::Records).await.unwrap();
    commit(&mut writer, 0, 8).await;
    let mut one = ledger.maintenance(Table::Records).await.unwrap();
    let mut other = ledger.maintenance(Table::Records).await.unwrap();
    let [group] = &one.due(SIZES, epoch())[..] else { panic!("one group") };
    let (first, second) = tokio::join!(one.compact(group), other.compact(group));
    let refused = match (first, second) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
        both => panic!("{both:?}"),
    };
    assert!(matches!(refused, MaintainError::Raced { .. }), "{refused}");
    assert_eq!(contents(&ledger).await, all_of(8));
    // What the refused one wrote is an orphan: beside the eight old files and the new one.
    let files = std::fs::read_dir(folder.path().join("records/date=1970-01-01")).unwrap().count();
    assert_eq!(files, 10);
}

#[tokio::test]
async fn appending_and_putting_together_at_once_disturb_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = new_ledger(&folder).await;
    let mut writer = ledger.writer(Table::Records).await.unwrap();
    commit(&mut writer, 0, 8).await;
    let done = Arc::new(AtomicBool::new(false));
    let maintaining = {
        let (ledger, done) = (ledger.clone(), done.clone());
        tokio::spawn(async move {
            let mut compacted = 0;
            while !done.load(Ordering::Relaxed) {
                let mut maintenance = ledger.maintenance(Table::Records).await.unwrap();
                for group in maintenance.due(SIZES, epoch()) {
                    maintenance.compact(&group).await.unwrap();
                    compacted += 1;
                }
                maintenance.checkpoint().await.unwrap();
            }
            compacted
        })
    };
    commit(&mut writer, 8, 200).await;
    done.store(true, Ordering::Relaxed);
    assert!(maintaining.await.unwrap() > 0);
    let mut found = contents(&ledger).await;
    found.sort_unstable();
    assert_eq!(found, all_of(200));
}

#[tokio::test]
async fn whichever_call_of_the_store_fails_rewriting_changes_no_row() {
    for fault in [Fault::Fail, Fault::LoseReply] {
        for failing in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let ledger = new_ledger(&folder).await;
            let mut writer = ledger.writer(Table::Records).await.unwrap();
            commit(&mut writer, 0, 6).await;
            let reached = Arc::new(AtomicBool::new(false));
            let hit = reached.clone();
            let faulty = ledger.with_faults(move |call| {
                let fails = call.number == failing;
                hit.fetch_or(fails, Ordering::Relaxed);
                fails.then_some(fault)
            });
            let attempt = async {
                let mut maintenance = faulty.maintenance(Table::Records).await?;
                for group in maintenance.due(SIZES, epoch()) {
                    maintenance.compact(&group).await?;
                }
                Ok::<_, MaintainError>(())
            };
            let attempted = attempt.await;
            let mut found = contents(&ledger).await;
            found.sort_unstable();
            assert_eq!(found, all_of(6), "{fault:?} of call {failing}: {attempted:?}");
            // And the next attempt does what is left.
            let mut maintenance = ledger.maintenance(Table::Records).await.unwrap();
            for group in maintenance.due(SIZES, epoch()) {
                maintenance.compact(&group).await.unwrap();
            }
            assert_eq!(contents(&ledger).await, all_of(6), "{fault:?} of call {failing}");
            if !reached.load(Ordering::Relaxed) {
                assert!(attempted.is_ok());
                break;
            }
        }
    }
}

/// The reply to the commit is lost, and the store's client sends it again by itself: it has landed, and its file stays.
#[tokio::test]
async fn a_rewriting_that_was_committed_twice_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = new_ledger(&folder).await;
    let mut writer = ledger.writer(Table::Records).await.unwrap();
    commit(&mut writer, 0, 6).await;
    let twice =
        ledger.with_faults(|call| (call.verb == "put" && call.path.contains("_delta_log")).then_some(Fault::SendTwice));
    let mut maintenance = twice.maintenance(Table::Records).await.unwrap();
    let [group] = &maintenance.due(SIZES, epoch())[..] else { panic!("one group") };
    maintenance.compact(group).await.unwrap();
    assert_eq!(contents(&ledger).await, all_of(6));
}

#[tokio::test]
async fn a_log_that_was_cleaned_is_read_on_by_those_who_knew_it_before() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = new_ledger(&folder).await;
    let mut idle = ledger.writer(Table::Records).await.unwrap();
    let mut writer = ledger.writer(Table::Records).await.unwrap();
    commit(&mut writer, 0, 120).await;
    let mut maintenance = ledger.maintenance(Table::Records).await.unwrap();
    assert!(maintenance.checkpoint().await.unwrap());
    assert!(!maintenance.checkpoint().await.unwrap(), "there is nothing new");
    assert_eq!(maintenance.clean_log(Duration::ZERO).await.unwrap(), 0, "entries are kept for a while");
    let log = folder.path().join("records/_delta_log");
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    for entry in std::fs::read_dir(&log).unwrap() {
        let path = entry.unwrap().path();
        // By the newest entry it is known what time it is.
        if !path.ends_with(format!("{:020}.json", 120)) {
            std::fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
        }
    }
    assert_eq!(maintenance.clean_log(Duration::ZERO).await.unwrap(), 120);
    assert_eq!(rows(&ledger).await, 120);

    // The idle one stood still for two hours. Number 1 is free again, and must not be taken.
    idle.log_mut().stand_still(long_ago);
    let (rows_of_others, advances) = batch(7, None, 3);
    idle.append(&rows_of_others, &advances).await.unwrap();
    assert!(!log.join(format!("{:020}.json", 1)).exists());
    assert_eq!(rows(&ledger).await, 123);
    // It stood still between looking and writing: what it wrote is found to be nowhere, and told as not done.
    let mut idle = ledger.writer(Table::Records).await.unwrap();
    idle.log_mut().stand_still(long_ago);
    let (zombie_rows, advances) = batch(0, Some(0), 5);
    let refused = idle.append(&zombie_rows, &advances).await.unwrap_err();
    assert!(matches!(refused, AppendError::Fenced { .. }), "{refused}");
}

#[tokio::test]
async fn orphans_are_found_when_they_are_old_and_what_is_not_ours_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = new_ledger(&folder).await;
    let mut writer = ledger.writer(Table::Records).await.unwrap();
    commit(&mut writer, 0, 4).await;
    let day = folder.path().join("records/date=1970-01-01");
    let orphan = writer.uploader().upload(&batch(0, None, 2).0).await.unwrap();
    assert!(orphan.file_bytes() > 0);
    std::fs::write(day.join("notes.txt"), "somebody's").unwrap();
    std::fs::write(day.join("somebodys.parquet"), "somebody's").unwrap();
    let maintenance = ledger.maintenance(Table::Records).await.unwrap();
    let age = Duration::ZERO;
    assert_eq!(maintenance.remove_orphans(age, false).await.unwrap(), [""; 0], "it may be about to be committed");
    let long_ago = SystemTime::now() - ORPHAN_AGE_MIN - Duration::from_secs(60);
    for entry in std::fs::read_dir(&day).unwrap() {
        std::fs::File::options().write(true).open(entry.unwrap().path()).unwrap().set_modified(long_ago).unwrap();
    }
    let found = maintenance.remove_orphans(age, true).await.unwrap();
    assert_eq!((found.len(), std::fs::read_dir(&day).unwrap().count()), (1, 7));
    assert_eq!(maintenance.remove_orphans(age, false).await.unwrap(), found);
    assert_eq!(std::fs::read_dir(&day).unwrap().count(), 6);
    assert!(day.join("notes.txt").exists() && day.join("somebodys.parquet").exists());
    assert_eq!(contents(&ledger).await.len(), 4);
}

#[tokio::test]
async fn whole_days_leave_and_the_table_takes_nothing_else_out() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = new_ledger(&folder).await;
    let mut writer = ledger.writer(Table::Records).await.unwrap();
    commit(&mut writer, 0, 4).await;
    let mut maintenance = ledger.maintenance(Table::Records).await.unwrap();
    assert_eq!(maintenance.expire(epoch()).await.unwrap(), Expired::default());
    let next = epoch().succ_opt().unwrap();
    let expired = maintenance.expire(next).await.unwrap();
    assert_eq!((expired.files, expired.rows, expired.days), (4, 4, Some((epoch(), epoch()))));
    assert_eq!(rows(&ledger).await, 0);
    let is_append_only = |delta: &DeltaTable| {
        let metadata = delta.snapshot().unwrap().metadata().clone();
        metadata.configuration().get("delta.appendOnly").cloned()
    };
    assert_eq!(is_append_only(&ledger.open(Table::Records).await.unwrap()).as_deref(), Some("true"));
    // The cursors stay: what left is not read again.
    commit(&mut writer, 4, 6).await;
    assert_eq!(rows(&ledger).await, 2);

    // Cut off between the two commits, the next look at the table closes it.
    let day_after = next.succ_opt().unwrap();
    let die_late = ledger.with_faults(move |call| {
        let last = call.verb == "put" && call.path.ends_with(&format!("{:020}.json", 10));
        last.then_some(Fault::Fail)
    });
    let cut_off = die_late.maintenance(Table::Records).await.unwrap().expire(day_after).await;
    assert!(matches!(cut_off, Err(MaintainError::Store { .. })), "{cut_off:?}");
    assert_eq!(is_append_only(&ledger.open(Table::Records).await.unwrap()).as_deref(), Some("false"));
    ledger.maintenance(Table::Records).await.unwrap().close().await.unwrap();
    assert_eq!(is_append_only(&ledger.open(Table::Records).await.unwrap()).as_deref(), Some("true"));
    ledger.maintenance(Table::Records).await.unwrap().close().await.unwrap();
}

/// A newer version added a column and wrote into it. This one knows nothing of it, and loses nothing of it.
#[tokio::test]
async fn columns_of_a_newer_version_survive_in_both_directions() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = new_ledger(&folder).await;
    let mut writer = ledger.writer(Table::Records).await.unwrap();
    commit(&mut writer, 0, 3).await;
    let new = deltalake::kernel::StructField::nullable("mood", deltalake::kernel::DataType::STRING);
    let delta = ledger.open(Table::Records).await.unwrap();
    delta.add_columns().with_fields([new]).await.unwrap();

    // The newer version writes; its columns are those of the table.
    let (rows_of_newer, advances) = batch(5, None, 2);
    let mut fields = rows_of_newer.schema().fields().to_vec();
    fields.push(Arc::new(Field::new("mood", DataType::Utf8, true)));
    let schema = Arc::new(Schema::new(fields));
    let mut columns = rows_of_newer.columns().to_vec();
    columns.push(Arc::new(StringArray::from(vec!["calm", "tense"])));
    let rows_of_newer = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let store = ledger.log_store(Table::Records).unwrap().object_store(None);
    let uploaded = Uploader::new(Table::Records, schema, store, Temper::Hot).upload(&rows_of_newer).await.unwrap();
    writer.commit(&uploaded, &advances).await.unwrap();
    // The older one goes on, before and after it is started again.
    commit(&mut writer, 3, 4).await;
    let mut writer = Ledger::create(ledger.location().clone()).await.unwrap().writer(Table::Records).await.unwrap();
    commit(&mut writer, 4, 5).await;

    let mut maintenance = ledger.maintenance(Table::Records).await.unwrap();
    let [group] = &maintenance.due(SIZES, epoch())[..] else { panic!("one group") };
    assert_eq!(maintenance.compact(group).await.unwrap().rows, 7);
    let delta = ledger.open(Table::Records).await.unwrap();
    let [file] = &delta.get_file_uris().unwrap().collect::<Vec<_>>()[..] else { panic!("one file") };
    let file = std::fs::File::open(file.trim_start_matches("file://")).unwrap();
    let mut moods = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
        let batch = batch.unwrap();
        let found = batch.column_by_name("mood").unwrap().as_string::<i32>().clone();
        moods.extend(found.iter().map(|mood| mood.map(str::to_owned)));
    }
    moods.sort();
    assert_eq!(moods.iter().flatten().collect::<Vec<_>>(), ["calm", "tense"]);
    assert_eq!(moods.len(), 7);
}

#[test]
fn a_fingerprint_knows_the_same_rows_in_another_order_and_no_others() {
    let fingerprint = |batches: &[RecordBatch]| {
        let mut collector = fingerprint::Collector::new(&batches[0].schema()).unwrap();
        batches.iter().for_each(|batch| collector.push(batch).unwrap());
        collector.finish()
    };
    let (rows, _) = batch(0, None, 6);
    let (others, _) = batch(0, Some(1), 7);
    let whole = fingerprint(std::slice::from_ref(&rows));
    let shuffled = fingerprint(&[rows.slice(4, 2), rows.slice(0, 3), rows.slice(3, 1)]);
    assert_eq!(whole.difference(&shuffled), None);
    assert!(whole.difference(&fingerprint(&[rows.slice(0, 5)])).unwrap().contains("5 rows instead of 6"));
    assert!(whole.difference(&fingerprint(&[others])).unwrap().contains("of 1 to 6"));
    // One row twice for another one: the same number of rows, lowest and highest offset.
    let doubled = fingerprint(&[rows.slice(0, 4), rows.slice(3, 1), rows.slice(5, 1)]);
    assert!(whole.difference(&doubled).unwrap().contains("contents"));
}

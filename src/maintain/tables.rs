//! Keeping the tables in order: once (`custody maintain`), and all the time (`custody up`).

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use chrono::{Days, NaiveDate, Utc};
use custody_ingest::journal::{Journal, RETENTION, RetentionRecord};
use custody_ledger::{Ledger, LedgerError, MaintainError, Maintenance, Sizes, Standing};
use custody_schemas::table::Table;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use tokio::sync::watch;

use crate::cli::MaintainTables;
use crate::config::{Config, Retention};
use crate::exit::Failure;
use crate::show::text;
use crate::{run, shutdown};

/// Orphans are looked for this often: the whole store is listed for it.
const ORPHANS_EVERY: Duration = Duration::from_secs(24 * 3600);

/// What was done to a table, or would be.
#[derive(Debug, Default)]
struct Done {
    before: Standing,
    compacted_files: usize,
    compacted_into: usize,
    compacted_rows: u64,
    checkpoint: bool,
    log_entries: usize,
    orphans: usize,
    expired: custody_ledger::Expired,
    after: Standing,
}

/// `custody maintain`
pub(super) async fn tables(config: &Config, args: &MaintainTables) -> Result<(), Failure> {
    let ledger = Ledger::existing(config.location()?).await?;
    let stop = shutdown::requested(None)?;
    match args.every {
        Some(every) => {
            let watching = run::watch_over(config, args.watched, None, stop.clone()).await?;
            tokio::try_join!(keep(config, &ledger, every, stop), watching).map(drop)
        }
        None => look(config, &ledger, args.dry_run, &stop).await,
    }
}

/// One look at all tables, told on standard output.
pub(crate) async fn look(
    config: &Config,
    ledger: &Ledger,
    dry_run: bool,
    stop: &watch::Receiver<bool>,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for table in Table::ALL {
        let pass = Pass { config, ledger, dry_run, orphans: true, stop };
        let done = pass.run(table).await.map_err(Failure::broken)?;
        rows.push(row(table, &done, dry_run));
        if *stop.borrow() {
            break;
        }
    }
    let titles = ["table", "files", "bytes", "rows", "put together", "checkpoint", "log entries", "orphans", "expired"];
    text::table(&titles, &rows, &mut std::io::stdout())?;
    if *stop.borrow() {
        writeln!(std::io::stderr(), "stopped; what was done is done, and the next run goes on from there")?;
    }
    Ok(())
}

fn row(table: Table, done: &Done, dry_run: bool) -> [String; 9] {
    let Done { before, after, expired, .. } = done;
    let change = |from: String, to: String| if from == to { from } else { format!("{from} → {to}") };
    let put_together = match (dry_run, done.compacted_files) {
        (true, _) => format!("{} are due", before.files_due),
        (false, 0) => String::new(),
        (false, files) => format!("{files} files, {} rows", done.compacted_rows),
    };
    [
        table.name().to_owned(),
        change(before.files.to_string(), after.files.to_string()),
        change(HumanBytes(before.bytes).to_string(), HumanBytes(after.bytes).to_string()),
        after.rows.to_string(),
        put_together,
        if done.checkpoint { "written".to_owned() } else { format!("{} entries ago", after.entries) },
        if done.log_entries > 0 { format!("{} removed", done.log_entries) } else { String::new() },
        if done.orphans > 0 { format!("{} files", done.orphans) } else { String::new() },
        match expired.days {
            Some((first, last)) => format!("{first} to {last}: {} rows", expired.rows),
            None => String::new(),
        },
    ]
}

/// Keeps the tables in order until asked to stop. What fails is told and tried again: the ledger is usable meanwhile.
pub(crate) async fn keep(
    config: &Config,
    ledger: &Ledger,
    every: Duration,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let mut orphans_at: Option<Instant> = None;
    while !*stop.borrow() {
        let orphans = orphans_at.is_none_or(|at| at.elapsed() >= ORPHANS_EVERY);
        if orphans {
            orphans_at = Some(Instant::now());
        }
        for table in Table::ALL {
            let pass = Pass { config, ledger, dry_run: false, orphans, stop: &stop };
            match pass.run(table).await {
                Ok(_) => {}
                Err(PassError::Maintain(error @ MaintainError::Raced { .. })) => {
                    metrics::counter!("custody_maintain_raced_total", "table" => table.name()).increment(1);
                    tracing::info!(%error, "maintenance");
                }
                Err(error) => {
                    metrics::counter!("custody_maintain_failures_total", "table" => table.name()).increment(1);
                    tracing::warn!(table = table.name(), %error, "maintenance failed; trying again");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error(transparent)]
    Maintain(#[from] MaintainError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("retention is written into the ledger before it is done, and that failed: {0}")]
    Journal(#[from] custody_ingest::direct::DirectError),
}

/// One look at one table.
struct Pass<'a> {
    config: &'a Config,
    ledger: &'a Ledger,
    dry_run: bool,
    /// Whether orphans are looked for.
    orphans: bool,
    stop: &'a watch::Receiver<bool>,
}

impl Pass<'_> {
    async fn run(&self, table: Table) -> Result<Done, PassError> {
        let (settings, today) = (&self.config.maintain, Utc::now().date_naive());
        let sizes = settings.sizes();
        let mut maintenance = self.ledger.maintenance(table).await?;
        let before = maintenance.standing(sizes, today).await?;
        publish(table, &before);
        let mut done = Done { before, after: before, ..Done::default() };
        if !self.dry_run {
            maintenance.close().await?;
        }
        done.expired = self.expire(&mut maintenance, today).await?;
        if !self.dry_run {
            self.compact(&mut maintenance, sizes, today, &mut done).await?;
            done.checkpoint = maintenance.checkpoint().await?;
            done.log_entries =
                maintenance.clean_log(Duration::from_secs(settings.log_hours.saturating_mul(3600))).await?;
        }
        if self.orphans {
            // The files as they are now: those that were just replaced are kept for those who still read them.
            let now = self.ledger.maintenance(table).await?;
            let age = Duration::from_secs(settings.orphan_days.saturating_mul(24 * 3600));
            done.orphans = now.remove_orphans(age, self.dry_run).await?.len();
        }
        if !self.dry_run {
            done.after = self.ledger.maintenance(table).await?.standing(sizes, today).await?;
            publish(table, &done.after);
        }
        Ok(done)
    }

    /// Puts together what is due, and then what has become due by it.
    async fn compact(
        &self,
        maintenance: &mut Maintenance,
        sizes: Sizes,
        today: NaiveDate,
        done: &mut Done,
    ) -> Result<(), PassError> {
        let table = maintenance.table();
        loop {
            let groups = maintenance.due(sizes, today);
            if groups.is_empty() {
                return Ok(());
            }
            let progress = progress(table, groups.iter().map(|group| group.bytes()).sum());
            for group in groups {
                if *self.stop.borrow() {
                    return Ok(());
                }
                let started = Instant::now();
                let compacted = maintenance.compact(&group).await?;
                progress.inc(compacted.bytes_before);
                metrics::counter!("custody_maintain_compacted_files_total", "table" => table.name())
                    .increment(compacted.files as u64);
                let took = started.elapsed();
                tracing::debug!(table = table.name(), ?compacted, ?took, "put together");
                done.compacted_files += compacted.files;
                done.compacted_into += 1;
                done.compacted_rows += compacted.rows;
                // There may be many groups, and ingest goes on meanwhile.
                done.checkpoint |= maintenance.checkpoint().await?;
            }
            progress.finish_and_clear();
            *maintenance = self.ledger.maintenance(table).await?;
        }
    }

    /// Takes days out that the policy does not keep. It is written into the ledger before and after.
    async fn expire(
        &self,
        maintenance: &mut Maintenance,
        today: NaiveDate,
    ) -> Result<custody_ledger::Expired, PassError> {
        let (table, retention) = (maintenance.table(), &self.config.retention);
        let Some(before) = retention.days(table).and_then(|days| today.checked_sub_days(Days::new(days))) else {
            return Ok(custody_ledger::Expired::default());
        };
        let expiring = maintenance.expiring(before);
        let Some((first, last)) = expiring.days.filter(|_| !self.dry_run) else { return Ok(expiring) };
        let mut journal = Journal::open(self.ledger).await?;
        let by = std::env::var("USER").ok();
        let at = Utc::now();
        let mut record = RetentionRecord {
            custody: RETENTION,
            state: "begun",
            table: table.name(),
            first_day: first.to_string(),
            last_day: last.to_string(),
            files: expiring.files,
            rows: expiring.rows,
            bytes: expiring.bytes,
            policy: &retention.policy,
            by: by.as_deref(),
            at: custody_schemas::time::to_rfc3339(at.timestamp_micros()),
        };
        journal.did(RETENTION, &record, at.timestamp_micros()).await?;
        let expired = maintenance.expire(before).await?;
        record.state = "done";
        journal.did(RETENTION, &record, Utc::now().timestamp_micros()).await?;
        tracing::info!(table = table.name(), %first, %last, rows = expired.rows, "expired");
        Ok(expired)
    }
}

fn progress(table: Table, bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    // The template is a constant that a test draws.
    let style = ProgressStyle::with_template("{msg:8} {bar:30} {bytes}/{total_bytes} {eta}");
    let bar = ProgressBar::new(bytes).with_message(table.name());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// What dashboards and alarms look at.
fn publish(table: Table, standing: &Standing) {
    let table = table.name();
    let gauges = [
        ("custody_ledger_files", standing.files),
        ("custody_ledger_bytes", standing.bytes),
        ("custody_ledger_rows", standing.rows),
        ("custody_ledger_compaction_due_files", standing.files_due),
        ("custody_ledger_log_entries", standing.entries),
        ("custody_ledger_version", standing.version),
    ];
    for (name, value) in gauges {
        metrics::gauge!(name, "table" => table).set(value as f64);
    }
}

impl Retention {
    /// Days that rows of a table are kept; for ever without.
    fn days(&self, table: Table) -> Option<u64> {
        match table {
            Table::Records => self.records_days,
            Table::Events => self.events_days,
            // What was found in frames goes with the last of them.
            Table::Frames
            | Table::IndexedRecordings
            | Table::IndexedTexts
            | Table::IndexedCommands
            | Table::IndexedSegments
            | Table::IndexedTrigrams => self.frames_days,
            Table::Activity => self.activity_days,
            // Where a destination is must not be forgotten.
            Table::Forwarding | Table::Undelivered => None,
        }
    }
}

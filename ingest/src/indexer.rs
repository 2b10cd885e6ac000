//! What is found in recordings, into the ledger.
//!
//! Rows of a look at a recording count once its row of `indexed_recordings` is there, which is committed last: whatever
//! fails before leaves rows that nobody sees, and the recording is looked through again.

use std::collections::BTreeMap;

use arrow::error::ArrowError;
use aws_lc_rs::digest;
use custody_ledger::{AppendError, Ledger, LedgerError, TableWriter};
use custody_replay::Recording;
use custody_replay::index::{self, Found, ScreenText};
use custody_schemas::frame::{Code, Frame};
use custody_schemas::index::{IndexColumns, Indexed, IndexedRecording, IndexedText};
use custody_schemas::table::Table;

use crate::consumer::now;
use crate::hex;

/// Raised whenever more is found in a recording than before, so that all are looked through again.
pub const INDEXER: i32 = 1;

/// Rows are committed when they have about this many bytes.
const ROWS_BYTES_MAX: usize = 64 << 20;

/// Why what was found is not in the ledger.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The store failed.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Rows do not fit their table, which is a defect.
    #[error("rows of the index could not be built: {0}")]
    Rows(#[from] ArrowError),
}

/// A session whose recordings are to be looked through.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// Kind of gateway.
    pub source: &'a str,
    /// The session.
    pub session_id: &'a str,
    /// Number of its frames.
    pub frames: i64,
    /// The day on which the newest of them was ingested, in days since 1970.
    pub date: i32,
}

/// What was found and is in the ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Recordings that were looked through.
    pub recordings: u64,
    /// Bytes of their output.
    pub output_bytes: u64,
    /// Texts that were on their screens.
    pub texts: u64,
    /// Their commands.
    pub commands: u64,
    /// Recordings that could not be looked through.
    pub failed: u64,
}

/// Looks through recordings and writes down what is found.
pub struct Indexing {
    /// The order of commits: a recording's own row comes last.
    texts: TableWriter,
    commands: TableWriter,
    recordings: TableWriter,
    columns: IndexColumns,
    last_run: i64,
    /// Tells runs of this process from those of others in the same microsecond.
    salt: i64,
    pending: Kept,
    kept: Kept,
}

impl Indexing {
    /// Opens the tables for appending.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when they cannot be opened.
    pub async fn open(ledger: &Ledger) -> Result<Self, LedgerError> {
        Ok(Self {
            texts: ledger.writer(Table::IndexedTexts).await?,
            commands: ledger.writer(Table::IndexedCommands).await?,
            recordings: ledger.writer(Table::IndexedRecordings).await?,
            columns: IndexColumns::default(),
            last_run: 0,
            salt: i64::from(uuid::Uuid::new_v4().as_fields().0) % RUNS_A_MICROSECOND,
            pending: Kept::default(),
            kept: Kept::default(),
        })
    }

    /// Takes what was found in the recordings of a session.
    pub fn push(&mut self, of: Recorded<'_>, looks: &[Look]) {
        for Look { channel, row, found } in looks {
            let Recorded { source, session_id, date, frames } = of;
            let indexed = Indexed { date, run: self.next_run(), source, session_id, channel: channel.as_deref() };
            for (number, text) in (0..).zip(&found.texts) {
                let ScreenText { from_us, whole_us, till_us, row, is_alternate, text } = text;
                let text = IndexedText {
                    number,
                    from_us: *from_us,
                    whole_us: *whole_us,
                    till_us: *till_us,
                    row: *row,
                    alternate: *is_alternate,
                    text,
                };
                self.columns.push_text(indexed, &text);
            }
            for command in &found.commands {
                let times = (command.at_us, command.until_us);
                self.columns.push_command(indexed, times, command.exit_status, command.source.as_str(), &command.text);
            }
            self.columns.push_recording(indexed, &IndexedRecording { frames, ..row.clone() });
            self.pending.recordings += 1;
            self.pending.output_bytes += row.output_bytes.unsigned_abs();
            self.pending.texts += found.texts.len() as u64;
            self.pending.commands += found.commands.len() as u64;
        }
    }

    /// Notes that the recordings of a session cannot be looked through, and why.
    pub fn push_failed(&mut self, of: Recorded<'_>, why: String) {
        let run = self.next_run();
        let indexed = Indexed { date: of.date, run, source: of.source, session_id: of.session_id, channel: None };
        let row = IndexedRecording {
            indexed_at: now(),
            version: INDEXER,
            frames: of.frames,
            error: Some(why),
            ..IndexedRecording::default()
        };
        self.columns.push_recording(indexed, &row);
        self.pending.failed += 1;
    }

    /// Grows, and is hardly ever that of another process; rows are told apart by their session as well.
    fn next_run(&mut self) -> i64 {
        self.last_run = (now() * RUNS_A_MICROSECOND + self.salt).max(self.last_run + RUNS_A_MICROSECOND);
        self.last_run
    }

    /// Whether it is time to commit.
    pub fn is_full(&self) -> bool {
        self.columns.bytes() >= ROWS_BYTES_MAX
    }

    /// Commits what was pushed. Returns all that this has kept so far.
    ///
    /// # Errors
    ///
    /// [`IndexError`]: what was pushed is not in the ledger, and forgotten.
    pub async fn commit(&mut self) -> Result<Kept, IndexError> {
        let pending = std::mem::take(&mut self.pending);
        let [recordings, texts, commands] = self.columns.finish()?;
        for (writer, rows) in
            [(&mut self.texts, &texts), (&mut self.commands, &commands), (&mut self.recordings, &recordings)]
        {
            if rows.num_rows() > 0 {
                writer.append(rows, &[]).await?;
            }
        }
        self.kept.recordings += pending.recordings;
        self.kept.output_bytes += pending.output_bytes;
        self.kept.texts += pending.texts;
        self.kept.commands += pending.commands;
        self.kept.failed += pending.failed;
        Ok(self.kept)
    }
}

/// Processes that may look at recordings in one microsecond.
const RUNS_A_MICROSECOND: i64 = 1000;

/// So many findings of a recording are kept.
const FINDINGS_MAX: usize = 100;

/// What was found in one recording.
#[derive(Debug, Clone)]
pub struct Look {
    channel: Option<String>,
    row: IndexedRecording,
    found: Found,
}

/// Looks through the recordings of a session: of each channel the one that is played. Takes as long as playing them does.
pub fn look(session_id: &str, frames: Vec<Frame>) -> Vec<Look> {
    let mut channels: BTreeMap<Option<String>, Vec<Frame>> = BTreeMap::new();
    for frame in frames {
        channels.entry(frame.channel.clone()).or_default().push(frame);
    }
    let look = |(channel, frames): (Option<String>, Vec<Frame>)| {
        let recording = Recording::from_channel(session_id, channel.as_deref(), frames);
        let found = index::index(&recording);
        Look { row: row(&recording, &found), channel, found }
    };
    channels.into_iter().map(look).collect()
}

fn row(recording: &Recording, found: &Found) -> IndexedRecording {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut output_bytes = 0;
    for event in recording.events.iter().filter(|event| event.code == Code::Output) {
        hash.update(&event.data);
        output_bytes += event.data.len();
    }
    let findings: Vec<String> = recording.findings.iter().take(FINDINGS_MAX).map(ToString::to_string).collect();
    IndexedRecording {
        indexed_at: now(),
        version: INDEXER,
        frames: 0,
        started_at: recording.started_at,
        duration_us: recording.duration_us,
        cols: recording.size.cols,
        rows: recording.size.rows,
        events: recording.events.len() as i64,
        output_bytes: output_bytes as i64,
        output_sha256: hex::encode(hash.finish().as_ref()),
        replaced_bytes: found.replaced_bytes as i64,
        ended: recording.ended,
        findings: findings.join("\n"),
        texts: found.texts.len() as i64,
        commands: found.commands.len() as i64,
        missed: found.missed as i64,
        error: None,
    }
}

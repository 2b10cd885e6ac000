//! The command line: what can be asked, and how it is explained.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use custody_query::AsOf;
use custody_schemas::time::{Micros, Parsed, parse_rfc3339};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::period::{self, Period};

/// The chain of custody of privileged access: who was in there, why, who said yes, what did they do.
///
/// Custody keeps what access gateways and policy engines publish to Kafka, push over HTTP or leave in files as evidence in
/// a ledger of Delta tables, answers questions about it in SQL, and replays recorded terminal sessions.
///
/// Begin with `custody demo`.
#[derive(Debug, Parser)]
#[command(name = "custody", version, max_term_width = 120, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "Examples:
  custody demo                                       the whole pipeline on an embedded broker, with sample gateways
  custody --data custody-demo sessions               who was in there, why, and who said yes
  custody --data custody-demo show SESSION           everything known of one session
  custody --data custody-demo replay SESSION         play what was recorded
  custody --data custody-demo sql 'SELECT * FROM session_access'
  custody --data custody-demo report list            the questions that auditors ask

Exit status: 0 done, 1 a check or finding failed, 2 usage, 3 unreachable or broken infrastructure.";

/// Flags of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where the ledger is: a folder or the URL of an object store (s3://bucket/path, gs://…, az://…)
    #[arg(long, global = true, value_name = "DIR|URL")]
    pub(crate) data: Option<String>,
    /// Configuration file (TOML); `CUSTODY_…` variables override it (CUSTODY_KAFKA__BROKERS=host:9092)
    #[arg(long, global = true, value_name = "FILE", env = "CUSTODY_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Log more (-v: info, -vv: debug); RUST_LOG is honoured too
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Write log lines as JSON
    #[arg(long, global = true)]
    pub(crate) log_json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole pipeline in one process on an embedded broker, with live sample gateways
    Demo(Demo),
    /// Ingest, collect, serve and maintain in one process
    Up(Listen),
    /// Read the configured topics from Kafka into the ledger
    ///
    /// Several with one kafka.group share the partitions. Something has to keep the ledger in order beside them: a
    /// `custody up`, or `custody maintain --every 30s`.
    Ingest(Watched),
    /// Take in what gateways and policy engines push over HTTP
    ///
    /// OPA's decision log plugin (POST /logs), Teleport's event handler (POST /<name>.log), shippers (POST /boundary,
    /// /hoop). Answers when a message is safe: acknowledged by Kafka, or committed in the ledger where kafka.brokers is
    /// empty. Set collect.listen.
    Collect,
    /// Serve the ledger over HTTP, and where wire.listen is set to clients of PostgreSQL
    Serve(Listen),
    /// Make the line of a user of [wire] from a password
    ///
    /// Reads the password from the terminal, or from standard input, and prints a line for [wire.users] or the file of
    /// wire.users_file. The line lets Custody check the password; nobody can log in with it.
    WirePassword {
        /// Name of the user
        #[arg(value_parser = parse_user)]
        name: String,
    },
    /// Import recordings and logs at rest: files, folders, object-store prefixes
    Import(Import),
    /// Keep the ledger in order: put small files together, clean logs, remove orphans, let expired days go
    ///
    /// Safe at any time, beside ingest, questions and another `custody maintain`: rows are never changed, and files are
    /// replaced only after the new ones were read back and found to hold the same rows. `custody up` does it by itself
    /// every [maintain] every_seconds; where only `custody ingest` runs, run `custody maintain --every 30s` beside it.
    /// It can be stopped whenever: what is done is done. Days leave a table only where [retention] says so, and every
    /// such step is an event of the ledger.
    #[command(args_conflicts_with_subcommands = true)]
    Maintain(Maintain),
    /// List sessions with their reason, approvers and recording
    Sessions(Sessions),
    /// Show everything known of one session
    Show(Show),
    /// Ask in SQL (read-only)
    Sql(Sql),
    /// Run a report of the catalogue, or list them
    #[command(subcommand)]
    Report(ReportCommand),
    /// Make an evidence pack: a zip with reports as PDF, XLSX, CSV and Parquet, their queries and hashes
    Evidence(Evidence),
    /// Say what became of an exception that a report found
    #[command(subcommand)]
    Exception(ExceptionCommand),
    /// Forward events to a SIEM, and see to its destinations
    #[command(subcommand)]
    Forward(ForwardCommand),
    /// Find text that was on the screen of recorded sessions
    Search(Search),
    /// Play a session's recording in this terminal
    Replay(Replay),
    /// Write a session's recording for other tools
    Export(Export),
    /// Print the configuration that is in force, secrets masked
    Config,
    /// Check configuration, brokers, topics and ledger, and say how to mend what fails
    Doctor,
    /// Measure on this machine
    #[command(subcommand)]
    Bench(Bench),
    /// Print shell completions
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Run the demo.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    #[command(subcommand)]
    pub(crate) part: Option<DemoPart>,
    /// Stop after this long, for example 20s or 2m (default: run until Ctrl-C)
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) exit_after: Option<Duration>,
    #[command(flatten)]
    pub(crate) listen: Listen,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DemoPart {
    /// Only the sample gateways, publishing to real brokers
    Gateways {
        /// Bootstrap addresses (default: kafka.brokers of the configuration)
        #[arg(long)]
        brokers: Option<String>,
    },
}

#[derive(Debug, Args, Clone)]
pub(crate) struct Listen {
    /// Address and port to listen on (default: http.listen of the configuration, 127.0.0.1:7878)
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Serve on an address that others can reach, without asking who they are
    #[arg(long)]
    pub(crate) no_authentication: bool,
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowFormat {
    /// For people; control characters are made visible
    Table,
    /// RFC 4180 with a header line
    Csv,
    /// One array
    Json,
    /// One object a line
    Ndjson,
}

#[derive(Debug, Args)]
#[command(after_help = "Recognised by content, whatever the names are:
  Teleport recordings (<session>.tar, plain or encrypted), audit logs and session streams (NDJSON)
  Boundary session recordings (directories), events
  OPA decision logs (NDJSON, JSON, gzip), hoop exports
  asciicast v1, v2, v3; ttyrec; script with timing; sudo I/O logs; tlog

An object is known by its SHA-256: importing it again adds nothing, and an import that was interrupted goes on.

Examples:
  custody import /var/lib/teleport/log/records
  custody import s3://recordings/teleport/ s3://recordings/boundary/
  custody import session.cast --session-id jump-host-4711

Exit status 1: an object could not be read, or a check of it failed.")]
pub(crate) struct Import {
    /// Files, folders or URLs (s3://bucket/prefix, gs://…, az://…)
    #[arg(required = true, value_name = "PATH|URL")]
    pub(crate) paths: Vec<String>,
    /// Take JSON documents for this source's instead of recognising it
    #[arg(long, value_name = "SOURCE", value_parser = parse_source)]
    pub(crate) source: Option<custody_ingest::source::SourceKind>,
    /// Id of the session, for one recording that has none (default: the object's hash)
    #[arg(long, value_name = "ID", value_parser = parse_session_id)]
    pub(crate) session_id: Option<String>,
    /// Only say what would be imported
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the summary as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Sessions {
    /// Only sessions of this user: an account, or a person with whatever accounts are theirs
    #[arg(long)]
    pub(crate) actor: Option<String>,
    /// Only sessions on this target
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// Only sessions under this access request
    #[arg(long, value_name = "ID")]
    pub(crate) request: Option<String>,
    /// Only sessions in this state (running, ended, …)
    #[arg(long)]
    pub(crate) state: Option<String>,
    /// Only sessions linked in this way: explicit, gateway_review, policy, ticket, inferred, none
    #[arg(long, value_name = "METHOD")]
    pub(crate) link: Option<String>,
    /// Only sessions that began at or after this instant (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub(crate) from: Option<i64>,
    /// Only sessions that began before this instant (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub(crate) to: Option<i64>,
    /// Only sessions with this text in the reason of their access, or in its ticket
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Only sessions to which this person said yes
    #[arg(long, value_name = "NAME")]
    pub(crate) approver: Option<String>,
    /// Only sessions at this kind of gateway: teleport, boundary, hoop, …
    #[arg(long, value_name = "SOURCE")]
    pub(crate) gateway: Option<String>,
    /// Only sessions whose recording is here (recorded), stored elsewhere (announced), or neither (none)
    #[arg(long, value_name = "STATE")]
    pub(crate) recording: Option<String>,
    /// Only sessions that a finding is about: open (not over, and nobody has dealt with it), a report (R02), any
    #[arg(long, value_name = "WHICH")]
    pub(crate) finding: Option<String>,
    /// At most this many, newest first (up to 1000)
    #[arg(long, default_value_t = 100)]
    pub(crate) limit: usize,
    /// How to print
    #[arg(long, value_enum, default_value_t = RowFormat::Table)]
    pub(crate) format: RowFormat,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Id of the session
    pub(crate) session: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Tables and views: custody sql 'SHOW TABLES'. Columns: custody sql 'DESCRIBE sessions'.
A statement of '-' is read from standard input.")]
pub(crate) struct Sql {
    /// One SELECT (or SHOW, DESCRIBE, EXPLAIN)
    pub(crate) statement: String,
    /// How to print
    #[arg(long, value_enum, default_value_t = RowFormat::Table)]
    pub(crate) format: RowFormat,
    /// At most this many rows (default: query.rows_max of the configuration)
    #[arg(long)]
    pub(crate) rows_max: Option<usize>,
    /// An earlier state of the ledger: an instant, or versions of the tables as a report names them
    #[arg(long = "state", value_name = "INSTANT|VERSIONS", value_parser = parse_state)]
    pub(crate) state: Option<AsOf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReportCommand {
    /// List the reports, and the controls that they are evidence of
    List {
        /// Only those of this control, for example CC6.3
        #[arg(long)]
        control: Option<String>,
    },
    /// Print a report's definition: what it answers, its parameters and columns, its SQL
    Show {
        /// Id of the report, for example R02
        report: String,
    },
    /// Run a report for a period
    Run(Box<ReportRun>),
}

/// Which period of which state of the ledger.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReportOf {
    /// Period, its end not in it: 2026-Q3, 2026-11, 2026-W47, 2026, 2026-11-16, 2026-11-16..2026-11-23 (UTC)
    #[arg(long, value_parser = period::parse)]
    pub(crate) period: Period,
    /// What was open at this instant counts as open (default: the end of the period, or now)
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    pub(crate) as_of: Option<i64>,
    /// An earlier state of the ledger: an instant, or versions of the tables as a report names them
    #[arg(long = "state", value_name = "INSTANT|VERSIONS", value_parser = parse_state)]
    pub(crate) state: Option<AsOf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Every row of the population is judged: pass, exception, warning, information, na (what is needed to
judge is not known), excluded (out of scope). Rows that are neither pass nor excluded are printed.

Examples:
  custody report run R02 --period 2026-Q3
  custody report run R08 --period 2026-11 --param reason_chars_min=20 --format csv --ipe r08.json
  custody report run R28 --period 2026-Q3 --sample 25 --seed 'the auditor says so'
  custody report run R28 --period 2026-Q3 --confidence 0.95 --tolerable 0.05 --seed 4711

Exit status 1 with --check: exceptions were found."
)]
pub(crate) struct ReportRun {
    /// Id of the report, for example R02
    pub(crate) report: String,
    #[command(flatten)]
    pub(crate) of: ReportOf,
    /// A parameter of the report (`custody report show` tells which there are)
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) parameters: Vec<(String, String)>,
    /// Print every row of the population
    #[arg(long)]
    pub(crate) all: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t = RowFormat::Table)]
    pub(crate) format: RowFormat,
    /// Write what makes the rows evidence (period, parameters, SQL, versions, counts, hashes) to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) ipe: Option<PathBuf>,
    /// Exit with 1 when there are exceptions
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) sample: SampleArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "The pack is a bag (BagIt, RFC 8493): unpacked, `sha256sum -c manifest-sha256.txt` checks it.
The same --state, --as-of and --prepared-at give the same bytes.

Examples:
  custody evidence --report R02 --report R03 --period 2026-Q3 --out q3.zip
  custody evidence --control CC6.3 --period 2026-Q3 --sample 25 --seed 'the auditor says so'")]
pub(crate) struct Evidence {
    /// A report, for example R02; may be given several times
    #[arg(long = "report", value_name = "ID")]
    pub(crate) reports: Vec<String>,
    /// Every report that is evidence of this control, for example CC6.3
    #[arg(long)]
    pub(crate) control: Option<String>,
    #[command(flatten)]
    pub(crate) of: ReportOf,
    /// Where to write (default: custody-evidence-….zip, here)
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The instant that the pack says it was made at (default: now)
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    pub(crate) prepared_at: Option<i64>,
    #[command(flatten)]
    pub(crate) sample: SampleArgs,
}

/// A sample of the population, in place of what was found.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sample")]
pub(crate) struct SampleArgs {
    /// Draw so many items of the population
    #[arg(long, value_name = "N", conflicts_with_all = ["confidence", "tolerable"])]
    pub(crate) sample: Option<u64>,
    /// Draw as many as this confidence needs, for example 0.95
    #[arg(long, value_name = "SHARE", requires = "tolerable")]
    pub(crate) confidence: Option<f64>,
    /// The share of deviations that can be lived with, for example 0.05
    #[arg(long, value_name = "SHARE", requires = "confidence")]
    pub(crate) tolerable: Option<f64>,
    /// Deviations that are expected in the sample
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) expected: u64,
    /// The auditor's word, from which the items follow
    #[arg(long)]
    pub(crate) seed: Option<String>,
    /// Further items, to replace those that turn out to be none
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) replacements: u64,
    /// Draw so many of each value of this column
    #[arg(long, value_name = "COLUMN")]
    pub(crate) strata: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ForwardCommand {
    /// Forward to every destination of the configuration ([[forward]]) until stopped
    ///
    /// `custody up` does it by itself. Of several processes with one destination, one forwards to it, and another takes
    /// over when it has fallen silent (takeover_seconds).
    Run(Watched),
    /// Show how far destinations are, and what fails
    Status {
        /// How
        #[arg(long, value_enum, default_value_t)]
        format: StatusFormat,
    },
    /// Stop forwarding to a destination; nothing is lost
    Pause {
        /// Its name
        name: String,
        /// Why, in words
        #[arg(long)]
        why: String,
    },
    /// Go on forwarding to a destination, from where it is
    Resume {
        /// Its name
        name: String,
        /// Why, in words
        #[arg(long)]
        why: String,
    },
    /// Forward from another time on: what was sent since is sent again
    Rewind {
        /// Its name
        name: String,
        /// now, beginning, or a time (RFC 3339): what was taken in then or later is sent
        #[arg(long, value_name = "TIME")]
        to: crate::forward::Start,
        /// Why, in words
        #[arg(long)]
        why: String,
    },
    /// Events that a destination will not take
    #[command(subcommand)]
    Dlq(DeadLetters),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// List them with what the destination said
    List {
        /// Only of this destination
        name: Option<String>,
        /// How
        #[arg(long, value_enum, default_value_t)]
        format: StatusFormat,
        /// At most so many
        #[arg(long, default_value_t = 1000)]
        most: usize,
    },
    /// Send them again
    Replay {
        /// The destination
        name: String,
        /// Only events with these ids
        #[arg(value_name = "EVENT_ID")]
        event_ids: Vec<String>,
    },
    /// Give them up; the events stay in the ledger
    Drop {
        /// The destination
        name: String,
        /// Only events with these ids
        #[arg(value_name = "EVENT_ID")]
        event_ids: Vec<String>,
        /// Why, in words
        #[arg(long)]
        why: String,
    },
}

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum StatusFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExceptionCommand {
    /// List what was said of exceptions
    List {
        /// Only of this report
        report: Option<String>,
        /// Every step, not only the latest of each
        #[arg(long)]
        history: bool,
    },
    /// Add a step: the exception stays on its report, with what is said of it
    Set {
        /// Id of the report
        report: String,
        /// The row: its `key`
        key: String,
        /// What it is from now on
        #[arg(long, value_enum)]
        state: ExceptionState,
        /// Why, in words
        #[arg(long)]
        why: String,
    },
}

/// What an exception is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ExceptionState {
    /// Not dealt with
    Open,
    /// It is known how it came about
    Explained,
    /// Somebody takes the risk
    Accepted,
    /// What caused it was mended
    Remediated,
}

impl ExceptionState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Explained => "explained",
            Self::Accepted => "accepted",
            Self::Remediated => "remediated",
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Looks through every text that was on a screen: typed with edits, split by escape sequences, or shown in \
an editor or a pager. A text without a capital letter is found in whatever capitals."
)]
pub(crate) struct Search {
    /// The text to look for
    #[arg(required_unless_present = "regex", conflicts_with = "regex")]
    pub(crate) text: Option<String>,
    /// Look for a regular expression instead
    #[arg(long, value_name = "PATTERN")]
    pub(crate) regex: Option<String>,
    /// Only what came onto the screen at or after this instant (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub(crate) from: Option<i64>,
    /// Only what came onto the screen before this instant (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub(crate) to: Option<i64>,
    /// Only in sessions of this user
    #[arg(long, alias = "actor")]
    pub(crate) user: Option<String>,
    /// Only in sessions on this target
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// Only in this session
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    /// Only in sessions of this gateway: its name, or its kind (teleport, boundary, hoop, asciicast)
    #[arg(long)]
    pub(crate) gateway: Option<String>,
    /// At most this many hits
    #[arg(long, default_value_t = 1000)]
    pub(crate) limit: usize,
    /// How to print
    #[arg(long, value_enum, default_value_t = SearchFormat::Text)]
    pub(crate) format: SearchFormat,
}

/// How hits are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SearchFormat {
    /// For people
    Text,
    /// One object a line
    Ndjson,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Keys: space pauses, . goes to the next event while paused, left and right go 5 s, with Shift a tenth, \
1 to 9 to so many tenths, 0 to the start, G to the end, + and - change the speed, ] and [ go to the next and the last \
marker, } and { to the next and the last command, / looks for a text, n and N go to its next and last place, q leaves."
)]
pub(crate) struct Replay {
    /// Id of the session
    pub(crate) session: String,
    /// Times as fast as it was recorded
    #[arg(long, default_value_t = 1.0, value_parser = parse_speed)]
    pub(crate) speed: f64,
    /// Cut pauses to this long, for example 2s
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) idle_limit: Option<Duration>,
    /// Begin there: a time since the start (12:30, 1:02:03.5) or an instant (2026-11-02T09:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = parse_moment, conflicts_with = "at_match")]
    pub(crate) at: Option<Moment>,
    /// Begin where this text was on the screen first, and wait there; a capital letter makes capitals count
    #[arg(long, value_name = "TEXT")]
    pub(crate) at_match: Option<String>,
    /// Watch a session that still runs: its screen as it is now. Going back plays what was recorded, and leads on again
    #[arg(long, conflicts_with_all = ["at", "at_match"])]
    pub(crate) follow: bool,
    /// Which of the session's recordings, where it has several (default: the one with the most output)
    #[arg(long, value_name = "CHANNEL")]
    pub(crate) channel: Option<String>,
}

/// A moment of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Microseconds since its start.
    Elapsed(i64),
    /// By the wall clock.
    At(Micros),
}

/// What a recording is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CastFormat {
    /// asciinema, version 2
    AsciicastV2,
    /// asciinema, version 3
    AsciicastV3,
    /// ttyrec: output with its times, byte for byte
    Ttyrec,
    /// All that is known, one JSON object a line
    Json,
    /// The output, byte for byte
    Raw,
    /// The lines that were on the screen
    Text,
    /// The lines that were on the screen, each with its time
    Transcript,
    /// A page for a browser, with a player and everything that it needs: for somebody who has no Custody
    Html,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A part (--from, --to) begins with the screen that was there, as escape sequences; raw leaves them out,
json keeps them apart. Times in it count from its beginning.

Examples:
  custody export SESSION --as asciicast-v2 -o session.cast
  custody export SESSION --as transcript --from 12:30 --to 13:00
  custody export SESSION --as ttyrec --from 2026-11-02T09:00:00Z -o part.ttyrec"
)]
pub(crate) struct Export {
    /// Id of the session
    pub(crate) session: String,
    /// The format
    #[arg(long = "as", value_enum)]
    pub(crate) format: CastFormat,
    /// Only from there: a time since the start (12:30, 1:02:03.5) or an instant (2026-11-02T09:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub(crate) from: Option<Moment>,
    /// Only up to there, what happened at that time included
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub(crate) to: Option<Moment>,
    /// Which of the session's recordings, where it has several (default: the one with the most output)
    #[arg(long, value_name = "CHANNEL")]
    pub(crate) channel: Option<String>,
    /// Where to write (default: standard output)
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Maintain {
    #[command(subcommand)]
    pub(crate) what: Option<MaintainWhat>,
    #[command(flatten)]
    pub(crate) tables: MaintainTables,
}

#[derive(Debug, Args)]
pub(crate) struct MaintainTables {
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go on until stopped, with a pause of this long, for example 30s
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "dry_run")]
    pub(crate) every: Option<Duration>,
    #[command(flatten)]
    pub(crate) watched: Watched,
}

/// A process that runs on and answers no questions.
#[derive(Debug, Args, Clone, Copy)]
pub(crate) struct Watched {
    /// Serve /healthz, /readyz and /metrics on this address; without, nothing is listened on
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MaintainWhat {
    /// Decode dead letters again: after an update, or when a topic was mapped to the wrong source
    Redecode,
    /// Look through recordings that were not looked through yet: what was on their screens, and the commands
    ///
    /// `custody up` does it by itself as recordings end or go quiet. `custody search` finds what was looked through.
    Index,
    /// Look for findings: exceptions of the reports in [watch], sources that have fallen silent
    ///
    /// `custody up` and `custody forward run` do it by themselves. A finding is told once, and again when it changes or
    /// is over, as an event of the ledger: `custody sql 'SELECT * FROM findings'`, and it is forwarded.
    Findings,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Kafka to committed tables, against the limit: consuming and writing the raw values as Parquet
    Ingest(BenchIngest),
    /// What a commit takes while a ledger grows, with maintenance running, and what maintenance makes of it
    Commits {
        /// Number of commits to `records` and `events`
        #[arg(long, default_value_t = 10_000)]
        commits: u64,
        /// Messages in each
        #[arg(long, default_value_t = 100)]
        rows: u64,
        /// Pause between two of them, for example 10ms
        #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10ms")]
        pause: Duration,
        /// Leave the tables as the commits make them until the end
        #[arg(long)]
        no_maintenance: bool,
    },
    /// From being produced to being visible to questions, at a steady rate, with maintenance running
    Freshness {
        /// Messages a second
        #[arg(long, default_value_t = 5_000)]
        rate: u64,
        /// For how long, for example 60s
        #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "60s")]
        time: Duration,
    },
    /// Decoding on one core, against parsing the same JSON into a tree
    Decode {
        /// Megabytes of each source, for each of five runs
        #[arg(long, default_value_t = 20)]
        megabytes: usize,
    },
    /// A ledger of any size to measure questions and reports on: sessions, requests, approvals and what is wrong with
    /// some of them
    ///
    /// What sample gateways say goes through the decoders and commits of real messages. The same arguments give the same
    /// messages. For each million of events there are about 20,000 sessions and 3,000 access requests, and every kind of
    /// finding that reports look for, in small numbers. It takes about 160 bytes an event.
    ///
    /// The reference data that belongs to it (people, approvers, ...) and a configuration are written beside the ledger:
    ///
    ///   custody bench generate big --events 10000000
    ///   custody --config big-reference/custody.toml report run R02 --period 2026-Q3
    #[command(verbatim_doc_comment)]
    Generate(BenchGenerate),
    /// Every report on the configured ledger: the first time, and again
    Reports(BenchReports),
    /// Looking through recordings, and searching them, beside ripgrep on the same sessions as asciicast files
    ///
    /// Makes the sessions, the same for the same arguments. Needs about 6 times their output on the disk.
    Search(BenchSearch),
    /// One long recording: looking through it, opening it, going to any time
    ///
    /// The first run ingests the file, the second looks through it, each further one only opens and goes about.
    Replay(BenchReplay),
    /// From the ledger to a receiver: catching up after an outage, keeping up, and from the beginning
    ///
    /// The receiver is Splunk's HTTP Event Collector, or Elasticsearch's bulk API, as far as it is needed, on this machine;
    /// `custody forward run` is a process of its own, whose CPU time and memory are told.
    Forward(BenchForward),
}

#[derive(Debug, Args)]
pub(crate) struct BenchForward {
    /// Events that come in before anything is forwarded
    #[arg(long, default_value_t = 600_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) events: u64,
    /// Events a second that come in while they are forwarded
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(4..=1_000_000))]
    pub(crate) rate: u64,
    /// For how long keeping up with them is measured, for example 60s
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "60s")]
    pub(crate) time: Duration,
    /// Whose protocol the receiver speaks
    #[arg(long, value_enum, default_value_t = Receiver::Splunk)]
    pub(crate) to: Receiver,
    /// A command that ships the same events from a file to the same receiver (of `--to elasticsearch`), to be measured
    /// beside: it is given --lines and --url, and prints what it took as tests/siem/shippers.py does
    #[arg(long, value_name = "COMMAND")]
    pub(crate) peer: Option<String>,
}

/// What `custody bench forward` forwards to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Receiver {
    /// HTTP Event Collector, events in Custody's own words
    Splunk,
    /// `_bulk`, events in the words of ECS
    Elasticsearch,
}

#[derive(Debug, Args)]
pub(crate) struct BenchReplay {
    /// An asciicast file, such as tests/open/long_cast.py writes
    #[arg(value_name = "FILE")]
    pub(crate) cast: PathBuf,
    /// Folder for the ledger
    #[arg(value_name = "FOLDER")]
    pub(crate) ledger: PathBuf,
    /// Number of times that are gone to
    #[arg(long, default_value_t = 500)]
    pub(crate) seeks: usize,
    /// The same gives the same times
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct BenchSearch {
    /// Folder for files and ledger; what an earlier run has left there is searched again
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// Number of sessions
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) sessions: u64,
    /// Output of each, in KiB
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) output_kb: u64,
}

#[derive(Debug, Args)]
pub(crate) struct BenchGenerate {
    /// Folder for the ledger, which must be empty or not there
    #[arg(value_name = "FOLDER")]
    pub(crate) ledger: PathBuf,
    /// About how many events
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    pub(crate) events: u64,
    /// Days that they are spread over; the last is 2026-09-30
    #[arg(long, default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
    /// Another number gives another ledger of the same size
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct BenchReports {
    /// Period, as `custody report run` takes it
    #[arg(long, value_parser = period::parse)]
    pub(crate) period: Period,
    /// Reports, where not all: R02,R12
    #[arg(long, value_delimiter = ',', value_name = "IDS")]
    pub(crate) reports: Vec<String>,
    /// Runs after the first one
    #[arg(long, default_value_t = 5)]
    pub(crate) runs: usize,
    /// A command that answers the same reports, to be measured beside: it is given --from, --to, --runs and --reports, and
    /// prints what it took as tests/open/reports_duckdb.py does
    #[arg(long, value_name = "COMMAND")]
    pub(crate) peer: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchIngest {
    /// Megabytes of Teleport-like events
    #[arg(long, default_value_t = 1024)]
    pub(crate) megabytes: u64,
    /// Partitions of the topic
    #[arg(long, default_value_t = 4)]
    pub(crate) partitions: i32,
    /// Runs of each; medians are told
    #[arg(long, default_value_t = 5)]
    pub(crate) runs: usize,
    /// A command that loads the same topic, to be measured beside: it is given --brokers, --topic, --messages and
    /// --folder, and prints what it took as tests/open/loader.py does
    #[arg(long, value_name = "COMMAND")]
    pub(crate) peer: Option<String>,
    /// What to run; each runs in a process of its own
    #[arg(long, value_enum, default_value_t = BenchPart::All, hide = true)]
    pub(crate) part: BenchPart,
    /// Topic to read
    #[arg(long, hide = true)]
    pub(crate) topic: Option<String>,
    /// Messages in the topic
    #[arg(long, hide = true, default_value_t = 0)]
    pub(crate) messages: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchPart {
    All,
    Limit,
    Custody,
}

/// Reads `20s`, `500ms`, `2m`, `1h`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("expected a number with ms, s, m or h, for example 20s".to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| "expected a number with ms, s, m or h, for example 20s".to_owned())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

fn parse_source(text: &str) -> Result<custody_ingest::source::SourceKind, String> {
    use custody_ingest::source::SourceKind::{Boundary, Hoop, Opa, Teleport, Tlog};
    custody_ingest::source::SourceKind::from_name(text)
        .filter(|kind| matches!(kind, Teleport | Boundary | Opa | Hoop | Tlog))
        .ok_or_else(|| "expected teleport, boundary, opa, hoop or tlog".to_owned())
}

fn parse_user(text: &str) -> Result<String, String> {
    let is_name = (1..=63).contains(&text.len()) && !text.chars().any(|c| c.is_control() || matches!(c, '"' | '\\'));
    is_name.then(|| text.to_owned()).ok_or_else(|| "expected up to 63 bytes without quotes".to_owned())
}

fn parse_session_id(text: &str) -> Result<String, String> {
    let is_id = (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    is_id.then(|| text.to_owned()).ok_or_else(|| "expected up to 128 letters, digits, '_' and '-'".to_owned())
}

fn parse_speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.01..=1000.0).contains(&speed) => Ok(speed),
        _ => Err("expected a number from 0.01 to 1000".to_owned()),
    }
}

pub(crate) fn parse_moment(text: &str) -> Result<Moment, String> {
    if let Some(Parsed::At(at)) = parse_rfc3339(text) {
        return Ok(Moment::At(at));
    }
    let wrong = || "expected a time since the start like 12:30, or an instant like 2026-11-02T09:00:00Z".to_owned();
    let (whole, last) = text.rsplit_once(':').unwrap_or(("0", text));
    let seconds: f64 = last.parse().ok().filter(|seconds| (0.0..1e9).contains(seconds)).ok_or_else(wrong)?;
    let mut minutes = 0_i64;
    for part in whole.split(':') {
        let part: u32 = part.parse().map_err(|_| wrong())?;
        minutes = minutes.checked_mul(60).and_then(|minutes| minutes.checked_add(part.into())).ok_or_else(wrong)?;
    }
    let us = minutes.checked_mul(60_000_000).and_then(|us| us.checked_add((seconds * 1e6).round() as i64));
    us.map(Moment::Elapsed).ok_or_else(wrong)
}

fn parse_state(text: &str) -> Result<AsOf, String> {
    text.parse().map_err(|error: custody_query::QueryError| error.to_string())
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| "expected NAME=VALUE".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

fn parse_instant(text: &str) -> Result<i64, String> {
    match custody_schemas::time::parse_rfc3339(text) {
        Some(custody_schemas::time::Parsed::At(at)) => Ok(at),
        _ => Err("expected an instant like 2026-11-02T09:00:00Z".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_read_with_their_units() {
        let cases = [("20s", Some(20_000)), ("500ms", Some(500)), ("1.5m", Some(90_000)), ("2", Some(2000))];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text).ok().map(|time| time.as_millis()), millis, "{text}");
        }
        for text in ["", "s", "-1s", "1d", "nan"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_times_since_the_start_or_instants() {
        let seconds = |seconds: f64| Some(Moment::Elapsed((seconds * 1e6) as i64));
        let cases = [
            ("0", seconds(0.0)),
            ("75.5", seconds(75.5)),
            ("12:30", seconds(750.0)),
            ("1:02:03.25", seconds(3723.25)),
            ("1970-01-01T00:01:00Z", Some(Moment::At(60_000_000))),
            ("", None),
            (":", None),
            ("12:", None),
            (":30", None),
            ("-1", None),
            ("1:-1", None),
            ("nan", None),
            ("99999999999999999999:0", None),
            ("1:2:3:4:5:6:7:8:9:10:11:12:13", None),
            ("noon", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_moment(text).ok(), expected, "{text}");
        }
    }
}

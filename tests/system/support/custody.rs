//! The custody binary as its users run it: a ledger in a folder of its own, a configuration file, child processes.
//!
//! ```ignore
//! let topic = Topic::create(broker, "teleport", 3);
//! let custody = Custody::on(broker, &[topic]);
//! let mut ingest = custody.ingest();
//! custody.wait_for_records(3, &mut ingest);
//! ingest.stop();
//! ```

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use custody_ingest::publish::{Outgoing, Publisher};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::Client;
use super::kafka::{Broker, unique};

/// Long enough for anything that is going to happen, also on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);
/// After so long without a heartbeat Kafka gives a process's partitions to others: the least that brokers take.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// A topic of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) name: String,
    source: &'static str,
}

impl Topic {
    /// A new topic on the broker.
    pub(crate) fn create(broker: &Broker, source: &'static str, partitions: i32) -> Self {
        let name = unique(source);
        // Larger messages than the broker's default, which a broker that is not ours may have.
        broker.create_topic_with(&name, partitions, &[("max.message.bytes", "16777216")]).expect("a topic");
        Self { name, source }
    }
}

/// A ledger and the configuration of the processes that work on it.
pub(crate) struct Custody {
    folder: TempDir,
    data: PathBuf,
    config: String,
    /// The settings of librdkafka.
    options: Vec<(String, String)>,
}

impl Custody {
    /// A ledger that does not exist yet, for topics of a broker.
    pub(crate) fn on(broker: &Broker, topics: &[Topic]) -> Self {
        Self::at(&broker.bootstrap(), topics)
    }

    /// The same, for any brokers, there or not.
    pub(crate) fn at(brokers: &str, topics: &[Topic]) -> Self {
        let folder = TempDir::with_prefix("custody-system-").expect("a folder");
        let data = folder.path().join("ledger");
        let mut config = format!("data = {:?}\n\n", data.display().to_string());
        for Topic { name, source } in topics {
            writeln!(config, "[[topics]]\nname = {name:?}\nsource = {source:?}\n").expect("text");
        }
        writeln!(config, "[kafka]\nbrokers = {brokers:?}\ngroup = {:?}", unique("custody")).expect("text");
        let options = vec![
            ("session.timeout.ms".to_owned(), SESSION_TIMEOUT.as_millis().to_string()),
            ("heartbeat.interval.ms".to_owned(), "1000".to_owned()),
        ];
        Self { folder, data, config, options }
    }

    /// A ledger that is there already.
    pub(crate) fn existing(data: &Path) -> Self {
        let folder = TempDir::with_prefix("custody-system-").expect("a folder");
        // A port on which nothing listens: what is asked of a ledger must not need a broker.
        let config = format!("data = {:?}\n\n[kafka]\nbrokers = \"127.0.0.1:1\"\n", data.display().to_string());
        Self { folder, data: data.to_owned(), config, options: Vec::new() }
    }

    /// A batch is committed after so many messages or milliseconds.
    pub(crate) fn flush(mut self, rows_max: usize, age_ms_max: u64) -> Self {
        // A section of its own, after `[kafka]`.
        write!(self.config, "\n[flush]\nrows_max = {rows_max}\nage_ms_max = {age_ms_max}\n").expect("text");
        self
    }

    /// The same ledger; from now on a batch is committed after so many milliseconds.
    pub(crate) fn flushes_after(mut self, age_ms_max: u64) -> Self {
        let (before, _) = self.config.split_once("\n[flush]").expect("a flush");
        self.config = format!("{before}\n[flush]\nage_ms_max = {age_ms_max}\n");
        self
    }

    /// The same ledger; from now on a topic is another source's.
    pub(crate) fn mapped_to(mut self, topic: &Topic, source: &str) -> Self {
        let line = |source: &str| format!("name = {:?}\nsource = {source:?}", topic.name);
        assert!(self.config.contains(&line(topic.source)), "the topic is not configured");
        self.config = self.config.replace(&line(topic.source), &line(source));
        self
    }

    /// A further section of the configuration.
    pub(crate) fn section(mut self, section: &str) -> Self {
        write!(self.config, "\n{section}").expect("text");
        self
    }

    /// The ledger is on an object store, which is reached by these options.
    pub(crate) fn stored(mut self, url: &str, options: &[(&str, String)]) -> Self {
        self.config = self.config.replacen(&format!("{:?}", self.data.display().to_string()), &format!("{url:?}"), 1);
        self.config.push_str("\n[store]\n");
        for (name, value) in options {
            writeln!(self.config, "{name} = {value:?}").expect("text");
        }
        self.data = PathBuf::from(url);
        self
    }

    /// From now on ingest goes on where Kafka has deleted messages.
    pub(crate) fn goes_on_after_losses(mut self) -> Self {
        self.config = self.config.replacen("[kafka]\n", "[kafka]\non_lost_messages = \"continue\"\n", 1);
        self
    }

    /// Where the ledger is.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// A folder for this test alone.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration for one member of the group. Under the same `member` a process that comes after a killed one
    /// takes its partitions at once; without, it waits until the dead one is missed.
    fn config(&self, member: Option<&str>) -> PathBuf {
        let mut options = self.options.clone();
        options.extend(member.map(|member| ("group.instance.id".to_owned(), member.to_owned())));
        let mut config = self.config.clone();
        // What nobody asks for would be among the events that tests count.
        if !config.contains("[watch]") {
            config.push_str("\n[watch]\nevery_seconds = 0\nheartbeat_seconds = 0\n");
        }
        if !options.is_empty() {
            config.push_str("\n[kafka.options]\n");
        }
        for (name, value) in options {
            writeln!(config, "{name:?} = {value:?}").expect("text");
        }
        let file = self.folder.path().join(format!("{}.toml", member.unwrap_or("custody")));
        fs::write(&file, config).expect("a configuration file");
        file
    }

    /// A command on this ledger.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = binary();
        command.arg("--config").arg(self.config(None)).args(arguments);
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("the custody binary")
    }

    /// What a command prints that has to succeed.
    pub(crate) fn stdout<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}: {}", output.status, stderr(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The rows of an answer.
    pub(crate) fn sql(&self, statement: &str) -> Vec<Value> {
        rows(&self.stdout(["sql", "--format", "ndjson", "--rows-max", "10000000", statement]))
    }

    /// The only value of an answer.
    pub(crate) fn value(&self, statement: &str) -> Value {
        let mut rows = self.sql(statement);
        assert_eq!(rows.len(), 1, "{statement}: {rows:?}");
        let row = rows.remove(0);
        let row = row.as_object().expect("a row");
        assert_eq!(row.len(), 1, "{statement}: {row:?}");
        row.values().next().expect("a value").clone()
    }

    pub(crate) fn count(&self, table: &str) -> u64 {
        self.value(&format!("SELECT count(*) FROM {table}")).as_u64().expect("a number")
    }

    /// The same of a ledger that may not be there yet, or not whole.
    ///
    /// # Errors
    ///
    /// What the command says.
    pub(crate) fn try_count(&self, table: &str) -> Result<u64, String> {
        let output = self.run(["sql", "--format", "ndjson", &format!("SELECT count(*) AS n FROM {table}")]);
        let rows = rows(&String::from_utf8_lossy(&output.stdout));
        rows.first().and_then(|row| row["n"].as_u64()).ok_or_else(|| stderr(&output))
    }

    /// Returns once the table `records` has this many rows; more are a failure at once, and so is standing still.
    pub(crate) fn wait_for_records(&self, count: u64, process: &mut Process) {
        self.wait_for_records_of("records", count, process);
    }

    /// The same of a part of the table, written as in a `FROM`.
    pub(crate) fn wait_for_records_of(&self, records: &str, count: u64, process: &mut Process) {
        let mut had = None;
        while had != Some(count) {
            had = wait_until(&format!("{count} records, or more than {had:?}"), PATIENCE, || {
                process.assert_runs();
                let found = self.try_count(records)?;
                assert!(found <= count, "{found} records of {count} messages");
                if Some(found) > had { Ok(Some(found)) } else { Err(format!("{found} records")) }
            });
        }
    }

    /// `custody ingest`, alone in its group: after a kill it goes on at once.
    pub(crate) fn ingest(&self) -> Process {
        self.ingest_as(Some("only"))
    }

    /// `custody ingest` as a member of the group.
    pub(crate) fn ingest_as(&self, member: Option<&str>) -> Process {
        self.start(member, &["ingest"])
    }

    /// `custody up`, and the address that it serves.
    pub(crate) fn up(&self) -> (Process, Client) {
        self.serving(&["up", "--listen", "127.0.0.1:0"])
    }

    /// `custody serve`, and the address that it serves.
    pub(crate) fn serve(&self) -> (Process, Client) {
        self.serving(&["serve", "--listen", "127.0.0.1:0"])
    }

    /// `custody demo`, and the address that it serves. Its topics and its broker are its own.
    pub(crate) fn demo(&self) -> (Process, Client) {
        let data = self.data.to_string_lossy();
        self.serving(&["demo", "--data", &data, "--listen", "127.0.0.1:0", "--verbose"])
    }

    fn serving(&self, arguments: &[&str]) -> (Process, Client) {
        let mut process = self.start(Some("only"), arguments);
        let address = process.wait_for_log("serving address=");
        let address = address.rsplit_once("address=").expect("found").1.trim().parse().expect("an address");
        (process, Client::new(address))
    }

    /// A command that runs on.
    pub(crate) fn start(&self, member: Option<&str>, arguments: &[&str]) -> Process {
        self.start_with(member, arguments, &[])
    }

    /// The same with further variables.
    pub(crate) fn start_with(&self, member: Option<&str>, arguments: &[&str], variables: &[(&str, String)]) -> Process {
        let name = arguments.first().copied().unwrap_or_default();
        let log = self.folder.path().join(format!("{}.log", unique(name)));
        let mut command = binary();
        command.arg("--config").arg(self.config(member)).args(arguments);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        Process::start(command, log)
    }
}

/// Rows as they are printed one to a line.
fn rows(ndjson: &str) -> Vec<Value> {
    ndjson.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

/// The custody binary, with nothing of this machine's configuration.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_custody"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CUSTODY_")) {
        command.env_remove(name);
    }
    // What a test leaves belongs into its folder: it says where, if it wants something to be kept.
    command.env_remove("RUST_LOG").env("NO_COLOR", "1").env("CUSTODY_QUERY__CACHE", "");
    command
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asks until the answer is `Ok`.
///
/// # Panics
///
/// When it is not within `patience`, with the last `Err`.
pub(crate) fn wait_until<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match ask() {
            Ok(found) => return found,
            Err(last) => assert!(Instant::now() < deadline, "waited {patience:?} for {what}; the last was: {last}"),
        }
        sleep(POLL);
    }
}

/// A custody process that runs on; killed when it is dropped. Its log is shown when its test fails.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    started: Instant,
}

impl Process {
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Self {
        let file = File::create(&log).expect("a log");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn();
        Self { child: child.expect("the custody binary"), log, started: Instant::now() }
    }

    pub(crate) fn assert_runs(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child") {
            panic!("custody ended with {status}:\n{}", self.log());
        }
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("its log")).into_owned()
    }

    /// The first line of the log with this text, once it is there.
    pub(crate) fn wait_for_log(&mut self, text: &str) -> String {
        self.wait_for_logs(text, 1).remove(0)
    }

    /// The lines of the log with this text, once there are so many.
    pub(crate) fn wait_for_logs(&mut self, text: &str, count: usize) -> Vec<String> {
        wait_until(&format!("{count} lines with {text:?} in the log"), PATIENCE, || {
            self.assert_runs();
            let found = self.logged(text);
            if found.len() >= count { Ok(found) } else { Err(self.log()) }
        })
    }

    /// The lines of the log with this text.
    pub(crate) fn logged(&self, text: &str) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        // The standard library has SIGKILL only.
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.expect("kill").success(), "SIG{name} could not be sent");
    }

    /// `kill -9`, at this moment.
    pub(crate) fn kill(mut self) {
        self.assert_runs();
        self.child.kill().expect("a process");
        self.child.wait().expect("a child");
    }

    /// SIGTERM: it has to end by itself, and well.
    pub(crate) fn stop(&mut self) {
        self.assert_runs();
        self.signal("TERM");
        let status = self.wait();
        assert!(status.success(), "custody ended with {status}:\n{}", self.log());
    }

    /// Whether it has ended, in whatever way.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Kills it, unless it has ended.
    pub(crate) fn end(mut self) {
        // One that has ended cannot be killed, and need not be.
        let _ = self.child.kill();
        self.child.wait().expect("a child");
    }

    /// How it ends.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait_until("custody to end", PATIENCE, || child.try_wait().expect("a child").ok_or_else(String::new))
    }

    /// The most memory that it has had.
    pub(crate) fn rss_bytes_max(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("its status");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        kib.map(|kib: u64| kib * 1024).expect("a figure")
    }

    /// How long ago it was started.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the end of {}:\n{}", self.log.display(), tail(&self.log).unwrap_or_default());
        }
    }
}

fn tail(log: &Path) -> std::io::Result<String> {
    const BYTES: u64 = 8 * 1024;
    let mut file = File::open(log)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(BYTES)))?;
    let mut file = BufReader::new(file);
    if size > BYTES {
        file.read_until(b'\n', &mut Vec::new())?;
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A producer to a broker.
pub(crate) struct Producer(Publisher);

impl Producer {
    pub(crate) fn to(broker: &Broker) -> Self {
        Self(Publisher::new(&broker.bootstrap()).expect("a producer"))
    }

    /// Queues a message.
    pub(crate) fn send(&self, message: &Outgoing) {
        self.0.publish(message).expect("a message is taken");
    }

    /// Queues a value.
    pub(crate) fn value(&self, topic: &Topic, partition: i32, value: impl Into<Vec<u8>>) {
        self.send(&Outgoing {
            topic: topic.name.clone(),
            partition: Some(partition),
            value: Some(value.into()),
            ..Outgoing::default()
        });
    }

    /// Queues a value with a key, which chooses the partition.
    pub(crate) fn keyed(&self, topic: &Topic, key: &str, value: impl Into<Vec<u8>>) {
        self.send(&Outgoing {
            topic: topic.name.clone(),
            key: Some(key.as_bytes().to_vec()),
            value: Some(value.into()),
            ..Outgoing::default()
        });
    }

    /// Returns once everything is in Kafka.
    pub(crate) fn flush(&self) {
        self.0.flush(PATIENCE).expect("Kafka takes it");
    }
}

/// A Teleport audit event that names nobody and nothing: one row of `events`.
pub(crate) fn audit_event(uid: &str) -> String {
    json!({
        "event": "user.login", "uid": uid, "code": "T1000I", "time": "2026-03-02T08:00:00.5Z",
        "cluster_name": "system", "user": "mira@example.net", "method": "local", "success": true
    })
    .to_string()
}

/// Numbers that look random and come again with the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// A seed of its own for each run, which is said; `CUSTODY_TEST_SEED` repeats one.
    pub(crate) fn new(test: &str) -> Self {
        let seed = match std::env::var("CUSTODY_TEST_SEED") {
            Ok(seed) => seed.parse().expect("CUSTODY_TEST_SEED is a number"),
            Err(_) => std::time::UNIX_EPOCH.elapsed().expect("after 1970").subsec_nanos().into(),
        };
        say(&format!("{test}: CUSTODY_TEST_SEED={seed}"));
        Self(seed)
    }

    /// SplitMix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from((most - least).as_micros()).expect("a short time");
        least + Duration::from_micros(self.below(span))
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).expect("an index");
            items.swap(last, other);
        }
    }
}

/// A number of the environment, for runs that are longer than the usual ones.
pub(crate) fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Says something past the test harness, which keeps back what a passing test prints.
pub(crate) fn say(what: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "{what}");
}

/// Says loudly that something was not tested. Where CI is set that is a failure.
pub(crate) fn skip(test: &str, why: &str) {
    let required = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!required, "{test}: {why}, and CI is set");
    say(&format!("\nSKIPPED: {test}: {why}\n"));
}

/// A file of the fixtures that this project shares with others, which are not a part of the checkout and may be absent,
/// also in CI: every test that uses one has data of its own besides.
pub(crate) fn fixture(test: &str, path: &str) -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures").join(path);
    if file.is_file() {
        return Some(file);
    }
    say(&format!("\nSKIPPED: {test}: {} is not there\n", file.display()));
    None
}

/// The same of a folder.
pub(crate) fn fixture_folder(test: &str, path: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures").join(path);
    if folder.is_dir() {
        return Some(folder);
    }
    say(&format!("\nSKIPPED: {test}: {} is not there\n", folder.display()));
    None
}

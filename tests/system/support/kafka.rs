//! A real Apache Kafka for tests: one broker on free loopback ports, started from the jars of `tests/kafka/fetch.sh`.
//!
//! ```ignore
//! #[path = "support/kafka.rs"]
//! mod kafka;
//!
//! #[test]
//! fn every_message_arrives() {
//!     let Some(broker) = kafka::Broker::shared_or_skip("every_message_arrives") else { return };
//!     let topic = kafka::unique("teleport.audit");
//!     broker.create_topic(&topic, 4).unwrap();
//!     // … produce to `broker.bootstrap()`
//! }
//! ```
//!
//! `KAFKA_BOOTSTRAP` names another broker to use instead; it is then neither started nor stopped here.
//!
//! The few requests that are made here (create a topic, ask who is there, produce what no client library would) are
//! written out by hand, so that a test binary needs no Kafka client of its own.

#![allow(dead_code, reason = "each test binary includes this file and uses a part of it")]

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

/// How long a broker may take to answer. Two or three seconds are usual; a loaded machine takes several times that.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// How long somebody else's broker, which is up already, may take.
const REACHED_WITHIN: Duration = Duration::from_secs(15);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(25);

/// One heap for all tests, and a JVM that is quick to start rather than quick later.
const JVM: [&str; 5] = [
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
];

/// A test process may be killed, and a static is never dropped. So a shell holds the reading end of a pipe whose other
/// end only the test process has: however that process ends, the pipe closes, and the broker and its folder go. Each
/// line is the process id that is to be killed then; an empty line says that none is.
const WATCHDOG: &str = r#"
pid=
while read -r line; do pid=$line; done
[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null
rm -rf "$1" 2>/dev/null || { sleep 1; rm -rf "$1"; }
"#;

/// A broker; stopped and its folder removed when it is dropped, or when this process ends in whatever way.
pub(crate) struct Broker {
    bootstrap: String,
    /// `None`: somebody else's broker.
    own: Option<Mutex<Own>>,
}

impl Broker {
    /// Starts a broker and returns once it answers.
    ///
    /// # Errors
    /// What is missing or went wrong, for a person to read, with the end of the broker's log.
    pub(crate) fn start() -> Result<Self, String> {
        if let Some(bootstrap) = foreign() {
            wait_until_ready(&bootstrap, REACHED_WITHIN, || Ok(()))
                .map_err(|e| format!("KAFKA_BOOTSTRAP={bootstrap}: {e}"))?;
            return Ok(Self { bootstrap, own: None });
        }
        let kafka = fetch()?;
        let mut tries = 0;
        loop {
            tries += 1;
            let mut own = Own::create(&kafka)?;
            match own.run() {
                Ok(()) => return Ok(Self { bootstrap: own.bootstrap(), own: Some(Mutex::new(own)) }),
                // Somebody took a port between our look and the broker's bind.
                Err(e) if tries < 3 && e.contains("Address already in use") => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// A broker of the test's own, or `None` where there is none to be had: that is said loudly.
    ///
    /// # Panics
    /// Instead of skipping, where `CI` or `CUSTODY_REQUIRE_KAFKA` is set.
    pub(crate) fn start_or_skip(test: &str) -> Option<Self> {
        Self::start().map_err(|why| skip(test, &why)).ok()
    }

    /// The one broker that the tests of a binary share, or `None` as in [`Broker::start_or_skip`]. Take topic and group
    /// names from [`unique`].
    ///
    /// # Panics
    /// As [`Broker::start_or_skip`].
    pub(crate) fn shared_or_skip(test: &str) -> Option<&'static Self> {
        static SHARED: OnceLock<Result<Broker, String>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref().map_err(|why| skip(test, why)).ok()
    }

    /// For `bootstrap.servers`.
    pub(crate) fn bootstrap(&self) -> String {
        self.bootstrap.clone()
    }

    /// Whether this process started the broker, and so may kill it.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// The broker's process id while it runs, to measure it.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.own().ok().and_then(|own| own.child.as_ref().map(Child::id))
    }

    /// Creates a topic and returns once each partition has a leader. (Topics that are only produced to are created by
    /// the broker, with one partition.)
    ///
    /// # Errors
    /// The broker's answer; an existing topic is an error too.
    pub(crate) fn create_topic(&self, name: &str, partitions: i32) -> Result<(), String> {
        self.create_topic_with(name, partitions, &[])
    }

    /// [`Broker::create_topic`] with topic settings, such as `("retention.ms", "1000")`.
    ///
    /// # Errors
    /// As [`Broker::create_topic`].
    pub(crate) fn create_topic_with(
        &self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<(), String> {
        wire::create_topic(&self.bootstrap, name, partitions, settings)
            .map_err(|e| format!("topic {name} at {}: {e}", self.bootstrap))?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let led = wire::metadata(&self.bootstrap, Some(name)).map(|m| m.partitions_led);
            match led {
                Ok(led) if led >= partitions => return Ok(()),
                _ if Instant::now() < deadline => sleep(POLL),
                Ok(led) => return Err(format!("topic {name}: {led} of {partitions} partitions have a leader")),
                Err(e) => return Err(format!("topic {name}: {e}")),
            }
        }
    }

    /// Produces one message that a client library would refuse to build: names of headers are any bytes, values of any
    /// size. Returns its offset.
    ///
    /// # Errors
    /// The broker's answer.
    pub(crate) fn produce(&self, topic: &str, partition: i32, message: &RawMessage<'_>) -> Result<i64, String> {
        wire::produce(&self.bootstrap, topic, partition, message).map_err(|e| format!("{topic}-{partition}: {e}"))
    }

    /// Deletes the messages of a partition that come before an offset, as its retention would.
    ///
    /// # Errors
    /// The broker's answer.
    pub(crate) fn delete_before(&self, topic: &str, partition: i32, offset: i64) -> Result<(), String> {
        wire::delete_records(&self.bootstrap, topic, partition, offset).map_err(|e| format!("{topic}-{partition}: {e}"))
    }

    /// Kills the broker (SIGKILL) and returns when it is gone. What it had acknowledged is there after
    /// [`Broker::restart`].
    ///
    /// # Errors
    /// Somebody else's broker is not killed.
    pub(crate) fn kill(&self) -> Result<(), String> {
        self.own()?.kill()
    }

    /// Stops the broker in good order (SIGTERM) unless it was killed, and starts it again at the same address with the
    /// same data.
    ///
    /// # Errors
    /// Somebody else's broker is not restarted; otherwise as [`Broker::start`].
    pub(crate) fn restart(&self) -> Result<(), String> {
        let mut own = self.own()?;
        own.stop()?;
        own.run()
    }

    fn own(&self) -> Result<MutexGuard<'_, Own>, String> {
        let own = self.own.as_ref().ok_or("KAFKA_BOOTSTRAP names this broker: it is not ours to stop")?;
        Ok(own.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A message in bytes.
#[derive(Debug, Default)]
pub(crate) struct RawMessage<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) headers: &'a [(&'a [u8], Option<&'a [u8]>)],
    pub(crate) value: Option<&'a [u8]>,
}

/// A name that no other test and no earlier run has used: `prefix-…`.
pub(crate) fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{:x}-{:x}-{count}", since.as_micros(), std::process::id())
}

/// The test harness keeps back what a passing test prints with `eprintln!`; this is meant to be seen.
#[expect(clippy::panic, reason = "where Kafka is required, a test that cannot have it has failed")]
fn skip(test: &str, why: &str) {
    for required_by in ["CI", "CUSTODY_REQUIRE_KAFKA"] {
        if std::env::var_os(required_by).is_some_and(|value| !value.is_empty()) {
            panic!("{test}: no Kafka, and {required_by} is set: {why}");
        }
    }
    let _ = writeln!(std::io::stderr().lock(), "\nSKIPPED: {test}: no Kafka: {why}\n");
}

fn foreign() -> Option<String> {
    std::env::var("KAFKA_BOOTSTRAP").ok().filter(|value| !value.trim().is_empty())
}

/// The folder with the broker's jars, fetched if need be.
fn fetch() -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("tests/kafka/fetch.sh"))
        .find(|script| script.is_file())
        .ok_or("tests/kafka/fetch.sh is not in this checkout")?;
    let output = Command::new("bash")
        .arg(&script)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot run {}: {e}", script.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// A broker that this process started.
struct Own {
    folder: PathBuf,
    jars: PathBuf,
    port: u16,
    controller_port: u16,
    child: Option<Child>,
    watchdog: Child,
    /// Closed, it sets the watchdog off.
    watchdog_pipe: Option<ChildStdin>,
}

impl Own {
    fn create(kafka: &Path) -> Result<Self, String> {
        let folder = std::env::temp_dir().join(unique("custody-kafka"));
        let data = folder.join("data");
        let formatted = kafka.join("formatted");
        let prepare = || -> std::io::Result<(u16, u16, Child)> {
            fs::create_dir_all(&data)?;
            for entry in fs::read_dir(&formatted)? {
                let entry = entry?;
                fs::copy(entry.path(), data.join(entry.file_name()))?;
            }
            let (port, controller_port) = free_ports()?;
            fs::write(folder.join("server.properties"), properties(&data, port, controller_port))?;
            let watchdog = Command::new("sh")
                .args(["-c", WATCHDOG, "watchdog"])
                .arg(&folder)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                // A group of its own: Ctrl-C at the terminal must end the test, not the watchdog.
                .process_group(0)
                .spawn()?;
            Ok((port, controller_port, watchdog))
        };
        let (port, controller_port, mut watchdog) = prepare().map_err(|e| {
            let _ = fs::remove_dir_all(&folder);
            format!("cannot prepare {} from {}: {e}", folder.display(), formatted.display())
        })?;
        let watchdog_pipe = watchdog.stdin.take();
        Ok(Self { folder, jars: kafka.join("jars"), port, controller_port, child: None, watchdog, watchdog_pipe })
    }

    fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    /// Starts the JVM and waits until it answers.
    fn run(&mut self) -> Result<(), String> {
        let java = std::env::var_os("JAVA_HOME")
            .filter(|home| !home.is_empty())
            .map_or_else(|| PathBuf::from("java"), |home| PathBuf::from(home).join("bin/java"));
        let open_log = || File::options().create(true).append(true).open(self.log());
        let spawn = || -> std::io::Result<Child> {
            Command::new(&java)
                .args(JVM)
                .arg("-cp")
                .arg(self.jars.join("*"))
                .arg("kafka.Kafka")
                .arg(self.folder.join("server.properties"))
                .current_dir(&self.folder)
                .stdin(Stdio::null())
                .stdout(open_log()?)
                .stderr(open_log()?)
                .process_group(0)
                .spawn()
        };
        let child = spawn().map_err(|e| format!("cannot start {}: {e}", java.display()))?;
        self.watch(&child.id().to_string())?;
        let child = self.child.insert(child);

        let bootstrap = format!("127.0.0.1:{}", self.port);
        let ready = wait_until_ready(&bootstrap, READY_WITHIN, || match child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("the broker ended with {status}")),
            Err(e) => Err(format!("the broker cannot be waited for: {e}")),
        });
        ready.map_err(|e| {
            let log = log_tail(&self.log());
            let _ = self.kill();
            format!("{e}; the end of its log:\n{log}")
        })
    }

    fn watch(&mut self, pid: &str) -> Result<(), String> {
        let pipe = self.watchdog_pipe.as_mut().ok_or("the watchdog is gone")?;
        writeln!(pipe, "{pid}").map_err(|e| format!("the watchdog is gone: {e}"))
    }

    fn kill(&mut self) -> Result<(), String> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        // It may have ended already; then there is nothing to kill, and waiting says so.
        let _ = child.kill();
        child.wait().map_err(|e| format!("the broker cannot be waited for: {e}"))?;
        self.watch("")
    }

    fn stop(&mut self) -> Result<(), String> {
        let Some(child) = self.child.as_mut() else { return Ok(()) };
        // The standard library has SIGKILL only.
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        let deadline = Instant::now() + STOPPED_WITHIN;
        while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
            sleep(POLL);
        }
        self.kill()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.kill();
        self.watchdog_pipe = None;
        let _ = self.watchdog.wait();
    }
}

/// Two free ports from below the range that outgoing connections take theirs from: a port from that range could be gone
/// when a killed broker wants it back.
fn free_ports() -> std::io::Result<(u16, u16)> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let first = u64::from(std::process::id()) * 7919 + u64::from(since.subsec_nanos()) / 1000;
    let mut held = (0..1000)
        .filter_map(|n| u16::try_from(20_000 + (first + n) % 12_000).ok())
        .filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    match (held.next(), held.next()) {
        (Some(one), Some(other)) => Ok((one.local_addr()?.port(), other.local_addr()?.port())),
        _ => Err(std::io::Error::other("no two free ports on 127.0.0.1")),
    }
}

fn properties(data: &Path, port: u16, controller_port: u16) -> String {
    let data = data.display();
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=true
num.partitions=1
message.max.bytes=16777216

# One broker, and nothing that a small test does not need.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
log.cleaner.dedupe.buffer.size=4194304

# A killed broker may come back only when its last session has run out; the default is 9 s.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500

# Quick to form a group, and tests may choose how quickly the dead are missed.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=200
group.consumer.heartbeat.interval.ms=1000
"
    )
}

/// A port that is open is not a broker that serves: one that has not joined its cluster yet lists no brokers.
fn wait_until_ready(
    bootstrap: &str,
    within: Duration,
    mut alive: impl FnMut() -> Result<(), String>,
) -> Result<(), String> {
    let deadline = Instant::now() + within;
    loop {
        let last = match wire::metadata(bootstrap, None) {
            Ok(metadata) if metadata.brokers > 0 => return Ok(()),
            Ok(_) => "it has not joined its cluster".to_owned(),
            Err(e) => e,
        };
        alive()?;
        if Instant::now() >= deadline {
            return Err(format!("no answer from {bootstrap} in {} s: {last}", within.as_secs()));
        }
        sleep(POLL);
    }
}

fn log_tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(20)).copied().collect::<Vec<_>>().join("\n")
}

/// As much of the Kafka protocol as four requests need, in their last versions before compact encodings.
mod wire {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpStream, ToSocketAddrs as _};
    use std::time::Duration;

    use super::RawMessage;

    const PRODUCE: (i16, i16) = (0, 7);
    const METADATA: (i16, i16) = (3, 4);
    const CREATE_TOPICS: (i16, i16) = (19, 4);
    const DELETE_RECORDS: (i16, i16) = (21, 1);
    const TIMEOUT: Duration = Duration::from_secs(10);

    pub(super) struct Metadata {
        pub(super) brokers: i32,
        pub(super) partitions_led: i32,
    }

    pub(super) fn metadata(bootstrap: &str, topic: Option<&str>) -> Result<Metadata, String> {
        let mut body = Vec::new();
        put_i32(&mut body, i32::from(topic.is_some()));
        if let Some(topic) = topic {
            put_string(&mut body, topic)?;
        }
        body.push(0); // do not create it
        let answer = call(bootstrap, METADATA, &body)?;
        let mut answer = answer.as_slice();
        let answer = &mut answer;

        get_i32(answer)?; // throttled for
        let brokers = get_i32(answer)?;
        for _ in 0..brokers {
            get_i32(answer)?; // id
            get_string(answer)?; // host
            get_i32(answer)?; // port
            get_string(answer)?; // rack
        }
        get_string(answer)?; // cluster
        get_i32(answer)?; // controller
        let mut partitions_led = 0;
        for _ in 0..get_i32(answer)? {
            get_i16(answer)?; // error, of the topic
            get_string(answer)?; // name
            take::<1>(answer)?; // internal
            for _ in 0..get_i32(answer)? {
                let error = get_i16(answer)?;
                get_i32(answer)?; // partition
                let leader = get_i32(answer)?;
                for _ in 0..2 {
                    for _ in 0..get_i32(answer)? {
                        get_i32(answer)?; // replicas, and those in sync
                    }
                }
                partitions_led += i32::from(error == 0 && leader >= 0);
            }
        }
        Ok(Metadata { brokers, partitions_led })
    }

    pub(super) fn create_topic(
        bootstrap: &str,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<(), String> {
        let mut body = Vec::new();
        put_i32(&mut body, 1);
        put_string(&mut body, name)?;
        put_i32(&mut body, partitions);
        body.extend((-1_i16).to_be_bytes()); // replicas: the broker's default
        put_i32(&mut body, 0); // placed by hand: none
        put_i32(&mut body, i32::try_from(settings.len()).map_err(|e| e.to_string())?);
        for (key, value) in settings {
            put_string(&mut body, key)?;
            put_string(&mut body, value)?;
        }
        put_i32(&mut body, 10_000); // ms that the broker may take
        body.push(0); // not only a trial
        let answer = call(bootstrap, CREATE_TOPICS, &body)?;
        let mut answer = answer.as_slice();
        let answer = &mut answer;

        get_i32(answer)?; // throttled for
        for _ in 0..get_i32(answer)? {
            get_string(answer)?; // name
            let error = get_i16(answer)?;
            let message = get_string(answer)?;
            if error != 0 {
                return Err(format!("error {error}: {message}"));
            }
        }
        Ok(())
    }

    /// The broker asked has to lead the partition; the only one of a test does.
    pub(super) fn delete_records(bootstrap: &str, topic: &str, partition: i32, before: i64) -> Result<(), String> {
        let mut body = Vec::new();
        put_i32(&mut body, 1);
        put_string(&mut body, topic)?;
        put_i32(&mut body, 1);
        put_i32(&mut body, partition);
        body.extend(before.to_be_bytes());
        put_i32(&mut body, 10_000); // ms that the broker may take
        let answer = call(bootstrap, DELETE_RECORDS, &body)?;
        let mut answer = answer.as_slice();
        let answer = &mut answer;

        get_i32(answer)?; // throttled for
        get_i32(answer)?; // topics
        get_string(answer)?; // name
        get_i32(answer)?; // partitions
        get_i32(answer)?; // partition
        take::<8>(answer)?; // the first offset that is left
        match get_i16(answer)? {
            0 => Ok(()),
            error => Err(format!("error {error}")),
        }
    }

    /// The broker asked has to lead the partition; the only one of a test does.
    pub(super) fn produce(
        bootstrap: &str,
        topic: &str,
        partition: i32,
        message: &RawMessage<'_>,
    ) -> Result<i64, String> {
        let batch = batch(message)?;
        let mut body = Vec::new();
        body.extend((-1_i16).to_be_bytes()); // no transaction
        body.extend((-1_i16).to_be_bytes()); // acknowledged by all
        put_i32(&mut body, 10_000); // ms that the broker may take
        put_i32(&mut body, 1);
        put_string(&mut body, topic)?;
        put_i32(&mut body, 1);
        put_i32(&mut body, partition);
        put_i32(&mut body, i32::try_from(batch.len()).map_err(|e| e.to_string())?);
        body.extend(batch);
        let answer = call(bootstrap, PRODUCE, &body)?;
        let mut answer = answer.as_slice();
        let answer = &mut answer;

        get_i32(answer)?; // topics
        get_string(answer)?; // name
        get_i32(answer)?; // partitions
        get_i32(answer)?; // partition
        match get_i16(answer)? {
            0 => take(answer).map(i64::from_be_bytes),
            error => Err(format!("error {error}")),
        }
    }

    /// A record batch (version 2) of one record.
    fn batch(message: &RawMessage<'_>) -> Result<Vec<u8>, String> {
        let mut record = vec![0]; // attributes
        put_varint(&mut record, 0); // time after the first
        put_varint(&mut record, 0); // offset after the first
        put_bytes(&mut record, message.key)?;
        put_bytes(&mut record, message.value)?;
        put_varint(&mut record, i64::try_from(message.headers.len()).map_err(|e| e.to_string())?);
        for (name, value) in message.headers {
            put_bytes(&mut record, Some(name))?;
            put_bytes(&mut record, *value)?;
        }
        let now = std::time::UNIX_EPOCH.elapsed().map_err(|e| e.to_string())?.as_millis();
        let now = i64::try_from(now).map_err(|e| e.to_string())?;

        let mut checked = Vec::new();
        checked.extend(0_i16.to_be_bytes()); // attributes: not compressed
        put_i32(&mut checked, 0); // last offset after the first
        checked.extend(now.to_be_bytes()); // first time
        checked.extend(now.to_be_bytes()); // last time
        checked.extend((-1_i64).to_be_bytes()); // no idempotent producer, its epoch and its sequence
        checked.extend((-1_i16).to_be_bytes());
        put_i32(&mut checked, -1);
        put_i32(&mut checked, 1);
        put_varint(&mut checked, i64::try_from(record.len()).map_err(|e| e.to_string())?);
        checked.extend(record);

        let mut batch = Vec::new();
        batch.extend(0_i64.to_be_bytes()); // first offset: the broker's choice
        put_i32(&mut batch, i32::try_from(checked.len() + 9).map_err(|e| e.to_string())?);
        put_i32(&mut batch, -1); // epoch of the leader
        batch.push(2);
        batch.extend(crc32c(&checked).to_be_bytes());
        batch.extend(checked);
        Ok(batch)
    }

    fn crc32c(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
        })
    }

    /// Zigzag, seven bits a byte.
    fn put_varint(to: &mut Vec<u8>, value: i64) {
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while rest > 0x7f {
            to.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        to.push(rest as u8);
    }

    fn put_bytes(to: &mut Vec<u8>, bytes: Option<&[u8]>) -> Result<(), String> {
        let size = bytes.map_or(Ok(-1), |bytes| i64::try_from(bytes.len())).map_err(|e| e.to_string())?;
        put_varint(to, size);
        to.extend(bytes.unwrap_or_default());
        Ok(())
    }

    /// One request on a connection of its own, to the first of the bootstrap servers that is there.
    fn call(bootstrap: &str, (key, version): (i16, i16), body: &[u8]) -> Result<Vec<u8>, String> {
        let mut request = Vec::new();
        request.extend(key.to_be_bytes());
        request.extend(version.to_be_bytes());
        put_i32(&mut request, 1); // correlation
        put_string(&mut request, "custody-tests")?;
        request.extend(body);

        let exchange = |stream: &mut TcpStream| -> std::io::Result<Vec<u8>> {
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            stream.set_nodelay(true)?;
            let size = u32::try_from(request.len()).map_err(std::io::Error::other)?;
            stream.write_all(&[&size.to_be_bytes(), request.as_slice()].concat())?;
            let mut size = [0; 4];
            stream.read_exact(&mut size)?;
            let mut answer = Vec::new();
            stream.take(u64::from(u32::from_be_bytes(size))).read_to_end(&mut answer)?;
            Ok(answer)
        };
        let mut last = format!("no address in {bootstrap:?}");
        for server in bootstrap.split(',') {
            let addresses = match server.trim().to_socket_addrs() {
                Ok(addresses) => addresses,
                Err(e) => {
                    last = format!("{server}: {e}");
                    continue;
                }
            };
            for address in addresses {
                match TcpStream::connect_timeout(&address, TIMEOUT).and_then(|mut stream| exchange(&mut stream)) {
                    Ok(answer) => {
                        let mut rest = answer.as_slice();
                        get_i32(&mut rest)?; // correlation
                        return Ok(rest.to_vec());
                    }
                    Err(e) => last = format!("{address}: {e}"),
                }
            }
        }
        Err(last)
    }

    fn put_i32(to: &mut Vec<u8>, value: i32) {
        to.extend(value.to_be_bytes());
    }

    fn put_string(to: &mut Vec<u8>, value: &str) -> Result<(), String> {
        to.extend(i16::try_from(value.len()).map_err(|e| e.to_string())?.to_be_bytes());
        to.extend(value.as_bytes());
        Ok(())
    }

    fn take<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], String> {
        let (head, rest) = from.split_first_chunk::<N>().ok_or("the broker's answer is cut short")?;
        *from = rest;
        Ok(*head)
    }

    fn get_i16(from: &mut &[u8]) -> Result<i16, String> {
        take(from).map(i16::from_be_bytes)
    }

    fn get_i32(from: &mut &[u8]) -> Result<i32, String> {
        take(from).map(i32::from_be_bytes)
    }

    /// A null string is an empty one here.
    fn get_string(from: &mut &[u8]) -> Result<String, String> {
        let size = usize::try_from(get_i16(from)?).unwrap_or(0);
        let (head, rest) = from.split_at_checked(size).ok_or("the broker's answer is cut short")?;
        *from = rest;
        Ok(String::from_utf8_lossy(head).into_owned())
    }
}

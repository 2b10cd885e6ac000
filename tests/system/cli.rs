//! The command line, as a newcomer meets it: the demo, and every command on the ledger that it leaves.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::custody::{Custody, binary, say, stderr, wait_until};

/// The ledger of a demo that ran for some seconds, made once for all tests. A static is never dropped, so a child removes
/// the folder: its standard input ends when this process does, however it ends.
pub(crate) fn demo() -> &'static Path {
    static DEMO: OnceLock<(PathBuf, Child)> = OnceLock::new();
    let (ledger, _) = DEMO.get_or_init(|| {
        let folder = TempDir::with_prefix("custody-demo-").expect("a folder").keep();
        let mut cleaner = Command::new("sh");
        cleaner.args(["-c", "cat >/dev/null; rm -rf \"$1\"", "cleaner"]).arg(&folder).stdin(Stdio::piped());
        let cleaner = cleaner.spawn().expect("a shell");
        let ledger = folder.join("ledger");
        let mut command = binary();
        command.arg("--data").arg(&ledger);
        let output = command.args(["demo", "--exit-after", "30s", "--listen", "127.0.0.1:0"]).output();
        let output = output.expect("the custody binary");
        assert!(output.status.success(), "{}: {}", output.status, stderr(&output));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("sessions") && said.contains("replay"), "it says what to try: {said}");
        (ledger, cleaner)
    });
    ledger
}

/// The session of the story whose number in it is this.
fn session(custody: &Custody, condition: &str) -> Value {
    let mut rows = custody.sql(&format!("SELECT * FROM session_access WHERE {condition}"));
    assert_eq!(rows.len(), 1, "{condition}: {rows:#?}");
    rows.remove(0)
}

#[test]
fn the_demo_leaves_the_story_in_a_ledger() {
    let custody = Custody::existing(demo());

    let clean = session(&custody, "reason LIKE 'Investigating dashboard latency%'");
    assert_eq!(clean["link_method"], "explicit");
    assert_eq!(clean["approvers"], json!(["bob@example.com"]));
    assert_eq!((&clean["approved_before_start"], &clean["ended_within_window"]), (&json!(true), &json!(true)));

    let shared =
        custody.sql("SELECT session_id, approvers FROM session_access WHERE reason = 'INC-78901 orders stuck'");
    assert_eq!(shared.len(), 3, "three sessions under one request");
    assert!(
        shared.iter().all(|row| row["approvers"] == json!(["bob@example.com", "carol@example.com"])),
        "{shared:#?}"
    );

    let alone = custody.count("session_access WHERE link_method = 'none' AND actor = 'dave@example.com'");
    assert_eq!(alone, 2, "S3 and S9 have nothing to show");
    let late = session(&custody, "approved_before_start = false AND link_method = 'explicit'");
    assert_eq!(late["actor"], "dave@example.com", "S5");
    let over = session(&custody, "ended_within_window = false AND link_method = 'explicit'");
    assert_eq!(over["reason"], "OPS-1430 tune worker limits", "S6");
    assert_eq!(custody.count("access_requests WHERE self_approved"), 1, "S4");
    let announced = custody.sql(
        "SELECT session_id FROM sessions WHERE recording = 'announced' AND protocol = 'ssh' AND state = 'ended'
         AND actor = 'alice@example.com' AND started_at < now() - INTERVAL '1 hour'",
    );
    assert_eq!(announced.len(), 1, "S16: announced, and not there");

    // S8 and S10: Boundary's sessions are linked to the decisions that allowed them; their recordings were imported.
    let boundary = custody.sql(
        "SELECT a.link_method, s.person, r.integrity, r.recording_state FROM session_access a \
         JOIN sessions s ON s.session_id = a.session_id JOIN recording_state r ON r.session_id = a.session_id \
         WHERE a.source = 'boundary' ORDER BY s.person",
    );
    let linked = |person| json!({"link_method": "explicit", "person": person, "integrity": "checksums", "recording_state": "recorded"});
    assert_eq!(boundary, [linked("u_alice0001"), linked("u_dave000001")]);
    // S11: one review, two sessions in its window.
    let hoop = custody.sql(
        "SELECT link_method, request_id IS NOT NULL AS has_request, array_length(approvers) AS approvers \
         FROM session_access WHERE source = 'hoop'",
    );
    let reviewed = json!({"link_method": "gateway_review", "has_request": true, "approvers": 1});
    assert_eq!(hoop, [reviewed.clone(), reviewed]);
    assert_eq!(custody.value("SELECT count(*) FROM source_health WHERE audit_off"), json!(0));
    // S16 is announced and not there, S17 has a hole; nothing else is wrong with any recording.
    let wrong = custody.sql(
        "SELECT recording_state, count(*) AS n FROM recording_state WHERE recording_state NOT IN ('recorded', 'running') \
         GROUP BY recording_state ORDER BY recording_state",
    );
    assert_eq!(
        wrong,
        [json!({"recording_state": "incomplete", "n": 1}), json!({"recording_state": "missing", "n": 1})]
    );

    assert_eq!(custody.count("dead_letters"), 9);
    // An end that was delivered three times (twice on its topic, once with the recording) is one fact.
    let ends = custody.sql(&format!(
        "SELECT deliveries FROM unique_events WHERE kind = 'session.end' AND session_id = '{}'",
        clean["session_id"].as_str().expect("an id")
    ));
    assert_eq!(ends, [json!({"deliveries": 3})]);
    assert_eq!(custody.count("unique_events WHERE conflicting_id"), 0);
}

#[test]
fn every_command_reads_the_ledger() {
    let custody = Custody::existing(demo());
    let clean = session(&custody, "reason LIKE 'Investigating dashboard latency%'");
    let id = clean["session_id"].as_str().expect("an id");

    let list = custody.stdout(["sessions"]);
    assert!(list.lines().next().expect("titles").starts_with("STARTED"), "{list}");
    assert!(list.contains(id) && list.contains("bob@example.com"), "{list}");
    let list: Value =
        serde_json::from_str(&custody.stdout(["sessions", "--format", "json", "--link", "none"])).unwrap();
    assert!(list.as_array().is_some_and(|list| list.len() == 3), "{list}");
    assert!(custody.stdout(["sessions", "--format", "csv"]).starts_with("session_id,"), "a header line");

    let shown = custody.stdout(["show", id]);
    for expected in ["alice@example.com", "Investigating dashboard latency", "bob@example.com", "session.upload"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let shown: Value = serde_json::from_str(&custody.stdout(["show", id, "--json"])).unwrap();
    assert_eq!(shown["links"][0]["link_method"], "explicit");

    let sql = "SELECT count(*) AS n FROM records";
    assert!(custody.stdout(["sql", sql]).contains('─'), "a table");
    assert!(custody.stdout(["sql", sql, "--format", "csv"]).starts_with("n\n"), "CSV");
    assert!(custody.stdout(["sql", "SHOW TABLES"]).contains("session_access"));
    assert!(custody.stdout(["sql", "DESCRIBE sessions"]).contains("started_at"));

    for format in ["asciicast-v2", "asciicast-v3"] {
        let cast = custody.stdout(["export", id, "--as", format]);
        assert!(cast.lines().count() > 20, "{format}");
        for line in cast.lines() {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{format}: {error}: {line}"));
        }
    }
    let text = custody.stdout(["export", id, "--as", "text"]);
    assert!(text.contains("kubectl") && !text.contains('\u{1b}'), "{text}");
    let file = custody.folder().join("out.cast");
    custody.stdout(["export", id, "--as", "asciicast-v2", "--output", file.to_str().unwrap()]);
    assert!(file.is_file());

    // S17 lost 90 seconds: it is exported, and said.
    let holed = session(&custody, "reason = 'OPS-1433 rotate app.log'");
    let output = custody.run(["export", holed["session_id"].as_str().unwrap(), "--as", "text"]);
    assert!(output.status.success() && stderr(&output).contains("incomplete"), "{}", stderr(&output));
    let config = custody.stdout(["config"]);
    assert!(config.contains("[kafka]"), "{config}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(custody.stdout(["completions", shell]).contains("sessions"), "{shell}");
    }
}

#[test]
fn what_cannot_be_done_is_said_with_the_right_status() {
    let custody = Custody::existing(demo());
    let nowhere = custody.folder().join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    let ledger = custody.data().to_str().unwrap();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["sql", "INSERT INTO events SELECT * FROM events"], 2, "only read"),
        (&["sql", "SELEC 1"], 2, "Expected"),
        (&["show", "nobody"], 1, "custody sessions"),
        (&["export", "nobody", "--as", "text"], 1, "custody sessions"),
        (&["replay", "nobody"], 2, "terminal"),
        (&["--data", nowhere, "sessions"], 3, "custody demo"),
        (&["--data", "ftp://x/y", "sessions"], 2, "no kind of store"),
        (&["--data", ledger, "demo"], 2, "already"),
        (&["doctor"], 1, "no broker answers at 127.0.0.1:1"),
        (&["sessions", "--limit", "many"], 2, "--limit"),
        (&["frobnicate"], 2, "frobnicate"),
    ];
    for (arguments, status, said) in cases {
        let output = custody.run(*arguments);
        let told = format!("{}{}", stderr(&output), String::from_utf8_lossy(&output.stdout));
        assert_eq!(output.status.code(), Some(*status), "{arguments:?}: {told}");
        assert!(told.contains(said), "{arguments:?}: {told}");
        assert!(!told.contains("panicked"), "{arguments:?}: {told}");
    }
}

#[test]
fn a_pipe_is_written_into_and_stays_a_pipe() {
    let custody = Custody::existing(demo());
    let pipe = custody.folder().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let session = custody.value(
        "SELECT session_id FROM sessions WHERE recording = 'recorded' AND output_bytes > 0 ORDER BY started_at LIMIT 1",
    );
    let reading = Command::new("cat").arg(&pipe).stdout(Stdio::piped()).spawn().expect("cat");
    custody.stdout(["export", session.as_str().expect("an id"), "--as", "asciicast-v2", "-o", pipe.to_str().unwrap()]);
    let read = reading.wait_with_output().expect("what was written");
    assert!(read.stdout.starts_with(b"{"), "{}", String::from_utf8_lossy(&read.stdout));
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&pipe.metadata().expect("it").file_type()));
}

#[test]
fn replay_plays_and_gives_the_terminal_back() {
    const TEST: &str = "replay_plays_and_gives_the_terminal_back";
    let Some(text) = replayed(TEST, &["--idle-limit", "100ms", "--speed", "16"], "journalctl") else { return };
    assert!(text.contains("status=0"), "{text}");
    assert!(text.contains("\u{1b}[?1049h") && text.contains("\u{1b}[?1049l"), "the other screen is used and left");
    let is_settings = |line: &&str| line.contains(':') && line.chars().all(|c| c.is_ascii_hexdigit() || c == ':');
    let settings: Vec<&str> = text.lines().map(str::trim).filter(is_settings).collect();
    assert_eq!(settings.len(), 2, "{settings:?}");
    assert_eq!(settings.first(), settings.last(), "the terminal is as it was");
    say(&format!("{TEST}: {} bytes drawn", text.len()));
}

#[test]
fn replay_begins_where_a_text_was_on_the_screen() {
    const TEST: &str = "replay_begins_where_a_text_was_on_the_screen";
    let Some(text) = replayed(TEST, &["--at-match", "journalctl"], "1x  PAUSED") else { return };
    assert!(text.contains("journalctl"), "{text}");
    assert!(text.contains("approved by") && text.contains("(explicit)"), "who said yes stands below it: {text}");
    let Some(text) = replayed(TEST, &["--at-match", "nobody wrote this"], "no text \"nobody wrote this\"") else {
        return;
    };
    assert!(text.contains("status=0"), "{text}");
}

#[test]
fn a_replay_ends_with_its_terminal() {
    const TEST: &str = "a_replay_ends_with_its_terminal";
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        crate::support::custody::skip(TEST, "script(1) of util-linux is not there");
        return;
    }
    let custody = Custody::existing(demo());
    let clean = session(&custody, "reason LIKE 'Investigating dashboard latency%'");
    let id = clean["session_id"].as_str().expect("an id");
    let replay =
        format!("{} --data {} replay {id} --at-match journalctl", env!("CARGO_BIN_EXE_custody"), demo().display());
    let mut terminal = in_terminal(&format!("stty rows 30 cols 120; echo pid=$$; exec {replay}"));
    let (mut shown, mut output) = (terminal.stdout.take().expect("a pipe"), [0; 4096]);
    let mut text = String::new();
    while !text.contains("PAUSED") {
        match std::io::Read::read(&mut shown, &mut output).expect("output") {
            0 => panic!("it ended: {text}"),
            read => text.push_str(&String::from_utf8_lossy(&output[..read])),
        }
    }
    let (_, rest) = text.split_once("pid=").expect("its number");
    let process = format!("/proc/{}/stat", rest.lines().next().expect("a line").trim());
    // What has ended and was not yet asked how is a zombie.
    let is_there = || std::fs::read_to_string(&process).is_ok_and(|state| !state.contains(") Z "));
    assert!(is_there());
    // Whoever closes the window ends what has its other side.
    terminal.kill().expect("it can be ended");
    terminal.wait().expect("its end");
    wait_until("the replay to end", Duration::from_secs(60), || match is_there() {
        true => Err("it is there".to_owned()),
        false => Ok(()),
    });
}

/// A command line in a terminal of its own.
fn in_terminal(within: &str) -> Child {
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", within, "/dev/null"]).env("TERM", "xterm-256color");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script")
}

/// What a terminal was sent by a replay of a session of the demo, left with `q` once a text was there; its settings are
/// asked before and after. `None`, which is said, where there is no terminal to be had.
fn replayed(test: &str, options: &[&str], until: &str) -> Option<String> {
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        crate::support::custody::skip(test, "script(1) of util-linux is not there");
        return None;
    }
    let custody = Custody::existing(demo());
    let clean = session(&custody, "reason LIKE 'Investigating dashboard latency%'");
    let id = clean["session_id"].as_str().expect("an id");
    let options: Vec<String> = options.iter().map(|option| format!("'{option}'")).collect();
    let replay =
        format!("{} --data {} replay {id} {}", env!("CARGO_BIN_EXE_custody"), demo().display(), options.join(" "));
    let mut child = in_terminal(&format!("stty rows 30 cols 120; stty -g; {replay}; echo status=$?; stty -g"));
    let mut typed = child.stdin.take().expect("a pipe");
    let mut shown = child.stdout.take().expect("a pipe");
    let (mut output, mut buffer, mut quit) = (Vec::new(), [0; 4096], false);
    loop {
        match std::io::Read::read(&mut shown, &mut buffer).expect("output") {
            0 => break,
            read => output.extend_from_slice(&buffer[..read]),
        }
        if !quit && String::from_utf8_lossy(&output).contains(until) {
            std::io::Write::write_all(&mut typed, b"q").expect("a key");
            quit = true;
        }
    }
    child.wait().expect("an end");
    let text = String::from_utf8_lossy(&output).into_owned();
    assert!(quit, "{until:?} was never shown: {text}");
    Some(text)
}

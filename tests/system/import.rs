//! Objects at rest: imported once, whatever they are, wherever they lie, and however often it is tried.

use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::support::custody::{Custody, Producer, Topic, audit_event, fixture_folder, stderr};
use crate::support::kafka::Broker;

const CAST: &str = "{\"version\":2,\"width\":90,\"height\":20,\"timestamp\":1772438400}\n[0.5,\"o\",\"hello\"]\n[1.5,\"o\",\" world\"]\n[2.0,\"x\",\"0\"]\n";

fn decision(id: &str) -> String {
    json!({"labels": {"id": "opa-1"}, "decision_id": id, "path": "a/b", "result": true, "timestamp": "2026-03-02T08:00:00Z",
        "input": {"user": "mira@example.net"}})
    .to_string()
}

/// A folder with a bit of everything.
fn fill(folder: &Path) {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(format!("[{},\n{}]", decision("d1"), decision("d2")).as_bytes()).unwrap();
    write("opa/decisions.json.gz", &gzip.finish().unwrap());
    write("teleport/audit.log", format!("{}\n{}\nnot JSON\n", audit_event("u1"), audit_event("u2")).as_bytes());
    write("casts/one.cast", CAST.as_bytes());
    write("casts/again.cast", CAST.as_bytes());
    write("typescripts/x.timing", b"0.1 5\n0.2 7\n");
    write("typescripts/x", b"Script started on 2026-03-02\nhellowonders\nScript done\n");
    write("README.md", b"# Nothing of interest\n");
    write("empty", b"");
}

/// The summary by the last two parts of an object's name.
fn import(custody: &Custody, arguments: &[&str]) -> Vec<(String, Value)> {
    let output = custody.run(["import", "--json"].iter().chain(arguments));
    assert!(output.status.code().is_some_and(|code| code <= 1), "{}", stderr(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    let mut rows: Vec<(String, Value)> = lines
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let name = row["object"].as_str().unwrap();
            let parts: Vec<&str> = name.rsplit('/').take(2).collect();
            (parts.into_iter().rev().collect::<Vec<_>>().join("/"), row)
        })
        .collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}

fn figures(rows: &[(String, Value)]) -> Vec<Value> {
    rows.iter()
        .map(|(name, row)| json!([name, row["format"], row["records"], row["events"], row["pieces"], row["errors"]]))
        .collect()
}

fn totals(custody: &Custody) -> [u64; 3] {
    ["records", "events", "frames"].map(|table| custody.count(table))
}

#[test]
fn a_folder_is_imported_once_and_every_object_is_told_of() {
    let custody = Custody::at("", &[]);
    let folder = custody.folder().join("in");
    fill(&folder);
    let rows = import(&custody, &[folder.to_str().unwrap()]);
    let name = folder.file_name().unwrap().to_str().unwrap();
    let expected = [
        json!(["casts/again.cast", "asciicast", 2, 3, 4, 0]),
        // The same bytes under another name.
        json!(["casts/one.cast", "asciicast", 0, 0, 0, 0]),
        json!([format!("{name}/README.md"), "", 0, 0, 0, 0]),
        json!([format!("{name}/empty"), "", 0, 0, 0, 0]),
        json!(["opa/decisions.json.gz", "opa-decisions", 3, 3, 0, 0]),
        json!(["teleport/audit.log", "teleport-events", 4, 3, 0, 1]),
        json!(["typescripts/x.timing", "script", 2, 2, 2, 0]),
    ];
    let mut expected: Vec<Value> = expected.into();
    expected.sort_by_key(|row| row[0].as_str().unwrap().to_owned());
    assert_eq!(figures(&rows), expected);

    let before = totals(&custody);
    let again = import(&custody, &[folder.to_str().unwrap(), folder.to_str().unwrap()]);
    assert!(again.iter().all(|(_, row)| row["records"] == 0), "{again:?}");
    assert_eq!(totals(&custody), before);

    // Four objects, and what is known of each.
    let imports = custody.sql(
        "SELECT source_type, json_get_int(detail, 'size_bytes') AS size, json_length(detail, 'members') AS members, \
         byte_length(json_get_str(detail, 'sha256')) AS digits FROM events WHERE kind = 'import' ORDER BY source_type",
    );
    assert_eq!(imports.len(), 4);
    assert_eq!(
        imports[0],
        json!({"source_type": "import.asciicast", "size": CAST.len(), "members": null, "digits": 64})
    );
    assert_eq!(imports[2]["members"], 2);
    // Recordings are sessions that can be looked at.
    let sessions = custody.sql("SELECT source, session_id, output_bytes, recording FROM sessions ORDER BY source");
    assert_eq!(sessions.len(), 2);
    for session in sessions {
        assert!(session["session_id"].as_str().unwrap().starts_with("import-"), "{session}");
        let text = custody.stdout(["export", session["session_id"].as_str().unwrap(), "--as", "text"]);
        assert!(text.starts_with("hello"), "{text}");
    }
    assert_eq!(custody.value("SELECT count(*) FROM ingest_ledger WHERE records <> offsets OR missing <> 0"), json!(0));
}

#[test]
fn what_would_be_imported_is_told_without_a_ledger() {
    let custody = Custody::at("", &[]);
    let folder = custody.folder().join("in");
    fill(&folder);
    let rows = import(&custody, &["--dry-run", folder.to_str().unwrap()]);
    assert_eq!(rows.len(), 7);
    assert!(!custody.data().exists());
    let one = folder.join("casts/one.cast");
    import(&custody, &["--session-id", "jump-host-1", one.to_str().unwrap()]);
    assert_eq!(custody.value("SELECT session_id FROM sessions"), json!("jump-host-1"));
    let output = custody.run(["import", "--session-id", "x", folder.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert_eq!(custody.run(["import", "/nowhere"]).status.code(), Some(2));
}

/// A process that dies half-way leaves an object half imported; the next goes on there.
#[test]
fn an_import_that_was_killed_goes_on() {
    let custody = Custody::at("", &[]).flush(500, 1000);
    let file = custody.folder().join("audit.ndjson");
    let lines: Vec<String> = (0..30_000).map(|number| audit_event(&format!("u{number}"))).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    // Within a flush before and after the commit of its records, and between those of two tables.
    let deaths =
        ["die-after put records/date 4", "die-after put records/_delta_log 3", "die-after put events/_delta_log 3"];
    let mut had = 0;
    for death in deaths {
        let variables = [("CUSTODY_STORE_FAULTS", death.to_owned())];
        let status = custody.start_with(None, &["import", file.to_str().unwrap()], &variables).wait();
        assert!(!status.success(), "{death}: it ended by itself");
        let has = custody.count("records");
        assert!(has > had && has < lines.len() as u64, "{death}: {had} records, then {has}");
        had = has;
    }
    import(&custody, &[file.to_str().unwrap()]);
    assert_eq!(custody.count("records"), lines.len() as u64 + 1);
    assert_eq!(custody.value("SELECT count(DISTINCT event_id) FROM events WHERE kind = 'login'"), json!(lines.len()));
    assert_eq!(custody.count("events"), lines.len() as u64 + 1);
}

/// Two at once: each object once.
#[test]
fn two_imports_of_the_same_folder_add_it_once() {
    let custody = Custody::at("", &[]);
    let folder = custody.folder().join("in");
    fill(&folder);
    // The tables have to be there, or both make them, which is another matter.
    import(&custody, &[folder.join("README.md").to_str().unwrap()]);
    let mut both: Vec<_> = (0..2).map(|_| custody.start(None, &["import", folder.to_str().unwrap()])).collect();
    for process in &mut both {
        let status = process.wait();
        assert!(status.success(), "{status}: {}", process.log());
    }
    assert_eq!(custody.value("SELECT count(*) FROM events WHERE kind = 'import'"), json!(4));
    assert_eq!(custody.value("SELECT count(*) FROM ingest_ledger WHERE records <> offsets OR missing <> 0"), json!(0));
}

/// A topic that was mapped to the wrong source: its messages are dead letters until the mapping is right and they are
/// decoded again, once.
#[test]
fn dead_letters_are_decoded_again_once() {
    const TEST: &str = "dead_letters_are_decoded_again_once";
    let Some(broker) = Broker::shared_or_skip(TEST) else { return };
    let topic = Topic::create(broker, "opa", 1);
    let custody = Custody::on(broker, std::slice::from_ref(&topic));
    let producer = Producer::to(broker);
    for number in 0..20 {
        producer.value(&topic, 0, audit_event(&format!("u{number}")));
    }
    producer.value(&topic, 0, "no event of anybody");
    producer.value(&topic, 0, decision("d1"));
    producer.flush();
    let mut ingest = custody.ingest();
    custody.wait_for_records(22, &mut ingest);
    ingest.stop();
    assert_eq!((custody.count("dead_letters"), custody.count("events")), (21, 1));

    let custody = custody.mapped_to(&topic, "teleport");
    let said = custody.stdout(["maintain", "redecode"]);
    assert!(said.starts_with("20 dead letters are understood now and gave 20 events and 0 pieces"), "{said}");
    let logins = "SELECT count(*) AS n, count(DISTINCT event_id) AS ids, count(DISTINCT \"offset\") AS offsets FROM events \
                  WHERE kind = 'login' AND source = 'teleport'";
    assert_eq!(custody.sql(logins), [json!({"n": 20, "ids": 20, "offsets": 20})]);
    assert_eq!(custody.value("SELECT preview FROM dead_letters"), json!("no event of anybody"));
    // The records are what they were.
    assert_eq!(custody.value("SELECT count(*) FROM records WHERE error_kind IS NOT NULL"), json!(21));

    let said = custody.stdout(["maintain", "redecode"]);
    assert!(said.starts_with("0 dead letters are understood now and gave 0 events"), "{said}");
    assert_eq!(custody.sql(logins), [json!({"n": 20, "ids": 20, "offsets": 20})]);
}

/// Files, records, events, pieces, errors and integrity of every folder of the fixtures.
#[test]
fn the_fixtures_give_what_their_readmes_promise() {
    const TEST: &str = "the_fixtures_give_what_their_readmes_promise";
    let Some(fixtures) = fixture_folder(TEST, "") else { return };
    let custody = Custody::at("", &[]);
    let path = |name: &str| fixtures.join(name).to_str().unwrap().to_owned();

    // Teleport: two packings of one recording, byte for byte what was on the screen.
    for tar in ["npm.v1.single-part.tar", "npm.v1.multipart-padded-dup.tar"] {
        let rows = import(&custody, &[&path(&format!("teleport/derived/{tar}"))]);
        assert_eq!((&rows[0].1["integrity"], &rows[0].1["errors"]), (&json!("complete"), &json!(0)), "{rows:?}");
    }
    let recordings = custody
        .sql("SELECT session_id, sum(output_bytes) AS bytes FROM frames GROUP BY session_id ORDER BY session_id");
    assert_eq!(recordings.len(), 1, "{recordings:?}");
    let npm = recordings[0]["session_id"].as_str().unwrap();
    let shown = custody.sql(&format!(
        "SELECT recording_state, missing_bytes, missing_events FROM recording_state WHERE session_id = '{npm}'"
    ));
    assert_eq!(shown, [json!({"recording_state": "recorded", "missing_bytes": 0, "missing_events": 0})]);
    let cast = custody.stdout(["export", npm, "--as", "asciicast-v2"]);
    let bytes: usize = cast
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event[1] == "o")
        .map(|event| event[2].as_str().unwrap().len())
        .sum();
    assert_eq!(bytes, 163_019);

    // Boundary: every container named for what it is.
    let rows = import(&custody, &[&path("boundary/bsr/synthetic")]);
    let levels: Vec<(&str, &Value)> = rows
        .iter()
        .filter(|(_, row)| row["format"] == "boundary-recording")
        .map(|(name, row)| (name.split('/').next().unwrap(), &row["integrity"]))
        .collect();
    let expected = [
        ("good", json!("self_signed")),
        ("missing-file", json!("incomplete")),
        ("rekeyed", json!("self_signed")),
        ("tampered-data", json!("failed")),
        ("truncated-data", json!("failed")),
    ];
    assert_eq!(levels, expected.iter().map(|(name, level)| (*name, level)).collect::<Vec<_>>());

    // The story of Boundary: the session is linked to the decision of the policy engine that allowed it.
    import(&custody, &[&path("boundary/events/synthetic-session-story.ndjson"), &path("opa/synthetic")]);
    let links = custody.sql(
        "SELECT link_method, decision_id, reason, tickets FROM session_access WHERE source = 'boundary' AND \
         session_id = 's_Kq3vYx8LmT'",
    );
    assert_eq!(
        links,
        [
            json!({"link_method": "explicit", "decision_id": "6b3f1f0e-2f0a-4a53-9d0e-8c2b7a1d4e55", "reason": "incident",
            "tickets": ["INC-78901"]})
        ]
    );
}

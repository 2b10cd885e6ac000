//! Reports as an auditor runs them: small ledgers built from what sources send, and the story of the demo.
//!
//! Cases are in `tests/reports/`, a file for each report: messages, reference data, and every row that must come out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::demo;
use crate::support::custody::{Custody, PATIENCE, binary, skip, stderr, wait_until};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// Messages of each source, one a line.
    teleport: Option<String>,
    opa: Option<String>,
    boundary: Option<String>,
    hoop: Option<String>,
    /// Files of reference data, as CSV.
    people: Option<String>,
    authority: Option<String>,
    shared: Option<String>,
    privileged: Option<String>,
    #[serde(default)]
    parameters: BTreeMap<String, toml::Value>,
    #[serde(default = "monday")]
    from: String,
    #[serde(default = "saturday")]
    to: String,
    as_of: Option<String>,
    /// Every row: key, verdict, why (empty for null), in any order.
    expect: Vec<[String; 3]>,
}

fn monday() -> String {
    "2025-06-02".to_owned()
}

fn saturday() -> String {
    "2025-06-07".to_owned()
}

impl Case {
    /// A ledger with what the case tells, and the reference data that it names.
    fn ledger(&self) -> Custody {
        let mut custody = Custody::at("127.0.0.1:1", &[]);
        let folder = custody.folder().to_owned();
        let mut reference = String::from("[reference]\n");
        for (name, text) in [
            ("people", &self.people),
            ("approvers", &self.authority),
            ("shared_accounts", &self.shared),
            ("privileged", &self.privileged),
        ] {
            let Some(text) = text else { continue };
            let file = folder.join(format!("{name}.csv"));
            std::fs::write(&file, text).unwrap();
            reference += &format!("{name} = {:?}\n", file.display().to_string());
        }
        custody = custody.section(&reference);
        let sources =
            [("teleport", &self.teleport), ("opa", &self.opa), ("boundary", &self.boundary), ("hoop", &self.hoop)];
        let mut told = false;
        for (source, messages) in sources {
            let Some(messages) = messages else { continue };
            import(&custody, source, messages);
            told = true;
        }
        if !told {
            // A ledger of which nothing is asked.
            import(&custody, "teleport", r#"{"event":"nothing","uid":"n","time":"2020-01-01T00:00:00Z"}"#);
        }
        custody
    }

    /// What is wrong with what the report finds, if anything is.
    fn check(&self, report: &str) -> Result<(), String> {
        let custody = self.ledger();
        let mut arguments =
            ["report", "run", report, "--all", "--format", "ndjson", "--period"].map(str::to_owned).to_vec();
        arguments.push(format!("{}..{}", self.from, self.to));
        if let Some(as_of) = &self.as_of {
            let instant = if as_of.contains('T') { as_of.clone() } else { format!("{as_of}T00:00:00Z") };
            arguments.extend(["--as-of".to_owned(), instant]);
        }
        for (name, value) in &self.parameters {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            arguments.extend(["--param".to_owned(), format!("{name}={value}")]);
        }
        let output = custody.run(&arguments);
        if !output.status.success() {
            return Err(stderr(&output));
        }
        let rows: Vec<Value> =
            String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let mut found: Vec<[String; 3]> =
            rows.iter().map(|row| ["key", "verdict", "why"].map(|name| text(row, name))).collect();
        let mut expected = self.expect.clone();
        found.sort();
        expected.sort();
        if found == expected { Ok(()) } else { Err(format!("found {found:#?}\nexpected {expected:#?}")) }
    }
}

fn import(custody: &Custody, source: &str, messages: &str) {
    let file = custody.folder().join(format!("{source}.ndjson"));
    let lines: Vec<_> = messages.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let output = custody.run(["import", "--source", source, file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reports")
}

/// Every case of every report. `CUSTODY_TEST_REPORT=R02` runs one report's.
#[test]
fn every_case_of_every_report_finds_what_it_must() {
    let only = std::env::var("CUSTODY_TEST_REPORT").ok();
    let mut todo: Vec<(String, Case)> = Vec::new();
    for file in std::fs::read_dir(folder()).unwrap() {
        let file = file.unwrap().path();
        let report = file.file_stem().unwrap().to_str().unwrap().to_owned();
        if only.as_ref().is_some_and(|only| *only != report) {
            continue;
        }
        let cases: Cases = toml::from_str(&std::fs::read_to_string(&file).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        todo.extend(cases.case.into_iter().map(|case| (report.clone(), case)));
    }
    let count = todo.len();
    let (todo, wrong) = (Mutex::new(todo), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((report, case)) = todo.lock().unwrap().pop() else { return };
                    if let Err(what) = case.check(&report) {
                        wrong.lock().unwrap().push(format!("{report}: {}\n{what}", case.name));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n\n"));
}

/// Every report of the catalogue has cases.
#[test]
fn no_report_is_without_cases() {
    let custody = Custody::at("127.0.0.1:1", &[]);
    let listed = custody.stdout(["report", "list"]);
    for report in listed.lines().skip(1).filter_map(|line| line.split_whitespace().next()) {
        assert!(folder().join(format!("{report}.toml")).is_file(), "{report}");
    }
}

/// What scenario.md says is to be found, and nothing else: the ends of the keys of all exceptions and warnings.
const STORY: [(&str, &[&str]); 32] = [
    ("M01", &[]),
    ("M02", &[]),
    ("M03", &[]),
    ("M04", &[]),
    ("M05", &[]),
    ("R01", &[]),
    // S3 and S9: Dave, without a request.
    ("R02", &["00000000000b", "00000000000c"]),
    // S4: Bob, his own request.
    ("R03", &["00000000003c"]),
    ("R04", &[]),
    // S5: approved seven minutes after it began.
    ("R05", &["000000000006"]),
    // S6: three hours too long.
    ("R06", &["000000000007"]),
    ("R07", &[]),
    // S19: "test", twice.
    ("R08", &["000000000068", "000000000072"]),
    // S13: nobody reviewed it.
    ("R09", &["000000000096"]),
    // S3: what Dave holds for good.
    ("R10", &["dave@example.com/prod-web-standing/static"]),
    // S14: approved and never used.
    ("R11", &["000000000064"]),
    // S9: denied, and in 12 minutes later.
    ("R12", &["0000000000ad"]),
    // S10: 17:00:00 by two revisions.
    ("R13", &["drift/dave@example.com/authorize-session/prod-web-01-ssh/access/authz/decision"]),
    // S16: announced, and not here.
    ("R14", &["000000000003"]),
    // S17: the hole.
    ("R15", &["000000000010"]),
    // S18: Dave watches himself.
    ("R16", &["0000000000ab"]),
    ("R17", &[]),
    ("R18", &[]),
    // S7: Erin, after she left.
    ("R19", &["000000000008"]),
    ("R20", &[]),
    // S15: a machine at a terminal.
    ("R21", &["00000000000d"]),
    // S3 and S9: a vendor, without an approval.
    ("R22", &["00000000000b", "00000000000c"]),
    ("R23", &[]),
    ("R24", &[]),
    ("R26", &[]),
    ("R27", &[]),
    // Each session of the story with a flaw: S16, S3, S4, S5, S6, S9, S17; and S10, whose decision has no reason.
    (
        "R28",
        &[
            "000000000003",
            "000000000005",
            "000000000006",
            "000000000007",
            "00000000000b",
            "00000000000c",
            "000000000010",
            "s_0512500002",
        ],
    ),
];

#[test]
fn the_reports_find_what_the_story_says_and_nothing_else() {
    let ledger = demo();
    let custody = Custody::existing(ledger);
    // The last week whose Friday is over.
    let monday = custody.value("SELECT CAST(min(started_at) AS DATE) AS day FROM sessions WHERE source = 'teleport'");
    let monday = monday.as_str().unwrap().to_owned();
    let saturday = custody.value(&format!("SELECT DATE '{monday}' + INTERVAL '5 days' AS day"));
    let period = format!("{monday}..{}", &saturday.as_str().unwrap()[..10]);
    for (report, expected) in STORY {
        let mut command = binary();
        command.arg("--config").arg(ledger.join("custody.toml"));
        let output =
            command.args(["report", "run", report, "--period", &period, "--format", "ndjson"]).output().unwrap();
        assert!(output.status.success(), "{report}: {}", stderr(&output));
        let rows = String::from_utf8(output.stdout).unwrap();
        let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let found = rows.filter(|row| row["verdict"] == "exception" || row["verdict"] == "warning");
        let keys: Vec<String> = found.map(|row| row["key"].as_str().unwrap().to_owned()).collect();
        let is_told = |key: &String| expected.iter().any(|end| key.ends_with(end) || key.contains(&format!("{end}/")));
        assert!(keys.len() == expected.len() && keys.iter().all(is_told), "{report}: {keys:#?}, not {expected:?}");
    }
}

/// Two sessions without a request and one with, from the cases of R02.
fn small_ledger() -> Custody {
    let custody = Custody::at("127.0.0.1:1", &[]);
    let session = |id: &str, at: &str| {
        format!(
            r#"{{"event":"session.start","uid":"{id}-start","time":"{at}","cluster_name":"root","sid":"{id}","user":"alice","user_kind":1,"server_hostname":"web-1","login":"root","proto":"ssh"}}"#
        )
    };
    import(
        &custody,
        "teleport",
        &[session("s1", "2025-06-02T09:00:00Z"), session("s2", "2025-06-03T09:00:00Z")].join("\n"),
    );
    custody
}

fn run(custody: &Custody, more: &[&str]) -> Value {
    let arguments = [&["report", "run", "R02", "--period", "2025-06", "--format", "json"], more].concat();
    serde_json::from_str(&custody.stdout(arguments)).unwrap()
}

/// What `--state` takes for the state that a report was made from.
pub(crate) fn state_of(report: &Value) -> String {
    let versions = &report["ipe"]["versions"];
    ["records", "events", "frames", "activity"].map(|table| format!("{table}={}", versions[table])).join(",")
}

#[test]
fn the_same_state_gives_the_same_result_and_exceptions_have_a_life() {
    let custody = small_ledger();
    let first = run(&custody, &[]);
    assert_eq!(first["ipe"]["counts"]["exceptions"], 2);
    assert_eq!(first["rows"][0]["status"], "open");
    let state = state_of(&first);

    let said =
        custody.stdout(["exception", "set", "R02", "teleport/s1", "--state", "explained", "--why", "a fire drill"]);
    assert!(said.contains("is explained now"), "{said}");
    import(
        &custody,
        "teleport",
        r#"{"event":"session.start","uid":"s3","time":"2025-06-04T09:00:00Z","sid":"s3","user":"bob"}"#,
    );
    let later = run(&custody, &[]);
    assert_eq!(later["ipe"]["counts"]["exceptions"], 3, "an explanation takes nothing off the report");
    let explained = &later["rows"][0];
    assert_eq!(["status", "status_note"].map(|name| &explained[name]), [&json!("explained"), &json!("a fire drill")]);
    assert_ne!(later["ipe"]["result_sha256"], first["ipe"]["result_sha256"]);

    let again = run(&custody, &["--state", &state]);
    assert_eq!(again["rows"], first["rows"]);
    let same = ["result_sha256", "population_sha256", "sql_sha256", "versions", "counts"];
    assert_eq!(same.map(|name| &again["ipe"][name]), same.map(|name| &first["ipe"][name]));

    custody.stdout(["exception", "set", "R02", "teleport/s1", "--state", "remediated", "--why", "drills have tickets"]);
    let history = custody.stdout(["exception", "list", "R02", "--history"]);
    assert!(history.contains("fire drill") && history.contains("drills have tickets"), "{history}");
    assert!(!custody.stdout(["exception", "list"]).contains("fire drill"));
    // Who asked for what is in the ledger.
    let verbs = custody
        .sql("SELECT verb, count(*) AS n FROM custody_activity WHERE object = 'R02' GROUP BY verb ORDER BY verb");
    assert_eq!(verbs[0], json!({"verb": "exception", "n": 2}), "{verbs:?}");
    assert!(verbs.iter().any(|row| row["verb"] == "report" && row["n"] == 3), "{verbs:?}");
}

#[test]
fn a_generated_ledger_gives_the_same_reports_with_what_is_kept_of_past_days_and_without() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, cache) = (folder.path().join("big"), folder.path().join("cache"));
    let mut generate = binary();
    generate.args(["bench", "generate", "--events", "6000", "--days", "40"]).arg(&ledger);
    let output = generate.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let run = |report: &str, cache: &Path| {
        let mut command = binary();
        command
            .arg("--config")
            .arg(folder.path().join("big-reference/custody.toml"))
            .env("CUSTODY_QUERY__CACHE", cache);
        command.args(["report", "run", report, "--period", "2026-09", "--format", "json"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{report}: {}", stderr(&output));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        (told["ipe"]["result_sha256"].clone(), told["ipe"]["counts"]["population"].as_u64().unwrap())
    };
    // One that looks at a period, one at requests, one at all sessions.
    for report in ["R14", "R11", "R16"] {
        let (plain, population) = run(report, Path::new(""));
        assert!(population > 0 || report == "R16", "{report}");
        for time in ["while it is kept", "when it is"] {
            assert_eq!(run(report, &cache), (plain.clone(), population), "{report}, {time}");
        }
    }
    let only = |folder: &Path| {
        let within: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        let [only] = within.as_slice() else { panic!("one ledger has one place: {within:?}") };
        only.clone()
    };
    let files = std::fs::read_dir(only(&only(&cache.join("parts")))).unwrap();
    let files: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    for part in ["session_parts", "request_parts", "recording_parts", "number_parts"] {
        for month in ["2026-08", "2026-09"] {
            assert!(
                files.iter().any(|name| name.starts_with(&format!("{part}.{month}."))),
                "{part} {month}: {files:?}"
            );
        }
    }
}

/// The ranks of a sample are computed again with nothing but a shell.
#[test]
fn a_sample_can_be_drawn_again_with_sha256sum() {
    let custody = small_ledger();
    let seed = "auditor's word";
    let drawn = run(&custody, &["--sample", "1", "--seed", seed, "--replacements", "1"]);
    let rows = drawn["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["replacement"], &rows[1]["replacement"]), (2, &json!(false), &json!(true)));
    let population = drawn["ipe"]["population_sha256"].as_str().unwrap();
    let shell = |script: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new("sh");
        let output = command.args(["-c", script, "sh"]).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let hash = shell("printf '%s\\n' teleport/s1 teleport/s2 | LC_ALL=C sort | sha256sum", &[]);
    assert!(hash.starts_with(population), "{hash} {population}");
    for row in rows {
        let rank = shell("printf '%s\\n%s\\n%s' \"$@\" | sha256sum", &[seed, population, row["key"].as_str().unwrap()]);
        assert!(rank.starts_with(row["rank_sha256"].as_str().unwrap()), "{rank} {row}");
    }
    let output = custody.run(["report", "run", "R02", "--period", "2025-06", "--sample", "1"]);
    assert!(stderr(&output).contains("a sample needs --seed"), "{}", stderr(&output));
}

#[test]
fn what_cannot_be_run_is_said() {
    let custody = small_ledger();
    let period = ["--period", "2025-06"];
    for (arguments, status, expected) in [
        (vec!["report", "run", "R99", "--period", "2025"], 2, "there is no report \"R99\"; there are M01, "),
        (vec!["report", "run", "R02", "--period", "2025-13"], 2, "expected a period like 2026"),
        (vec!["report", "run", "R02", "--period", "2025", "--param", "x=1"], 2, "R02 has no parameter \"x\": it takes"),
        (
            vec!["report", "run", "R02", "--period", "2025", "--param", "grace_s=soon"],
            2,
            "grace_s of R02 takes integer",
        ),
        (vec!["report", "run", "R02", "--period", "2025", "--state", "yesterday"], 2, "a state of the ledger is"),
        (vec!["report", "list", "--control", "CC99"], 2, "no report is evidence of \"CC99\"; there are "),
        (vec!["sql", "SELECT 1", "--state", "records=999,events=0,frames=0,activity=0"], 2, "has no version 999 yet"),
        (vec!["exception", "set", "R02", "k", "--state", "open", "--why", " "], 2, "say in words why"),
        ([&["report", "run", "R02", "--check"], &period[..]].concat(), 1, "R02 found 2 exceptions"),
    ] {
        let output = custody.run(&arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
    let broken = custody.folder().join("people.csv");
    std::fs::write(&broken, "name\nalice\n").unwrap();
    let custody = custody.section(&format!("[reference]\npeople = {:?}\n", broken.display().to_string()));
    let output = custody.run(["report", "run", "R02", "--period", "2025-06"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("nothing is known of a column \"name\""), "{}", stderr(&output));
}

/// A report, a sample, a pack and an exception over HTTP, and what is refused.
#[test]
fn reports_are_run_over_http() {
    let custody = small_ledger();
    let (mut serve, client) = custody.serve();
    let all = client.get("/api/v1/reports?control=CC6.2").json();
    assert!(all.as_array().unwrap().iter().any(|report| report["id"] == "R02"), "{all}");
    assert!(client.get("/api/v1/reports/r02").json()["sql"].as_str().unwrap().contains("SELECT"));

    let finished = |body: Value, path: &str| {
        let begun = client.post_json(path, &body);
        assert_eq!(begun.status, 202, "{}", begun.text());
        let id = begun.json()["id"].as_str().unwrap().to_owned();
        let done = wait_until("the run", PATIENCE, || {
            let run = client.get(&format!("/api/v1/runs/{id}")).json();
            if run["state"] == "running" { Err(run.to_string()) } else { Ok(run) }
        });
        assert_eq!(done["state"], "done", "{done}");
        (id, done)
    };
    let (id, run) = finished(json!({"period": "2025-06", "rows": "all"}), "/api/v1/reports/R02/runs");
    assert_eq!((&run["ipe"]["counts"]["exceptions"], &run["judged"]), (&json!(2), &json!(2)));
    let rows = client.get(&format!("/api/v1/runs/{id}/rows")).json();
    assert_eq!((&rows[0]["key"], &rows[0]["status"]), (&json!("teleport/s1"), &json!("open")));
    assert!(client.get(&format!("/api/v1/runs/{id}/rows?format=csv")).text().starts_with("key,verdict,why,"));

    let draw = json!({"period": "2025-06", "sample": {"seed": "s", "n": 1}});
    let (id, _) = finished(draw, "/api/v1/reports/R02/runs");
    assert_eq!(client.get(&format!("/api/v1/runs/{id}/rows")).json()[0]["rank"], 1);

    let step = json!({"report": "R02", "key": "teleport/s1", "state": "accepted", "why": "known to everyone"});
    assert_eq!(client.post_json("/api/v1/exceptions", &step).status, 204);
    let steps = client.get("/api/v1/exceptions?report=R02").json();
    assert_eq!((&steps[0]["state"], &steps[0]["note"]), (&json!("accepted"), &json!("known to everyone")));

    let (id, run) = finished(json!({"control": "CC6.2", "period": "2025-06"}), "/api/v1/evidence");
    let pack = client.get(&format!("/api/v1/runs/{id}/pack"));
    assert_eq!((pack.status, &pack.headers["content-type"][..]), (200, "application/zip"));
    assert_eq!(run["pack_bytes"], pack.body.len());
    let gone = client.send("DELETE", &format!("/api/v1/runs/{id}"), &[], b"").unwrap();
    assert_eq!((gone.status, client.get(&format!("/api/v1/runs/{id}")).status), (204, 404));

    for (path, body, status) in [
        ("/api/v1/reports/R99/runs", json!({"period": "2025"}), 404),
        ("/api/v1/reports/R02/runs", json!({"period": "soon"}), 400),
        ("/api/v1/reports/R02/runs", json!({"period": "2025", "parameters": {"x": 1}}), 400),
        ("/api/v1/reports/R02/runs", json!({"period": "2025", "rows": "some"}), 400),
        ("/api/v1/reports/R02/runs", json!({"period": "2025", "unknown": 1}), 422),
        ("/api/v1/evidence", json!({"period": "2025"}), 400),
        ("/api/v1/exceptions", json!({"report": "R02", "key": "k", "state": "open", "why": ""}), 400),
        ("/api/v1/sql", json!({"sql": "SELECT 1", "state": "records=99,events=0,frames=0,activity=0"}), 410),
    ] {
        let answer = client.post_json(path, &body);
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text());
        assert!(answer.json()["error"]["message"].is_string());
    }
    serve.stop();
}

/// A pack can be checked with standard tools, and the same state gives the same bytes.
#[test]
fn a_pack_is_checked_with_standard_tools_and_is_the_same_again() {
    const TEST: &str = "a_pack_is_checked_with_standard_tools_and_is_the_same_again";
    let custody = small_ledger();
    let state = &*state_of(&run(&custody, &[]));
    let make = |name: &str| {
        let file = custody.folder().join(name);
        let arguments = [
            "evidence", "--report", "R02", "--report", "R28", "--period", "2025-06", "--state", state, "--sample", "1",
        ];
        let more = ["--seed", "s", "--prepared-at", "2026-01-01T00:00:00Z", "--out", file.to_str().unwrap()];
        let said = custody.stdout([&arguments[..], &more].concat());
        (file, said.split_whitespace().next().unwrap().to_owned())
    };
    let (file, sha256) = make("one.zip");
    let (other, again) = make("two.zip");
    assert_eq!(sha256, again);
    assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(other).unwrap());
    assert!(!custody.folder().join("one.zip.partial").exists());
    // Nothing unfinished is left beside them, whatever its name.
    let beside = std::fs::read_dir(custody.folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let hidden: Vec<_> = beside.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(hidden.is_empty(), "{hidden:?}");

    let unpacked = custody.folder().join("pack");
    let python = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";
    let mut command = std::process::Command::new("python3");
    let done = command.args(["-c", python]).arg(&file).arg(&unpacked).status();
    if !done.is_ok_and(|status| status.success()) {
        return skip(TEST, "no Python unpacks the zip");
    }
    for manifest in ["manifest-sha256.txt", "tagmanifest-sha256.txt"] {
        let mut command = std::process::Command::new("sha256sum");
        let checked = command.args(["--quiet", "-c", manifest]).current_dir(&unpacked).output().unwrap();
        assert!(checked.status.success(), "{}", stderr(&checked));
    }
    for there in [
        "data/report.pdf",
        "data/report.xlsx",
        "data/R02/population.csv",
        "data/R02/result.parquet",
        "data/R28/sample.csv",
        "data/query/R02.sql",
        "README.html",
    ] {
        assert!(unpacked.join(there).is_file(), "{there}");
    }
    let query = std::fs::read_to_string(unpacked.join("data/query/R02.sql")).unwrap();
    assert_eq!(query, custody.stdout(["report", "show", "R02"]));
    // A pack takes the place of a file, of nothing else.
    let socket = custody.folder().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for out in ["/nowhere/x.zip", socket.to_str().unwrap(), custody.folder().to_str().unwrap()] {
        let output = custody.run(["evidence", "--report", "R02", "--period", "2025-06", "--out", out]);
        assert_eq!(output.status.code(), Some(2), "{out}: {}", stderr(&output));
    }
}

use std::fs;
use std::io::Cursor;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, ListBuilder, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::record_batch::RecordBatch;
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;

use super::*;
use crate::evidence::model::Sample;
use crate::reports::Counts;

const DAY: i64 = 86_400_000_000;
/// 16 November 2026.
const FROM: i64 = 1_794_787_200_000_000;

const SEED: &str = "auditor's 2026Q4";
const POPULATION: &str = "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9";

fn text<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

fn times(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn table<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

/// What an attacker might put into a name, a reason or an explanation.
fn hostile() -> Vec<String> {
    vec![
        "=HYPERLINK(\"http://evil.example\",\"open\")".to_owned(),
        "x".repeat(10_000),
        "invoice\u{202e}fdp.exe \u{200b}\u{feff}\0\x1b[2J\r\n\ttail".to_owned(),
        "😀 田中 <script>alert(1)</script> & \u{fffe} _x0041_ a\u{301}".to_owned(),
        "y".repeat(40_000),
        ")Tj ET /Q (\\".to_owned(),
    ]
}

/// The rank of a key in the sample of the sessions.
fn rank(key: &str) -> String {
    bag::hex(digest(&SHA256, format!("{SEED}\n{POPULATION}\n{key}").as_bytes()).as_ref())
}

fn sessions() -> ReportResult {
    let hostile = hostile();
    let people = ["alice", "bob", "carol", "Jürgen Müller", "Ольга", "dave"];
    let rows = 0..30_usize;
    let key = |row: usize| format!("teleport-main/5f1d{row:04}-9c1e-4a57-8a3c-2f1e6f0a{row:04}");
    let keys = rows.clone().map(key).collect::<Vec<_>>();
    let verdict = |row: usize| match row % 10 {
        0 | 3 => "exception",
        1 => "warning",
        2 if row < 10 => "na",
        2 => "excluded",
        _ => "pass",
    };
    let why = |row: usize| match (verdict(row), row % 3) {
        ("exception", 0) => Some("no_link"),
        ("exception", 1) => Some("request_pending"),
        ("exception", _) => Some("inferred_only"),
        ("na", _) => Some("not_known"),
        ("warning", _) => Some("standing"),
        _ => None,
    };
    let note = |row: usize| match row {
        0 => Some(
            "Emergency repair during the outage of 16 November. The approval was given by telephone; ticket INC-4711 has the record of the call and the name of the officer.",
        ),
        3 => hostile.get(1).map(String::as_str),
        10 => hostile.get(2).map(String::as_str),
        _ => None,
    };
    let status = |row: usize| match row {
        0 => Some("explained"),
        3 => Some("accepted"),
        10 => Some("remediated"),
        13 => Some("open"),
        _ => None,
    };
    let mut evidence = ListBuilder::new(StringBuilder::new());
    for row in rows.clone() {
        evidence.append_value([Some(format!("ev-{row}-a")), Some(format!("ev-{row}-b"))]);
    }
    let mut targets = rows.clone().map(|row| format!("db-prod-{}", row % 4)).collect::<Vec<_>>();
    for (target, hostile) in targets.iter_mut().skip(20).zip(&hostile) {
        target.clone_from(hostile);
    }
    let batch = table([
        ("key", text(keys.iter().map(|key| Some(key.as_str())))),
        ("verdict", text(rows.clone().map(|row| Some(verdict(row))))),
        ("why", text(rows.clone().map(why))),
        ("source", text(rows.clone().map(|_| Some("teleport-main")))),
        ("person", text(rows.clone().map(|row| people.get(row % people.len()).copied()))),
        ("target", text(targets.iter().map(|target| Some(target.as_str())))),
        ("started_at", times(rows.clone().map(|row| Some(FROM + row as i64 * 7_200_000_001)))),
        (
            "duration_s",
            Arc::new(rows.clone().map(|row| (row % 7 != 0).then_some(row as i64 * 61)).collect::<Int64Array>()),
        ),
        ("mfa", Arc::new(rows.clone().map(|row| (row % 5 != 0).then_some(row % 2 == 0)).collect::<BooleanArray>())),
        ("link_method", text(rows.clone().map(|row| Some(if row % 3 == 0 { "none" } else { "explicit" })))),
        ("status", text(rows.clone().map(status))),
        ("status_by", text(rows.clone().map(|row| status(row).map(|_| "erin@example.com")))),
        ("status_at", times(rows.clone().map(|row| status(row).map(|_| FROM + 9 * DAY)))),
        ("status_note", text(rows.clone().map(note))),
        ("evidence", Arc::new(evidence.finish())),
    ]);
    let in_scope = rows.clone().filter(|row| verdict(*row) != "excluded");
    let mut ranked = in_scope.map(|row| (rank(&key(row)), key(row))).collect::<Vec<_>>();
    ranked.sort_unstable();
    ranked.truncate(3);
    let sample = table([
        ("rank", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef),
        ("rank_sha256", text(ranked.iter().map(|(rank, _)| Some(rank.as_str())))),
        ("replacement", Arc::new(BooleanArray::from(vec![false, false, true]))),
        ("key", text(ranked.iter().map(|(_, key)| Some(key.as_str())))),
        ("person", text(["alice", "bob", "=carol"].map(Some))),
        ("started_at", times([Some(FROM), None, Some(FROM + 1)])),
    ]);
    let counts =
        Counts { population: 28, excluded: 2, pass: 18, exceptions: 6, warnings: 3, information: 0, not_applicable: 1 };
    let words =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
    ReportResult {
        ipe: json!({ "report": "R02", "period": { "from": "2026-11-16T00:00:00Z" }, "tables": [{ "name": "events", "version": 1204 }], "sealed": true }),
        id: "R02".to_owned(),
        version: 1,
        title: "Sessions without an approved request".to_owned(),
        question: "Which sessions began without an approval that was in force?".to_owned(),
        population_words: "Sessions on privileged targets that began in the period, or began before and were open in it".to_owned(),
        controls: ["SOC2 CC6.2", "SOC2 CC6.3", "PCI 7.2.3", "ISO A.8.2"].map(str::to_owned).into(),
        parameters: words(&[("from", "2026-11-16T00:00:00Z"), ("to", "2026-11-23T00:00:00Z"), ("grace_s", "0")]),
        sql: "SELECT 1".to_owned(),
        sql_sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned(),
        versions: vec![("events".to_owned(), 1204), ("frames".to_owned(), 388)],
        references: vec![("privileged".to_owned(), "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(), 14)],
        counts,
        completeness_words: "Complete: 3 partitions of 1 source, 184,302 messages, no gaps. The newest message came 2 s after it was written.".to_owned(),
        result_sha256: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae".to_owned(),
        population_sha256: POPULATION.to_owned(),
        why_words: words(&[
            ("no_link", "Nothing links the session to a request or a decision"),
            ("request_pending", "Its request was still pending when it began"),
            ("inferred_only", "Only an inferred link: likely, not certain"),
            ("not_known", "The gateway does not say when it began"),
        ]),
        columns: batch.schema().fields().iter().map(|field| (field.name().clone(), format!("What {} is", field.name()))).collect(),
        rows: vec![batch.slice(0, 11), batch.slice(11, 19)],
        sample: Some(Sample {
            method: "The lowest ranks; a rank is the SHA-256 of seed, population hash and key".to_owned(),
            strata: None,
            seed: SEED.to_owned(),
            seed_origin: "Given by the auditor".to_owned(),
            n: 2,
            population: 28,
            confidence: Some(0.9),
            tolerable: Some(0.1),
            expected: Some(0),
            rows: sample,
        }),
    }
}

fn nothing() -> ReportResult {
    ReportResult {
        id: "R09".to_owned(),
        title: "Use of break-glass access".to_owned(),
        question: "Was every use of break-glass access reviewed in time, by somebody else?".to_owned(),
        population_words: "Sessions with a break-glass role".to_owned(),
        parameters: Vec::new(),
        references: Vec::new(),
        counts: Counts::default(),
        rows: Vec::new(),
        sample: None,
        ..sessions()
    }
}

fn packed(reports: &[ReportResult]) -> (Vec<u8>, Written) {
    packed_as("Privileged access, week 47 of 2026", "Example Bank AG", reports)
}

fn packed_as(title: &str, entity: &str, reports: &[ReportResult]) -> (Vec<u8>, Written) {
    let completeness = table([
        ("source", text([Some("teleport-main")])),
        ("first_offset", Arc::new(Int64Array::from(vec![0])) as ArrayRef),
        ("missing", Arc::new(Int64Array::from(vec![0]))),
    ]);
    let pack = Pack {
        title: title.to_owned(),
        entity: entity.to_owned(),
        environment: "production".to_owned(),
        control: None,
        from: FROM,
        to: FROM + 7 * DAY,
        as_of: FROM + 8 * DAY,
        prepared_by: "erin@example.com".to_owned(),
        tool: "custody 0.1.0".to_owned(),
        reports,
        activity: Some(completeness.clone()),
        completeness,
    };
    let mut out = Cursor::new(Vec::new());
    let written = write(&pack, &mut out).unwrap();
    (out.into_inner(), written)
}

fn example() -> (Vec<u8>, Written) {
    packed(&[sessions(), nothing()])
}

/// The pack, unpacked.
fn unpacked(zip: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    zip::ZipArchive::new(Cursor::new(zip)).unwrap().extract(folder.path()).unwrap();
    folder
}

#[test]
fn the_same_pack_gives_the_same_bytes() {
    let (first, written) = example();
    let (second, _) = example();
    assert_eq!(first, second);
    if let Ok(kept) = std::env::var("PACK_KEPT") {
        fs::write(kept, &first).unwrap();
    }
    let paths = written.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>();
    let expected = [
        "data/R02/exceptions.csv",
        "data/R02/population.csv",
        "data/R02/report.json",
        "data/R02/result.parquet",
        "data/R02/sample.csv",
        "data/R09/exceptions.csv",
        "data/R09/population.csv",
        "data/R09/report.json",
        "data/R09/result.parquet",
        "data/activity/access-log.csv",
        "data/completeness/ingest-ledger.csv",
        "data/query/R02.dictionary.csv",
        "data/query/R02.params.json",
        "data/query/R02.sql",
        "data/query/R09.dictionary.csv",
        "data/query/R09.params.json",
        "data/query/R09.sql",
        "data/report.pdf",
        "data/report.xlsx",
        "README.html",
        "bag-info.txt",
        "bagit.txt",
        "manifest-sha256.txt",
        "manifest.json",
        "tagmanifest-sha256.txt",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn the_bag_is_checked_with_ordinary_tools_and_a_change_is_found() {
    let (zip, written) = example();
    let folder = unpacked(&zip);
    let bag = folder.path();
    let check = |manifest: &str| {
        Command::new("sha256sum")
            .args(["--strict", "--status", "-c", manifest])
            .current_dir(bag)
            .status()
            .unwrap()
            .success()
    };
    assert!(check("manifest-sha256.txt") && check("tagmanifest-sha256.txt"));
    for file in &written.files {
        assert_eq!(fs::metadata(bag.join(&file.path)).unwrap().len(), file.bytes, "{}", file.path);
    }
    let oxum = written.files.iter().filter(|file| file.path.starts_with("data/"));
    let (bytes, count) = oxum.fold((0, 0), |(bytes, count), file| (bytes + file.bytes, count + 1));
    assert!(
        fs::read_to_string(bag.join("bag-info.txt")).unwrap().contains(&format!("Payload-Oxum: {bytes}.{count}\n"))
    );

    fs::write(bag.join("data/query/R02.sql"), "SELECT 2").unwrap();
    assert!(!check("manifest-sha256.txt"));
}

#[test]
fn the_tables_have_every_row_and_no_formula() {
    let (zip, written) = example();
    let rows = |path: &str| written.files.iter().find(|file| file.path == path).unwrap().rows;
    assert_eq!(rows("data/R02/population.csv"), Some(30));
    assert_eq!(rows("data/R02/exceptions.csv"), Some(6));
    assert_eq!(rows("data/R02/result.parquet"), Some(30));
    assert_eq!(rows("data/R09/population.csv"), Some(0));
    let folder = unpacked(&zip);
    let read = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
    assert!(read("data/R02/population.csv").contains(",\"'=HYPERLINK("));
    assert!(read("data/R09/population.csv").starts_with("key,verdict,why,source,"));
    assert!(read("data/R02/sample.csv").contains(",'=carol,"));
    assert_eq!(serde_json::from_str::<Value>(&read("data/R02/report.json")).unwrap(), sessions().ipe);
    let manifest: Value = serde_json::from_str(&read("manifest.json")).unwrap();
    assert_eq!(manifest["period"]["to"], "2026-11-23T00:00:00.000000Z");
    assert_eq!(manifest["files"].as_array().unwrap().len(), 19);
    assert!(!read("README.html").contains("<script"));
}

#[test]
fn an_id_that_is_a_path_or_is_there_twice_is_refused() {
    for ids in [&["../R02"][..], &[""], &["R02", "r02"], &["summary"], &["R0000000000000002"]] {
        let reports = ids.iter().map(|id| ReportResult { id: (*id).to_owned(), ..nothing() }).collect::<Vec<_>>();
        assert!(matches!(check_ids(&reports), Err(EvidenceError::Id(_))), "{ids:?}");
    }
}

/// The script is what an auditor runs: it has to find the sample with nothing but what is in the pack.
#[test]
fn a_sample_is_drawn_again_with_the_script_of_the_pack() {
    let (zip, _) = example();
    let folder = unpacked(&zip);
    let arguments = ["-c", readme::REDRAW, "data/R02/population.csv", SEED, POPULATION, "3"];
    let Ok(drawn) = Command::new("python3").args(arguments).current_dir(folder.path()).output() else {
        eprintln!("skipped: there is no python3");
        return;
    };
    let sample = sessions().sample.unwrap().rows;
    let rows = tables::Rows::new(&sample).unwrap();
    let text = |column, row| rows.text(rows.column(column), row).unwrap();
    let expected = (0..3).map(|row| format!("{} {}\n", text("rank_sha256", row), text("key", row))).collect::<String>();
    assert_eq!(String::from_utf8(drawn.stdout).unwrap(), expected);
}

#[test]
fn thousands_of_exceptions_and_unknown_columns_do_no_harm() {
    let keys = (0..5_000).map(|row| format!("s/{row}")).collect::<Vec<_>>();
    let rows = table([
        ("key", text(keys.iter().map(|key| Some(key.as_str())))),
        ("verdict", text(keys.iter().map(|_| Some("exception")))),
        ("at", times(keys.iter().map(|_| Some(i64::MAX)))),
    ]);
    let counts = Counts { population: 5_000, exceptions: 5_000, ..Counts::default() };
    let (zip, written) = packed(&[ReportResult { rows: vec![rows], counts, ..nothing() }]);
    assert_eq!(written.files.iter().find(|file| file.path == "data/R09/exceptions.csv").unwrap().rows, Some(5_000));
    // 200 of them are printed: some pages, not hundreds.
    let pdf = fs::read(unpacked(&zip).path().join("data/report.pdf")).unwrap();
    let pages = pdf.windows(11).filter(|bytes| bytes == b"/Type /Page").count();
    assert!((8..20).contains(&pages), "{pages}");
    if let Ok(kept) = std::env::var("PACK_KEPT") {
        fs::write(kept + ".many.pdf", pdf).unwrap();
    }
}

#[test]
fn hostile_words_do_no_harm_wherever_they_stand() {
    for text in hostile() {
        let pairs = vec![(text.clone(), text.clone()), (text.clone(), text.clone())];
        let mut report = sessions();
        for field in [&mut report.title, &mut report.question, &mut report.population_words, &mut report.sql] {
            field.clone_from(&text);
        }
        report.ipe = json!({ text.as_str(): [text] });
        report.controls = vec![text.clone()];
        report.versions = vec![(text.clone(), u64::MAX)];
        report.references = vec![(text.clone(), text.clone(), u64::MAX)];
        report.counts = Counts { exceptions: u64::MAX, ..report.counts };
        (report.parameters, report.why_words, report.columns) = (pairs.clone(), pairs.clone(), pairs);
        let renamed = report.rows[0].schema().fields().len();
        let columns = report.rows[0].columns().iter().cloned();
        let names = std::iter::repeat_n(text.as_str(), renamed);
        let rows =
            RecordBatch::try_from_iter_with_nullable(names.zip(columns).map(|(name, column)| (name, column, true)));
        report.sample.as_mut().unwrap().rows = rows.unwrap();
        let (zip, written) = packed_as(&text, &text, &[report]);
        let folder = unpacked(&zip);
        let about = fs::read_to_string(folder.path().join("bag-info.txt")).unwrap();
        assert_eq!(about.lines().count(), 7, "{about}");
        assert_eq!(written.files.len(), 18);
        if let Ok(kept) = std::env::var("PACK_KEPT") {
            fs::write(format!("{kept}.{}", text.len()), zip).unwrap();
        }
    }
}

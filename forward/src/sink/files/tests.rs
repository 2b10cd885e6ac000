//! Files as others read them.

use std::collections::BTreeSet;
use std::process::Command;

use arrow::datatypes::{DataType, FieldRef};
use object_store::memory::InMemory;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::receiver::{item, skip};
use super::*;
use crate::schema::tests::corpus::{self, Case};
use crate::schema::{event_id, time};

const DAY: i64 = 86_400_000_000;

fn files(to: &Path, lake: Option<Value>) -> Files {
    let schema = if lake.is_some() { Schema::Ocsf } else { Schema::Custody };
    Files::new(&serde_json::from_value(json!({ "to": to, "security_lake": lake })).unwrap(), schema).unwrap()
}

fn lake() -> Option<Value> {
    Some(json!({ "region": "eu-central-1", "account": "123456789012" }))
}

fn ocsf(case: &Case) -> Item {
    let notice = case.notice();
    Item {
        revision: 0,
        id: event_id(&notice).into_owned(),
        at: time(&notice).0,
        kind: notice.event.kind.as_str().to_owned(),
        body: Schema::Ocsf.write(&notice, usize::MAX).into(),
    }
}

fn references(items: &[Item]) -> Vec<&Item> {
    items.iter().collect()
}

/// Every file below a folder, with its bytes.
fn found(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn visit(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    visit(folder, folder, &mut files);
    files
}

/// What a program of Python prints; `None`, said loudly, where there is none.
fn python(python: &Path, program: &str, folder: &Path) -> Option<Value> {
    let Ok(output) = Command::new(python).args(["-c", program]).arg(folder).output() else {
        skip(&format!("{} is not there", python.display()));
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test]
async fn lines_are_read_back_by_days_and_in_the_order_of_time() {
    let folder = tempfile::tempdir().unwrap();
    let sink = files(folder.path(), None);
    let mut items: Vec<Item> =
        (0..100).map(|n| item(&format!("e-{n:02}"), &format!("{{\"n\":{n},\"text\":\"é\\n\"}}"))).collect();
    for (n, item) in items.iter_mut().enumerate() {
        // Backwards, and from three days.
        item.at -= n as i64 * DAY / 40;
    }
    assert_eq!(sink.send(&references(&items)).await, Ok(Reply::default()));
    let names: Vec<String> = found(folder.path()).into_keys().collect();
    let pattern =
        regex::Regex::new(r"^date=2025-0[56]-[0-9]{2}/events-2025[0-9]{4}T[0-9]{6}Z-[0-9a-f]{32}\.ndjson\.gz$");
    let pattern = pattern.unwrap();
    assert_eq!(names.len(), 4);
    assert!(names.iter().all(|name| pattern.is_match(name)), "{names:?}");
    let program = "
import glob, gzip, json, sys
files = sorted(glob.glob(sys.argv[1] + '/date=*/*.ndjson.gz'))
print(json.dumps([[json.loads(line) for line in gzip.open(file, 'rt', encoding='utf-8')] for file in files]))";
    let Some(read) = python(Path::new("python3"), program, folder.path()) else { return };
    let expected =
        |range: std::ops::Range<i64>| range.rev().map(|n| json!({"n": n, "text": "é\n"})).collect::<Vec<_>>();
    // 09:00 is 15 fortieths of a day.
    assert_eq!(read, json!([expected(96..100), expected(56..96), expected(16..56), expected(0..16)]));
}

#[tokio::test]
async fn a_batch_that_is_sent_again_replaces_its_own_files() {
    for lake in [None, lake()] {
        let folder = tempfile::tempdir().unwrap();
        let sink = files(folder.path(), lake.clone());
        let items: Vec<Item> = corpus::examples().iter().map(|(_, case)| ocsf(case)).collect();
        assert_eq!(sink.send(&references(&items)).await, Ok(Reply::default()));
        let once = found(folder.path());
        assert_eq!(sink.send(&references(&items)).await, Ok(Reply::default()));
        assert_eq!(found(folder.path()), once);
        // Another batch has other names.
        assert_eq!(sink.send(&references(&items[1..])).await, Ok(Reply::default()));
        assert!(found(folder.path()).len() > once.len());
        assert!(once.keys().all(|name| !name.contains(".part-")));
    }
}

#[tokio::test]
async fn any_time_has_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let sink = files(folder.path(), None);
    let times = [i64::MIN, -1, 0, i64::MAX];
    let items: Vec<Item> = times.into_iter().map(|at| Item { at, ..item("a", "{}") }).collect();
    assert_eq!(sink.send(&references(&items)).await, Ok(Reply::default()));
    let names: BTreeSet<String> =
        found(folder.path()).into_keys().map(|name| name.split('/').next().unwrap().to_owned()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.contains("date=1969-12-31") && names.contains("date=1970-01-01"), "{names:?}");
}

#[tokio::test]
async fn a_folder_that_is_gone_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().join("mount");
    std::fs::create_dir(&mount).unwrap();
    let sink = files(&mount, None);
    std::fs::remove_dir(&mount).unwrap();
    let event = item("a", "{}");
    assert!(matches!(sink.send(&[&event]).await, Err(SendError::Transient { .. })));
    assert!(!mount.exists());
    std::fs::create_dir(&mount).unwrap();
    assert_eq!(sink.send(&[&event]).await, Ok(Reply::default()));
}

#[tokio::test]
async fn an_object_store_gets_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let items: Vec<Item> = corpus::examples().iter().map(|(_, case)| ocsf(case)).collect();
    for lake in [None, lake()] {
        let into_folder = files(folder.path(), lake);
        let store = Arc::new(InMemory::new());
        let place = Place::Store { store: store.clone(), prefix: Key::from("a/b") };
        let into_store = Files { place, lake: into_folder.lake.clone() };
        for sink in [&into_folder, &into_store] {
            assert_eq!(sink.send(&references(&items)).await, Ok(Reply::default()));
        }
        for (name, bytes) in found(folder.path()) {
            let key = Key::parse(format!("a/b/{name}")).unwrap();
            let got = store.get(&key).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(got.bytes().await.unwrap(), bytes, "{name}");
        }
        std::fs::remove_dir_all(folder.path()).unwrap();
        std::fs::create_dir(folder.path()).unwrap();
    }
}

#[tokio::test]
async fn what_is_no_event_of_ocsf_is_refused_alone() {
    let folder = tempfile::tempdir().unwrap();
    let sink = files(folder.path(), lake());
    let items = [ocsf(&corpus::full()), item("b", "{}"), item("c", "x")];
    let reply = sink.send(&references(&items)).await.unwrap();
    assert_eq!(reply.refused.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(found(folder.path()).len(), 1);
}

/// The events of a file, each as JSON.
fn rows(bytes: Vec<u8>) -> Vec<Value> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
    let mut writer = arrow::json::ArrayWriter::new(Vec::new());
    for batch in reader {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.finish().unwrap();
    serde_json::from_slice(&writer.into_inner()).unwrap()
}

/// What was written of one event, with the text of any JSON as JSON again.
fn read_back(item: &Item) -> Value {
    let bytes = ocsf::encode(ocsf::class_of(&item.body).unwrap(), std::slice::from_ref(item)).unwrap();
    let mut row = rows(bytes).remove(0);
    for path in ["/unmapped", "/entity/data"] {
        if let Some(value) = row.pointer_mut(path) {
            *value = serde_json::from_str(value.as_str().unwrap()).unwrap();
        }
    }
    row
}

#[test]
fn every_attribute_that_is_written_has_a_column() {
    for case in corpus::examples().into_iter().map(|(_, case)| case).chain([corpus::full(), corpus::finding()]) {
        let item = ocsf(&case);
        let written: Value = serde_json::from_slice(&item.body).unwrap();
        // Nothing else is in `unmapped`, or it would not be equal.
        assert_eq!(read_back(&item), written);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_event_is_read_back_as_it_was_written(case in corpus::case()) {
        let item = ocsf(&case);
        let written: Value = serde_json::from_slice(&item.body).unwrap();
        prop_assert_eq!(read_back(&item), written);
    }
}

#[test]
fn what_has_no_column_is_in_unmapped() {
    let row = |body: &str| rows(ocsf::encode(4007, &[item("a", body)]).unwrap()).remove(0);
    let unmapped = |body: &str| {
        let text = row(body)["unmapped"].as_str().map(str::to_owned);
        text.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
    };
    let cases = [
        (r#"{"class_uid":4007}"#, Value::Null),
        (r#"{"unmapped":{"custody":{"a":1}}}"#, json!({"custody": {"a": 1}})),
        (r#"{"new":[1],"unmapped":{"custody":{}}}"#, json!({"custody": {}, "new": [1]})),
        (r#"{"new":1,"unmapped":{"new":2}}"#, json!({"new": 1, "new_": 2})),
        (r#"{"actor":{"user":{"name":"a","uid":"u"}}}"#, json!({"actor": {"user": {"uid": "u"}}})),
        (r#"{"severity_id":"high"}"#, json!({"severity_id": "high"})),
        (r#"{"severity_id":3000000000}"#, json!({"severity_id": 3_000_000_000_i64})),
        (r#"{"observables":[{"name":"a"},{"other":1}]}"#, json!({"observables": [{"name": "a"}, {"other": 1}]})),
        (r#"{"query_info":{"query_string":"SELECT 1"}}"#, json!({"query_info": {"query_string": "SELECT 1"}})),
    ];
    for (body, expected) in cases {
        assert_eq!(unmapped(body), expected, "{body}");
    }
    assert_eq!(row(r#"{"actor":{"user":{"name":"a","uid":"u"}}}"#)["actor"]["user"], json!({"name": "a"}));
    // Numbers of the source stand as they stood.
    let text = r#"{"custody":{"detail":{"n":123456789012345678901234567890.5e400}}}"#;
    assert_eq!(row(&format!("{{\"unmapped\":{text}}}"))["unmapped"], text);
}

/// The published schema, cut down.
fn published() -> Value {
    serde_json::from_str(include_str!("../../schema/ocsf-1.8.0.json")).unwrap()
}

/// What a column should be, by the schema; `None` where it names no such attribute.
fn faults(path: &str, field: &FieldRef, attributes: &Value, published: &Value, faults: &mut Vec<String>) {
    let path = format!("{path}.{}", field.name());
    let Some(attribute) = attributes.get(field.name()) else {
        return faults.push(format!("{path}: no such attribute"));
    };
    let (of, is_list) = match field.data_type() {
        DataType::List(item) => (item.data_type(), true),
        of => (of, false),
    };
    let is_array = attribute["array"] == true;
    let name = attribute["type"].as_str().unwrap();
    let mut base = name;
    while let Some(of) = published["types"][base]["base"].as_str() {
        base = of;
    }
    let fits = match of {
        DataType::Struct(fields) => {
            let attributes = &published["objects"][name]["attributes"];
            fields.iter().for_each(|field| self::faults(&path, field, attributes, published, faults));
            attributes.is_object()
        }
        DataType::Utf8 => matches!(base, "string_t" | "json_t") || path.ends_with(".unmapped"),
        DataType::Int32 => base == "integer_t",
        DataType::Int64 => base == "long_t",
        DataType::Boolean => base == "boolean_t",
        _ => false,
    };
    if !fits || is_list != is_array {
        faults.push(format!("{path}: {of} (list: {is_list}) for {attribute}"));
    }
}

#[test]
fn columns_are_attributes_of_their_class() {
    let published = published();
    let mut found = Vec::new();
    let classes = published["classes"].as_object().unwrap();
    for class in classes.values() {
        let uid = class["class_uid"].as_i64().unwrap();
        for field in ocsf::schema(uid).fields() {
            faults(&uid.to_string(), field, &class["attributes"], &published, &mut found);
        }
    }
    assert_eq!(found, Vec::<String>::new());
    assert!(classes.len() >= 18);
}

#[tokio::test]
async fn duckdb_reads_what_security_lake_gets() {
    let cache = std::env::var_os("CUSTODY_CACHE").filter(|cache| !cache.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache/custody")));
    let duckdb = cache.unwrap_or_default().join("open-reader/bin/python");
    let folder = tempfile::tempdir().unwrap();
    let sink = files(folder.path(), lake());
    let mut cases: Vec<Case> = corpus::examples().into_iter().map(|(_, case)| case).chain([corpus::full()]).collect();
    // Not in the order of time.
    cases.reverse();
    let items: Vec<Item> = cases.iter().map(ocsf).collect();
    assert_eq!(sink.send(&references(&items)).await, Ok(Reply::default()));
    let program = "
import duckdb, glob, json, sys
root = sys.argv[1]
db = duckdb.connect()
read = lambda of: db.execute(of).fetchall()
files = sorted(glob.glob(root + '/ext/*/region=eu-central-1/accountId=123456789012/eventDay=*/*.parquet'))
out = {'rows': 0, 'unsorted': [], 'classes': {}, 'compression': set(), 'ids': [], 'wrong': []}
for file in files:
    day = file.split('eventDay=')[1].split('/')[0]
    source = file.split('/ext/')[1].split('/')[0]
    rows = read(f\"select time, class_uid, metadata.uid, strftime(make_timestamp(time * 1000), '%Y%m%d') from read_parquet('{file}', file_row_number = true) order by file_row_number\")
    out['rows'] += len(rows)
    out['ids'] += [row[2] for row in rows]
    if [row[0] for row in rows] != sorted(row[0] for row in rows):
        out['unsorted'].append(file)
    if {row[1] for row in rows} != {int(source.split('_')[1])} or {row[3] for row in rows} != {day}:
        out['wrong'].append(file)
    out['compression'] |= {row[0] for row in read(f\"select distinct compression from parquet_metadata('{file}')\")}
out['compression'] = sorted(out['compression'])
out['full'] = read(f\"\"\"select actor.user.name, src_endpoint.ip, src_endpoint.port, observables[3].value, metadata.profiles,
    unmapped->>'$.custody.access[0].reason', \\\"eventDay\\\" from read_parquet('{root}/ext/custody_4007/*/*/*/*.parquet', hive_partitioning = true)
    where metadata.uid = 'teleport/root.example.com/fff30583-1'\"\"\")
print(json.dumps(out))";
    if !duckdb.is_file() {
        skip(&format!("no DuckDB, `make open-reader` fetches it: {} is not there", duckdb.display()));
        return;
    }
    let read = python(&duckdb, program, folder.path()).unwrap();
    assert_eq!(read["rows"], items.len());
    assert_eq!((&read["unsorted"], &read["wrong"], &read["compression"]), (&json!([]), &json!([]), &json!(["ZSTD"])));
    let ids = |ids: &mut dyn Iterator<Item = String>| {
        let mut ids: Vec<String> = ids.collect();
        ids.sort();
        ids
    };
    let read_ids = read["ids"].as_array().unwrap();
    assert_eq!(
        ids(&mut read_ids.iter().map(|id| id.as_str().unwrap().to_owned())),
        ids(&mut items.iter().map(|item| item.id.clone()))
    );
    let expected = json!([[
        "alice@example.com",
        "203.0.113.10",
        50_339,
        "node-a.internal",
        ["host"],
        "INC-4711 restore",
        20_250_602
    ]]);
    assert_eq!(read["full"], expected);
}

#[test]
fn places_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().to_str().unwrap().to_owned();
    let made = |settings: Value, schema| {
        Files::new(&serde_json::from_value(settings).unwrap(), schema).err().map(|error| error.to_string())
    };
    let lake = |name: &str, value: &str| {
        let mut lake = lake().unwrap();
        lake[name] = json!(value);
        json!({ "to": here, "security_lake": lake })
    };
    let refused = [
        (json!({ "to": format!("{here}/missing") }), Schema::Custody, "has to be made first"),
        (json!({ "to": "https://siem.example/x" }), Schema::Custody, "no kind of store"),
        (json!({ "to": "file:///tmp" }), Schema::Custody, "no kind of store"),
        (json!({ "to": "memory:///x" }), Schema::Custody, "no kind of store"),
        (json!({ "to": "s3://user:hidden@bucket/x" }), Schema::Custody, "password"),
        (
            json!({ "to": "s3://bucket/x", "options": { "AWS_REGION": { "env": "CUSTODY_TEST_UNSET" } } }),
            Schema::Custody,
            "CUSTODY_TEST_UNSET",
        ),
        (lake("region", "../x"), Schema::Ocsf, "security_lake.region"),
        (lake("account", ""), Schema::Ocsf, "security_lake.account"),
        (lake("source", "sixteen_letters_"), Schema::Ocsf, "15 characters"),
        (lake("source", "custody"), Schema::Ecs, "takes OCSF"),
    ];
    for (settings, schema, why) in refused {
        let said = made(settings.clone(), schema).unwrap_or_else(|| panic!("{settings} was taken"));
        assert!(said.contains(why) && !said.contains("hidden"), "{settings}: {said}");
    }
    let options = json!({ "AWS_REGION": "eu-central-1", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_ACCESS_KEY_ID": "x" });
    let settings = json!({ "to": "s3://bucket/a/b", "options": options });
    assert_eq!(made(settings.clone(), Schema::Custody), None);
    let sink = Files::new(&serde_json::from_value(settings).unwrap(), Schema::Custody).unwrap();
    assert!(!format!("{sink:?}").contains("hidden"));
}

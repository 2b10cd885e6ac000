//! The HTTP face, asked as its clients ask it, on a ledger that a real broker filled.

use std::collections::BTreeSet;
use std::path::Path;

use arrow::ipc::reader::StreamReader;
use arrow::record_batch::RecordBatch;
use serde_json::{Value, json};

use crate::support::custody::{Custody, Producer, Topic, binary, say, stderr};
use crate::support::http::{Client, samples, total};
use crate::support::kafka::Broker;

const SESSIONS: usize = 25;

/// A message that is no JSON.
const BROKEN: &[u8] = b"<b>not JSON\xff";

/// Sessions of two people, every fifth of them with a request that covers it and no other; one is recorded. One message
/// cannot be decoded.
fn fill(broker: &Broker) -> Custody {
    let audit = Topic::create(broker, "teleport", 2);
    let casts = Topic::create(broker, "asciicast", 1);
    let custody = Custody::on(broker, &[audit.clone(), casts.clone()]);
    let producer = Producer::to(broker);
    let mut sent = 0;
    let mut send = |value: Value| {
        producer.value(&audit, sent % 2, value.to_string());
        sent += 1;
    };
    for number in 0..SESSIONS {
        let at = |minute: usize, second: u8| format!("2026-03-02T{:02}:{:02}:{second:02}Z", minute / 60, minute % 60);
        let time = at(480 + number, 0);
        let user = if number % 2 == 0 { "mira@example.net" } else { "noor@example.net" };
        let request = format!("r-{number}");
        let asked = number % 5 == 0;
        if asked {
            send(
                json!({"event": "access_request.create", "uid": format!("c{number}"), "cluster_name": "gate", "id": request,
                "time": at(479 + number, 10), "user": user, "state": "PENDING", "reason": format!("OPS-{number} look"),
                "roles": ["db"], "expires": at(480 + number, 30)}),
            );
            send(
                json!({"event": "access_request.review", "uid": format!("v{number}"), "cluster_name": "gate", "id": request,
                "time": at(479 + number, 20), "reviewer": "lead@example.net", "proposed_state": "APPROVED",
                "state": "APPROVED"}),
            );
        }
        send(
            json!({"event": "session.start", "uid": format!("s{number}"), "cluster_name": "gate", "sid": format!("id-{number}"),
            "time": time, "user": user, "server_hostname": "db-1", "proto": "ssh", "size": "80:25",
            "access_requests": if asked { vec![request] } else { Vec::new() }}),
        );
    }
    for line in [
        r#"{"version":2,"width":90,"height":20}"#,
        r#"[0.5,"o","hello \u001b[31mred\u001b[0m\r\n"]"#,
        r#"[1.0,"x","0"]"#,
    ] {
        producer.keyed(&casts, "cast-1", line);
    }
    producer.value(&audit, 0, BROKEN);
    producer.flush();
    let mut ingest = custody.ingest();
    custody.wait_for_records(sent as u64 + 4, &mut ingest);
    ingest.stop();
    custody
}

fn ids(answer: &Value) -> Vec<String> {
    let sessions = answer["sessions"].as_array().expect("sessions");
    sessions.iter().map(|session| session["session_id"].as_str().expect("an id").to_owned()).collect()
}

fn error_kind(client: &Client, method: &str, path: &str, body: &[u8]) -> (u16, String) {
    let answer = client.send(method, path, &[("content-type", "application/json")], body).expect("an answer");
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{path}: {}", answer.text()));
    let shape =
        (body.as_object().map_or(0, |body| body.len()), body["error"].as_object().map_or(0, |error| error.len()));
    assert_eq!(shape, (1, 2), "{path}: {body}");
    assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{path}: {body}");
    (answer.status, body["error"]["kind"].as_str().expect("a kind").to_owned())
}

#[test]
fn the_api_answers_and_refuses_as_it_says() {
    const TEST: &str = "the_api_answers_and_refuses_as_it_says";
    let Some(broker) = Broker::shared_or_skip(TEST) else { return };
    let custody = fill(broker);
    let (mut serve, client) = custody.serve();
    assert_eq!(client.get("/healthz").status, 200);
    let ready = client.get("/readyz");
    assert_eq!((ready.status, ready.json()["ready"].clone()), (200, json!(true)));

    // Pages hold every session once, newest first.
    let mut seen = Vec::new();
    let mut path = "/api/v1/sessions?limit=7".to_owned();
    loop {
        let page = client.get(&path).json();
        seen.extend(ids(&page));
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/sessions?limit=7&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), SESSIONS + 1);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), SESSIONS + 1);

    // Each filter, and two at once.
    let count = |query: &str| ids(&client.get(&format!("/api/v1/sessions?limit=1000&{query}")).json()).len();
    assert_eq!(count("actor=mira@example.net"), 13);
    assert_eq!(count("request=r-5"), 1);
    assert_eq!(count("link=explicit"), 5);
    assert_eq!(count("link=none&actor=noor@example.net"), 10);
    assert_eq!(count("reason=ops-20"), 1);
    assert_eq!(count("from=2026-03-02T08:10:00Z&to=2026-03-02T08:12:00Z"), 2);
    assert_eq!(count("target=nowhere"), 0);

    let session = client.get("/api/v1/sessions/id-5").json();
    assert_eq!(session["links"][0]["reason"], "OPS-5 look");
    assert_eq!(session["links"][0]["approvers"], json!(["lead@example.net"]));
    assert_eq!(session["recording"], "none");

    let cast = client.get("/api/v1/sessions/cast-1/recording.cast");
    assert_eq!(cast.status, 200);
    let lines: Vec<Value> = cast.text().lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
    assert_eq!((&lines[0]["width"], &lines[0]["height"]), (&json!(90), &json!(20)));
    assert_eq!(lines[1], json!([0.5, "o", "hello \u{1b}[31mred\u{1b}[0m\r\n"]));

    // One question in every format.
    let ask = |format: &str| {
        let sql = "SELECT session_id, started_at FROM sessions WHERE session_id IN ('id-1', 'id-2') ORDER BY 1";
        client.post_json("/api/v1/sql", &json!({"sql": sql, "format": format}))
    };
    let rows = json!([
        {"session_id": "id-1", "started_at": "2026-03-02T08:01:00.000000Z"},
        {"session_id": "id-2", "started_at": "2026-03-02T08:02:00.000000Z"}
    ]);
    assert_eq!(ask("json").json(), rows);
    let ndjson: Vec<Value> =
        ask("ndjson").text().lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    assert_eq!(Value::Array(ndjson), rows);
    let csv = ask("csv").text().replace("\r\n", "\n");
    assert_eq!(csv, "session_id,started_at\nid-1,2026-03-02T08:01:00.000000Z\nid-2,2026-03-02T08:02:00.000000Z\n");
    let arrow = ask("arrow");
    assert_eq!(arrow.headers["content-type"], "application/vnd.apache.arrow.stream");
    let batches = StreamReader::try_new(arrow.body.as_slice(), None).expect("an Arrow stream");
    let batches = batches.collect::<Result<Vec<_>, _>>().expect("its batches");
    assert!(batches.iter().map(RecordBatch::num_rows).sum::<usize>() > 0);
    assert!(arrow.headers["x-custody-versions"].starts_with("records="));

    let cut = client.post_json("/api/v1/sql", &json!({"sql": "SELECT session_id FROM sessions", "rows_max": 3}));
    assert_eq!(cut.json().as_array().map(Vec::len), Some(3));
    assert_eq!(cut.headers["x-custody-truncated"], "true");

    // What is refused, and how.
    let sql = |sql: &str| error_kind(&client, "POST", "/api/v1/sql", json!({"sql": sql}).to_string().as_bytes());
    for statement in [
        "INSERT INTO events SELECT * FROM events",
        "DROP VIEW sessions",
        "COPY events TO '/tmp/x.csv'",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "SET datafusion.execution.batch_size = 1",
    ] {
        assert_eq!(sql(statement), (403, "forbidden".to_owned()), "{statement}");
    }
    assert_eq!(sql("SELEC 1"), (400, "query".to_owned()));
    assert_eq!(sql("SELECT * FROM '/etc/passwd'"), (400, "query".to_owned()));
    let refused = |method, path: &str, body: &[u8]| error_kind(&client, method, path, body).0;
    assert_eq!(refused("POST", "/api/v1/sql", b"{"), 400);
    assert_eq!(refused("POST", "/api/v1/sql", br#"{"sql":"SELECT 1","format":"xml"}"#), 400);
    assert_eq!(refused("POST", "/api/v1/sql", br#"{"sql":"SELECT 1","formt":"csv"}"#), 422);
    assert_eq!(refused("POST", "/api/v1/sql", format!("{{\"sql\":\"{}\"}}", "x".repeat(1 << 20)).as_bytes()), 413);
    assert_eq!(refused("GET", "/api/v1/sessions?after=nonsense", b""), 400);
    assert_eq!(refused("GET", "/api/v1/sessions?limit=0", b""), 400);
    assert_eq!(refused("GET", "/api/v1/sessions?from=yesterday", b""), 400);
    assert_eq!(refused("GET", "/api/v1/sessions?colour=red", b""), 400);
    assert_eq!(refused("GET", "/api/v1/sessions/nobody", b""), 404);
    assert_eq!(refused("GET", "/api/v1/sessions/id-5/recording.cast", b""), 404);
    assert_eq!(refused("GET", "/nowhere", b""), 404);
    assert_eq!(refused("DELETE", "/api/v1/sessions", b""), 405);
    assert_eq!(refused("GET", "/api/v1/sessions/%ff", b""), 400);
    let rebound = client.send("GET", "/healthz", &[("host", "evil.example:80")], b"").expect("an answer");
    assert_eq!(rebound.status, 421);

    let arrow =
        client.post_json("/api/v1/sql", &json!({"sql": "SELECT session_id FROM sessions", "format": "parquet"}));
    assert_eq!(arrow.headers["content-type"], "application/vnd.apache.parquet");
    assert!(arrow.body.starts_with(b"PAR1") && arrow.body.ends_with(b"PAR1"));

    // What was asked for is counted, and how it ended.
    let metrics = client.get("/metrics");
    assert_eq!(metrics.status, 200);
    let metrics = samples(&metrics.text());
    let asked = |labels: &[&str]| total(&metrics, "custody_query_questions_total", labels);
    assert!(asked(&[r#"verb="sql""#, r#"outcome="done""#]) >= 5.0, "{metrics:?}");
    assert_eq!(asked(&[r#"verb="sql""#, r#"outcome="cut""#]), 1.0);
    assert_eq!(asked(&[r#"verb="sql""#, r#"outcome="refused""#]), 7.0);
    assert_eq!(total(&metrics, "custody_query_failures_total", &[r#"kind="forbidden""#]), 5.0);
    assert!(total(&metrics, "custody_query_rows_total", &[r#"channel="http""#]) > 0.0);
    assert!(total(&metrics, "custody_query_seconds_count", &[r#"verb="sessions""#]) > 0.0);
    serve.stop();
}

#[test]
fn what_a_page_shows_comes_in_one_answer() {
    const TEST: &str = "what_a_page_shows_comes_in_one_answer";
    let Some(broker) = Broker::shared_or_skip(TEST) else { return };
    let custody = fill(broker);
    let (mut serve, client) = custody.serve();
    let refused = |path: &str| error_kind(&client, "GET", path, b"").0;

    // Requests: pages hold each once, and one has its reviews and sessions.
    let ids = |page: &Value| -> Vec<String> {
        let requests = page["requests"].as_array().expect("requests");
        requests.iter().map(|request| request["request_id"].as_str().expect("an id").to_owned()).collect()
    };
    let mut seen = Vec::new();
    let mut path = "/api/v1/requests?limit=2".to_owned();
    loop {
        let page = client.get(&path).json();
        seen.extend(ids(&page));
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/requests?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["r-20", "r-15", "r-10", "r-5", "r-0"]);
    let of = |query: &str| ids(&client.get(&format!("/api/v1/requests?{query}")).json());
    assert_eq!(of("state=expired&requester=noor@example.net"), ["r-15", "r-5"]);
    assert_eq!(of("reason=ops-20%20LOOK"), ["r-20"]);
    assert_eq!(of("from=2026-03-02T08:04:00Z&to=2026-03-02T08:10:00Z"), ["r-10", "r-5"]);
    assert!(of("state=in_force").is_empty() && of("requester=%27%20OR%201=1").is_empty());
    let request = client.get("/api/v1/requests/r-5").json();
    assert_eq!((&request["source"], &request["reason"]), (&json!("teleport"), &json!("OPS-5 look")));
    assert_eq!(request["reviews"][0]["reviewer"], "lead@example.net");
    assert_eq!(request["sessions"][0]["session_id"], "id-5");
    assert_eq!(request["sessions"].as_array().map(Vec::len), Some(1));
    assert_eq!(client.get("/api/v1/requests?limit=1").json()["requests"][0]["sessions"], 1);
    assert_eq!(refused("/api/v1/requests?state=nonsense"), 400);
    assert_eq!(refused("/api/v1/requests?limit=1001"), 400);
    assert_eq!(refused("/api/v1/requests?after=nonsense"), 400);
    assert_eq!(refused("/api/v1/requests/nobody"), 404);
    assert_eq!(refused("/api/v1/requests/r-5?source=hoop"), 404);

    // Dead letters: as they came, and never to be shown.
    let letters = client.get("/api/v1/dead-letters").json();
    let letter = &letters["dead_letters"][0];
    assert_eq!(letters["dead_letters"].as_array().map(Vec::len), Some(1));
    assert_eq!((&letter["value_bytes"], &letter["source"]), (&json!(BROKEN.len()), &json!("teleport")));
    let address = format!(
        "/api/v1/dead-letters/{}/{}/{}",
        letter["topic"].as_str().expect("a topic"),
        letter["partition"],
        letter["offset"]
    );
    let detail = client.get(&address).json();
    assert_eq!(detail["value"]["text"], "<b>not JSON\u{fffd}");
    assert_eq!((&detail["value"]["truncated"], &detail["key"]), (&json!(false), &Value::Null));
    let bytes = client.get(&format!("{address}/bytes"));
    assert_eq!(bytes.body, BROKEN);
    assert_eq!(bytes.headers["content-type"], "application/octet-stream");
    assert!(bytes.headers["content-disposition"].starts_with("attachment; filename="));
    assert_eq!(bytes.headers["x-content-type-options"], "nosniff");
    assert_eq!(refused(&format!("{address}/bytes?part=key")), 404);
    assert_eq!(refused(&format!("{address}/bytes?part=header")), 400);
    assert_eq!(refused("/api/v1/dead-letters/nowhere/0/0"), 404);
    assert_eq!(refused("/api/v1/dead-letters/nowhere/x/0"), 400);

    let pipeline = client.get("/api/v1/pipeline").json();
    assert_eq!(pipeline["dead_letters"], 1);
    let streams = pipeline["streams"].as_array().expect("streams");
    assert_eq!(streams.iter().filter_map(|of| of["records"].as_u64()).sum::<u64>(), SESSIONS as u64 + 5 * 2 + 3 + 1);
    let records = pipeline["tables"].as_array().expect("tables").iter().find(|of| of["table"] == "records");
    assert_eq!(records.expect("records")["rows"], SESSIONS + 5 * 2 + 3 + 1);
    assert!(pipeline["sources"].as_array().expect("sources").iter().any(|of| of["silent_s"].is_u64()));
    assert_eq!(pipeline["destinations"], json!([]));

    // The overview is worked out once for a state of the ledger; who asked is written down each time.
    let overview = client.get("/api/v1/overview?days=366").json();
    let sum = |name: &str| -> i64 {
        overview["by_day"].as_array().expect("days").iter().filter_map(|of| of[name].as_i64()).sum()
    };
    assert_eq!(
        (sum("approved"), overview["latest"].as_array().map(Vec::len)),
        (sum("sessions") - overview["unapproved"]["count"].as_i64().expect("a count"), Some(10))
    );
    assert_eq!(overview["running"]["count"], SESSIONS);
    assert_eq!(client.get("/api/v1/overview?days=366").json()["at"], overview["at"]);
    assert_ne!(client.get("/api/v1/overview?days=365").json()["at"], overview["at"]);
    assert_eq!(client.get("/api/v1/overview/weeks").json()["weeks"].as_array().map(Vec::len), Some(8));
    for days in ["0", "367", "x"] {
        assert_eq!(refused(&format!("/api/v1/overview?days={days}")), 400, "{days}");
    }

    // Recordings as files.
    let export = |query: &str| client.get(&format!("/api/v1/sessions/cast-1/export?{query}"));
    for (format, media_type, ending, begins) in [
        ("asciicast-v2", "application/x-asciicast", "cast", "{\"version\":2"),
        ("asciicast-v3", "application/x-asciicast", "cast", "{\"version\":3"),
        ("text", "text/plain; charset=utf-8", "txt", "hello red"),
        ("raw", "application/octet-stream", "raw", "hello \u{1b}[31mred"),
        ("html", "text/html; charset=utf-8", "html", "<!doctype html>"),
    ] {
        let file = export(&format!("as={format}"));
        assert_eq!((file.status, file.headers["content-type"].as_str()), (200, media_type), "{format}");
        assert_eq!(file.headers["content-disposition"], format!("attachment; filename=\"cast-1.{ending}\""));
        assert_eq!(file.headers["x-content-type-options"], "nosniff");
        assert!(file.headers["content-security-policy"].starts_with("sandbox"), "{format}");
        assert!(file.text().to_lowercase().starts_with(begins), "{format}: {}", file.text());
    }
    assert_eq!(export("as=asciicast-v2").body, client.get("/api/v1/sessions/cast-1/recording.cast").body);
    assert_eq!(refused("/api/v1/sessions/cast-1/export"), 400);
    assert_eq!(refused("/api/v1/sessions/cast-1/export?as=exe"), 400);
    assert_eq!(refused("/api/v1/sessions/cast-1/export?as=text&from=yesterday"), 400);
    assert_eq!(refused("/api/v1/sessions/cast-1/export?as=text&from=10:00"), 400);
    assert_eq!(refused("/api/v1/sessions/cast-1/export?as=text&channel=other"), 404);
    assert_eq!(refused("/api/v1/sessions/cast-1/export?as=text&source=hoop"), 404);
    assert_eq!(refused("/api/v1/sessions/id-5/export?as=text"), 404);
    assert_eq!(refused("/api/v1/sessions/nobody/export?as=text"), 404);

    // Each answer has a row of its own before it.
    let sql = "SELECT verb, count(*) AS n FROM custody_activity WHERE outcome = 'done' GROUP BY verb";
    let asked = client.post_json("/api/v1/sql", &json!({"sql": sql})).json();
    let times = |verb: &str| {
        let row = asked.as_array().expect("rows").iter().find(|row| row["verb"] == verb);
        row.and_then(|row| row["n"].as_u64()).unwrap_or_default()
    };
    assert_eq!((times("overview"), times("overview weeks"), times("pipeline")), (3, 1, 1));
    assert_eq!((times("dead letters"), times("dead letter"), times("dead letter bytes")), (1, 2, 2));
    assert!(times("requests") >= 9 && times("request") >= 1 && times("export") >= 6, "{asked}");
    serve.stop();
}

#[test]
fn a_browser_is_given_the_page_and_a_program_what_it_asked_for() {
    const TEST: &str = "a_browser_is_given_the_page_and_a_program_what_it_asked_for";
    let Some(broker) = Broker::shared_or_skip(TEST) else { return };
    let custody = fill(broker);
    let (mut serve, client) = custody.serve();
    let browser = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    let page = client.send("GET", "/", &browser, b"").expect("an answer");
    let is_built = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/web/dist/index.html").is_file();
    if is_built {
        let policy = &page.headers["content-security-policy"];
        assert!(page.status == 200 && policy.contains("script-src 'self'") && !policy.contains("unsafe-inline"));
        let text = page.text();
        assert!(!text.contains("<script>") && !text.contains("<style"), "nothing is written into it: {text}");
        // Each address of a page is the page; scripts are kept for ever, the page is not.
        assert_eq!(client.send("GET", "/sessions/id-5", &browser, b"").expect("an answer").body, page.body);
        assert_eq!(page.headers["cache-control"], "no-cache");
        let script = text.split('"').find(|part| part.starts_with("/assets/") && part.ends_with(".js"));
        let script = client.get(script.expect("a script"));
        assert_eq!((script.status, script.headers["content-type"].as_str()), (200, "text/javascript; charset=utf-8"));
        assert!(script.headers["cache-control"].contains("immutable"));
    } else {
        assert!(page.status == 404 && page.text().contains("make web"), "{}", page.text());
        say(&format!("\nSKIPPED: {TEST}: the web interface is not built (make web)\n"));
    }
    for (path, headers) in
        [("/nowhere", &[][..]), ("/api/v1/nowhere", &browser[..]), ("/assets/../Cargo.toml", &[][..])]
    {
        let answer = client.send("GET", path, headers, b"").expect("an answer");
        assert_eq!((answer.status, &answer.json()["error"]["kind"]), (404, &json!("not_found")), "{path}");
    }
    serve.stop();
}

#[test]
fn the_openapi_document_lists_what_is_there() {
    const TEST: &str = "the_openapi_document_lists_what_is_there";
    let Some(broker) = Broker::shared_or_skip(TEST) else { return };
    let custody = fill(broker);
    let (mut serve, client) = custody.serve();
    let document = client.get("/api/v1/openapi.json").json();
    // The web interface has its types from it.
    let written = include_str!("../../dashboards/web/src/api/openapi.json");
    let written: Value = serde_json::from_str(written).expect("JSON");
    let changed = |part: &str| {
        let (now, then) =
            (document[part].as_object().expect("an object"), written[part].as_object().expect("an object"));
        let names = now.keys().chain(then.keys()).filter(|name| now.get(*name) != then.get(*name));
        names.cloned().collect::<std::collections::BTreeSet<String>>()
    };
    // Not all of both: each is some thousand lines.
    assert!(
        document == written,
        "dashboards/web/src/api/openapi.json is not what GET /api/v1/openapi.json says: {:?} {:?}",
        changed("paths"),
        changed("components")
    );
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            operations.push(format!("{} {path}", method.to_uppercase()));
        }
    }
    operations.sort();
    assert_eq!(
        operations,
        [
            "DELETE /api/v1/runs/{id}",
            "GET /api/v1/dead-letters",
            "GET /api/v1/dead-letters/{topic}/{partition}/{offset}",
            "GET /api/v1/dead-letters/{topic}/{partition}/{offset}/bytes",
            "GET /api/v1/exceptions",
            "GET /api/v1/overview",
            "GET /api/v1/overview/weeks",
            "GET /api/v1/pipeline",
            "GET /api/v1/reports",
            "GET /api/v1/reports/{id}",
            "GET /api/v1/requests",
            "GET /api/v1/requests/{id}",
            "GET /api/v1/runs",
            "GET /api/v1/runs/{id}",
            "GET /api/v1/runs/{id}/pack",
            "GET /api/v1/runs/{id}/rows",
            "GET /api/v1/sessions",
            "GET /api/v1/sessions/{id}",
            "GET /api/v1/sessions/{id}/export",
            "GET /api/v1/sessions/{id}/live",
            "GET /api/v1/sessions/{id}/recording.cast",
            "GET /api/v1/sessions/{id}/replay",
            "GET /api/v1/sessions/{id}/replay/{run}/{number}",
            "GET /healthz",
            "GET /metrics",
            "GET /readyz",
            "POST /api/v1/evidence",
            "POST /api/v1/exceptions",
            "POST /api/v1/reports/{id}/runs",
            "POST /api/v1/search",
            "POST /api/v1/sql"
        ]
    );
    let replay = client.get("/api/v1/sessions/cast-1/replay").json();
    let part = replay["segments"][0]["url"].as_str().expect("a part");
    let run = part.split('/').nth(1).expect("a look").to_owned();
    // Those of reports have a test of their own.
    let of_reports = |operation: &&String| {
        ["runs", "exceptions", "evidence", "reports/"].iter().any(|part| operation.contains(part))
    };
    let letters = client.get("/api/v1/dead-letters").json();
    let letter = |name: &str| letters["dead_letters"][0][name].to_string().replace('"', "");
    for operation in operations.iter().filter(|operation| !of_reports(operation)) {
        let (method, path) = operation.split_once(' ').expect("two words");
        let path = path.replace("/requests/{id}", "/requests/r-5").replace("{id}/export", "cast-1/export?as=text");
        let path = path.replace("{id}", "cast-1").replace("{run}", &run).replace("{number}", "0");
        let path = path.replace("{topic}", &letter("topic")).replace("{partition}", &letter("partition"));
        let path = path.replace("{offset}", &letter("offset"));
        let body = match (method, path.as_str()) {
            ("POST", "/api/v1/search") => br#"{"text":"hello"}"#.as_slice(),
            ("POST", _) => br#"{"sql":"SELECT 1 AS one"}"#,
            _ => b"",
        };
        let answer = client.send(method, &path, &[("content-type", "application/json")], body).expect("an answer");
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    }
    // What an answer has is what the document says that it has.
    let session = client.get("/api/v1/sessions/cast-1").json();
    let schemas = &document["components"]["schemas"];
    let mut described = BTreeSet::new();
    let mut open = vec!["SessionDetail".to_owned()];
    while let Some(name) = open.pop() {
        let schema = &schemas[&name];
        let parts = schema["allOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
        for part in parts {
            match part["$ref"].as_str() {
                Some(reference) => open.push(reference.rsplit('/').next().expect("a name").to_owned()),
                None => described.extend(part["properties"].as_object().expect("properties").keys().cloned()),
            }
        }
    }
    let had: BTreeSet<String> = session.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(had, described);
    serve.stop();
}

#[test]
fn an_address_that_others_reach_is_refused_unless_it_is_meant() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = binary();
    command.arg("--data").arg(folder.path()).args(["serve", "--listen", "0.0.0.0:0"]);
    let output = command.output().expect("the custody binary");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("--no-authentication"), "{}", stderr(&output));
}

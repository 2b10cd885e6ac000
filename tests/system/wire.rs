//! The ledger as clients of PostgreSQL see it: the real psql, over a real connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::reports::state_of;
use crate::support::custody::{Custody, PATIENCE, Process, audit_event, binary, skip, stderr, wait_until};

/// Whether psql is installed (Debian: postgresql-client).
fn has_psql(test: &str) -> bool {
    let there = Command::new("psql").arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        skip(test, "no psql is installed");
    }
    there
}

/// A ledger with sessions of which one has a name that has to be quoted everywhere.
fn filled(section: &str) -> Custody {
    let custody = Custody::at("", &[]).section(section);
    let folder = tempfile::tempdir().expect("a folder");
    let session = |id: &str, user: &str, minute: u8| {
        json!({"event": "session.start", "uid": format!("e-{id}"), "cluster_name": "gate", "sid": id,
            "time": format!("2026-03-02T08:{minute:02}:00Z"), "user": user, "server_hostname": "db-1", "proto": "ssh"})
        .to_string()
    };
    let lines = [session("s1", "mira@example.net", 1), session("s2", "o'noor \"x\"", 7), audit_event("u1")];
    std::fs::write(folder.path().join("audit.log"), lines.join("\n") + "\n").expect("a file");
    custody.stdout(["import".as_ref(), folder.path()]);
    custody
}

struct Server {
    process: Process,
    address: SocketAddr,
}

fn serve(custody: &Custody) -> Server {
    let mut process = custody.start(Some("only"), &["serve", "--listen", "127.0.0.1:0"]);
    let line = process.wait_for_log("clients of PostgreSQL address=");
    let address = line.rsplit_once("address=").expect("found").1;
    let address = address.split_whitespace().next().expect("an address").parse().expect("an address");
    Server { process, address }
}

impl Server {
    fn psql(&self, user: &str, password: &str, options: &str) -> Command {
        let mut command = Command::new("psql");
        let address = self.address;
        let to = format!("host={} port={} user={user} dbname=custody {options}", address.ip(), address.port());
        command.args(["-X", "-v", "VERBOSITY=verbose", "-v", "ON_ERROR_STOP=1", &to]);
        command.env("PGPASSWORD", password).env("PGCONNECT_TIMEOUT", "20").env("LC_ALL", "C.UTF-8");
        command
    }

    fn run(&self, sql: &str) -> Output {
        self.psql("ann", "", "").args(["-A", "-t", "-c", sql]).output().expect("psql")
    }

    /// The rows of an answer, unaligned.
    fn rows(&self, sql: &str) -> String {
        let output = self.run(sql);
        assert!(output.status.success(), "{sql}: {}", stderr(&output));
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    /// The SQLSTATE with which a statement is refused.
    fn refused(&self, sql: &str) -> String {
        let output = self.run(sql);
        let told = stderr(&output);
        assert!(!output.status.success(), "{sql} was answered");
        let code = told.split_once("ERROR:  ").and_then(|(_, rest)| rest.split_once(':'));
        code.unwrap_or_else(|| panic!("{sql}: {told}")).0.to_owned()
    }
}

#[test]
fn psql_lists_describes_and_asks() {
    const TEST: &str = "psql_lists_describes_and_asks";
    if !has_psql(TEST) {
        return;
    }
    let custody = filled("[wire]\nlisten = \"127.0.0.1:0\"\n");
    let mut server = serve(&custody);

    let tables = server.rows("\\dt");
    assert_eq!(
        tables.lines().map(|line| line.split('|').nth(1).unwrap()).collect::<Vec<_>>(),
        [
            "activity",
            "approver_authority",
            "events",
            "forwarding",
            "frames",
            "identities",
            "indexed_commands",
            "indexed_recordings",
            "indexed_segments",
            "indexed_texts",
            "indexed_trigrams",
            "privileged",
            "records",
            "shared_accounts",
            "undelivered"
        ]
    );
    let views = server.rows("\\dv");
    assert!(views.contains("ledger|session_access|view|") && !views.contains("pg_"), "{views}");
    assert_eq!(server.rows("\\dn").lines().next(), Some("ledger|custody"));
    assert!(server.rows("\\l").starts_with("custody|custody|UTF8|"));
    let described = server.rows("\\d sessions");
    assert!(described.contains("session_id|text|"), "{described}");
    assert!(described.contains("started_at|timestamp with time zone|"), "{described}");
    for silent in ["\\di", "\\df", "\\dT", "\\du", "\\d+ sessions", "\\d+ records", "\\dx", "\\dp", "\\sv sessions"] {
        let output = server.run(silent);
        assert!(output.status.success(), "{silent}: {}", stderr(&output));
    }
    let listed =
        "SELECT count(*), bool_and(table_schema IN ('ledger', 'information_schema')) FROM information_schema.tables";
    assert!(server.rows(listed).ends_with("|t"));

    let rows = server.rows("SELECT session_id, actor, started_at FROM sessions WHERE actor IS NOT NULL ORDER BY 1");
    assert_eq!(rows, "s1|mira@example.net|2026-03-02 08:01:00+00\ns2|o'noor \"x\"|2026-03-02 08:07:00+00");
    let joined =
        "SELECT count(*) FROM sessions s JOIN events e ON e.session_id = s.session_id WHERE s.session_id = 's1'";
    assert_eq!(server.rows(joined), "1");
    // What Grafana's macros become.
    let graph = "SELECT floor(extract(epoch from started_at)/300)*300 AS time, count(*) FROM sessions \
                 WHERE started_at BETWEEN '2026-01-01T00:00:00Z' AND '2026-12-31T00:00:00.5Z' GROUP BY 1 ORDER BY 1";
    assert_eq!(server.rows(graph), "1772438400|1\n1772438700|1");
    assert_eq!(server.rows("SELECT 1; SELECT 'a;b'; ; SHOW server_version"), "1\na;b\n15.0");
    assert_eq!(server.rows("BEGIN; SELECT 1; COMMIT"), "BEGIN\n1\nCOMMIT");
    assert_eq!(server.rows("SELECT current_user, current_database(), current_schema()"), "ann|custody|ledger");

    // An earlier state: one that is there, one that is not, and what is none.
    let versions = server.rows("SELECT count(*) FROM events");
    let report = custody.stdout(["report", "run", "R01", "--period", "2026", "--format", "json"]);
    let state = state_of(&serde_json::from_str(&report).expect("a report"));
    assert_eq!(
        server.rows(&format!("SET custody.as_of = '{state}'; SELECT count(*) FROM events")),
        format!("SET\n{versions}")
    );
    assert_eq!(server.rows(&format!("SELECT count(*) FROM events AS OF '{state}'")), versions);
    assert_eq!(server.refused("SELECT count(*) FROM events AS OF '2020-01-01T00:00:00Z'"), "58P01");
    assert_eq!(server.refused("SET custody.as_of = '2020-01-01T00:00:00Z'; SELECT count(*) FROM events"), "58P01");
    assert_eq!(server.refused("SET custody.as_of = 'yesterday'"), "22023");
    // Who asked what is in the ledger, before and after.
    let asked = "SELECT outcome, rows FROM custody_activity WHERE channel = 'wire' AND actor = 'ann' AND sql LIKE '%JOIN events%' \
                 AND sql NOT LIKE '%custody_activity%'";
    assert_eq!(server.rows(asked), "done|1");
    server.process.stop();
}

#[test]
fn nothing_but_reading_is_done() {
    const TEST: &str = "nothing_but_reading_is_done";
    if !has_psql(TEST) {
        return;
    }
    let custody = filled("[query]\nrows_max = 1000\n[wire]\nlisten = \"127.0.0.1:0\"\n");
    let mut server = serve(&custody);
    for (sql, code) in [
        ("INSERT INTO events SELECT * FROM events", "42501"),
        ("DELETE FROM records", "42501"),
        ("CREATE TABLE x AS SELECT 1", "42501"),
        ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", "42501"),
        ("COPY events TO '/tmp/x.csv'", "42501"),
        ("SET datafusion.execution.batch_size = 1", "42501"),
        ("SET ROLE postgres", "42501"),
        ("PREPARE p AS SELECT 1", "42501"),
        ("EXPLAIN ANALYZE INSERT INTO events SELECT * FROM events", "42501"),
        ("SELECT * FROM '/etc/passwd'", "42P01"),
        ("SELECT * FROM read_csv('/etc/passwd')", "42883"),
        ("SELECT pg_read_file('/etc/passwd')", "42883"),
        ("SELECT repeat('x', 1000000000)", "42883"),
        ("SELECT nothing FROM events", "42703"),
        ("SELECT * FROM nothing", "42P01"),
        ("SELEC 1", "42601"),
        ("SELECT * FROM (SELECT 1", "42601"),
        ("SELECT 'abc", "42601"),
        ("SELECT a.kind FROM events a, events b, events c, events d, events e, events f, events g, events h", "54000"),
        ("SET statement_timeout = '1ms'; SELECT count(*) FROM generate_series(1, 100000000000)", "57014"),
        ("BEGIN; SELECT nothing; SELECT 1", "42703"),
    ] {
        assert_eq!(server.refused(sql), code, "{sql}");
    }
    // A chain of operators is as deep as it is long: what is too deep for a stack is refused, not tried.
    assert_eq!(server.rows(&format!("SELECT 1{}", "+1".repeat(1900))), "1901");
    assert_eq!(server.refused(&format!("SELECT 1{}", "+1".repeat(30_000))), "54000");
    // Where it is wrong.
    let told = stderr(&server.run("SELECT 1 FROM\nWHERE 'é' = x"));
    assert!(told.contains("LINE 2"), "{told}");
    // A failed transaction does nothing more, and ends.
    let mut psql = server.psql("ann", "", "");
    psql.args(["-v", "ON_ERROR_STOP=0", "-A", "-t"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut psql = psql.spawn().expect("psql");
    psql.stdin
        .take()
        .expect("input")
        .write_all(b"BEGIN;\nSELECT x;\nSELECT 1;\nCOMMIT;\nSELECT 2;\n")
        .expect("written");
    let output = psql.wait_with_output().expect("psql");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "BEGIN\nROLLBACK\n2\n");
    assert!(stderr(&output).contains("25P02"), "{}", stderr(&output));
    assert_eq!(server.rows("SELECT count(*) FROM events WHERE kind = 'session.start'"), "2");
    server.process.stop();
}

#[test]
fn a_long_query_is_stopped_by_who_asked_and_by_leaving() {
    const TEST: &str = "a_long_query_is_stopped_by_who_asked_and_by_leaving";
    if !has_psql(TEST) {
        return;
    }
    let custody = filled("[query]\nconcurrent_max = 1\n[wire]\nlisten = \"127.0.0.1:0\"\n");
    let mut server = serve(&custody);
    let endless = "SELECT count(*) FROM generate_series(1, 1000000000000)";
    for signal in ["-INT", "-KILL"] {
        let mut psql = server.psql("ann", "", "");
        psql.args(["-c", endless]).stdout(Stdio::null()).stderr(Stdio::piped());
        let psql = psql.spawn().expect("psql");
        // It is written down before it is planned.
        let begun = "custody_activity WHERE channel = 'wire' AND sql LIKE '%generate_series%' AND outcome IS NULL";
        wait_until("the question", PATIENCE, || match custody.try_count(begun)? {
            0 => Err("nobody has asked".to_owned()),
            _ => Ok(()),
        });
        std::thread::sleep(Duration::from_millis(500));
        let killed = Command::new("kill").args([signal, &psql.id().to_string()]).status().expect("kill");
        assert!(killed.success());
        let output = psql.wait_with_output().expect("psql");
        if signal == "-INT" {
            assert!(stderr(&output).contains("57014"), "{}", stderr(&output));
        }
        // There is one turn: the next question is answered only because the one before gave it back.
        let asked = Instant::now();
        assert_eq!(server.rows("SELECT 1"), "1");
        assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    }
    server.process.stop();
}

/// A certificate that is its own authority, by openssl.
fn certificate(test: &str, folder: &Path) -> bool {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]);
    openssl.arg("-keyout").arg(folder.join("key.pem")).arg("-out").arg(folder.join("cert.pem"));
    let made = openssl.output().is_ok_and(|output| output.status.success());
    if !made {
        skip(test, "no openssl makes a certificate");
    }
    made
}

#[test]
fn only_who_shows_a_password_over_tls_comes_in() {
    const TEST: &str = "only_who_shows_a_password_over_tls_comes_in";
    let folder = tempfile::tempdir().expect("a folder");
    if !has_psql(TEST) || !certificate(TEST, folder.path()) {
        return;
    }
    let mut make = binary();
    make.args(["wire-password", "ann"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut make = make.spawn().expect("the custody binary");
    make.stdin.take().expect("input").write_all(b"correct horse\n").expect("written");
    let line = make.wait_with_output().expect("a line").stdout;
    let users = folder.path().join("users");
    std::fs::write(&users, line).expect("a file");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let custody = filled(&format!(
        "[wire]\nlisten = \"127.0.0.1:0\"\nusers_file = {users:?}\nconnections_max = 2\n[wire.tls]\ncert = {cert:?}\nkey = {key:?}\n"
    ));
    let mut server = serve(&custody);
    let ask = |user: &str, password: &str, options: &str| {
        let mut psql = server.psql(user, password, options);
        psql.args(["-A", "-t", "-c", "SELECT current_user"]).output().expect("psql")
    };
    let verified = format!("sslmode=verify-full sslrootcert={}", cert.display());
    let output = ask("ann", "correct horse", &verified);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ann\n", "{}", stderr(&output));
    for (user, password, options, told) in [
        ("ann", "wrong horse", "sslmode=require", "password authentication failed for user \"ann\""),
        ("eve", "correct horse", "sslmode=require", "password authentication failed for user \"eve\""),
        ("ann", "correct horse", "sslmode=disable", "not encrypted"),
        ("ann", "correct horse", "sslmode=require replication=true", "replicated"),
        ("ann", "correct horse", "sslmode=require options='-c datafusion.x=1'", "cannot be set"),
    ] {
        let output = ask(user, password, options);
        assert!(!output.status.success() && stderr(&output).contains(told), "{options}: {}", stderr(&output));
    }
    // Two may sit, a third may not.
    let sit = || {
        let mut psql = server.psql("ann", "correct horse", "sslmode=require");
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql")
    };
    let mut sitting = [sit(), sit()];
    for psql in &mut sitting {
        psql.stdin.as_mut().expect("input").write_all(b"\\echo here\n").expect("written");
        let mut here = [0; 5];
        psql.stdout.as_mut().expect("output").read_exact(&mut here).expect("an answer");
    }
    let output = ask("ann", "correct horse", "sslmode=require");
    assert!(stderr(&output).contains("too many connections"), "{}", stderr(&output));
    for mut psql in sitting {
        drop(psql.stdin.take());
        psql.wait().expect("psql");
    }
    server.process.stop();

    let broken = Custody::existing(custody.data())
        .section(&format!("[wire]\nlisten = \"127.0.0.1:0\"\n[wire.tls]\ncert = {key:?}\nkey = {cert:?}\n"));
    let output = broken.run(["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let open = Custody::existing(custody.data()).section("[wire]\nlisten = \"0.0.0.0:0\"\n");
    let output = open.run(["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("wire-password"), "{}", stderr(&output));
}

#[test]
fn whoever_does_not_speak_the_protocol_is_shown_the_door() {
    let custody = filled("[wire]\nlisten = \"127.0.0.1:0\"\n");
    let mut server = serve(&custody);
    let wrong: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\0\0\0\0",
        b"\0\0\0\x08\0\0\0\0",
        b"\x7f\xff\xff\xff\0\x03\0\0",
        b"\0\0\0\x09\0\x03\0\0x",
        b"Q\x7f\xff\xff\xff",
        b"E\0\0\0\x04",
        b"B\0\0\0\x0a\0\0\xff\xff\xff\xff",
    ];
    for (number, bytes) in wrong.into_iter().enumerate() {
        let mut stream = TcpStream::connect(server.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        if number >= 5 {
            stream.write_all(&startup()).expect("written");
        }
        stream.write_all(bytes).expect("written");
        let mut answer = Vec::new();
        // The end of the stream, or that it was cut: either way the door.
        let _ = stream.read_to_end(&mut answer);
    }
    if has_psql("whoever_does_not_speak_the_protocol_is_shown_the_door") {
        assert_eq!(server.rows("SELECT 1"), "1");
    }
    assert!(!server.process.log().contains("panicked"), "{}", server.process.log());
    server.process.stop();
}

#[test]
fn every_query_of_the_grafana_dashboards_is_answered() {
    if !has_psql("every_query_of_the_grafana_dashboards_is_answered") {
        return;
    }
    let custody = Custody::at("", &[]);
    let (mut demo, client) = custody.demo();
    wait_until("the story", PATIENCE, || match custody.try_count("sessions WHERE state = 'ended'") {
        Ok(ended) if ended >= 10 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    wait_until("recordings to be looked through", PATIENCE, || match custody.try_count("recording_index") {
        Ok(1..) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let for_grafana = Custody::existing(custody.data()).section("[wire]\nlisten = \"127.0.0.1:0\"\n");
    let mut server = serve(&for_grafana);
    let listening = server.process.wait_for_log("serving address=");
    let listening = listening.rsplit_once("address=").expect("found").1.trim();
    let mut ask = Command::new("python3");
    ask.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/open/grafana_queries.py"));
    ask.args(["--wire", &server.address.to_string(), "--custody", &format!("http://{listening}")]);
    for metrics in [client.address().to_string(), listening.to_owned()] {
        ask.args(["--metrics", &format!("http://{metrics}/metrics")]);
    }
    // The demo pushes nothing and forwards nothing.
    let output = ask.args(["--without", "collect", "--without", "forward"]).output().expect("python3");
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    server.process.stop();
    demo.stop();
}

/// What a client of version 3 begins with.
fn startup() -> Vec<u8> {
    let body = b"\0\x03\0\0user\0ann\0\0";
    let length = u32::try_from(body.len() + 4).expect("a length");
    [length.to_be_bytes().as_slice(), body].concat()
}

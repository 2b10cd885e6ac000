//! A recorded terminal goes through Kafka and the ledger and comes out as the same bytes at the same times.

use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use custody_ingest::publish::Outgoing;
use serde_json::{Value, json};

use crate::support::custody::{Custody, Producer, Topic, fixture, stderr};
use crate::support::kafka::Broker;

/// How the shipper tells of which session a piece of output is.
#[derive(Debug, Clone, Copy)]
enum Route {
    Key,
    Header,
    Path,
}

const ROUTES: [Route; 3] = [Route::Key, Route::Header, Route::Path];

/// Publishes one line of a session's stream.
fn send(producer: &Producer, topic: &Topic, route: Route, session: &str, line: &str) {
    let mut message = Outgoing { topic: topic.name.clone(), partition: Some(0), ..Outgoing::default() };
    let mut value = line.to_owned();
    match route {
        Route::Key => message.key = Some(session.as_bytes().to_vec()),
        Route::Header => {
            message.key = Some(b"a shipper's own key".to_vec());
            message.headers = vec![("session_id".to_owned(), session.as_bytes().to_vec())];
        }
        Route::Path => {
            let mut event: Value = serde_json::from_str(line).unwrap();
            event["path"] = json!(format!("/v1/session.{session}.log"));
            value = event.to_string();
        }
    }
    message.value = Some(value.into_bytes());
    producer.send(&message);
}

/// An asciicast, read by nothing of ours: its header, and its events as (microseconds, code, data).
struct Cast {
    header: Value,
    events: Vec<(i64, String, String)>,
}

impl Cast {
    fn read(text: &str) -> Self {
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let header = lines.next().unwrap();
        let relative = header["version"] == 3;
        let mut now_us = 0;
        let events = lines
            .map(|line| {
                let time_us = (line[0].as_f64().unwrap() * 1e6).round() as i64;
                now_us = if relative { now_us + time_us } else { time_us };
                (now_us, line[1].as_str().unwrap().to_owned(), line[2].as_str().unwrap().to_owned())
            })
            .collect();
        Self { header, events }
    }

    fn size(&self) -> (u64, u64) {
        let pair = |of: &Value, cols: &str, rows: &str| (of[cols].as_u64().unwrap(), of[rows].as_u64().unwrap());
        match self.header["version"].as_u64() {
            Some(2) => pair(&self.header, "width", "height"),
            Some(3) => pair(&self.header["term"], "cols", "rows"),
            version => panic!("version {version:?}"),
        }
    }

    fn output(&self) -> impl Iterator<Item = &(i64, String, String)> {
        self.events.iter().filter(|(_, code, _)| code == "o")
    }

    fn bytes(&self) -> String {
        self.output().map(|(_, _, data)| data.as_str()).collect()
    }

    fn times_us(&self) -> Vec<i64> {
        self.output().map(|(time_us, _, _)| *time_us).collect()
    }
}

fn export(custody: &Custody, session: &str, format: &str) -> Output {
    let output = custody.run(["export", session, "--as", format]);
    assert!(output.status.success(), "{session} as {format}: {}", stderr(&output));
    output
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("an export is text")
}

/// The frames of a ttyrec, as (microseconds since 1970, bytes).
fn frames(mut ttyrec: &[u8]) -> Vec<(i64, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = ttyrec.split_first_chunk::<12>() {
        let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let (data, rest) = rest.split_at(number(8) as usize);
        frames.push((i64::from(number(0)) * 1_000_000 + i64::from(number(4)), data.to_vec()));
        ttyrec = rest;
    }
    assert!(ttyrec.is_empty(), "half a frame");
    frames
}

fn objects(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Checks every export of a recording against what it must be.
fn check(custody: &Custody, session: &str, size: (u64, u64), bytes: &str, times_us: &[i64], shown: &str) {
    let exported = export(custody, session, "asciicast-v2");
    assert_eq!(stderr(&exported), "", "{session}: a complete recording has no findings");
    let v2 = Cast::read(&text(&exported));
    assert_eq!((v2.header["version"].as_u64(), v2.size()), (Some(2), size), "{session}");
    assert!(v2.bytes() == bytes, "{session}: other bytes came out than went in: {:?}", v2.bytes());
    assert_eq!(v2.times_us(), times_us, "{session}");

    let v3 = Cast::read(&text(&export(custody, session, "asciicast-v3")));
    assert_eq!((v3.header["version"].as_u64(), v3.size()), (Some(3), size), "{session}");
    assert!(v3.bytes() == bytes, "{session}: other bytes in version 3");
    // Intervals are written in milliseconds; rounding must not add up.
    let off = v3.times_us().iter().zip(times_us).map(|(one, other)| (one - other).abs()).max();
    assert!(off <= Some(500), "{session}: version 3 is off by {off:?} µs");

    let screen = text(&export(custody, session, "text"));
    assert!(screen.contains(shown), "{session}: {shown:?} was on the screen: {screen}");
    assert!(!screen.contains('\x1b'), "{session}: no escape sequence is text: {screen:?}");

    let raw = export(custody, session, "raw").stdout;
    assert!(raw == bytes.as_bytes(), "{session}: other bytes as raw: {:?}", String::from_utf8_lossy(&raw));

    let ttyrec = frames(&export(custody, session, "ttyrec").stdout);
    let (start_at, sequence) = &ttyrec[0];
    assert_eq!(*sequence, format!("\x1b[8;{};{}t", size.1, size.0).into_bytes(), "{session}");
    let (_, output): (Vec<_>, Vec<_>) = ttyrec.iter().partition(|(_, data)| data.starts_with(b"\x1b[8;"));
    assert_eq!(output.iter().map(|(at, _)| at - start_at).collect::<Vec<_>>(), times_us, "{session}");
    let output: Vec<u8> = output.iter().flat_map(|(_, data)| data.clone()).collect();
    assert!(output == bytes.as_bytes(), "{session}: other bytes in a ttyrec");

    let lines = objects(&text(&export(custody, session, "json")));
    assert_eq!((&lines[0]["state"], &lines[0]["cut"]), (&json!("complete"), &Value::Null), "{session}");
    let output = lines.iter().filter(|line| line["code"] == "o");
    assert_eq!(output.map(|line| line["time_us"].as_i64().unwrap()).collect::<Vec<_>>(), times_us, "{session}");

    let transcript = text(&export(custody, session, "transcript"));
    let without_times: String =
        transcript.lines().map(|line| line.rsplit('\t').next().unwrap_or_default().to_owned() + "\n").collect();
    assert_eq!(without_times, screen, "{session}: the same lines");

    let file = custody.folder().join("out.cast");
    custody.stdout(["export", session, "--as", "asciicast-v2", "--output", file.to_str().unwrap()]);
    assert_eq!(std::fs::read(&file).unwrap(), exported.stdout, "{session}: the file is what standard output has");
}

/// The stream of a Teleport session as the event handler posts it: `prints` as (milliseconds, output).
fn teleport_stream(session: &str, size: &str, prints: &[(i64, Vec<u8>)]) -> Vec<String> {
    let at = |ms: i64| format!("2026-03-02T08:00:{:02}.{:03}Z", 5 + ms / 1000, ms % 1000);
    let event = |name: &str, ms: i64, ei: usize| {
        json!({ "event": name, "uid": format!("{session}-{ei}"), "ei": ei, "time": at(ms), "cluster_name": "system",
                "sid": session, "user": "mira@example.net", "login": "ops", "server_hostname": "warehouse-3", "size": size })
    };
    let mut lines = vec![event("session.start", 0, 0)];
    let mut offset = 0;
    for (number, (ms, bytes)) in prints.iter().enumerate() {
        lines.push(
            json!({ "event": "print", "time": at(*ms), "ei": number + 1, "ci": number, "ms": ms, "offset": offset,
                           "bytes": bytes.len(), "data": BASE64.encode(bytes) }),
        );
        offset += bytes.len();
    }
    lines.push(event("session.end", prints.last().map_or(0, |(ms, _)| *ms), prints.len() + 1));
    lines.iter().map(Value::to_string).collect()
}

#[test]
fn a_teleport_recording_is_exported_as_it_was_sent_whatever_the_route() {
    let test = "a_teleport_recording_is_exported_as_it_was_sent_whatever_the_route";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let topic = Topic::create(broker, "teleport", 1);
    // Every message a commit of its own: a recording is put together from many frames.
    let custody = Custody::on(broker, std::slice::from_ref(&topic)).flush(3, 1000);
    let producer = Producer::to(broker);
    // Colours, wide characters, an escape sequence and a character that are cut in two, a screen that is left again.
    let prints: Vec<(i64, Vec<u8>)> = [
        (0, b"$ ls\r\n\x1b[1;34mb\xc3\xbccher\x1b[0m  \xe6\x97\xa5\xe6\x9c\xac\r\n".as_slice()),
        (40, b"$ \x1b[3"),
        (1041, b"1mred\x1b[0m \xf0\x9f"),
        (1500, b"\x91\x8d done\r\n"),
        (12_345, b"\x1b[?1049h\x1b[2Jfull screen\x1b[?1049l"),
        (13_000, b"$ exit\r\n"),
    ]
    .map(|(ms, bytes)| (ms, bytes.to_vec()))
    .into();
    let whole = String::from_utf8(prints.iter().flat_map(|(_, bytes)| bytes.clone()).collect()).unwrap();
    let session = |route: Route| format!("5e000000-0000-4000-8000-00000000001{}", route as u8);
    let mut count = 0;
    for route in ROUTES {
        let mut lines = teleport_stream(&session(route), "100:30", &prints);
        // At least once: a part of the stream comes again, and late.
        lines.extend(lines.clone().into_iter().skip(2).take(3));
        count += lines.len() as u64;
        for line in lines {
            send(&producer, &topic, route, &session(route), &line);
        }
    }
    producer.flush();
    let mut ingest = custody.ingest();
    custody.wait_for_records(count, &mut ingest);
    ingest.stop();

    let times_us: Vec<i64> = prints.iter().map(|(ms, _)| ms * 1000).collect();
    for route in ROUTES {
        check(&custody, &session(route), (100, 30), &whole, &times_us, "bücher  日本");
    }
    assert_eq!(custody.count("dead_letters"), 0);
}

#[test]
fn a_part_of_a_recording_begins_with_the_screen_that_was_there() {
    let test = "a_part_of_a_recording_begins_with_the_screen_that_was_there";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let topic = Topic::create(broker, "teleport", 1);
    let custody = Custody::on(broker, std::slice::from_ref(&topic));
    let producer = Producer::to(broker);
    let session = "5e000000-0000-4000-8000-000000000031";
    let prints = [
        (0, b"$ ls\r\nb\xc3\xbccher\r\n$ ".to_vec()),
        (1041, b"\x1b[31mred\x1b[0m \xf0\x9f".to_vec()),
        (1500, b"\x91\x8d done\r\n".to_vec()),
        (12_345, b"$ more\r\n".to_vec()),
        (13_000, b"$ exit\r\n".to_vec()),
    ];
    let lines = teleport_stream(session, "100:30", &prints);
    for line in &lines {
        send(&producer, &topic, Route::Key, session, line);
    }
    producer.flush();
    let mut ingest = custody.ingest();
    custody.wait_for_records(lines.len() as u64, &mut ingest);
    ingest.stop();

    // A time since the start and the wall clock are the same moments.
    for (from, to) in [("1.2", "00:12.5"), ("2026-03-02T08:00:06.2Z", "2026-03-02T08:00:17.5Z")] {
        let part = |format: &str| {
            let output = custody.run(["export", session, "--as", format, "--from", from, "--to", to]);
            assert!(output.status.success(), "{format} from {from}: {}", stderr(&output));
            output
        };
        assert_eq!(part("raw").stdout, b"\x91\x8d done\r\n$ more\r\n", "what was recorded in that time");

        let cast = Cast::read(&text(&part("asciicast-v2")));
        assert_eq!((cast.size(), cast.times_us()), ((100, 30), vec![0, 300_000, 11_145_000]));
        assert!(cast.events[0].2.contains("bücher"), "{:?}", cast.events[0]);
        assert_eq!(cast.events[1].2, "👍 done\r\n", "a character that the cut has parted");

        assert_eq!(text(&part("text")), "$ ls\nbücher\n$ red 👍 done\n$ more\n");
        let transcript = text(&part("transcript"));
        let line = "00:00:00.300\t2026-03-02T08:00:06.500000Z\t$ red 👍 done\n";
        assert!(transcript.contains(line), "{transcript}");

        let lines = objects(&text(&part("json")));
        let cut = &lines[0]["cut"];
        let of = ["from_us", "to_us", "of_us"].map(|name| cut[name].as_i64().unwrap());
        assert_eq!((of, &lines[0]["state"]), ([1_200_000, 12_500_000, 13_000_000], &json!("unfinished")));
        assert_eq!((lines.len(), &lines[1]["time_us"]), (3, &json!(300_000)));
        assert_eq!(lines[1]["base64"], BASE64.encode(b"\x91\x8d done\r\n"));
    }
    for (from, to) in [("14", "20"), ("3", "2"), ("2026-03-02T07:00:00Z", "2026-03-02T08:00:00Z")] {
        let output = custody.run(["export", session, "--as", "raw", "--from", from, "--to", to]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{from}..{to}");
        assert!(stderr(&output).contains("13.0 s"), "{from}..{to}: {}", stderr(&output));
    }
}

#[test]
fn the_shared_vim_recording_is_exported_byte_for_byte() {
    let test = "the_shared_vim_recording_is_exported_byte_for_byte";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let Some(stream) = fixture(test, "teleport/derived/vim.event-handler-session.ndjson") else { return };
    let Some(bytes) = fixture(test, "teleport/recordings-web-2019/vim.tty.stream") else { return };
    let stream = std::fs::read_to_string(stream).unwrap();
    let bytes = String::from_utf8(std::fs::read(bytes).unwrap()).unwrap();
    let recorded = "516965e5-e6ef-11e9-9d5b-42010a80002b";

    let topic = Topic::create(broker, "teleport", 1);
    let custody = Custody::on(broker, std::slice::from_ref(&topic));
    let producer = Producer::to(broker);
    let session = |route: Route| recorded.replace("0002b", &format!("0002{}", route as u8));
    for route in ROUTES {
        for line in stream.lines() {
            send(&producer, &topic, route, &session(route), &line.replace(recorded, &session(route)));
        }
    }
    producer.flush();
    let mut ingest = custody.ingest();
    custody.wait_for_records(3 * stream.lines().count() as u64, &mut ingest);
    ingest.stop();

    let events: Vec<Value> = stream.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let prints = events.iter().filter(|event| event["event"] == "print");
    let times_us: Vec<i64> = prints.map(|print| print["ms"].as_i64().unwrap() * 1000).collect();
    assert_eq!((times_us.len(), bytes.len()), (156, 17_957), "the fixture is the one that is meant");
    for route in ROUTES {
        check(&custody, &session(route), (80, 25), &bytes, &times_us, "rjones@rusty-dev-1904:~$");
    }
}

#[test]
fn asciicast_lines_come_out_as_they_went_in() {
    let test = "asciicast_lines_come_out_as_they_went_in";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let topic = Topic::create(broker, "asciicast", 2);
    let custody = Custody::on(broker, std::slice::from_ref(&topic)).flush(2, 1000);
    let producer = Producer::to(broker);
    let v2 = [
        r#"{"version":2,"width":90,"height":28,"timestamp":1772439000,"title":"import","custody":{"user":"mira@example.net","target":"warehouse-3","request_ids":["f0000000-0000-4000-8000-000000000001"]}}"#,
        r#"[0.25,"o","$ "]"#,
        r#"[1.5,"i","l"]"#,
        r#"[2.0,"r","120x40"]"#,
        r#"[2.5,"m","here"]"#,
        r#"[3.000001,"o","\u001b[1mbücher\u001b[0m\r\n"]"#,
        r#"[4,"x","0"]"#,
    ];
    let v3 = [
        r#"{"version":3,"term":{"cols":90,"rows":28,"type":"xterm-256color"},"timestamp":1772439000,"title":"import"}"#,
        "# a comment",
        r#"[0.25,"o","$ "]"#,
        r#"[1.25,"i","l"]"#,
        r#"[0.5,"r","120x40"]"#,
        r#"[0.5,"m","here"]"#,
        r#"[0.5,"o","\u001b[1mbücher\u001b[0m\r\n"]"#,
        r#"[1,"x","0"]"#,
    ];
    for (session, lines) in [("lines-v2-1", v2.as_slice()), ("lines-v3-1", v3.as_slice())] {
        for line in lines {
            producer.keyed(&topic, session, *line);
        }
    }
    // Several lines in one message, as a shipper that batches sends them.
    producer.keyed(&topic, "lines-v2-2", v2.join("\n"));
    producer.keyed(&topic, "lines-v3-2", v3.join("\n"));
    producer.flush();
    let mut ingest = custody.ingest();
    custody.wait_for_records(v2.len() as u64 + v3.len() as u64 + 2, &mut ingest);
    ingest.stop();

    for (session, sent) in
        [("lines-v2-1", v2.as_slice()), ("lines-v2-2", &v2), ("lines-v3-1", &v3), ("lines-v3-2", &v3)]
    {
        let comments_out: Vec<&str> = sent.iter().copied().filter(|line| !line.starts_with('#')).collect();
        let sent = Cast::read(&comments_out.join("\n"));
        for format in ["asciicast-v2", "asciicast-v3"] {
            let exported = export(&custody, session, format);
            assert_eq!(stderr(&exported), "", "{session} as {format}");
            let exported = Cast::read(&text(&exported));
            assert_eq!(exported.size(), (90, 28), "{session} as {format}");
            for name in ["timestamp", "title"] {
                assert_eq!(exported.header[name], sent.header[name], "{session} as {format}");
            }
            let told = |cast: &Cast| -> Vec<(String, String)> {
                cast.events.iter().map(|(_, code, data)| (code.clone(), data.clone())).collect()
            };
            assert_eq!(told(&exported), told(&sent), "{session} as {format}");
            for ((time_us, ..), (sent_us, ..)) in exported.events.iter().zip(&sent.events) {
                let exact = if format == "asciicast-v2" { 0 } else { 500 };
                assert!((time_us - sent_us).abs() <= exact, "{session} as {format}: {time_us} of {sent_us} µs");
            }
        }
        assert!(text(&export(&custody, session, "text")).contains("bücher"));
    }
    let who = custody.sql("SELECT actor, target, state FROM sessions WHERE session_id = 'lines-v2-1'");
    assert_eq!(who, [json!({ "actor": "mira@example.net", "target": "warehouse-3", "state": "ended" })]);
}

#[test]
fn a_recording_whose_beginning_never_came_is_exported_with_a_finding() {
    let test = "a_recording_whose_beginning_never_came_is_exported_with_a_finding";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let asciicast = Topic::create(broker, "asciicast", 1);
    let teleport = Topic::create(broker, "teleport", 1);
    let custody = Custody::on(broker, &[asciicast.clone(), teleport.clone()]);
    let producer = Producer::to(broker);
    for line in [r#"[0.5,"o","first\r\n"]"#, r#"[1.5,"o","second\r\n"]"#] {
        producer.keyed(&asciicast, "headless-1", line);
    }
    // Neither the start nor the first output of this one.
    let session = "5e000000-0000-4000-8000-000000000021";
    let prints = [(0, b"lost\r\n".to_vec()), (700, b"first\r\n".to_vec()), (1700, b"second\r\n".to_vec())];
    for line in teleport_stream(session, "100:30", &prints).iter().skip(2) {
        send(&producer, &teleport, Route::Key, session, line);
    }
    producer.flush();
    let mut ingest = custody.ingest();
    custody.wait_for_records(5, &mut ingest);
    ingest.stop();

    for (session, finding) in [("headless-1", "the header is missing"), (session, "6 B of output are missing")] {
        for format in ["asciicast-v2", "asciicast-v3", "text"] {
            let exported = export(&custody, session, format);
            let (text, told) = (text(&exported), stderr(&exported));
            assert!(told.contains("incomplete") && told.contains(finding), "{session} as {format}: {told}");
            assert!(text.contains("first") && text.contains("second"), "{session} as {format}: {text}");
        }
        let shown = custody.stdout(["show", session]);
        assert!(shown.contains(finding), "{shown}");
    }
}

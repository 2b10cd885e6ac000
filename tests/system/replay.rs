//! Recordings for players in browsers: an index, parts that are checked against it, and what goes on.

use serde_json::{Value, json};

use crate::support::custody::{Custody, PATIENCE, Producer, Topic, wait_until};
use crate::support::http::{Client, Sent};
use crate::support::kafka::Broker;

/// Lines of asciicast version 2: a shell that prints a lot, is resized, and says goodbye in Chinese.
fn cast() -> Vec<String> {
    let mut lines = vec![r#"{"version":2,"width":90,"height":20,"timestamp":1772438400}"#.to_owned()];
    let line = |ms: usize, code: &str, data: &str| json!([ms as f64 / 1000.0, code, data]).to_string();
    for number in 0..40 {
        let page = format!("\x1b[3{}mpage {number}\x1b[0m {}\r\n", number % 8, "some words ".repeat(1000));
        lines.push(line(number * 100, "o", &page));
    }
    lines.push(line(4000, "m", "half of it"));
    lines.push(line(9000, "r", "100x30"));
    lines.push(line(9500, "i", "exit\r"));
    lines.push(line(9600, "o", "再见 \u{1b}[1"));
    lines.push(line(9700, "o", "mbye"));
    lines.push(line(9800, "x", "0"));
    lines
}

fn get(client: &Client, path: &str) -> Value {
    let answer = client.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

#[test]
fn a_recording_is_played_in_parts_that_are_those_that_were_looked_through() {
    let test = "a_recording_is_played_in_parts_that_are_those_that_were_looked_through";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let topic = Topic::create(broker, "asciicast", 1);
    let custody = Custody::on(broker, std::slice::from_ref(&topic));
    let producer = Producer::to(broker);
    let lines = cast();
    lines.iter().for_each(|line| producer.keyed(&topic, "cast-1", line.as_str()));
    producer.flush();
    let mut ingest = custody.ingest();
    custody.wait_for_records(lines.len() as u64, &mut ingest);
    ingest.stop();
    let (mut serve, client) = custody.serve();

    // Nobody has looked through it: that is done for whoever asks first.
    let index = get(&client, "/api/v1/sessions/cast-1/replay");
    let known = ["session_id", "source", "ended", "duration_us", "started_at_us", "cols", "rows", "replaced_bytes"]
        .map(|name| index[name].clone());
    let expected = json!(["cast-1", "asciicast", true, 9_800_000, 1_772_438_400_000_000_i64, 90, 20, 0]);
    assert_eq!(json!(known), expected, "{index}");
    assert_eq!((&index["markers"], &index["findings"]), (&json!([[4_000_000, "half of it"]]), &json!([])));
    assert_eq!(index["idle"], json!([[9_000_000, 5_000_000]]), "from the marker to the resize");
    let session = get(&client, "/api/v1/sessions/cast-1");
    assert_eq!(session["recording_states"]["asciicast"]["recording_state"], "recorded", "{session}");
    let again = get(&client, "/api/v1/sessions/cast-1/replay");
    assert_eq!(again["segments"], index["segments"], "it is not looked through again");

    // The parts together are the recording.
    let segments = index["segments"].as_array().unwrap();
    assert!(segments.len() >= 3, "by size and by the resize: {segments:?}");
    let path = |segment: &Value| format!("/api/v1/sessions/cast-1/{}", segment["url"].as_str().unwrap());
    let (mut output, mut typed) = (String::new(), String::new());
    for segment in segments {
        let part = get(&client, &path(segment));
        for event in part["events"].as_array().unwrap() {
            let time_us = event[0].as_i64().unwrap();
            assert!(segment["start_us"].as_i64() <= Some(time_us) && Some(time_us) <= segment["end_us"].as_i64());
            match (event[1].as_str().unwrap(), &event[2]) {
                ("o", text) => output += text.as_str().unwrap(),
                ("i", text) => typed += text.as_str().unwrap(),
                ("r", screen) => assert_eq!((&screen["cols"], &screen["rows"]), (&json!(100), &json!(30))),
                (code, _) => panic!("{code}"),
            }
        }
    }
    let recorded: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |code: &str| -> String {
        recorded.iter().filter(|line| line[1] == code).map(|line| line[2].as_str().unwrap()).collect()
    };
    assert_eq!((output, typed), (of("o"), of("i")));

    // What is there does not have to be fetched again.
    let first = client.get(&path(&segments[0]));
    assert_eq!(first.headers["cache-control"], "private, max-age=86400, immutable");
    assert!(first.headers["etag"].contains(segments[0]["sha256"].as_str().unwrap()), "{:?}", first.headers);
    let fetched = client.send("GET", &path(&segments[0]), &[("if-none-match", &first.headers["etag"])], b"").unwrap();
    assert_eq!((fetched.status, fetched.body.len()), (304, 0));
    assert_eq!(client.get("/api/v1/sessions/cast-1/replay").headers["cache-control"], "no-store");

    // What is not there, and what makes no sense.
    let run = segments[0]["url"].as_str().unwrap().split('/').nth(1).unwrap().to_owned();
    let wrong = [
        ("cast-2/replay".to_owned(), 404, "cast-1"),
        ("cast-1/replay?channel=x".to_owned(), 404, "no channel"),
        ("cast-1/replay?chanel=x".to_owned(), 400, "chanel"),
        (format!("cast-1/replay/{run}/99"), 404, "parts"),
        (format!("cast-1/replay/{run}/-1"), 400, ""),
        ("cast-1/replay/7/0".to_owned(), 410, "index"),
        ("cast-2/live".to_owned(), 404, "cast-1"),
    ];
    for (path, status, says) in wrong {
        let answer = client.get(&format!("/api/v1/sessions/{path}"));
        assert!(answer.status == status && answer.text().contains(says), "{path}: {} {}", answer.status, answer.text());
    }

    // Who looked is written down, once for all parts.
    let looked = custody.value(
        "SELECT count(*) AS n FROM custody_activity WHERE verb = 'replay' AND object = 'cast-1' AND outcome = 'done'",
    );
    assert_eq!(looked, 3);
    serve.stop();

    // Without its frames nothing is shown in their place.
    let gone = custody.folder().join("gone");
    let frames = custody.data().join("frames");
    move_days(&frames, &gone);
    let (mut serve, client) = custody.serve();
    let answer = client.get(&path(&segments[0]));
    assert_eq!((answer.status, answer.json()["error"]["kind"].as_str()), (503, Some("store")));
    serve.stop();
    move_days(&gone, &frames);
}

/// Moves the folders of a table's days.
fn move_days(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("date=") {
            std::fs::rename(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_session_is_watched_while_it_runs() {
    let test = "a_session_is_watched_while_it_runs";
    let Some(broker) = Broker::shared_or_skip(test) else { return };
    let topic = Topic::create(broker, "asciicast", 1);
    let custody = Custody::on(broker, std::slice::from_ref(&topic));
    let producer = Producer::to(broker);
    let send = |line: Value| {
        producer.keyed(&topic, "cast-1", line.to_string());
        producer.flush();
    };
    let (mut up, client) = custody.up();
    send(json!({ "version": 2, "width": 40, "height": 5 }));
    send(json!([0.5, "o", "one\r\n"]));
    let path = "/api/v1/sessions/cast-1/live";
    wait_until("the session to be there", PATIENCE, || match client.get("/api/v1/sessions/cast-1/replay") {
        answer if answer.status == 200 => Ok(()),
        answer => Err(answer.text()),
    });
    let data = |sent: &Sent| serde_json::from_str::<Value>(&sent.data).unwrap();

    // Whoever comes late sees the screen at once, and then what happens.
    let mut events = client.events(path, &[]);
    assert_eq!(events.status, 200);
    let screen = data(&events.next().unwrap());
    assert_eq!((&screen["cols"], &screen["rows"], &screen["time"]), (&json!(40), &json!(5), &json!(0.5)));
    assert!(screen["init"].as_str().unwrap().contains("one"), "{screen}");
    send(json!([1.5, "o", "two"]));
    let two = events.next().unwrap();
    assert_eq!(data(&two), json!([1.5, "o", "two"]));
    send(json!([2.0, "r", "50x6"]));
    let resized = data(&events.next().unwrap());
    assert_eq!((&resized["cols"], &resized["rows"]), (&json!(50), &json!(6)));

    // Whoever comes again gets the screen of then, and goes on from there.
    let mut again = client.events(path, &[("last-event-id", two.id.as_deref().unwrap())]);
    let (then, now) = (data(&again.next().unwrap()), data(&again.next().unwrap()));
    assert_eq!((&then["cols"], &then["time"], &now["cols"]), (&json!(40), &json!(1.5), &json!(50)));
    assert!(then["init"].as_str().unwrap().contains("two"), "{then}");
    let mut stranger = client.events(path, &[("last-event-id", "0.7")]);
    assert_eq!(data(&stranger.next().unwrap())["cols"], 50, "the mark of another stream says nothing");
    drop(stranger);
    send(json!([3.0, "i", "q"]));
    send(json!([3.5, "x", "0"]));
    for events in [&mut events, &mut again] {
        assert_eq!(data(&events.next().unwrap()), json!([3.0, "i", "q"]));
        assert_eq!(events.next().unwrap().name, "done");
        assert_eq!(events.next(), None);
    }
    // Of one that is over the last screen is shown.
    let over: Vec<Sent> = client.events(path, &[]).collect();
    assert_eq!(over.iter().map(|sent| sent.name.as_str()).collect::<Vec<_>>(), ["message", "done"]);

    // The process ends while somebody watches.
    for line in [json!({ "version": 2, "width": 40, "height": 5 }), json!([0.5, "o", "one"])] {
        producer.keyed(&topic, "cast-2", line.to_string());
    }
    producer.flush();
    wait_until("the second session to be there", PATIENCE, || match client.get("/api/v1/sessions/cast-2/replay") {
        answer if answer.status == 200 => Ok(()),
        answer => Err(answer.text()),
    });
    let mut events = client.events("/api/v1/sessions/cast-2/live", &[]);
    assert_eq!(events.next().unwrap().name, "message");
    up.stop();
    assert_eq!(events.next(), None);
}

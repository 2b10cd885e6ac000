//! What goes on while the demo runs: a session that is running now, and short ones that come and go.
//!
//! The first is what a gateway of any make can publish: Custody's own stream, one line of asciicast 3 a message, as it
//! happens. The others are Teleport's, whose recordings arrive when they are complete. Everything ends soon after a
//! stop is asked for, and ends properly.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use custody_ingest::publish::Outgoing;
use custody_replay::utf8::Decoder;
use custody_schemas::time::Micros;
use serde_json::json;

use super::opa::{self, Decision, access_input};
use super::pty::{Chunk, Pace, Shown, record};
use super::scripts::{record_live, watch_machine};
use super::teleport::{ALICE, BOB, CAROL, Ids, PROD_WEB_01, Person, Request, Route, Session, Teleport};

/// Topic of Custody's own streams.
pub(super) const TOPIC: &str = "custody.sessions";

/// The longest sleep without a look at the stop flag.
const TICK: Duration = Duration::from_millis(100);

/// From the beginning of the first short session's story to that of the second; from each to the next it takes as much longer,
/// up to so many times as long, or what comes by itself would hide the story that is told.
const STORY_EVERY: Duration = Duration::from_secs(25);
const STORY_RARELY: u32 = 12;

const MINUTE: Micros = 60_000_000;

/// Publishes until a stop is asked for.
pub(super) fn run(publish: &(dyn Fn(Outgoing) + Sync), stop: &AtomicBool) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while running_session(publish, stop) && !stop.load(Ordering::Relaxed) {
                pause(Duration::from_secs(5), stop);
            }
        });
        let mut teleport = Teleport { ids: Ids::Random };
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            short_session(number, &mut teleport, publish, stop);
            number += 1;
            let every = STORY_EVERY * u32::try_from(number).unwrap_or(STORY_RARELY).min(STORY_RARELY);
            pause(every.saturating_sub(began.elapsed()), stop);
        }
    });
}

/// S20: Alice watches a host. Her request is in Teleport, her session at a gateway that publishes it as it happens.
/// False when this machine has no terminal to show, and would have none the next time.
fn running_session(publish: &(dyn Fn(Outgoing) + Sync), stop: &AtomicBool) -> bool {
    let mut teleport = Teleport { ids: Ids::Random };
    let asked_at = now();
    let request = Request {
        id: teleport.ids.next(),
        person: &ALICE,
        role: "developer-read-only-jit",
        reason: "INC-79101 load on prod-web-01, watching",
        asked_at,
        expires_at: asked_at + 60 * MINUTE,
    };
    publish(teleport.request_created(&request).to_audit());
    pause(Duration::from_secs(1), stop);
    publish(teleport.request_reviewed(now(), &request, &BOB, "APPROVED", "ok").to_audit());
    // The stream says to the second when it began, which must not be before the approval.
    pause(Duration::from_secs(1), stop);

    let session_id = teleport.ids.next();
    let line = |value: String| {
        publish(Outgoing {
            topic: TOPIC.to_owned(),
            key: Some(session_id.as_bytes().to_vec()),
            value: Some(value.into_bytes()),
            ..Outgoing::default()
        });
    };
    let script = watch_machine("alice@prod-web-01");
    line(header(script.size, &request));
    let mut lines = Lines::default();
    let ended = record(&script, Pace::Real, stop, &mut |chunk| {
        if let Some(text) = lines.next(&chunk) {
            line(text);
        }
    });
    match ended {
        Ok(ended) => {
            line(lines.exit(ended.status));
            true
        }
        Err(error) => {
            tracing::warn!(%error, "no terminal can be recorded here, so no session is shown as running");
            // What a shell says of a program that cannot be started.
            line(lines.exit(127));
            false
        }
    }
}

/// The first line of a stream, with what Custody wants to know of the session.
fn header((cols, rows): (u16, u16), request: &Request) -> String {
    json!({
        "version": 3,
        "term": { "cols": cols, "rows": rows, "type": "xterm-256color" },
        "timestamp": now() / 1_000_000,
        "title": "prod-web-01",
        "custody": {
            "cluster": "gateway.example.com", "user": request.person.user, "login": request.person.login,
            "target": "prod-web-01", "protocol": "ssh", "request_ids": [request.id], "reason": request.reason,
        },
    })
    .to_string()
}

/// One person asks, another approves, a policy allows, a session takes place, its recording is uploaded.
fn short_session(number: usize, teleport: &mut Teleport, publish: &(dyn Fn(Outgoing) + Sync), stop: &AtomicBool) {
    // Not Alice: a decision that lets her onto the same host would be near the start of her running session too.
    let cases: [(&'static Person, &'static str, &str, &'static str, &Person); 2] = [
        (&BOB, "bob@prod-web-01", "INC-79103", "INC-79103 state after the deploy", &CAROL),
        (&CAROL, "carol@prod-web-01", "INC-79104", "INC-79104 errors in the journal", &BOB),
    ];
    let Some((person, prompt, ticket, reason, reviewer)) = cases.into_iter().nth(number % 2) else {
        return;
    };
    let asked_at = now();
    let request = Request {
        id: teleport.ids.next(),
        person,
        role: "developer-read-only-jit",
        reason,
        asked_at,
        expires_at: asked_at + 30 * MINUTE,
    };
    publish(teleport.request_created(&request).to_audit());
    pause(Duration::from_secs(3), stop);
    publish(teleport.request_reviewed(now(), &request, reviewer, "APPROVED", "ok").to_audit());
    let at = now();
    publish(opa::single(&Decision {
        id: teleport.ids.next(),
        at,
        number: number as u64 + 1,
        path: "access/authz/decision",
        revision: opa::REVISION_NEW,
        input: access_input(person, "prod-web-01", at, Some(("incident", ticket))),
        result: Some(json!({ "allow": true })),
    }));
    publish(teleport.certificate(now(), &request).to_audit());
    pause(Duration::from_secs(1), stop);
    // A person who is stopped here has asked for access, and has not used it yet: that is a story too.
    if stop.load(Ordering::Relaxed) {
        return;
    }

    let mut session = Session {
        id: teleport.ids.next(),
        person,
        place: PROD_WEB_01,
        requests: vec![request.id],
        started_at: now(),
        ended_at: 0,
    };
    let started = teleport.session_started(&session, (100, 30));
    publish(started.to_audit());
    let recording = record_live(number, prompt, stop);
    session.ended_at = now().max(session.started_at + recording.duration_us() + 1_000_000);
    let recorded = teleport.recorded(&session, &recording);
    let index = i64::try_from(recorded.len()).unwrap_or(i64::MAX - 2) + 1;
    let [left, data] = teleport.session_left(&session, index, recording.output_len());
    let ended = teleport.session_ended(&session, index + 1);
    for event in [&left, &data, &ended, &teleport.session_uploaded(&session)] {
        publish(event.to_audit());
    }
    for event in [started].into_iter().chain(recorded).chain([left, ended]) {
        publish(event.to_session(&session.id, Route::Key));
    }
}

/// Makes the lines of an asciicast 3 stream of what a terminal shows.
///
/// Intervals have three decimals. Each leads from one rounded time to the next, so that no error adds up.
#[derive(Default)]
struct Lines {
    text: Decoder,
    elapsed_us: i64,
    written_ms: i64,
}

impl Lines {
    /// The line of a chunk. A chunk with nothing but the beginning of a character waits for its rest.
    fn next(&mut self, chunk: &Chunk) -> Option<String> {
        self.elapsed_us += chunk.delay_us;
        match &chunk.shown {
            Shown::Output(bytes) => {
                let mut text = String::new();
                self.text.push(bytes, &mut text);
                (!text.is_empty()).then(|| self.line('o', &text))
            }
            Shown::Resize(cols, rows) => Some(self.line('r', &format!("{cols}x{rows}"))),
        }
    }

    fn exit(&mut self, status: u32) -> String {
        self.line('x', &status.to_string())
    }

    fn line(&mut self, code: char, data: &str) -> String {
        let time_ms = (self.elapsed_us + 500) / 1000;
        let interval_ms = time_ms - self.written_ms;
        self.written_ms = time_ms;
        format!(r#"[{}.{:03},"{code}",{}]"#, interval_ms / 1000, interval_ms % 1000, json!(data))
    }
}

fn now() -> Micros {
    chrono::Utc::now().timestamp_micros()
}

/// Sleeps, unless a stop is asked for.
fn pause(time: Duration, stop: &AtomicBool) {
    let until = Instant::now() + time;
    while !stop.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(TICK));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::Value;

    use super::*;

    fn output(delay_us: i64, bytes: &[u8]) -> Chunk {
        Chunk { delay_us, shown: Shown::Output(bytes.to_vec()) }
    }

    #[test]
    fn rounding_errors_do_not_add_up() {
        let mut lines = Lines::default();
        let written: f64 = (0..10_000)
            .filter_map(|_| lines.next(&output(1_400, b"x")))
            .map(|line| serde_json::from_str::<Value>(&line).unwrap()[0].as_f64().unwrap())
            .sum();
        assert!((written - 14.0).abs() < 0.001, "{written}");
    }

    #[test]
    fn lines_are_json_and_characters_are_whole() {
        let mut lines = Lines::default();
        assert_eq!(lines.next(&output(1_500, b"a\"\x1b[m\xc3")).unwrap(), r#"[0.002,"o","a\"\u001b[m"]"#);
        assert_eq!(lines.next(&output(100_000, b"")), None);
        assert_eq!(lines.next(&output(0, b"\xa9\r\n")).unwrap(), r#"[0.100,"o","é\r\n"]"#);
        let resize = Chunk { delay_us: 2_000_000, shown: Shown::Resize(110, 32) };
        assert_eq!(lines.next(&resize).unwrap(), r#"[2.000,"r","110x32"]"#);
        assert_eq!(lines.exit(0), r#"[0.000,"x","0"]"#);
    }

    #[test]
    fn sessions_go_on_until_they_are_stopped_and_then_end() {
        let stop = AtomicBool::new(false);
        let published = Mutex::new(Vec::new());
        let took = std::thread::scope(|scope| {
            scope.spawn(|| run(&|message| published.lock().unwrap().push(message), &stop));
            std::thread::sleep(Duration::from_secs(8));
            stop.store(true, Ordering::Relaxed);
            Instant::now()
        })
        .elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");

        let published = published.into_inner().unwrap();
        let of = |topic: &str| -> Vec<Value> {
            let of_it = published.iter().filter(|message| message.topic == topic);
            of_it.map(|message| serde_json::from_slice(message.value.as_deref().unwrap()).unwrap()).collect()
        };
        let lines = of(TOPIC);
        assert_eq!(lines[0]["version"], 3);
        assert_eq!(lines[0]["custody"]["user"], ALICE.user);
        assert_eq!(lines.last().unwrap()[1], "x", "the running session ended");
        if lines.last().unwrap()[2] == "127" {
            eprintln!("SKIPPED: no terminal can be recorded here");
            return;
        }
        assert!(lines.len() > 5, "{}", lines.len());
        let names: Vec<String> =
            of("teleport.audit").iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect();
        for name in ["access_request.create", "access_request.review", "session.start", "session.end", "session.upload"]
        {
            assert!(names.iter().any(|other| other == name), "{name} in {names:?}");
        }
        let stream = of("teleport.sessions");
        assert!(stream.iter().any(|event| event["event"] == "print"));
        assert_eq!(stream.last().unwrap()["event"], "session.end");
    }
}

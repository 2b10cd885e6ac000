//! Syslog, to a strict receiver and to the daemons that people have.

use custody_schemas::event::{Event, Kind};

use super::*;
use crate::notice::{Evidence, Notice};

/// Texts that somebody may put into a reason or an id to be taken for something else.
const TEXTS: [&str; 12] = [
    "plain",
    "",
    "a \"quoted\" word",
    "brackets ] [x@1 a=\"b\"]",
    "back\\slash \\\" \\]",
    "ünïcode 日本 😀",
    "two\nlines\r\n<34>1 - - - - - - forged",
    "tab\tand bell\u{7} and escape\u{1b}[2J",
    "nul\0byte",
    "12 <34>1 counted",
    "next\u{85}line\u{2028}paragraph",
    "{\"json\": [1, \"]\"]}",
];

fn notice(id: &str, text: &'static str) -> Notice<'static> {
    let event = Event {
        event_id: id.to_owned().into(),
        occurred_at: Some(1_767_225_600_123_456),
        kind: Kind::SessionStart,
        session_id: Some(text.into()),
        request_ids: vec![text.into()],
        reason: Some(text.into()),
        actor: Some("alice@example.com".into()),
        ..Event::default()
    };
    let evidence = Evidence { topic: "audit", partition: 1, offset: 42, index: 0, broker_at: None, ingested_at: 0 };
    Notice { event, source: "teleport", evidence, access: &[], revision: 0 }
}

fn settings(transport: &str, port: u16, more: Value) -> Receiver {
    let mut settings =
        json!({"kind": "syslog", "host": "localhost", "port": port, "transport": transport, "hostname": "custody-1"});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(settings).unwrap()
}

/// Messages with every text, in every schema; and the notices they are of.
fn messages(receiver: &Receiver) -> Vec<(Item, Schema, &'static str)> {
    let mut all = Vec::new();
    for schema in Schema::ALL {
        for (number, text) in TEXTS.into_iter().enumerate() {
            let id = format!("{}/{number} ] é", schema.as_str());
            all.push((receiver.item(&notice(&id, text), schema, receiver.default_bytes_max()), schema, text));
        }
    }
    all
}

/// What a receiver has to have read of it: the parameters and the text.
fn expected(item: &Item, schema: Schema, text: &'static str) -> (Value, String) {
    let tame = |text: &str| text.replace(|letter: char| letter.is_control(), " ");
    let mut parameters = json!({"eventId": item.id, "seq": "42", "evidenceRef": "audit/1/42/0"});
    if !text.is_empty() {
        parameters["sessionId"] = tame(text).into();
        parameters["requestId"] = tame(text).into();
    }
    let written = schema.write(&notice(&item.id, text), 8000);
    (parameters, written.replace(|letter: char| letter.is_ascii_control() && letter != '\t', " "))
}

async fn send(receiver: &Receiver, items: &[Item]) {
    let delivery = Delivery::new(receiver.sink(Schema::Custody).unwrap(), PATIENCE);
    assert_eq!(deliver(&delivery, items).await, []);
    delivery.close().await;
}

#[test]
fn what_a_strict_receiver_reads_is_what_was_sent() {
    let Some(peer) = Peer::start("syslog", &["syslog-udp", "syslog-tcp", "syslog-tls"], &[]) else { return };
    let Some(lines) = Peer::start("syslog", &["syslog-tcp"], &["--framing", "lf"]) else { return };
    let cases = [
        (&peer, "syslog-udp", json!({})),
        (&peer, "syslog-tcp", json!({})),
        (&peer, "syslog-tls", json!({"tls": {"ca": peer.pem("ca")}})),
        (&lines, "syslog-tcp", json!({"framing": "lines"})),
    ];
    run(async {
        for (peer, protocol, more) in cases {
            let receiver = settings(protocol.strip_prefix("syslog-").unwrap(), peer.port(protocol), more);
            let sent = messages(&receiver);
            let items: Vec<Item> = sent.iter().map(|(item, ..)| item.clone()).collect();
            send(&receiver, &items).await;
            let received = peer.until(protocol, |received| received["events"] == items.len()).await;
            // That TLS ended as it should is among them.
            assert_eq!(received["problems"], json!([]), "{protocol}");
            let mut events = peer.events(protocol).await;
            events.sort_by_key(|event| items.iter().position(|item| event["id"] == item.id));
            for (event, (item, schema, text)) in events.iter().zip(&sent) {
                let body = &event["body"];
                let (parameters, message) = expected(item, *schema, text);
                assert_eq!(body["structured_data"], json!({"custody@32473": parameters}));
                assert_eq!((&body["message"], &body["bom"]), (&json!(message), &json!(true)));
                assert_eq!((&body["facility"], &body["severity"]), (&json!(13), &json!(6)));
                assert_eq!(body["timestamp"], "2026-01-01T00:00:00.123456Z");
                assert_eq!((&body["hostname"], &body["app_name"]), (&json!("custody-1"), &json!("custody")));
                assert_eq!((&body["procid"], &body["msgid"]), (&json!("-"), &json!("session.start")));
            }
        }
    });
}

#[test]
fn what_daemons_read_is_what_was_sent() {
    run(async {
        for (name, data) in [("syslog-ng", "_SDATA"), ("rsyslog", "rfc5424-sd")] {
            let Some(daemon) = peer::Daemon::start("syslog daemons", name).await else { continue };
            let own =
                json!({"ca": daemon.pem("ca.pem"), "cert": daemon.pem("client.pem"), "key": daemon.pem("client.key")});
            let over = [settings("tcp", daemon.tcp, json!({})), settings("tls", daemon.tls, json!({"tls": own}))];
            let mut sent = Vec::new();
            for receiver in &over {
                let messages = messages(receiver);
                let items: Vec<Item> = messages.iter().map(|(item, ..)| item.clone()).collect();
                send(receiver, &items).await;
                sent.extend(messages);
            }
            let mut read = daemon.messages(sent.len()).await;
            assert_eq!(read.len(), sent.len(), "{name}");
            for (item, schema, text) in sent {
                let (parameters, message) = expected(&item, schema, text);
                let at = read.iter().position(|read| read[data]["custody@32473"]["eventId"] == item.id);
                let read = read.swap_remove(at.unwrap_or_else(|| panic!("{name}: {} did not come", item.id)));
                assert_eq!(read[data], json!({"custody@32473": parameters}), "{name}");
                assert_eq!(read["message"].as_str().unwrap().trim_start_matches('\u{feff}'), message, "{name}");
                assert_eq!((&read["pri"], &read["host"]), (&json!(110), &json!("custody-1")), "{name}");
                assert_eq!((&read["app_name"], &read["msgid"]), (&json!("custody"), &json!("session.start")), "{name}");
                let at = chrono::DateTime::parse_from_rfc3339(read["timestamp"].as_str().unwrap()).unwrap();
                assert_eq!(at.timestamp_micros(), item.at, "{name}");
            }

            // Without a certificate nothing counts as sent.
            let stranger = settings("tls", daemon.tls, json!({"tls": {"ca": daemon.pem("ca.pem")}}));
            assert_stranger(&stranger, name).await;
        }
    });
}

async fn assert_stranger(receiver: &Receiver, name: &str) {
    let delivery = Delivery::new(receiver.sink(Schema::Custody).unwrap(), PATIENCE);
    let items: Vec<Item> = messages(receiver).into_iter().map(|(item, ..)| item).collect();
    let why = deliver_until(&delivery, &items, |state| *state != State::Delivering).await;
    assert!(why.contains("ertificate") || why.contains("closed"), "{name}: {why}");
}

#[test]
fn certificates_are_asked_for_and_shown() {
    let Some(peer) = Peer::start("syslog mTLS", &["syslog-tls"], &["--client-ca", "own"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    peer::certificates(folder.path());
    let other = |name: &str| folder.path().join("tls").join(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (peer.pem("ca"), peer.pem("client"), peer.pem("client_key"));
    let at = |host: &str, tls: Value| settings("tls", peer.port("syslog-tls"), json!({"host": host, "tls": tls}));
    let ours = json!({"ca": ca, "cert": cert, "key": key});
    // (receiver, whether it is the receiver that refuses, what is said)
    let refused = [
        (at("localhost", json!({"ca": ca})), true, "CertificateRequired"),
        (
            at("localhost", json!({"ca": ca, "cert": other("client.pem"), "key": other("client.key")})),
            true,
            "UnknownCA",
        ),
        (at("localhost", json!({"ca": other("ca.pem"), "cert": cert, "key": key})), false, "invalid peer certificate"),
        (at("::ffff:127.0.0.1", ours.clone()), false, "invalid peer certificate"),
    ];
    run(async {
        for (receiver, is_unauthorised, said) in refused {
            let delivery = Delivery::new(receiver.sink(Schema::Custody).unwrap(), PATIENCE);
            let items: Vec<Item> = messages(&receiver).into_iter().map(|(item, ..)| item).collect();
            let why = deliver_until(&delivery, &items, |state| *state != State::Delivering).await;
            assert!(why.contains(said), "{why}");
            assert_eq!(matches!(*delivery.state().borrow(), State::Unauthorised { .. }), is_unauthorised, "{why}");
        }
        assert_eq!(peer.received("syslog-tls").await["events"], 0);
        for host in ["localhost", "127.0.0.1"] {
            let receiver = at(host, ours.clone());
            let items: Vec<Item> = messages(&receiver).into_iter().map(|(item, ..)| item).collect();
            send(&receiver, &items).await;
        }
        peer.until("syslog-tls", |received| received["events"] == 2 * TEXTS.len() * Schema::ALL.len()).await;
    });
}

fn many(receiver: &Receiver, name: &str, count: usize) -> Vec<Item> {
    let id = |number: usize| format!("{name}/{number}");
    (0..count).map(|number| receiver.item(&notice(&id(number), "x"), Schema::Ocsf, 8192)).collect()
}

#[test]
fn what_a_connection_took_with_it_is_sent_again() {
    let Some(peer) = Peer::start("syslog faults", &["syslog-tcp", "syslog-tls"], &[]) else { return };
    let faults = [
        ("closed", json!({"after": 300, "close": "before_reply"})),
        ("accepted", json!({"after": 300, "accept_then_close": true})),
        ("reset", json!({"after": 300, "reset_mid_frame": true})),
        // Longer than sending may take.
        ("stalled", json!({"after": 300, "stall_seconds": 3})),
    ];
    run(async {
        for protocol in ["syslog-tcp", "syslog-tls"] {
            let more = if protocol == "syslog-tls" { json!({"tls": {"ca": peer.pem("ca")}}) } else { json!({}) };
            let receiver = settings(protocol.strip_prefix("syslog-").unwrap(), peer.port(protocol), more.clone());
            for (name, fault) in &faults {
                peer.fault(protocol, json!({"next": [fault]})).await;
                let delivery = Delivery::new(sink(&peer, protocol, more.clone()), PATIENCE);
                let items = many(&receiver, name, 3000);
                for part in items.chunks(1000) {
                    assert_eq!(deliver(&delivery, part).await, []);
                }
                // What went into a connection that is over is missed when something is sent after it. At the end a reset
                // says so, too; a receiver that closes says the same as one that has read everything.
                if *name != "reset" {
                    send_until_arrived(&delivery, &peer, protocol, &items).await;
                }
                delivery.close().await;
                assert_arrived(&peer, protocol, &items, &[]).await;
            }
        }
    });
}

/// Goes on sending one event after the others, as whoever lives does.
async fn send_until_arrived(delivery: &Delivery<dyn Sink>, peer: &Peer, protocol: &str, items: &[Item]) {
    let began = std::time::Instant::now();
    while arrivals(peer, protocol, items).await.len() < items.len() {
        assert_eq!(deliver(delivery, &items[..1]).await, []);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(began.elapsed() < Duration::from_secs(20), "{protocol}: {}", items[0].id);
    }
}

#[test]
fn a_message_that_was_cut_off_ends_its_connection() {
    let Some(peer) = Peer::start("syslog stop", &["syslog-tcp"], &[]) else { return };
    run(async {
        let receiver = settings("tcp", peer.port("syslog-tcp"), json!({}));
        let delivery = Delivery::new(sink(&peer, "syslog-tcp", json!({})), PATIENCE);
        peer.fault("syslog-tcp", json!({"next": [{"stall_seconds": 1}]})).await;
        // More than the network holds, so that something is on its way when it is stopped.
        let items: Vec<Item> = many(&receiver, "first", 20_000);
        let (stop, mut stopped) = watch::channel(false);
        let stopping = async {
            peer.until("syslog-tcp", |received| received["events"].as_u64() > Some(0)).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            stop.send(true).unwrap();
        };
        let (delivered, ()) = tokio::join!(delivery.deliver(&items, &mut stopped), stopping);
        assert_eq!(delivered, Err(Stopped));
        let more = many(&receiver, "second", 100);
        assert_eq!(deliver(&delivery, &more).await, []);
        delivery.close().await;
        assert_arrived(&peer, "syslog-tcp", &more, &[]).await;
        assert_eq!(peer.received("syslog-tcp").await["refused"], 0);
    });
}

#[test]
fn datagrams_say_when_nobody_takes_them() {
    run(async {
        let port = peer::free_port();
        let receiver = settings("udp", port, json!({"host": "127.0.0.1"}));
        let delivery = Delivery::new(receiver.sink(Schema::Custody).unwrap(), PATIENCE);
        let items = many(&receiver, "udp", 20);
        let (_stop, mut stopped) = watch::channel(false);
        let state = &mut delivery.state();
        let late = async {
            state.wait_for(|state| matches!(state, State::Failing { .. })).await.unwrap();
            Peer::start("udp", &[&format!("syslog-udp={port}")], &[])
        };
        let (delivered, peer) = tokio::join!(delivery.deliver(&items, &mut stopped), late);
        assert_eq!(delivered, Ok(Vec::new()));
        let Some(peer) = peer else { return };
        peer.until("syslog-udp", |received| received["distinct"] == 20).await;

        // What is longer than a datagram never goes.
        let long = Item { body: vec![b'x'; 65_508].into(), ..items[0].clone() };
        let dead = deliver(&delivery, &[long]).await;
        assert_eq!(dead[0].refusal.answer, "a datagram has at most 65507 bytes");
    });
}

#[test]
fn no_message_is_longer_than_what_carries_it() {
    let texts = ["x".repeat(100_000), "é\"".repeat(50_000), "]\u{1}".repeat(50_000)];
    for text in texts {
        let text: &'static str = text.leak();
        for (transport, most) in [("udp", 65_507), ("tcp", usize::MAX), ("tls", usize::MAX)] {
            let receiver = settings(transport, 1, json!({}));
            for schema in Schema::ALL {
                for bytes_max in [0, receiver.default_bytes_max(), 60_000, usize::MAX] {
                    let item = receiver.item(&notice("id", text), schema, bytes_max);
                    let bound = bytes_max.max(Schema::BYTES_MIN + 2048).min(most);
                    assert!(item.body.len() <= bound, "{} of {bytes_max}", item.body.len());
                }
            }
        }
    }
}

//! Splunk, Elasticsearch and webhooks.

use super::*;
use crate::destination::{Reach, Tls};
use crate::sink::http::Http;

const PROTOCOLS: [&str; 3] = ["hec", "bulk", "webhook"];

#[test]
fn what_fails_is_sent_again_until_it_is_taken() {
    let Some(peer) = Peer::start("faults", &PROTOCOLS, &[]) else { return };
    let other = format!("http://127.0.0.1:{}/stolen", peer.port("bulk"));
    let statuses = [302, 303, 402, 404, 405, 408, 409, 410, 415, 425, 429, 500, 502, 503, 504];
    let each: Vec<Value> = statuses.map(|status| json!({"status": status})).into();
    let faults = [
        ("nothing", json!([])),
        (
            "busy",
            json!([{"status": 503, "retry_after": 1}, {"status": 429, "retry_after": "Thu, 01 Jan 1970 00:00:00 GMT"}]),
        ),
        ("statuses", Value::from(each)),
        ("unread", json!([{"close": "before_read"}, {"close": "before_read"}])),
        ("unanswered", json!([{"close": "before_reply"}])),
        ("accepted", json!([{"accept_then_close": true}])),
        ("reset", json!([{"reset_mid_frame": true}])),
        ("late", json!([{"stall_seconds": 2}])),
        ("redirected", json!([{"redirect": other}, {"redirect": other}])),
        ("long refusal", json!([{"status": 503, "reply_bytes": 9_000_000}])),
    ];
    run(async {
        for protocol in PROTOCOLS {
            for (name, faults) in &faults {
                let expected = faults.as_array().unwrap().len();
                peer.fault(protocol, json!({"next": faults})).await;
                let delivery = delivery(&peer, protocol);
                let items = items(name, 40);
                assert_eq!(deliver(&delivery, &items).await, [], "{protocol} {name}");
                assert_eq!(delivery.requests(), expected as u64 + 1, "{protocol} {name}");
                assert_eq!(*delivery.state().borrow(), State::Delivering);
                // A collector and a webhook do not know what they have already.
                let again = assert_arrived(&peer, protocol, &items, &[]).await;
                let is_taken_twice = protocol != "bulk" && matches!(*name, "accepted" | "late");
                assert_eq!(again, if is_taken_twice { 40 } else { 0 }, "{protocol} {name}");
            }
            let received = peer.received(protocol).await;
            // What a request was cut off in is the fault's doing.
            let problems = received["problems"].as_array().unwrap();
            assert!(problems.iter().all(|problem| problem.as_str().unwrap().contains("the body ends")), "{problems:?}");
        }
    });
}

#[test]
fn an_answer_without_an_end_counts_by_its_status() {
    let Some(peer) = Peer::start("answers", &PROTOCOLS, &[]) else { return };
    run(async {
        // 9 MB of answer, more than is read: for a webhook 200 is enough; the others say in it what became of the events.
        for (protocol, requests, duplicates) in [("hec", 2, 40), ("bulk", 2, 0), ("webhook", 1, 0)] {
            peer.fault(protocol, json!({"next": [{"reply_bytes": 9_000_000}]})).await;
            let delivery = delivery(&peer, protocol);
            let items = items("long", 40);
            assert_eq!(deliver(&delivery, &items).await, []);
            assert_eq!(delivery.requests(), requests, "{protocol}");
            assert_eq!(assert_arrived(&peer, protocol, &items, &[]).await, duplicates, "{protocol}");
        }
    });
}

#[test]
fn what_is_poison_is_found_and_nothing_else_is_lost() {
    let Some(peer) = Peer::start("poison", &PROTOCOLS, &["--hec-truncate", "0"]) else { return };
    run(async {
        for protocol in PROTOCOLS {
            let delivery = delivery(&peer, protocol);
            let first = items("before", 10);
            assert_eq!(deliver(&delivery, &first).await, []);
            peer.fault(protocol, json!({"poison": "\"number\": ?(0|57|58|1400|1999)[,}]"})).await;
            let items = items("poison", 2000);
            let before = delivery.requests();
            let dead = deliver(&delivery, &items).await;
            let numbers: Vec<usize> = dead.iter().map(|dead| dead.number).collect();
            assert_eq!(numbers, [0, 57, 58, 1400, 1999], "{protocol}");
            for dead in dead {
                assert_eq!(dead.refusal.status, Some(400), "{protocol}");
                let said = ["Invalid data format", "document_parsing_exception", "refused"];
                assert!(said.iter().any(|said| dead.refusal.answer.contains(said)), "{:?}", dead.refusal);
            }
            // What is known to be there is not sent again.
            assert_eq!(assert_arrived(&peer, protocol, &items, &numbers).await, 0, "{protocol}");
            let requests = delivery.requests() - before;
            let most = match protocol {
                "hec" => 2 + 5,
                "bulk" => 1,
                _ => 20 + 5 * 2 * 7,
            };
            assert!(requests <= most, "{protocol}: {requests}");
            assert_eq!(peer.received(protocol).await["problems"], json!([]), "{protocol}");
        }
    });
}

#[test]
fn what_is_too_large_is_halved() {
    let Some(peer) = Peer::start("halves", &PROTOCOLS, &[]) else { return };
    run(async {
        for protocol in PROTOCOLS {
            let delivery = delivery(&peer, protocol);
            let items = items("large", 64);
            // The whole, its first half, and the first quarter.
            peer.fault(protocol, json!({"next": [{"status": 413}, {"status": 413}, {"status": 413}]})).await;
            assert_eq!(deliver(&delivery, &items).await, [], "{protocol}");
            assert_eq!(delivery.requests(), 3 + 4, "{protocol}");
            assert_eq!(assert_arrived(&peer, protocol, &items, &[]).await, 0);
            // By itself it is dead.
            peer.fault(protocol, json!({"next": [{"status": 413}]})).await;
            let one = super::items("giant", 1);
            let dead = deliver(&delivery, &one).await;
            assert_eq!((dead[0].number, dead[0].refusal.status, dead[0].attempts), (0, Some(413), 1));
        }
    });
}

#[test]
fn of_a_bulk_only_what_had_no_room_is_sent_again() {
    let Some(peer) = Peer::start("bulk", &["bulk"], &[]) else { return };
    run(async {
        let delivery = delivery(&peer, "bulk");
        let items = items("partial", 100);
        let partial = |pattern: &str, status: u16| json!({"partial": [{"match": pattern, "status": status}]});
        let faults = json!([
            {"partial": [{"match": "\"number\":1\\d[,}]", "status": 429}, {"match": "\"number\":2[,}]", "status": 400}]},
            partial("\"number\":1[0-4][,}]", 503),
            partial("\"number\":10[,}]", 404),
            partial("\"number\":10[,}]", 403),
        ]);
        peer.fault("bulk", json!({"next": faults})).await;
        let dead = deliver(&delivery, &items).await;
        assert_eq!((dead.len(), dead[0].number, dead[0].attempts), (1, 2, 1));
        assert_eq!(assert_arrived(&peer, "bulk", &items, &[2]).await, 0);
        let received = peer.received("bulk").await;
        assert_eq!((&received["requests"], &received["conflicts"]), (&json!(5), &json!(0)));

        // What is there already is taken, and more that became known of it is kept beside it.
        assert_eq!(deliver(&delivery, &items[..1]).await, []);
        assert_eq!(deliver(&delivery, &[Item { revision: 3, ..items[0].clone() }]).await, []);
        let received = peer.received("bulk").await;
        assert_eq!((&received["conflicts"], &received["problems"]), (&json!(1), &json!([])));
        assert_eq!(received["ids"].as_array().unwrap().last(), Some(&json!("partial/0#3")));
    });
}

#[test]
fn what_the_indexer_does_not_acknowledge_is_sent_again() {
    // (name, fault of the first batch, fault of the first question, how many come twice)
    let cases = [
        ("soon", json!(null), json!(null), 0),
        ("late", json!({"ack": 0.3}), json!(null), 0),
        ("never", json!({"ack": "never"}), json!(null), 40),
        // The one answer that says yes is lost.
        ("lost", json!(null), json!({"on": "ack", "accept_then_close": true}), 40),
        ("cut", json!(null), json!({"on": "ack", "reply_bytes": 9_000_000}), 40),
        // The question was not looked at.
        ("busy", json!(null), json!({"on": "ack", "status": 503}), 0),
        ("gone", json!(null), json!({"on": "ack", "status": 404}), 0),
    ];
    let Some(peer) = Peer::start("acks", &["hec"], &["--ack"]) else { return };
    run(async {
        for (name, events, ack, again) in cases {
            let faults: Vec<Value> = [events, ack].into_iter().filter(|fault| !fault.is_null()).collect();
            peer.fault("hec", json!({"next": faults})).await;
            let items = items(name, 40);
            assert_eq!(deliver(&delivery(&peer, "hec"), &items).await, [], "{name}");
            assert_eq!(assert_arrived(&peer, "hec", &items, &[]).await, again, "{name}");
        }
        // Several batches wait for theirs at once.
        let many = items("many", 8000);
        assert_eq!(deliver(&delivery(&peer, "hec"), &many).await, []);
        assert_eq!(assert_arrived(&peer, "hec", &many, &[]).await, 0);
        // What was accepted before an event that is refused is not acknowledged by anybody.
        peer.fault("hec", json!({"poison": "\"number\": ?20[,}]"})).await;
        let delivery = delivery(&peer, "hec");
        let poison = items("poison", 40);
        let dead = deliver(&delivery, &poison).await;
        assert_eq!(dead.iter().map(|dead| dead.number).collect::<Vec<_>>(), [20]);
        assert_eq!(assert_arrived(&peer, "hec", &poison, &[20]).await, 20);
        assert_eq!(delivery.requests(), 2);
        // Where none comes it is never taken.
        peer.fault("hec", json!({"clear": true, "always": {"ack": "never"}})).await;
        let never = items("nothing", 4);
        let why = deliver_until(&delivery, &never, |state| matches!(state, State::Failing { .. })).await;
        assert_eq!(why, "after 0.6 s: not indexed");
        assert_eq!(peer.received("hec").await["problems"], json!([]));
    });
}

#[test]
fn who_is_not_known_waits_for_a_person() {
    let arguments = ["--basic", "custody:secret", "--webhook-secret", "new", "--hec-index", "audit"];
    let Some(peer) = Peer::start("auth", &PROTOCOLS, &arguments) else { return };
    let strangers = [
        ("hec", json!({"token": "hunter2"}), "Invalid token"),
        ("hec", json!({"index": "other"}), "Incorrect index"),
        ("bulk", json!({}), "security_exception"),
        ("bulk", json!({"user": "custody", "password": "hunter2"}), "security_exception"),
        ("webhook", json!({"secrets": ["hunter2"]}), "no signature is right"),
    ];
    let friends = [
        ("hec", json!({})),
        ("bulk", json!({"user": "custody", "password": "secret"})),
        ("webhook", json!({"secrets": ["old", "new"]})),
    ];
    run(async {
        for (protocol, settings, said) in strangers {
            let delivery = Delivery::new(sink(&peer, protocol, settings), PATIENCE);
            let items = items("stranger", 10);
            let why = deliver_until(&delivery, &items, |state| matches!(state, State::Unauthorised { .. })).await;
            assert!(why.contains(said) && !why.contains("hunter2"), "{protocol}: {why}");
            assert_eq!(peer.received(protocol).await["events"], 0, "{protocol}");
        }
        for (protocol, settings) in friends {
            peer.fault(protocol, json!({"next": [{"status": 401}, {"status": 403}]})).await;
            let delivery = Delivery::new(sink(&peer, protocol, settings), PATIENCE);
            let items = items("friend", 10);
            assert_eq!(deliver(&delivery, &items).await, [], "{protocol}");
            assert_eq!(delivery.requests(), 3);
            assert_eq!(assert_arrived(&peer, protocol, &items, &[]).await, 0);
        }
    });
}

#[test]
fn servers_and_clients_show_certificates() {
    let Some(peer) = Peer::start("https", &PROTOCOLS, &["--https", "--client-ca", "own"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    peer::certificates(folder.path());
    let other = |name: &str| folder.path().join("tls").join(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (peer.pem("ca"), peer.pem("client"), peer.pem("client_key"));
    let ours = json!({"ca": ca, "cert": cert, "key": key});
    let refused = [
        (json!({"ca": other("ca.pem"), "cert": cert, "key": key}), "invalid peer certificate"),
        (json!({"cert": cert, "key": key}), "invalid peer certificate"),
        (json!({"ca": ca}), "CertificateRequired"),
        (json!({"ca": ca, "cert": other("client.pem"), "key": other("client.key")}), "UnknownCA"),
    ];
    run(async {
        for protocol in PROTOCOLS {
            let url = format!("https://localhost:{}", peer.port(protocol));
            let items = items("tls", 10);
            for (tls, said) in &refused {
                let delivery = Delivery::new(sink(&peer, protocol, json!({"url": url, "tls": tls})), PATIENCE);
                // A peer that wants another certificate may say so after the client takes the connection for made, and
                // then it is only closed: one of the next tries hears why.
                let is_told = |state: &State| matches!(state, State::Failing { why, .. } if why.contains(said));
                let why = deliver_until(&delivery, &items, is_told).await;
                assert!(why.contains(said), "{protocol} {tls}: {why}");
            }
            assert_eq!(peer.received(protocol).await["requests"], 0, "{protocol}");
            let delivery = Delivery::new(sink(&peer, protocol, json!({"url": url, "tls": ours})), PATIENCE);
            assert_eq!(deliver(&delivery, &items).await, []);
            assert_eq!(assert_arrived(&peer, protocol, &items, &[]).await, 0);
            // Another name than that in the certificate.
            let url = url.replace("localhost", "[::ffff:127.0.0.1]");
            let delivery = Delivery::new(sink(&peer, protocol, json!({"url": url, "tls": ours})), PATIENCE);
            let why = deliver_until(&delivery, &items, |state| matches!(state, State::Failing { .. })).await;
            assert!(why.contains("invalid peer certificate"), "{why}");
        }
    });
}

#[test]
fn a_name_that_leads_inside_is_refused_when_it_is_looked_up() {
    run(async {
        let reach = |private| Reach { url: String::new(), private, proxy: None };
        let post = async |private| {
            let http = Http::new(&reach(private), &Tls::default(), ANSWER_WITHIN, Vec::new()).unwrap();
            let url = format!("http://localhost:{}", peer::free_port()).parse().unwrap();
            let failed = http.post(&url, "application/json", Vec::new(), &[]).await.err().unwrap();
            failed.to_string()
        };
        let why = post(false).await;
        assert!(why.contains("localhost has no public address"), "{why}");
        let why = post(true).await;
        assert!(why.contains("refused"), "{why}");
    });
}

#[test]
fn a_proxy_may_be_inside_and_resolves_names_by_itself() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    run(async {
        let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", proxy.local_addr().unwrap());
        let settings = json!({"kind": "webhook", "url": "https://siem.invalid/hook", "proxy": address});
        let receiver: Receiver = serde_json::from_value(settings).unwrap();
        let delivery = Delivery::new(receiver.sink(Schema::Custody).unwrap(), PATIENCE);
        let asked = async {
            let (mut connection, _) = proxy.accept().await.unwrap();
            let mut some = [0; 1000];
            let count = connection.read(&mut some).await.unwrap();
            connection.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&some[..count]).into_owned()
        };
        let items = items("proxy", 1);
        let failing = deliver_until(&delivery, &items, |state| matches!(state, State::Failing { .. }));
        let (asked, _) = tokio::join!(asked, failing);
        assert!(asked.starts_with("CONNECT siem.invalid:443 HTTP/1.1\r\n"), "{asked}");
    });
}

#[test]
fn nothing_secret_is_in_a_sink() {
    let with = |protocol: &str| match protocol {
        "hec" => json!({"kind": "splunk", "url": "https://s.example", "token": "hunter2"}),
        "bulk" => json!({"kind": "elasticsearch", "url": "https://s.example", "api_key": "hunter2"}),
        _ => json!({"kind": "webhook", "url": "https://s.example", "secrets": ["hunter2"]}),
    };
    for protocol in PROTOCOLS {
        let printed = match serde_json::from_value(with(protocol)).unwrap() {
            Receiver::Splunk(settings) => format!("{:?}", Hec::new(settings).unwrap()),
            Receiver::Elasticsearch(settings) => format!("{:?}", Bulk::new(settings).unwrap()),
            Receiver::Webhook(settings) => format!("{:?}", Webhook::new(&settings).unwrap()),
            other => unreachable!("{other:?}"),
        };
        assert!(!printed.contains("hunter2") && printed.contains("s.example"), "{printed}");
    }
}

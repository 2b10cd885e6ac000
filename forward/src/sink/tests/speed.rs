//! How fast: `cargo test --release -p custody-forward speed -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

const COUNT: usize = 100_000;

#[test]
#[ignore = "takes a minute and measures, which debug builds cannot"]
fn speed() {
    run(async {
        for protocol in ["hec", "hec --ack", "bulk", "webhook", "syslog-tcp"] {
            let (protocol, arguments) = protocol.split_once(' ').unwrap_or((protocol, "--no-keep"));
            let Some(peer) = Peer::start("speed", &[protocol], &["--no-keep", arguments]) else { return };
            let receiver = serde_json::from_value(match protocol {
                "hec" => json!({"kind": "splunk", "url": url(&peer, protocol), "private": true, "token": peer::TOKEN}),
                "bulk" => json!({"kind": "elasticsearch", "url": url(&peer, protocol), "private": true}),
                "webhook" => {
                    json!({"kind": "webhook", "url": url(&peer, protocol), "private": true, "secrets": ["secret"]})
                }
                _ => json!({"kind": "syslog", "host": "127.0.0.1", "port": peer.port(protocol), "transport": "tcp"}),
            });
            let receiver: Receiver = receiver.unwrap();
            let items: Vec<Item> = (0..COUNT).map(|number| item(protocol, number)).collect();
            let bytes: usize = items.iter().map(|item| item.body.len()).sum();
            let delivery = Delivery::new(receiver.sink(Schema::Custody).unwrap(), Patience::default());
            let (began, cpu) = (Instant::now(), cpu_s("self"));
            let peer_cpu = cpu_s(&peer.pid());
            assert_eq!(deliver(&delivery, &items).await, []);
            delivery.close().await;
            let received = peer.until(protocol, |received| received["distinct"] == COUNT).await;
            let took = began.elapsed().as_secs_f64();
            assert_eq!(received["problems_count"], 0, "{}", received["problems"]);
            eprintln!(
                "{protocol} {arguments}: {:.0} events/s, {:.1} MB/s, {took:.2} s, {:.2} s of CPU, receiver.py {:.2} s, {} B sent",
                COUNT as f64 / took,
                bytes as f64 / 1e6 / took,
                cpu_s("self") - cpu,
                cpu_s(&peer.pid()) - peer_cpu,
                received["bytes"],
            );
        }
    });
}

fn url(peer: &Peer, protocol: &str) -> String {
    format!("http://127.0.0.1:{}", peer.port(protocol))
}

/// An event of 1 KB, of which half is the same in all.
fn item(protocol: &str, number: usize) -> Item {
    let id = format!("speed/{number}");
    let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(400).collect();
    let same = "session.command teleport root.example.com alice@example.com ".repeat(7);
    let body = match protocol {
        "syslog-tcp" => format!("<110>1 - h custody - other [custody@32473 eventId=\"{id}\"] {noise} {same}"),
        _ => {
            let time = "2026-01-01T00:00:00Z";
            json!({"event_id": id, "@timestamp": time, "number": number, "noise": noise, "same": same}).to_string()
        }
    };
    Item { id, revision: 0, at: 1_767_225_600_000_000, kind: "other".to_owned(), body: body.into() }
}

/// Seconds that a process has computed.
fn cpu_s(process: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit_once(") ").unwrap().1.split(' ').collect();
    // A hundred ticks a second, on every Linux there is.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

//! Receivers that are killed as by a power cut while they are sent to, and come back with what they had.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn nothing_is_missing_after_a_receiver_was_killed() {
    const ROUNDS: usize = 3;
    const COUNT: usize = 6000;
    run(async {
        for protocol in ["hec", "bulk", "webhook", "syslog-tcp"] {
            let folder = tempfile::tempdir().unwrap();
            let listen = format!("{protocol}={}", peer::free_port());
            let arguments = ["--state", folder.path().to_str().unwrap(), "--ack"];
            let start = || Peer::start("kill", &[&listen], &arguments);
            let Some(mut peer) = start() else { return };
            let delivery = delivery(&peer, protocol);
            let items = match protocol {
                "syslog-tcp" => lines(COUNT),
                _ => items("kill", COUNT),
            };
            let (_stop, mut stopped) = watch::channel(false);
            let is_over = AtomicBool::new(false);
            let delivering = async {
                for part in items.chunks(500) {
                    assert_eq!(delivery.deliver(part, &mut stopped).await, Ok(Vec::new()));
                }
                // With syslog all of it can be in the network before the receiver has read the half.
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(delivery.deliver(&items[..1], &mut stopped).await, Ok(Vec::new()));
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let killing = async {
                for round in 1..=ROUNDS {
                    let some = (round * COUNT / (ROUNDS + 2)) as u64;
                    peer.until(protocol, |received| received["distinct"].as_u64() >= Some(some)).await;
                    peer.kill();
                    peer = start().unwrap();
                }
                is_over.store(true, Ordering::Relaxed);
            };
            tokio::join!(delivering, killing);
            delivery.close().await;
            let received = peer.received(protocol).await;
            assert_arrived(&peer, protocol, &items, &[]).await;
            // Elasticsearch knows what it has; with the others a batch for each death, and what was doubtful, came twice.
            let duplicates = received["duplicates"].as_u64().unwrap();
            eprintln!("{protocol}: {ROUNDS} times killed, {COUNT} events, {duplicates} twice");
            assert!(protocol != "bulk" || duplicates == 0, "{duplicates}");
        }
    });
}

/// The same events as messages of syslog.
fn lines(count: usize) -> Vec<Item> {
    let line = |item: Item| {
        let text = format!("<110>1 - h custody - other [custody@32473 eventId=\"{}\"] {}", item.id, "x".repeat(1000));
        Item { body: text.into(), ..item }
    };
    items("kill", count).into_iter().map(line).collect()
}

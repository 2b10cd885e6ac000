//! Messages at a steady rate, to see how soon they are visible.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::{Failed, event};
use crate::publish::{Outgoing, Publisher};

/// Publishes `rate` sample events a second to partition 0 of a topic, for `time`. For each, in order, the moment at which
/// it was handed to the client is sent to `sent`. Returns how many they were.
///
/// # Errors
///
/// When the brokers do not take them.
pub fn produce_at(
    brokers: &str,
    topic: &str,
    rate: u64,
    time: Duration,
    sent: &Sender<Instant>,
) -> Result<u64, Failed> {
    let publisher = Publisher::new(brokers)?;
    publisher.check(Duration::from_secs(10))?;
    let began = Instant::now();
    let mut number = 0;
    while began.elapsed() < time {
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        while number < due {
            let value = Some(event(number).into_bytes());
            publisher.publish(&Outgoing {
                topic: topic.to_owned(),
                partition: Some(0),
                value,
                ..Outgoing::default()
            })?;
            // Nobody listens any more: then there is nothing left to measure.
            if sent.send(Instant::now()).is_err() {
                return Ok(number);
            }
            number += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    publisher.flush(Duration::from_secs(60))?;
    Ok(number)
}

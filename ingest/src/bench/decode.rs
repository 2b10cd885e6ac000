//! What decoding costs on one core, against parsing the same JSON into `serde_json::Value`: less than which no decoder
//! that looks at every value into a tree could cost.

use std::hint::black_box;
use std::time::Instant;

use custody_schemas::event::Event;
use custody_schemas::frame::Piece;
use custody_schemas::record::{Message, Origin};

use crate::source::{self, Sink, Source, SourceKind};

/// The examples of the topic contracts: one message a line.
const EXAMPLES: [(&str, SourceKind, &[&str]); 5] = [
    (
        "Teleport events",
        SourceKind::Teleport,
        &[
            include_str!("../../../schemas/topics/examples/teleport-request.ndjson"),
            include_str!("../../../schemas/topics/examples/teleport-session.ndjson"),
        ],
    ),
    (
        "Boundary events",
        SourceKind::Boundary,
        &[include_str!("../../../schemas/topics/examples/boundary-session.ndjson")],
    ),
    ("OPA decisions", SourceKind::Opa, &[include_str!("../../../schemas/topics/examples/opa-decisions.ndjson")]),
    ("hoop.dev sessions", SourceKind::Hoop, &[include_str!("../../../schemas/topics/examples/hoop-sessions.ndjson")]),
    (
        "asciicast lines",
        SourceKind::Asciicast,
        &[include_str!("../../../schemas/topics/examples/asciicast-lines.ndjson")],
    ),
];

/// Runs of which the median is told.
const RUNS: usize = 5;

/// What one source's messages took.
#[derive(Debug, Clone, Copy)]
pub struct DecodeRate {
    /// What was decoded.
    pub name: &'static str,
    /// Mean size of a message, in bytes.
    pub message_bytes: usize,
    /// Bytes decoded.
    pub bytes: usize,
    /// Seconds of decoding, the median.
    pub decode_seconds: f64,
    /// Seconds of parsing, the median of the same runs.
    pub parse_seconds: f64,
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl Sink for Nowhere {
    fn event(&mut self, event: &Event<'_>) {
        black_box(event);
    }

    fn piece(&mut self, piece: &Piece<'_>) {
        black_box(piece);
    }
}

/// Decodes and parses about `bytes` bytes of each source, in turns.
pub fn decode_rates(bytes: usize) -> Vec<DecodeRate> {
    EXAMPLES.iter().map(|(name, kind, examples)| rate(name, *kind, examples, bytes)).collect()
}

fn rate(name: &'static str, kind: SourceKind, examples: &[&str], bytes_min: usize) -> DecodeRate {
    let source = Source::new(kind);
    let messages: Vec<&str> =
        examples.iter().flat_map(|example| example.lines()).filter(|line| !line.is_empty()).collect();
    let round: usize = messages.iter().map(|message| message.len()).sum();
    let rounds = bytes_min.div_ceil(round.max(1));
    let (mut decode, mut parse) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let began = Instant::now();
        for _ in 0..rounds {
            for (text, offset) in messages.iter().zip(0..) {
                let message = Message {
                    origin: Origin { topic: "bench", partition: 0, offset },
                    broker_at: Some(0),
                    key: Some(b"session-1"),
                    headers: &[],
                    value: Some(black_box(text.as_bytes())),
                };
                // What an example holds that cannot be decoded costs what it costs.
                let _ = black_box(source::decode(&source, &message, &mut Nowhere));
            }
        }
        decode.push(began.elapsed().as_secs_f64());
        let began = Instant::now();
        for _ in 0..rounds {
            for text in &messages {
                let _ = black_box(serde_json::from_str::<serde_json::Value>(black_box(text)));
            }
        }
        parse.push(began.elapsed().as_secs_f64());
    }
    DecodeRate {
        name,
        message_bytes: round / messages.len().max(1),
        bytes: round * rounds,
        decode_seconds: median(decode),
        parse_seconds: median(parse),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

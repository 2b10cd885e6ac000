//! Late facts, unordered facts, repeated facts, any cut into batches: the same answer.

use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::gateways::gateways;
use super::story::week;
use super::world::{Fact, in_memory, json};

/// The story, with what other gateways tell besides.
fn told() -> Vec<Fact> {
    [week(), gateways()].concat()
}

/// What must not depend on the road by which facts came. The number of frames does: a frame is a run of pieces.
const QUESTIONS: [&str; 4] = [
    "SELECT source, cluster, session_id, actor, actor_kind, participants, login, target, target_kind, protocol, \
       reason, started_at, ended_at, state, interactive, request_ids, uploaded, recording, \
       first_frame_at, last_frame_at, person, recorded, recording_ids, correlation_ids \
     FROM sessions",
    "SELECT * FROM access_requests",
    "SELECT * FROM session_access",
    "SELECT session_id, recording_state, why, integrity, missing_bytes, missing_events FROM recording_state",
];

/// The answers to the story as it is told.
static EXPECTED: OnceLock<Vec<String>> = OnceLock::new();

async fn answers(parts: &[&[Fact]]) -> Vec<String> {
    let context = in_memory(parts).await;
    let mut answers = Vec::new();
    for question in QUESTIONS {
        let batches = context.sql(question).await.unwrap().collect().await.unwrap();
        answers.extend(batches.iter().flat_map(json));
    }
    answers.sort();
    answers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_answer_does_not_depend_on_the_order_of_arrival(
        order in Just((0..told().len()).collect::<Vec<_>>()).prop_shuffle(),
        again in subsequence((0..told().len()).collect::<Vec<_>>(), 0..10),
        cuts in subsequence((1..told().len()).collect::<Vec<_>>(), 0..5),
    ) {
        let facts = told();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let arrived: Vec<Fact> = order.iter().chain(&again).map(|index| facts[*index].clone()).collect();
        let mut parts = Vec::new();
        let mut rest = arrived.as_slice();
        for cut in cuts.iter().rev() {
            let (head, tail) = rest.split_at(*cut);
            parts.push(tail);
            rest = head;
        }
        parts.push(rest);
        let expected = EXPECTED.get_or_init(|| runtime.block_on(answers(&[&facts])));
        let found = runtime.block_on(answers(&parts));
        prop_assert_eq!(&found, expected);
    }
}

//! That the latest sessions are the latest.

use super::story::week;
use super::world::{World, at, found};
use crate::engine::{AsOf, Bounds};
use crate::sessions::{Cursor, SessionFilter, Time};

#[tokio::test]
async fn the_latest_sessions_are_those_that_a_look_at_all_gives() {
    let findings = ["R02/teleport/s1", "R02/teleport/s3"].map(found);
    let world = World::of(&[week(), findings.to_vec()].concat()).await;
    let reading = world.engine.read(AsOf::Newest, Bounds::NONE.time).await.unwrap();
    let text = |text: &str| Some(text.to_owned());
    let filters = [
        SessionFilter::default(),
        SessionFilter { actor: text("dave"), ..Default::default() },
        SessionFilter { actor: text("alice"), ..Default::default() },
        SessionFilter { target: text("web_app_db"), ..Default::default() },
        SessionFilter { state: text("running"), ..Default::default() },
        SessionFilter { state: text("ended"), source: text("teleport"), ..Default::default() },
        SessionFilter { recording: text("recorded"), ..Default::default() },
        SessionFilter { link_method: text("none"), ..Default::default() },
        SessionFilter { link_method: text("inferred"), ..Default::default() },
        SessionFilter { approver: text("bob"), ..Default::default() },
        SessionFilter { reason: text("inc-78901 ORDERS"), ..Default::default() },
        SessionFilter { finding: text("open"), ..Default::default() },
        SessionFilter { from: Some(Time(at("Mon 13:10"))), to: Some(Time(at("Fri 16:30"))), ..Default::default() },
    ];
    let mut answered = 0;
    for filter in &filters {
        let all = reading.of_all(filter, None, 100).await.unwrap();
        let cursors = all.iter().step_by(5).map(|linked| Cursor::of(&linked.session));
        for cursor in std::iter::once(None).chain(cursors.map(Some)) {
            let expected = reading.of_all(filter, cursor.as_ref(), 100).await.unwrap();
            for (count, most) in [(1, 1), (3, 20), (100, 500)] {
                let latest = reading.latest_among(filter, cursor.as_ref(), count, most).await.unwrap();
                let expected: Vec<_> = expected.iter().take(count).cloned().collect();
                assert_eq!(latest, Some(expected), "{filter:?} {cursor:?} {count} {most}");
                answered += 1;
            }
        }
    }
    assert!(answered > 60, "{answered}");
}

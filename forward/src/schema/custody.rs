//! Custody's own JSON: an event under the names that the ledger has for it.
//!
//! Every field that says something has the name of its column in the table `events`. Times are RFC 3339, UTC, with
//! microseconds. Besides:
//!
//! | member | what it is |
//! |---|---|
//! | `detail` | the source's fields without a column, an object; `detail_text` where they are not JSON |
//! | `access` | what gave the access: a list, one for each request or decision |
//! | `evidence` | `topic`, `partition`, `offset`, `index` of the record |
//! | `revision` | 0, and one more each time the event is sent again because more is known of its access |
//! | `truncated_bytes` | how many bytes the event has as a whole, where texts were cut |

use crate::notice::Notice;
use crate::schema::json::Json;
use crate::schema::{chain, detail, event_id, texts};

/// A notice in Custody's own JSON. `whole_bytes` when texts of it were cut.
pub(super) fn write(notice: &Notice<'_>, whole_bytes: Option<usize>) -> String {
    Json::object(|json| {
        json.text("event_id", &*event_id(notice));
        columns(json, notice, &[]);
        chain(json, notice);
        json.int("truncated_bytes", whole_bytes.and_then(|bytes| i64::try_from(bytes).ok()));
    })
}

/// The columns of the event but its id, and without those that are told elsewhere.
pub(super) fn columns(json: &mut Json, notice: &Notice<'_>, without: &[&str]) {
    let event = &notice.event;
    let is_wanted = |name: &str| !without.contains(&name);
    // A macro for once: the name of a column is said once, and what writes it depends on its type.
    macro_rules! columns {
        ($($write:ident $name:literal $value:expr;)*) => {
            $(if is_wanted($name) { json.$write($name, $value); })*
        };
    }
    columns! {
        text "source" notice.source;
        text "cluster" event.cluster.as_deref();
        time "occurred_at" event.occurred_at;
        time "broker_at" notice.evidence.broker_at;
        time "ingested_at" notice.evidence.ingested_at;
        text "kind" event.kind.as_str();
        text "source_type" event.source_type.as_ref();
        text "source_code" event.source_code.as_deref();
        text "actor" event.actor.as_deref();
        text "actor_kind" event.actor_kind.map(|kind| kind.as_str());
        texts "actor_roles" texts(&event.actor_roles);
        text "delegator" event.delegator.as_deref();
        text "action" event.action.as_deref();
        text "target" event.target.as_deref();
        text "target_kind" event.target_kind.as_deref();
        text "login" event.login.as_deref();
        text "outcome" event.outcome.map(|outcome| outcome.as_str());
        text "session_id" event.session_id.as_deref();
        text "protocol" event.protocol.as_deref();
        time "session_started_at" event.session_started_at;
        time "session_ended_at" event.session_ended_at;
        texts "participants" texts(&event.participants);
        texts "request_ids" texts(&event.request_ids);
        text "reason" event.reason.as_deref();
        text "request_state" event.request_state.as_deref();
        text "proposed_state" event.proposed_state.as_deref();
        texts "requested_roles" texts(&event.requested_roles);
        time "expires_at" event.expires_at;
        text "decision_id" event.decision_id.as_deref();
        text "policy_path" event.policy_path.as_deref();
        text "policy_revision" event.policy_revision.as_deref();
        text "ticket" event.ticket.as_deref();
        text "approver" event.approver.as_deref();
        time "approved_at" event.approved_at;
        text "correlation_id" event.correlation_id.as_deref();
        text "recording_id" event.recording_id.as_deref();
        flag "recorded" event.recorded;
        text "integrity" event.integrity.map(|integrity| integrity.as_str());
        text "mfa_device" event.mfa_device.as_deref();
        text "remote_addr" event.remote_addr.as_deref();
    }
    detail(json, "detail", "detail_text", &event.detail);
}

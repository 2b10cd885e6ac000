//! The sample hoop.dev gateway: sessions as its REST API shows them to whoever polls it (formats/boundary-opa-hoop.md §6).
//!
//! hoop writes to no Kafka itself. A poller asks `GET /api/sessions/<id>` from time to time, with `expand=event_stream`
//! when the session is done, and publishes what it gets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use custody_ingest::publish::Outgoing;
use custody_schemas::time::Micros;
use serde_json::{Value, json};

use super::pty::Shown;
use super::scripts::Recording;
use super::teleport::{Person, merged, rfc3339};

/// Topic of the polled objects.
pub(super) const TOPIC: &str = "hoop.events";

/// The connection to the billing database: a shell with its client.
pub(super) const CONNECTION: &str = "billing-db";

const ORGANISATION: &str = "0a9b1c2d-0000-4000-8000-000000000001";

/// A session, and what came of asking for it.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// Id.
    pub(super) id: String,
    /// Whose it is.
    pub(super) person: &'static Person,
    /// What the person wrote about it: reason and ticket.
    pub(super) reason: Option<(&'static str, &'static str)>,
    /// The review that it had to wait for.
    pub(super) review: Option<Review>,
    /// When it was asked for, which is what hoop calls its start.
    pub(super) started_at: Micros,
    /// When its terminal was opened.
    pub(super) opened_at: Micros,
    /// When it ended.
    pub(super) ended_at: Micros,
}

/// A just-in-time review by the group `approvers`. It opens a window: later sessions in it have no review of their own.
#[derive(Debug, Clone)]
pub(super) struct Review {
    /// Id.
    pub(super) id: String,
    /// Who approved.
    pub(super) reviewer: &'static Person,
    /// When.
    pub(super) approved_at: Micros,
    /// How long the window is open from then on.
    pub(super) window: Micros,
}

impl Session {
    /// What the API shows of the session at an instant.
    pub(super) fn polled(&self, at: Micros, recording: Option<&Recording>) -> Outgoing {
        let is_done = at >= self.ended_at;
        let is_approved = self.review.as_ref().is_some_and(|review| at >= review.approved_at);
        // Approved, it stays ready while it runs.
        let status = if is_done {
            "done"
        } else if is_approved {
            "ready"
        } else {
            "open"
        };
        let common = json!({
            "ai_analysis": null, "connection": CONNECTION, "connection_subtype": "",
            "connection_tags": { "env": "prod" }, "end_date": null, "event_size": 0, "exit_code": null,
            "guardrails_info": null, "id": self.id, "identity_type": "user", "integrations_metadata": {},
            "labels": {}, "metadata": {}, "metrics": {}, "org_id": ORGANISATION, "resource_name": CONNECTION,
            "review": self.review.as_ref().map(|review| review.to_value(self.started_at, is_approved)),
            "role_name": CONNECTION, "script": { "data": "" }, "script_size": 0,
            "start_date": rfc3339(self.started_at), "status": status, "type": "custom", "user": self.person.user,
            "user_id": subject(self.person), "user_name": self.person.name, "verb": "connect",
        });
        let reason = self.reason.map(|(reason, ticket)| json!({ "metadata": { "reason": reason, "ticket": ticket } }));
        let done = is_done.then(|| {
            let stream = self.event_stream(recording);
            let size = stream.to_string().len();
            json!({
                "end_date": rfc3339(self.ended_at), "event_size": size, "event_stream": stream, "exit_code": 0,
                "metrics": { "event_size": size, "truncated": false },
            })
        });
        let session = merged([Some(common), reason, done].into_iter().flatten());
        Outgoing {
            topic: TOPIC.to_owned(),
            key: Some(self.id.as_bytes().to_vec()),
            value: Some(session.to_string().into_bytes()),
            ..Outgoing::default()
        }
    }

    /// What the terminal showed, with the seconds since the session's start. hoop keeps no sizes.
    fn event_stream(&self, recording: Option<&Recording>) -> Value {
        let mut elapsed_us = self.opened_at - self.started_at;
        let mut entries = Vec::new();
        for (index, chunk) in recording.into_iter().flat_map(|recording| &recording.chunks).enumerate() {
            elapsed_us += if index == 0 { 0 } else { chunk.delay_us };
            if let Shown::Output(bytes) = &chunk.shown {
                entries.push(json!([elapsed_us as f64 / 1e6, "o", BASE64.encode(bytes)]));
            }
        }
        Value::Array(entries)
    }
}

impl Review {
    fn to_value(&self, created_at: Micros, is_approved: bool) -> Value {
        let reviewer = self.reviewer;
        let reviewed_by =
            json!({ "email": reviewer.user, "id": subject(reviewer), "name": reviewer.name, "slack_id": "" });
        let status = if is_approved { "APPROVED" } else { "PENDING" };
        let group = json!({
            "forced_review": false, "group": "approvers", "id": self.id.replacen("-4000-", "-4001-", 1),
            "review_date": is_approved.then(|| rfc3339(self.approved_at)),
            "reviewed_by": is_approved.then_some(reviewed_by), "status": status,
        });
        json!({
            "access_duration": self.window * 1000, "access_request_rule_name": CONNECTION,
            "created_at": rfc3339(created_at), "force_approval_groups": [], "id": self.id, "min_approvals": 1,
            "review_groups_data": [group], "revoke_at": is_approved.then(|| rfc3339(self.approved_at + self.window)),
            "status": status, "time_window": null, "type": "jit",
        })
    }
}

/// Id of a person at the identity provider.
fn subject(person: &Person) -> String {
    format!("oidc|{}", person.login)
}

//! The sample policy engine: decisions as Open Policy Agent logs and uploads them (formats/boundary-opa-hoop.md §5).

use std::io::{self, Write};

use custody_ingest::publish::Outgoing;
use custody_schemas::time::{Micros, to_rfc3339};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::teleport::Person;

/// Topic of the decision logs.
pub(super) const TOPIC: &str = "opa.decisions";

/// The policy in force at the beginning of the week, which took 17:00:00 for business hours.
pub(super) const REVISION_OLD: &str = "2.7.0-4c1d9e0";

/// The policy after that was mended.
pub(super) const REVISION_NEW: &str = "2.7.1-b27e4d1";

/// One decision.
#[derive(Debug, Clone)]
pub(super) struct Decision {
    /// Id; a gateway that was told it can pass it on.
    pub(super) id: String,
    /// When it was made.
    pub(super) at: Micros,
    /// Number of the request in the instance.
    pub(super) number: u64,
    /// Path of the policy.
    pub(super) path: &'static str,
    /// Revision of the policy's bundle.
    pub(super) revision: &'static str,
    /// What was asked.
    pub(super) input: Value,
    /// The answer; `None` where the policy has none.
    pub(super) result: Option<Value>,
}

impl Decision {
    /// The event in the decision log.
    pub(super) fn to_value(&self) -> Value {
        let mut event = json!({
            "bundles": { "custody": { "revision": self.revision } },
            "decision_id": self.id,
            "input": self.input,
            "labels": { "env": "prod", "id": "0da00000-0000-4000-8000-000000000001", "version": "1.12.1" },
            "metrics": { "timer_rego_query_eval_ns": 88_412, "timer_server_handler_ns": 131_007 },
            "path": self.path,
            "req_id": self.number,
            "requested_by": "10.20.0.9:41322",
            "timestamp": to_rfc3339(self.at),
        });
        if let (Some(result), Some(fields)) = (&self.result, event.as_object_mut()) {
            fields.insert("result".to_owned(), result.clone());
        }
        event
    }
}

/// The input of a question whether a person may have a session.
pub(super) fn access_input(person: &Person, target: &str, at: Micros, reason: Option<(&str, &str)>) -> Value {
    let attributes = match reason {
        Some((kind, id)) => json!({ "reason_id": id, "reason_type": kind }),
        None => json!({}),
    };
    json!({
        "action": "authorize-session",
        "context": { "attributes": attributes, "time": to_rfc3339(at) },
        "target": { "name": target, "scope_id": "p_prod000001" },
        "user": { "email": person.user, "id": person.boundary_id },
    })
}

/// A message with one decision.
pub(super) fn single(decision: &Decision) -> Outgoing {
    message(decision.to_value().to_string().into_bytes())
}

/// A message with one decision that a log shipper has wrapped.
pub(super) fn wrapped(decision: &Decision) -> Outgoing {
    let line = decision.to_value().to_string();
    let value = json!({ "host": "opa-0", "message": line, "source_type": "http_server" });
    message(value.to_string().into_bytes())
}

/// A message as OPA uploads it: the gzip of an array.
pub(super) fn chunk(decisions: &[Decision]) -> Outgoing {
    let events: Value = decisions.iter().map(Decision::to_value).collect();
    let json = events.to_string().into_bytes();
    // Writing to memory does not fail; if it did, the array as it is would say the same.
    message(gzip(&json).unwrap_or(json))
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes)?;
    gzip.finish()
}

/// A message of the topic. OPA gives no key.
pub(super) fn message(value: Vec<u8>) -> Outgoing {
    Outgoing { topic: TOPIC.to_owned(), value: Some(value), ..Outgoing::default() }
}

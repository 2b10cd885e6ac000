//! The sample Boundary cluster: its events, as its sinks write them (formats/boundary-opa-hoop.md §1).
//!
//! Controllers write to files, whose lines are shipped as they are. Workers run in Kubernetes, where Fluent Bit wraps
//! what they print. Audit events are signed, with a key that nobody has.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use custody_ingest::publish::Outgoing;
use custody_schemas::time::Micros;
use serde_json::{Value, json};

use super::teleport::{Person, merged, rfc3339};

/// Topic of the events.
pub(super) const TOPIC: &str = "boundary.events";

/// Path of the controller in the URL that names the source of an event.
const CONTROLLER: &str = "controller-0.prod.example/controller";
const WORKER: &str = "worker-a.prod.example/worker";

/// The target `prod-web-01-ssh`.
pub(super) const TARGET: &str = "tssh_prodweb001";
/// Its project.
pub(super) const PROJECT: &str = "p_prod000001";
/// The host behind it.
pub(super) const HOST: &str = "hst_prodweb001";
/// Its address.
pub(super) const ENDPOINT: &str = "ssh://10.20.0.11:22";

const HOST_SET: &str = "hsst_prodweb00";

/// How long a session may last.
const SESSION_MAX: Micros = 3600 * 1_000_000;

/// From the end of the last connection to that of the session.
const TERMINATION: Micros = 1_000_000;

/// Who asks the API for the state of sessions.
const POLLER: (&str, &str) = ("u_auditor001", "198.51.100.7");

/// What the controllers sign with.
const SIGNING_KEY: [u8; 32] = *b"a sample key, which is nobody's.";

/// A session through Boundary: one connection to `prod-web-01-ssh`, which is recorded.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// What the ids of the session and of its parts have after their prefix.
    pub(super) key: String,
    /// Whose it is.
    pub(super) person: &'static Person,
    /// What the client sent along: the id of the decision that it had asked for before.
    pub(super) correlation_id: String,
    /// When it was asked for.
    pub(super) authorized_at: Micros,
    /// When the connection was made.
    pub(super) connected_at: Micros,
    /// When the connection was closed.
    pub(super) disconnected_at: Micros,
}

impl Session {
    /// The id of the session (`s`), of its connection (`sc`), or of a part of its recording (`sr`, `cr`, `chr`).
    pub(super) fn id(&self, prefix: &str) -> String {
        format!("{prefix}_{}", self.key)
    }

    /// When it was made.
    fn created_at(&self) -> Micros {
        self.authorized_at + 26_000
    }

    /// When it was over.
    pub(super) fn terminated_at(&self) -> Micros {
        self.disconnected_at + TERMINATION
    }

    fn user_id(&self) -> &'static str {
        self.person.boundary_id.unwrap_or("u_anon")
    }
}

/// One event of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// When it happened.
    pub(super) at: Micros,
    source: &'static str,
    /// The line in the sink.
    line: String,
}

impl Event {
    /// The event as a message. Shippers of lines know no keys.
    pub(super) fn to_message(&self) -> Outgoing {
        let value = if self.source == WORKER {
            let pod = json!({ "container_name": "worker", "pod_name": "boundary-worker-0" });
            json!({ "kubernetes": pod, "log": format!("{}\n", self.line), "stream": "stderr" }).to_string()
        } else {
            self.line.clone()
        };
        Outgoing { topic: TOPIC.to_owned(), value: Some(value.into_bytes()), ..Outgoing::default() }
    }
}

/// A request to the API that succeeded.
struct Call<'a> {
    at: Micros,
    user_id: &'a str,
    address: &'a str,
    method: &'a str,
    path: String,
    /// What let it through.
    grant: &'a str,
    asked: Value,
    item: Value,
    correlation_id: String,
}

/// The cluster: makes events.
#[derive(Debug)]
pub(super) struct Boundary {
    /// What tells one story's ids from another's.
    pub(super) space: u32,
    /// Number of the last id.
    pub(super) last: u32,
}

impl Boundary {
    /// A session is asked for, and granted.
    pub(super) fn authorized(&mut self, session: &Session) -> [Event; 2] {
        let created_at = session.created_at();
        let item = json!({
            "authorization_token": "[REDACTED]", "connection_limit": -1, "created_time": timestamp(created_at),
            "endpoint": ENDPOINT, "endpoint_port": 22, "expiration": timestamp(created_at + SESSION_MAX),
            "host_id": HOST, "host_set_id": HOST_SET, "scope": scope(), "session_id": session.id("s"),
            "session_recording_id": session.id("sr"), "target_id": TARGET, "type": "ssh",
            "user_id": session.user_id(),
        });
        self.called(Call {
            at: session.authorized_at,
            user_id: session.user_id(),
            address: session.person.address,
            method: "POST",
            path: format!("/v1/targets/{TARGET}:authorize-session"),
            grant: "ids=*;type=target;actions=list,read,authorize-session",
            asked: json!({ "id": TARGET }),
            item,
            correlation_id: session.correlation_id.clone(),
        })
    }

    /// The worker lets the client through to the host.
    pub(super) fn connected(&mut self, session: &Session) -> [Event; 2] {
        let at = session.connected_at;
        [
            self.handled(at, "session successfully activated", json!({ "session_id": session.id("s") })),
            self.handled(at + 43_000, "connection successfully authorized", connection(session)),
        ]
    }

    /// The connection is closed, by whoever closed it.
    pub(super) fn disconnected(&mut self, session: &Session) -> Event {
        self.handled(session.disconnected_at, "connection closed", connection(session))
    }

    /// Somebody asks how the session stands. Only so does Boundary say that one has ended.
    pub(super) fn session_read(&mut self, at: Micros, session: &Session) -> [Event; 2] {
        let is_over = at >= session.terminated_at();
        let if_over = |fields| if is_over { fields } else { Value::Null };
        let [created_at, activated_at, ended_at] =
            [session.created_at(), session.connected_at, session.terminated_at()].map(timestamp);
        let connection = merged([
            json!({
                "client_tcp_address": session.person.address, "client_tcp_port": 50_122,
                "endpoint_tcp_address": "10.20.0.11", "endpoint_tcp_port": 22,
            }),
            if_over(json!({ "bytes_down": 9120, "bytes_up": 4312, "closed_reason": "closed by end-user" })),
        ]);
        let states = [
            is_over.then(|| json!({ "start_time": ended_at, "status": "terminated" })),
            Some(merged([
                json!({ "start_time": activated_at, "status": "active" }),
                if_over(json!({ "end_time": ended_at })),
            ])),
            Some(json!({ "end_time": activated_at, "start_time": created_at, "status": "pending" })),
        ];
        let item = merged([
            json!({
                "auth_token_id": token(session.user_id()), "connections": [connection], "created_time": created_at,
                "endpoint": ENDPOINT, "expiration_time": timestamp(session.created_at() + SESSION_MAX),
                "host_id": HOST, "host_set_id": HOST_SET, "id": session.id("s"), "scope": scope(),
                "scope_id": PROJECT, "states": states.into_iter().flatten().collect::<Value>(), "status": "active",
                "target_id": TARGET, "type": "ssh", "updated_time": activated_at, "user_id": session.user_id(),
                "version": 2,
            }),
            if_over(json!({
                "status": "terminated", "termination_reason": "closed by end-user", "updated_time": ended_at,
                "version": 3,
            })),
        ]);
        let (user_id, address) = POLLER;
        // Boundary makes one up for a client that sends none.
        let correlation_id = format!("{:08x}-b000-4000-8000-{:012x}", self.space, self.last);
        self.called(Call {
            at,
            user_id,
            address,
            method: "GET",
            path: format!("/v1/sessions/{}", session.id("s")),
            grant: "ids=*;type=session;actions=list,read",
            asked: json!({ "id": session.id("s") }),
            item,
            correlation_id,
        })
    }

    /// What a request leaves behind: the controller's audit event and observation.
    fn called(&mut self, call: Call<'_>) -> [Event; 2] {
        let token = token(call.user_id);
        let info = json!({
            "client_ip": call.address, "id": self.id("gtraceid_"), "method": call.method, "path": call.path,
            "public_id": token,
        });
        let grant = json!({ "grant": call.grant, "role_id": "r_oncall0001", "scope_id": PROJECT });
        let audit = json!({
            "auth": {
                "auth_token_id": token, "email": "[REDACTED]", "grants_info": { "grants": [grant] },
                "name": "[REDACTED]",
                "user_info": { "auth_account_id": call.user_id.replacen("u_", "acctoidc_", 1), "id": call.user_id },
            },
            "correlation_id": call.correlation_id, "id": self.id("e_"), "request": { "details": call.asked },
            "request_info": info, "response": { "details": { "item": call.item }, "status_code": 200 },
            "timestamp": rfc3339(call.at), "type": "APIRequest", "version": "v0.1",
        });
        let observation = json!({
            "latency-ms": 58.611, "request_info": info, "start": rfc3339(call.at), "status": 200,
            "stop": rfc3339(call.at + 58_611), "version": "v0.1",
        });
        [
            self.event(call.at + 59_471, CONTROLLER, "audit", &audit),
            self.event(call.at + 59_512, CONTROLLER, "observation", &observation),
        ]
    }

    /// What a worker says of a connection.
    fn handled(&mut self, at: Micros, message: &str, about: Value) -> Event {
        let about = merged([json!({ "msg": message }), about]);
        let data = json!({ "data": about, "op": "worker.(Worker).handleProxy", "version": "v0.1" });
        self.event(at, WORKER, "system", &data)
    }

    fn event(&mut self, at: Micros, source: &'static str, kind: &str, data: &Value) -> Event {
        // Not with `json!`, which would sort the names.
        let open = format!(
            r#"{{"id":"{}","source":"https://hashicorp.com/boundary/{source}","specversion":"1.0","type":"{kind}","data":{data},"datacontentype":"application/cloudevents","time":"{}""#,
            self.id(""),
            rfc3339(at)
        );
        let signature = if kind == "audit" { signature(&format!("{open}}}\n")) } else { String::new() };
        Event { at, source, line: format!("{open}{signature}}}") }
    }

    /// The next id: the prefix and ten letters and digits.
    fn id(&mut self, prefix: &str) -> String {
        self.last += 1;
        format!("{prefix}{:05x}{:05}", self.space, self.last)
    }
}

/// The copy that an audit event carries of its own line, and the HMAC over it.
fn signature(line: &str) -> String {
    let hmac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &SIGNING_KEY), line.as_bytes());
    let (copy, hmac) = (BASE64URL.encode(line), BASE64URL.encode(hmac));
    format!(r#","serialized":"{copy}","serialized_hmac":"hmac-sha256:{hmac}""#)
}

/// Id of the token of a user.
fn token(user_id: &str) -> String {
    user_id.replacen("u_", "at_", 1)
}

fn scope() -> Value {
    json!({ "id": PROJECT, "name": "prod", "parent_scope_id": "o_prod000001", "type": "project" })
}

fn connection(session: &Session) -> Value {
    json!({ "connection_id": session.id("sc"), "session_id": session.id("s") })
}

/// An instant as Go's JSON shows Protobuf's: what is zero is left out.
fn timestamp(at: Micros) -> Value {
    let (seconds, nanos) = (at.div_euclid(1_000_000), at.rem_euclid(1_000_000) * 1000);
    if nanos == 0 { json!({ "seconds": seconds }) } else { json!({ "nanos": nanos, "seconds": seconds }) }
}

#[cfg(test)]
mod tests {
    use super::super::teleport::ALICE;
    use super::*;

    #[test]
    fn audit_events_carry_a_signed_copy_of_themselves() {
        let session = Session {
            key: "0123456789".to_owned(),
            person: &ALICE,
            correlation_id: "5e550000-0000-4000-8000-000000000001".to_owned(),
            authorized_at: 180_000,
            connected_at: 2_000_000,
            disconnected_at: 60_000_000,
        };
        let mut boundary = Boundary { space: 7, last: 0 };
        let [audit, observation] = boundary.authorized(&session);
        let value: Value = serde_json::from_str(&audit.line).unwrap();
        let copy = BASE64URL.decode(value["serialized"].as_str().unwrap()).unwrap();
        let copy = String::from_utf8(copy).unwrap();
        // Nothing but the two fields is missing in the copy.
        assert_eq!(audit.line.find(r#","serialized":"#), Some(copy.len() - 2));
        assert!(audit.line.starts_with(copy.trim_end_matches("}\n")), "{copy}");
        let tag = value["serialized_hmac"].as_str().unwrap().strip_prefix("hmac-sha256:").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &SIGNING_KEY);
        hmac::verify(&key, copy.as_bytes(), &BASE64URL.decode(tag).unwrap()).unwrap();

        assert!(!observation.line.contains("serialized"), "only audit events are signed");
        let created = &value["data"]["response"]["details"]["item"]["created_time"];
        assert_eq!(*created, json!({ "nanos": 206_000_000, "seconds": 0 }));
        assert_eq!(timestamp(60_000_000), json!({ "seconds": 60 }));
    }
}

//! The sample Teleport cluster: its events, as `teleport-event-handler` writes them.
//!
//! The shapes are those of formats/teleport.md §1 and §2: one flat object an event, keys in alphabetical order, times
//! in RFC 3339 with trailing zeros cut off, and zero times where nothing is set. A recorded session is streamed as a
//! whole after its upload, so what is an audit event too arrives twice with the same `uid`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use custody_ingest::publish::Outgoing;
use custody_schemas::time::{Micros, to_rfc3339};
use serde_json::{Map, Value, json};

use super::pty::Shown;
use super::scripts::Recording;

/// Topic of the audit events.
pub(super) const AUDIT_TOPIC: &str = "teleport.audit";

/// Topic of the streams of recorded sessions.
pub(super) const SESSIONS_TOPIC: &str = "teleport.sessions";

const CLUSTER: &str = "prod.example.com";

/// `ei` of the events that have no place in the stream of their session.
const EI_DATA: i64 = 2_147_483_646;
const EI_UPLOAD: i64 = 2_147_483_647;

/// Between the start of a session and the first output of its recording.
const FIRST_PRINT_US: i64 = 80_000;

/// The host on which the agent of every SSH session runs.
pub(super) const PROD_WEB_01: Place = Place::Node { host: "prod-web-01" };

/// Someone (or something) who uses the gateway.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Person {
    /// What colleagues say.
    pub(super) name: &'static str,
    /// Name at the gateway.
    pub(super) user: &'static str,
    /// Id at Boundary, for those who use it.
    pub(super) boundary_id: Option<&'static str>,
    /// Account on hosts.
    pub(super) login: &'static str,
    /// Teleport's number: 1 a person, 2 a machine.
    pub(super) kind: i64,
    /// Roles that are held without asking.
    pub(super) roles: &'static [&'static str],
    /// Where the connections come from.
    pub(super) address: &'static str,
}

/// On call this week.
pub(super) const ALICE: Person = Person {
    name: "Alice Ng",
    user: "alice@example.com",
    boundary_id: Some("u_alice0001"),
    login: "alice",
    kind: 1,
    roles: &["access", "devops-team"],
    address: "203.0.113.11",
};
/// The lead.
pub(super) const BOB: Person = Person {
    name: "Bob Ortiz",
    user: "bob@example.com",
    boundary_id: Some("u_bob0000001"),
    login: "bob",
    kind: 1,
    roles: &["access", "devops-team", "approvers"],
    address: "203.0.113.12",
};
/// Security.
pub(super) const CAROL: Person = Person {
    name: "Carol Weiss",
    user: "carol@example.com",
    boundary_id: Some("u_carol00001"),
    login: "carol",
    kind: 1,
    roles: &["access", "security", "approvers"],
    address: "203.0.113.13",
};
/// A contractor with standing access.
pub(super) const DAVE: Person = Person {
    name: "Dave Roy",
    user: "dave@example.com",
    boundary_id: Some("u_dave000001"),
    login: "dave",
    kind: 1,
    roles: &["access", "developers", "prod-web-standing"],
    address: "203.0.113.44",
};
/// Leaves in the middle of the week.
pub(super) const ERIN: Person = Person {
    name: "Erin Sol",
    user: "erin@example.com",
    boundary_id: None,
    login: "erin",
    kind: 1,
    roles: &["access", "developers"],
    address: "203.0.113.15",
};
/// The build machine.
pub(super) const CI_BOT: Person = Person {
    name: "ci-bot",
    user: "bot-ci",
    boundary_id: None,
    login: "bot-ci",
    kind: 2,
    roles: &["bot-ci"],
    address: "203.0.113.80",
};

/// Everyone in the story.
pub(super) const CAST: [&Person; 6] = [&ALICE, &BOB, &CAROL, &DAVE, &ERIN, &CI_BOT];

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A host, over SSH.
    Node {
        /// Its name.
        host: &'static str,
    },
    /// A shell in a pod of `k8s-prod`.
    Pod {
        /// Its name.
        name: &'static str,
    },
    /// The database `web_app_db` of `prod-db`.
    Database,
}

/// An access request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Id.
    pub(super) id: String,
    /// Who asks.
    pub(super) person: &'static Person,
    /// Role that is asked for.
    pub(super) role: &'static str,
    /// Why.
    pub(super) reason: &'static str,
    /// When it was made.
    pub(super) asked_at: Micros,
    /// Until when the access is wanted.
    pub(super) expires_at: Micros,
}

/// A session at the gateway.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// Id.
    pub(super) id: String,
    /// Whose it is.
    pub(super) person: &'static Person,
    /// Where it is.
    pub(super) place: Place,
    /// Requests whose roles it uses.
    pub(super) requests: Vec<String>,
    /// When it began.
    pub(super) started_at: Micros,
    /// When it ended.
    pub(super) ended_at: Micros,
}

/// One event of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// When it happened.
    pub(super) at: Micros,
    /// The object.
    pub(super) value: Value,
}

impl Event {
    /// The event as a message of the audit topic. The event handler knows no keys.
    pub(super) fn to_audit(&self) -> Outgoing {
        let value = Some(self.value.to_string().into_bytes());
        Outgoing { topic: AUDIT_TOPIC.to_owned(), value, ..Outgoing::default() }
    }

    /// The event as a message of a session's stream. Its id is in the URL alone that the event handler posts to, and
    /// what stands between that and Kafka has to pass it on.
    pub(super) fn to_session(&self, session_id: &str, route: Route) -> Outgoing {
        let (key, value) = match route {
            Route::Key => (Some(session_id.as_bytes().to_vec()), self.value.clone()),
            Route::Path => {
                let added = json!({
                    "path": format!("/session.{session_id}.log"),
                    "source_type": "http_server",
                    "timestamp": rfc3339(self.at + 250_000),
                });
                (None, merged([added, self.value.clone()]))
            }
        };
        let value = Some(value.to_string().into_bytes());
        Outgoing { topic: SESSIONS_TOPIC.to_owned(), key, value, ..Outgoing::default() }
    }
}

/// How the id of a session gets from the URL of its stream into the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// The shipper makes it the key.
    Key,
    /// The shipper adds the path, as Vector's `http_server` does.
    Path,
}

/// Where the ids of events come from.
#[derive(Debug)]
pub(super) enum Ids {
    /// Counted, so that a story is the same whenever it is told.
    Counted {
        /// What tells one story's ids from another's.
        space: u32,
        /// The number of the last id.
        last: u64,
    },
    /// Never seen before.
    Random,
}

impl Ids {
    /// The next id, in the form of a UUID.
    pub(super) fn next(&mut self) -> String {
        match self {
            Self::Counted { space, last } => {
                *last += 1;
                format!("{space:08x}-0000-4000-8000-{last:012x}")
            }
            Self::Random => uuid::Uuid::new_v4().to_string(),
        }
    }
}

/// The cluster: makes events.
#[derive(Debug)]
pub(super) struct Teleport {
    /// Ids of events, and of what else needs one.
    pub(super) ids: Ids,
}

impl Teleport {
    fn event(&mut self, at: Micros, name: &str, code: &str, fields: impl IntoIterator<Item = Value>) -> Event {
        let common = json!({
            "cluster_name": CLUSTER, "code": code, "ei": 0, "event": name, "time": time(at), "uid": self.ids.next(),
        });
        Event { at, value: merged([common].into_iter().chain(fields)) }
    }

    /// A person logs in.
    pub(super) fn login(&mut self, at: Micros, person: &Person) -> Event {
        let fields = json!({
            "method": "oidc", "success": true, "user_agent": "tsh/18.2.0", "addr.remote": person.remote(at),
        });
        self.event(at, "user.login", "T1001I", [person.metadata(), fields])
    }

    /// A request is made.
    pub(super) fn request_created(&mut self, request: &Request) -> Event {
        let fields = json!({
            "RequestedResourceAccessIDs": null, "reason": request.reason, "roles": [request.role], "state": "PENDING",
            "max_duration": rfc3339(request.expires_at),
        });
        let parts = [request.person.metadata(), request.metadata(), fields];
        self.event(request.asked_at, "access_request.create", "T5000I", parts)
    }

    /// Someone votes for a request. The state is that after the vote.
    pub(super) fn request_reviewed(
        &mut self,
        at: Micros,
        request: &Request,
        reviewer: &Person,
        state: &str,
        comment: &str,
    ) -> Event {
        let fields = json!({
            "proposed_state": "APPROVED", "reason": comment, "reviewer": reviewer.user, "state": state,
            "max_duration": ZERO_TIME,
        });
        self.event(at, "access_request.review", "T5002I", [request.metadata(), fields])
    }

    /// The state of a request is set to approved without a vote: by an administrator, or by a plugin.
    pub(super) fn request_set_approved(&mut self, at: Micros, request: &Request, by: &str, comment: &str) -> Event {
        let fields = json!({
            "reason": comment, "state": "APPROVED", "updated_by": by, "max_duration": ZERO_TIME,
        });
        self.event(at, "access_request.update", "T5001I", [request.metadata(), fields])
    }

    /// The time of a request is over.
    pub(super) fn request_expired(&mut self, request: &Request) -> Event {
        let fields = json!({ "expiry": rfc3339(request.expires_at) });
        self.event(request.expires_at, "access_request.expire", "T5005I", [request.metadata(), fields])
    }

    /// A certificate with the roles of a request is issued.
    pub(super) fn certificate(&mut self, at: Micros, request: &Request) -> Event {
        let person = request.person;
        let roles: Vec<&str> = person.roles.iter().copied().chain([request.role]).collect();
        let fields = json!({
            "cert_type": "user",
            "identity": {
                "access_requests": [request.id], "client_ip": person.address, "expires": rfc3339(request.expires_at),
                "logins": [person.login], "prev_identity_expires": ZERO_TIME, "roles": roles,
                "route_to_cluster": CLUSTER, "teleport_cluster": CLUSTER, "user": person.user,
            },
        });
        self.event(at, "cert.create", "TC000I", [fields])
    }

    /// Someone watches a recording.
    pub(super) fn recording_watched(&mut self, at: Micros, viewer: &Person, session_id: &str) -> Event {
        let fields = json!({ "sid": session_id, "session_type": "ssh", "format": "pty" });
        self.event(at, "session.recording.access", "T2012I", [viewer.metadata(), fields])
    }

    /// The beginning of a session.
    pub(super) fn session_started(&mut self, session: &Session, size: (u16, u16)) -> Event {
        let at = session.started_at;
        let parts = session.metadata();
        if session.place == Place::Database {
            return self.event(at, "db.session.start", "TDB00I", parts.into_iter().chain([json!({ "success": true })]));
        }
        let fields = json!({
            "initial_command": [""], "session_recording": "node", "size": format!("{}:{}", size.0, size.1),
        });
        self.event(at, "session.start", "T2000I", parts.into_iter().chain([fields]))
    }

    /// A query in a database session; `index` is its place in the stream.
    pub(super) fn queried(&mut self, at: Micros, session: &Session, index: i64, query: &str) -> Event {
        let fields = json!({ "db_query": query, "ei": index, "success": true });
        self.event(at, "db.session.query", "TDB02I", session.metadata().into_iter().chain([fields]))
    }

    /// The end of a session; `index` is its place in the stream.
    pub(super) fn session_ended(&mut self, session: &Session, index: i64) -> Event {
        let at = session.ended_at;
        let parts = session.metadata();
        let times = json!({
            "ei": index, "session_start": rfc3339(session.started_at), "session_stop": rfc3339(at),
        });
        if session.place == Place::Database {
            return self.event(at, "db.session.end", "TDB01I", parts.into_iter().chain([times]));
        }
        let fields = json!({
            "enhanced_recording": false, "interactive": true, "participants": [session.person.user],
            "session_recording": "node",
        });
        self.event(at, "session.end", "T2004I", parts.into_iter().chain([times, fields]))
    }

    /// What follows the end of a session at a terminal: who left, and how many bytes went each way.
    pub(super) fn session_left(&mut self, session: &Session, index: i64, output_len: usize) -> [Event; 2] {
        let parts = session.metadata();
        let leave = parts.clone().into_iter().chain([json!({ "ei": index })]);
        let data = parts.into_iter().chain([json!({ "ei": EI_DATA, "rx": 4096, "tx": output_len + 6144 })]);
        [
            self.event(session.ended_at - 5_000, "session.leave", "T2003I", leave),
            self.event(session.ended_at, "session.data", "T2006I", data),
        ]
    }

    /// The gateway says that the recording is complete and stored.
    pub(super) fn session_uploaded(&mut self, session: &Session) -> Event {
        let id = &session.id;
        let url = format!("s3://recordings.example.com/{id}.tar");
        let fields = json!({ "ei": EI_UPLOAD, "sid": id, "url": url });
        self.event(session.ended_at + 3_000_000, "session.upload", "T2005I", [fields])
    }

    /// The stream of a recorded session between its start, which has index 0, and its end: what the terminal showed,
    /// and its sizes. Each chunk is one event.
    pub(super) fn recorded(&mut self, session: &Session, recording: &Recording) -> Vec<Event> {
        let mut events = Vec::new();
        let (mut elapsed_us, mut prints, mut offset) = (0, 0, 0);
        for (index, chunk) in (1..).zip(&recording.chunks) {
            // The first output is where the recording's clock begins.
            if index > 1 {
                elapsed_us += chunk.delay_us;
            }
            let at = session.started_at + FIRST_PRINT_US + elapsed_us;
            events.push(match &chunk.shown {
                Shown::Output(bytes) => {
                    let value = json!({
                        "bytes": bytes.len(), "ci": prints, "cluster_name": CLUSTER, "data": BASE64.encode(bytes),
                        "ei": index, "event": "print", "ms": elapsed_us / 1000, "offset": offset, "time": time(at),
                    });
                    prints += 1;
                    offset += bytes.len();
                    Event { at, value }
                }
                Shown::Resize(cols, rows) => {
                    let fields = json!({ "ei": index, "size": format!("{cols}:{rows}") });
                    self.event(at, "resize", "T2002I", session.metadata().into_iter().chain([fields]))
                }
            });
        }
        events
    }
}

/// Go's zero time, which is printed where nothing is set.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

impl Person {
    fn metadata(&self) -> Value {
        let mut fields = json!({
            "user": self.user, "user_cluster_name": CLUSTER, "user_kind": self.kind, "user_roles": self.roles,
        });
        if let (2, Some(fields)) = (self.kind, fields.as_object_mut()) {
            fields.insert("bot_name".to_owned(), json!("ci-bot"));
        }
        fields
    }

    /// Address and port of a connection. The port follows from the time, so that connections have different ones.
    fn remote(&self, at: Micros) -> String {
        format!("{}:{}", self.address, 49_152 + (at / 1_000_000).rem_euclid(16_000))
    }
}

impl Request {
    fn metadata(&self) -> Value {
        json!({ "expires": rfc3339(self.expires_at), "id": self.id })
    }
}

impl Session {
    /// What every event of the session says of it.
    fn metadata(&self) -> Vec<Value> {
        let common = json!({
            "addr.remote": self.person.remote(self.started_at), "namespace": "default",
            "private_key_policy": "none", "server_version": "18.2.0", "sid": self.id,
        });
        let place = match self.place {
            Place::Node { host } => json!({
                "login": self.person.login, "proto": "ssh", "server_hostname": host,
                "server_id": "5e71e000-0000-4000-8000-000000000001",
                "server_labels": { "env": "prod", "hostname": host },
            }),
            Place::Pod { name } => json!({
                "kubernetes_cluster": "k8s-prod", "kubernetes_container_name": "dashboard",
                "kubernetes_groups": ["developers"], "kubernetes_pod_name": name,
                "kubernetes_pod_namespace": "web-app-namespace", "kubernetes_users": [self.person.user],
                "proto": "kube", "server_id": "5e71e000-0000-4000-8000-000000000002",
            }),
            Place::Database => json!({
                "db_name": "web_app_db", "db_protocol": "postgres", "db_service": "prod-db",
                "db_uri": "prod-db.internal:5432", "db_user": "app_admin",
                "server_id": "5e71e000-0000-4000-8000-000000000003",
            }),
        };
        let mut parts = vec![self.person.metadata(), common, place];
        if !self.requests.is_empty() {
            parts.push(json!({ "access_requests": self.requests }));
        }
        parts
    }
}

/// The fields of all objects in one; a later one's count.
pub(super) fn merged(parts: impl IntoIterator<Item = Value>) -> Value {
    let fields = parts.into_iter().filter_map(|part| match part {
        Value::Object(fields) => Some(fields),
        _ => None,
    });
    Value::Object(fields.flatten().collect::<Map<_, _>>())
}

/// An instant as Go prints it: trailing zeros of the fraction are left out.
pub(super) fn rfc3339(at: Micros) -> String {
    let text = to_rfc3339(at);
    let digits = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{digits}Z")
}

/// The `time` of an event, which is rounded to milliseconds.
fn time(at: Micros) -> String {
    rfc3339((at + 500).div_euclid(1000) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_go_does() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(10_000_000), "1970-01-01T00:00:10Z");
        assert_eq!(time(1_990_400), "1970-01-01T00:00:01.99Z");
        assert_eq!(time(1_999_500), "1970-01-01T00:00:02Z");
    }
}

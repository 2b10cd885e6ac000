//! hoop.dev: sessions with their reviews and recordings, and what hoop tells of them elsewhere.
//!
//! The shapes are those of hoop's REST API (its OpenAPI document, schemas `Session`, `Review` and
//! `SecurityAuditLogResponse`), of its Svix webhooks, of the payload of its runbook hooks, and of the events that it
//! routes to runbooks. hoop writes to no Kafka itself: somebody polls the API, or a runbook posts.
//!
//! What the API gives is a snapshot, and a poller sends it again and again while it changes. So it is taken apart:
//! what never changes in one event, and each thing that may change in an event whose id names the value. A snapshot
//! that says nothing new then gives no new fact, and one that says something else hides nothing that was said before.

use aws_lc_rs::digest::{SHA256, digest};
use custody_schemas::event::{Outcome, Text};
use custody_schemas::record::{DecodeError, ErrorKind, Message};
use serde::{Deserialize, Serialize};

use super::object::{Document, Object, Time, string, text};
use super::wrapper::{self, BASE64, SHIPPER_FIELDS, Unpacked};
use super::{Sink, Source};

mod notice;
mod review;
mod session;
mod stream;

/// What names the fields of a session's metadata have. hoop lets each organisation choose them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HoopMapping {
    /// Fields that hold the reason for the session; the first that has a text counts.
    pub reason: Vec<String>,
    /// Fields that hold a ticket. An issue of hoop's own Jira integration goes before them.
    pub ticket: Vec<String>,
}

impl Default for HoopMapping {
    fn default() -> Self {
        Self { reason: vec!["reason".to_owned(), "justification".to_owned()], ticket: vec!["ticket".to_owned()] }
    }
}

/// Decodes one message of a hoop topic.
pub(super) fn decode(source: &Source, message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    wrapper::unpack(message.value, &mut Hoop { mapping: &source.settings.hoop, sink })
}

struct Hoop<'s> {
    mapping: &'s HoopMapping,
    sink: &'s mut dyn Sink,
}

/// What an object is, by the fields that only it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A page of a list: the objects are in `data`.
    Page,
    Session,
    Review,
    AuditEntry,
    /// A webhook, or an event that was routed to a runbook.
    Notice,
    /// The webhook that is made for Microsoft Teams.
    Card,
    RunbookHook,
    /// One entry of a recording as the API lets people download it.
    Download,
}

fn shape(object: &Object<'_>) -> Option<Shape> {
    let is_list = |name| object.json(name).is_some_and(|json| json.starts_with('['));
    let is_text = |name| object.json(name).is_some_and(|json| json.starts_with('"'));
    if is_text("id") && is_text("start_date") && object.has("connection") {
        return Some(Shape::Session);
    }
    if is_text("id") && is_list("review_groups_data") {
        return Some(Shape::Review);
    }
    if is_text("id") && is_text("resource_type") && is_text("action") && is_text("created_at") {
        return Some(Shape::AuditEntry);
    }
    if is_text("event_type") {
        return Some(Shape::Notice);
    }
    if object.json("type") == Some("\"message\"") && is_list("attachments") {
        return Some(Shape::Card);
    }
    if is_text("sid") && (object.has("event_session_open") || object.has("event_session_close")) {
        return Some(Shape::RunbookHook);
    }
    if is_text("time") && is_text("type") && is_text("stream") {
        return Some(Shape::Download);
    }
    (is_list("data") && !object.has("id")).then_some(Shape::Page)
}

impl Unpacked for Hoop<'_> {
    const BETWEEN_LOG_LINES: bool = false;

    fn is_event(&self, object: &Object<'_>) -> bool {
        shape(object).is_some()
    }

    fn object(&mut self, object: Object<'_>) -> Result<(), DecodeError> {
        match shape(&object) {
            Some(Shape::Page) => self.page(&object),
            Some(shape) => self.one(shape, object),
            None => Err(DecodeError::new(ErrorKind::MissingField, "neither a session, a review nor a notice of hoop")),
        }
    }
}

impl Hoop<'_> {
    fn one(&mut self, shape: Shape, mut object: Object<'_>) -> Result<(), DecodeError> {
        for name in SHIPPER_FIELDS.into_iter().chain(["path"]) {
            object.take(name);
        }
        match shape {
            Shape::Session => session::decode(self.mapping, object, self.sink),
            Shape::Review => review::alone(object, self.sink),
            Shape::AuditEntry => notice::audit_entry(object, self.sink),
            Shape::Notice => notice::notice(object, self.sink),
            Shape::Card => notice::card(&object, self.sink),
            Shape::RunbookHook => notice::runbook_hook(&object, self.sink),
            Shape::Download | Shape::Page => {
                Err(DecodeError::new(ErrorKind::UnexpectedShape, "a downloaded stream, or a page inside a page"))
            }
        }
    }

    /// A page of a list; what is wrong with an element costs that element.
    fn page(&mut self, page: &Object<'_>) -> Result<(), DecodeError> {
        let elements = match page.json("data").map(Document::parse) {
            Some(Ok(Document::Array(elements))) => elements,
            _ => return Err(DecodeError::new(ErrorKind::TooLarge, "`data` has too many elements")),
        };
        let mut result = Ok(());
        for element in elements {
            let object = Object::parse(element).and_then(|object| Some((shape(&object)?, object)));
            result = result.and(match object {
                Some((shape, object)) => self.one(shape, object),
                None => Err(DecodeError::new(ErrorKind::UnexpectedShape, "an element of `data` is not known")),
            });
        }
        result
    }
}

/// Id of a fact: `hoop/<organisation>/<path>`.
fn event_id<'a>(org: Option<&str>, path: &[&str]) -> Text<'a> {
    Text::Owned(["hoop", org.unwrap_or_default()].iter().chain(path).copied().collect::<Vec<_>>().join("/"))
}

/// Name of a content: the first half of its SHA-256 in hexadecimal digits.
fn content_id(content: &str) -> String {
    crate::hex::encode(digest(&SHA256, content.as_bytes()).as_ref().get(..16).unwrap_or_default())
}

/// The text of a field, which stays where it is.
fn peek<'a>(object: &Object<'a>, name: &str) -> Option<Text<'a>> {
    object.json(name).and_then(text)
}

/// What cannot be a time is an error of the message; the facts stand.
fn check(time: Time, name: &str) -> Result<(), DecodeError> {
    match time {
        Time::Invalid => Err(DecodeError::new(ErrorKind::InvalidField, format!("`{name}` is not an instant"))),
        Time::At(_) | Time::Unset => Ok(()),
    }
}

/// What a target is, by hoop's type and subtype of a connection.
fn target_kind(connection_type: Option<&str>, subtype: Option<&str>) -> &'static str {
    match (connection_type, subtype) {
        (Some("database"), _) | (_, Some("dynamodb")) => "database",
        (Some("httpproxy"), _) | (_, Some("httpproxy" | "kibana" | "grafana" | "mcpproxy")) => "app",
        (_, Some("kubernetes" | "kubernetes-eks" | "kubernetes-token")) => "kubernetes",
        (_, Some("ssh" | "ssh-local" | "aws-ssm")) => "node",
        (_, Some("rdp")) => "desktop",
        _ => "target",
    }
}

/// How an exit code ended things.
fn outcome_of(exit_code: i64) -> Outcome {
    if exit_code == 0 { Outcome::Success } else { Outcome::Failure }
}

/// The text of a field of an object, given the object's JSON.
fn text_at<'a>(json: Option<&'a str>, path: &str) -> Option<Text<'a>> {
    Object::parse(json?)?.json_at(path).and_then(string).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;

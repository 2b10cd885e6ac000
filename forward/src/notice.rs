//! What is sent to a destination: an event, where it lies in the ledger, and what gave the access that it tells of.

use custody_schemas::event::Event;
use custody_schemas::time::Micros;

/// One event on its way to a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice<'a> {
    /// The fact.
    pub event: Event<'a>,
    /// Kind of source: `teleport`, `boundary`, `hoop`, `opa`, `custody`, ...
    pub source: &'a str,
    /// Where its record is.
    pub evidence: Evidence<'a>,
    /// What gave access to its session, as far as it is known; several where several requests or decisions did.
    pub access: &'a [Access],
    /// How often it was sent before, because more became known of its access: 0 at first.
    pub revision: u32,
}

/// Where the record of an event is in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence<'a> {
    /// Topic of the message.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Which of the events of that message, from 0.
    pub index: i32,
    /// Kafka's time of the message.
    pub broker_at: Option<Micros>,
    /// When Custody took it.
    pub ingested_at: Micros,
}

/// What gave access to a session: a row of the view `session_access`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// `explicit`, `policy`, `ticket`, `inferred` or `none`.
    pub link_method: String,
    /// The access request.
    pub request_id: Option<String>,
    /// The policy decision.
    pub decision_id: Option<String>,
    /// Why access was asked for.
    pub reason: Option<String>,
    /// Who said yes.
    pub approvers: Vec<String>,
    /// When.
    pub approved_at: Option<Micros>,
    /// Until when.
    pub expires_at: Option<Micros>,
    /// Tickets that the reason or the decision names.
    pub tickets: Vec<String>,
    /// Approved no later than the session's start.
    pub approved_before_start: Option<bool>,
}

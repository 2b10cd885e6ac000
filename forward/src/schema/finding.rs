//! What a finding says of itself.
//!
//! Its report and its state are in the columns of the event, the rest is in its `detail`, which a destination may have
//! masked: whatever is not there, or is not what it should be, is not said.

use custody_schemas::event::Kind;
use custody_schemas::time::{Micros, Parsed, parse_rfc3339};
use serde_json::Value;

use crate::notice::Notice;
use crate::schema::{Severity, event_id, id_to_keep, said};

/// No report has a longer id, and no judgement a longer name.
const WORD_BYTES_MAX: usize = 16;

fn is_word(text: &str) -> bool {
    (1..=WORD_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// By what the finding is known, the same in everything that is told of it.
    pub(super) uid: String,
    /// The report that found it, or `silent`; empty where that is no name of one.
    pub(super) report: String,
    pub(super) report_version: Option<String>,
    pub(super) state: State,
    pub(super) verdict: Option<String>,
    pub(super) handled: Option<Handled>,
    /// When it was raised first.
    pub(super) raised_at: Option<Micros>,
    /// Whether it was over before, and came back.
    pub(super) is_back: bool,
    pub(super) why: Vec<String>,
    pub(super) controls: Vec<String>,
    /// Who it is about, by the identity table.
    pub(super) person: Option<String>,
    /// The events that it rests on, under the ids by which a receiver knows them.
    pub(super) evidence: Vec<String>,
}

/// What became of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Changed,
    Closed,
}

/// What people said of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handled {
    /// It is not what it looks like.
    Explained,
    /// It is, and it may be.
    Accepted,
    /// Something was done about it.
    Remediated,
    /// None of that holds any more.
    Reopened,
}

/// How far the work on a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nobody has looked at it.
    New,
    /// Somebody has, and was not done with it.
    InProgress,
    /// It was looked at and is to trouble nobody.
    Suppressed,
    /// It is over, or something was done about it.
    Resolved,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Changed => "changed",
            Self::Closed => "closed",
        }
    }
}

impl Handled {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "explained" => Some(Self::Explained),
            "accepted" => Some(Self::Accepted),
            "remediated" => Some(Self::Remediated),
            "open" => Some(Self::Reopened),
            _ => None,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Explained => "explained",
            Self::Accepted => "accepted",
            Self::Remediated => "remediated",
            Self::Reopened => "open",
        }
    }
}

impl Finding {
    /// The finding that an event tells of; `None` of any other event.
    pub(super) fn of(notice: &Notice<'_>) -> Option<Self> {
        let event = &notice.event;
        if event.kind != Kind::Finding {
            return None;
        }
        let detail: Value = serde_json::from_str(&event.detail).unwrap_or_default();
        let word = |name: &str| detail.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let list = |name: &str| {
            let texts = detail.get(name).and_then(Value::as_array).into_iter().flatten();
            texts.filter_map(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        let name = said(&event.correlation_id);
        let report = name.and_then(|name| name.split_once('/')).map(|(report, _)| report).filter(|text| is_word(text));
        let raised_at = word("raised_at").and_then(|text| match parse_rfc3339(text) {
            Some(Parsed::At(at)) => Some(at),
            _ => None,
        });
        let state = match event.source_type.as_ref() {
            "finding.closed" => State::Closed,
            "finding.changed" => State::Changed,
            _ => State::Open,
        };
        Some(Self {
            uid: name.map(id_to_keep).unwrap_or_else(|| event_id(notice)).into_owned(),
            report: report.unwrap_or_default().to_owned(),
            report_version: detail.get("report_version").and_then(Value::as_u64).map(|number| number.to_string()),
            state,
            verdict: word("verdict").filter(|text| is_word(text)).map(str::to_owned),
            handled: word("handled").and_then(Handled::from_name),
            raised_at,
            is_back: state == State::Open && raised_at.zip(event.occurred_at).is_some_and(|(first, now)| first < now),
            why: list("why"),
            controls: list("controls"),
            person: word("person").map(str::to_owned),
            evidence: list("evidence").iter().map(|id| id_to_keep(id).into_owned()).collect(),
        })
    }

    /// Without what may be of any length.
    pub(super) fn brief(&self) -> Self {
        let none = Vec::new;
        Self { why: none(), controls: none(), evidence: none(), person: None, ..self.clone() }
    }

    pub(super) fn stage(&self) -> Stage {
        match self.handled {
            _ if self.state == State::Closed => Stage::Resolved,
            Some(Handled::Explained | Handled::Accepted) => Stage::Suppressed,
            // What was done about it did not last.
            Some(Handled::Remediated) if self.is_back => Stage::New,
            Some(Handled::Remediated) => Stage::Resolved,
            Some(Handled::Reopened) => Stage::InProgress,
            None => Stage::New,
        }
    }

    /// Whether somebody has to look at it.
    pub(super) fn is_alert(&self) -> bool {
        matches!(self.stage(), Stage::New | Stage::InProgress)
    }

    /// Whether it is of something that happened; the others are of a control that was not kept.
    pub(super) fn is_detection(&self) -> bool {
        matches!(self.report.as_str(), "R09" | "R12" | "R14" | "R15" | "R23" | "R24" | SILENT)
    }

    /// How much it matters: by its report, and nothing where nobody has to look at it.
    pub(super) fn severity(&self) -> Severity {
        match self.report.as_str() {
            _ if !self.is_alert() => Severity::Informational,
            // Somebody was inside who had been refused, had left, or opened the door that is for emergencies and did not
            // account for it.
            "R09" | "R12" | "R19" => Severity::High,
            // Evidence is missing, or does not come any more: what else happened cannot be known.
            "R14" | "R15" | "R24" | SILENT => Severity::High,
            // What should be tidier, and let in nobody who was not to be let in: reasons, entitlements that nobody uses,
            // approvals that take long, reviews that are due, the worksheet.
            "R08" | "R11" | "R18" | "R27" | "R28" => Severity::Low,
            // A control was not kept.
            _ => Severity::Medium,
        }
    }
}

/// What stands in place of a report for a source from which nothing comes.
pub(super) const SILENT: &str = "silent";

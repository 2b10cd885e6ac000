//! What `sessions` and `show` print for people. Everything that came from outside goes through [`visible`].

use std::borrow::Cow;
use std::io::{self, Write};

use custody_query::reports::Ipe;
use custody_query::sample::Draw;
use custody_query::sessions::{Link, LinkedSession, SessionDetail, SessionPage, Time};
use custody_query::visible;
use custody_replay::Recording;
use custody_schemas::time::to_rfc3339;
use serde_json::json;

/// Cells of the list are cut to this many characters; `show` and the other formats have them whole.
const CELL_CHARS: usize = 48;

/// One line a session; the reason and approvers of every link in it.
pub(super) fn sessions(page: &SessionPage, out: &mut impl Write) -> io::Result<()> {
    const TITLES: [&str; 9] =
        ["STARTED", "LASTED", "STATE", "SESSION", "ACTOR", "TARGET", "REASON", "APPROVED BY", "LINK / RECORDING"];
    let rows: Vec<[String; TITLES.len()]> = page.sessions.iter().map(row).collect();
    table(&TITLES, &rows, out)?;
    if page.next.is_some() {
        writeln!(out, "... and more: --limit, or narrow by --actor, --target, --from, --to")?;
    }
    Ok(())
}

/// What makes the rows of a report evidence.
pub(crate) fn ipe(ipe: &Ipe, draw: Option<&Draw>, out: &mut impl Write) -> io::Result<()> {
    let counts = ipe.counts;
    let parameters: Vec<_> = ipe.parameters.iter().map(|(name, value)| format!("{name} = {}", json!(value))).collect();
    let references: Vec<_> = ipe
        .references
        .iter()
        .map(|file| format!("{} ({}, {} rows, {})", file.table, file.file, file.rows, file.sha256))
        .collect();
    let sample = draw.map(|draw| json!(draw).to_string());
    let took = ipe.duration_ms.map(|ms| format!(", in {} ms", ms)).unwrap_or_default();
    let lines = [
        ("report", format!("{} version {}: {}", ipe.report, ipe.report_version, ipe.title)),
        ("question", ipe.question.clone()),
        ("controls", ipe.controls.join(", ")),
        ("entity", format!("{}, {}", ipe.entity, ipe.environment)),
        ("period", format!("from {} to {}, the end not in it; as of {}", ipe.from, ipe.to, ipe.as_of)),
        ("parameters", parameters.join(", ")),
        ("population", format!("{} ({}), and {} excluded", counts.population, ipe.population, counts.excluded)),
        (
            "verdicts",
            format!(
                "{} exceptions, {} warnings, {} pass, {} information, {} cannot be judged",
                counts.exceptions, counts.warnings, counts.pass, counts.information, counts.not_applicable
            ),
        ),
        ("sample", sample.unwrap_or_default()),
        ("completeness", ipe.completeness.statement.clone()),
        ("tables", ipe.versions.to_string()),
        ("references", references.join("; ")),
        ("query", format!("SHA-256 {} (custody report show {})", ipe.sql_sha256, ipe.report)),
        ("population", format!("SHA-256 {}", ipe.population_sha256)),
        ("result", format!("SHA-256 {}", ipe.result_sha256)),
        ("run", format!("by {} at {}{took}, {}", ipe.run_by, ipe.run_at, ipe.tool)),
    ];
    writeln!(out)?;
    lines.iter().filter(|(_, text)| !text.is_empty()).try_for_each(|(name, text)| field(out, name, text))
}

/// Lines of cells under titles, each column as wide as its widest cell.
pub(crate) fn table<const N: usize>(titles: &[&str; N], rows: &[[String; N]], out: &mut impl Write) -> io::Result<()> {
    let mut widths = titles.map(|title| title.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut line = |cells: &mut dyn Iterator<Item = &str>| -> io::Result<()> {
        let padded: Vec<String> = cells
            .zip(widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count().min(width))))
            .collect();
        writeln!(out, "{}", padded.join("  ").trim_end())
    };
    line(&mut titles.iter().copied())?;
    rows.iter().try_for_each(|row| line(&mut row.iter().map(String::as_str)))
}

fn row(LinkedSession { session, links }: &LinkedSession) -> [String; 9] {
    let joined = |values: &mut dyn Iterator<Item = String>| {
        let mut values: Vec<String> = values.collect();
        values.dedup();
        cut(&values.join("; "))
    };
    [
        session.started_at.map_or_else(String::new, minute),
        session.duration_ms.map_or_else(String::new, duration),
        session.state.clone(),
        visible(&session.session_id).into_owned(),
        cut(&optional(session.actor.as_deref())),
        cut(&optional(session.target.as_deref())),
        joined(&mut links.iter().filter_map(|link| link.reason.as_deref()).map(|reason| visible(reason).into_owned())),
        joined(&mut links.iter().flat_map(|link| &link.approvers).map(|who| visible(who).into_owned())),
        format!("{} / {}", joined(&mut links.iter().map(|link| link.link_method.clone())), session.recording),
    ]
}

/// Who said yes, who was where, and why, in one line; of several links the surest. What somebody wrote himself stands
/// last and in quotes, so that it cannot pass for the rest.
pub(crate) fn facts(LinkedSession { session, links }: &LinkedSession) -> String {
    const NAME_CHARS: usize = 40;
    let name = |name: &str| {
        let short: String = visible(name).chars().take(NAME_CHARS).collect();
        let plain = |c: char| c.is_ascii_alphanumeric() || "@._-/:+".contains(c);
        if short.chars().all(plain) { short } else { format!("{short:?}") }
    };
    let or = |text: Option<&str>, other: &str| text.map_or_else(|| other.to_owned(), name);
    let link = links.first();
    let approved = match link {
        Some(link) if !link.approvers.is_empty() => {
            let by: Vec<String> = link.approvers.iter().take(3).map(|approver| name(approver)).collect();
            let more = if link.approvers.len() > by.len() { ", ..." } else { "" };
            let late = if link.approved_before_start == Some(false) { " AFTER the start" } else { "" };
            format!("approved{late} by {}{more} ({})", by.join(", "), link.link_method)
        }
        _ => "nobody said yes".to_owned(),
    };
    let who = or(session.actor.as_deref(), "somebody");
    let target = or(session.target.as_deref(), "an unknown target");
    let reason = link.and_then(|link| link.reason.as_deref()).or(session.reason.as_deref());
    let reason = reason.map_or_else(|| "no reason".to_owned(), |reason| format!("reason {:?}", visible(reason)));
    format!("{approved} | {who} on {target} | {reason}")
}

/// A word for a shell.
pub(crate) fn shell_word(word: &str) -> Cow<'_, str> {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_./:@%+=,".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', "'\\''")))
}

/// The same as CSV, one line a link.
pub(super) fn sessions_csv(page: &SessionPage, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "session_id,source,cluster,actor,target,login,protocol,started_at,ended_at,duration_ms,state,recording,\
         link_method,request_id,decision_id,reason,approvers,approved_at,access_expires_at,approved_before_start,\
         ended_within_window\r"
    )?;
    for LinkedSession { session, links } in &page.sessions {
        for link in links {
            let time = |time: Option<Time>| time.map_or_else(String::new, |Time(at)| to_rfc3339(at));
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let truth = |truth: Option<bool>| truth.map_or_else(String::new, |truth| truth.to_string());
            let cells = [
                session.session_id.clone(),
                session.source.clone(),
                text(&session.cluster),
                text(&session.actor),
                text(&session.target),
                text(&session.login),
                text(&session.protocol),
                time(session.started_at),
                time(session.ended_at),
                session.duration_ms.map_or_else(String::new, |duration| duration.to_string()),
                session.state.clone(),
                session.recording.clone(),
                link.link_method.clone(),
                text(&link.request_id),
                text(&link.decision_id),
                text(&link.reason),
                link.approvers.join(" "),
                time(link.approved_at),
                time(link.access_expires_at),
                truth(link.approved_before_start),
                truth(link.ended_within_window),
            ];
            let cells: Vec<_> = cells.iter().map(|cell| quoted(cell)).collect();
            writeln!(out, "{}\r", cells.join(","))?;
        }
    }
    Ok(())
}

/// A CSV cell, quoted where RFC 4180 asks for it.
fn quoted(cell: &str) -> Cow<'_, str> {
    if cell.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\"")).into()
    } else {
        cell.into()
    }
}

/// Everything known of a session.
pub(super) fn session(detail: &SessionDetail, recording: Option<&Recording>, out: &mut impl Write) -> io::Result<()> {
    let LinkedSession { session, links } = &detail.linked;
    writeln!(out, "Session {}", visible(&session.session_id))?;
    let place = optional(session.cluster.as_deref());
    field(out, "gateway", &format!("{} {place}", session.source))?;
    if session.person != session.actor {
        field(out, "person", &optional(session.person.as_deref()))?;
    }
    field(out, "actor", &[optional(session.actor.as_deref()), optional(session.actor_kind.as_deref())].join(" "))?;
    field(out, "participants", &list(&session.participants))?;
    let target = [&session.target, &session.target_kind, &session.protocol].map(|text| optional(text.as_deref()));
    field(out, "target", &target.join(" "))?;
    field(out, "account", &optional(session.login.as_deref()))?;
    field(out, "reason given", &optional(session.reason.as_deref()))?;
    let lasted = session.duration_ms.map_or_else(String::new, |lasted| format!(" ({})", duration(lasted)));
    let until = if session.state == "running" { "now: running".to_owned() } else { time(session.ended_at) };
    field(out, "time", &format!("{} to {until}{lasted}", time(session.started_at)))?;
    for place in &detail.also {
        let cluster = optional(place.cluster.as_deref());
        field(out, "same id at", &format!("{} {cluster}", place.source))?;
    }

    writeln!(out, "\nWhy, and who said yes")?;
    for link in links {
        write_link(out, link)?;
    }
    for request in &detail.requests {
        writeln!(out, "\nAccess request {}", visible(&request.request_id))?;
        field(out, "requester", &optional(request.requester.as_deref()))?;
        field(out, "roles", &list(&request.roles))?;
        field(out, "granted instead", &list(&request.granted_roles))?;
        field(out, "reason", &optional(request.reason.as_deref()))?;
        field(out, "tickets", &list(&request.tickets))?;
        field(out, "made", &time(request.created_at))?;
        let approved_by = request.approval_method.as_deref().map_or_else(String::new, |method| format!(" by {method}"));
        field(out, "state", &format!("{}{approved_by}", visible(&request.state)))?;
        field(out, "approvers", &list(&request.approvers))?;
        field(out, "denied by", &list(&request.deniers))?;
        field(out, "access until", &time(request.expires_at))?;
        if request.self_approved {
            field(out, "NOTE", "approved by the requester")?;
        }
        for review in detail.reviews.iter().filter(|review| review.request_id == request.request_id) {
            let who = [&review.reviewer, &review.vote, &review.state].map(|text| optional(text.as_deref())).join(" ");
            let for_whom = review.delegator.as_deref().map_or_else(String::new, |who| format!(" for {}", visible(who)));
            let comment = optional(review.comment.as_deref());
            field(out, &review.method, &format!("{} {who}{for_whom} {comment}", time(review.at)))?;
        }
    }
    for decision in &detail.decisions {
        writeln!(out, "\nPolicy decision {}", optional(decision.decision_id.as_deref()))?;
        field(out, "outcome", &optional(decision.outcome.as_deref()))?;
        let asked = [&decision.actor, &decision.action, &decision.target].map(|text| optional(text.as_deref()));
        field(out, "asked", &asked.join(" "))?;
        let policy = [&decision.policy_path, &decision.policy_revision].map(|text| optional(text.as_deref()));
        field(out, "policy", &policy.join(" "))?;
        field(out, "reason", &[&decision.reason, &decision.ticket].map(|text| optional(text.as_deref())).join(" "))?;
        field(out, "at", &time(decision.occurred_at))?;
    }

    writeln!(out, "\nWhat happened")?;
    for event in &detail.events {
        let what = [&event.actor, &event.action, &event.target, &event.outcome].map(|text| optional(text.as_deref()));
        let what: Vec<_> = what.into_iter().filter(|text| !text.is_empty()).collect();
        let again =
            if event.deliveries > 1 { format!(" (delivered {} times)", event.deliveries) } else { String::new() };
        writeln!(
            out,
            "  {}  {:<24}  {}{again}",
            time(event.occurred_at),
            visible(&event.source_type),
            what.join("  ")
        )?;
    }
    if detail.events_truncated {
        writeln!(out, "  ... and more: custody sql \"SELECT * FROM events WHERE session_id = '...'\"")?;
    }

    writeln!(out, "\nRecording")?;
    match recording {
        None if session.uploaded => field(out, "state", "announced by the gateway, not in the ledger")?,
        None => field(out, "state", "none")?,
        Some(recording) => {
            field(out, "state", &format!("{:?}", recording.state()).to_lowercase())?;
            let size = recording.size;
            let lasts = duration(recording.duration_us / 1000);
            field(
                out,
                "extent",
                &format!("{lasts}, {} bytes of output, {}x{}", session.output_bytes, size.cols, size.rows),
            )?;
            for finding in &recording.findings {
                field(out, "finding", &finding.to_string())?;
            }
        }
    }
    writeln!(out, "\nFrom {}", detail.versions)
}

fn write_link(out: &mut impl Write, link: &Link) -> io::Result<()> {
    let what = link.request_id.as_deref().or(link.decision_id.as_deref());
    match what {
        None => return field(out, "no link", "no access request or policy decision was found for this session"),
        Some(id) => {
            field(out, &link.link_method, &format!("{} ({})", visible(id), optional(link.link_facts.as_deref())))?
        }
    }
    field(out, "  reason", &optional(link.reason.as_deref()))?;
    field(out, "  approved by", &format!("{} {}", list(&link.approvers), time(link.approved_at)))?;
    if link.approved_before_start == Some(false) {
        field(out, "  NOTE", "approved after the session began")?;
    }
    if link.ended_within_window == Some(false) {
        field(out, "  NOTE", "the session ended after the access did")?;
    }
    if link.link_method == "inferred" {
        field(out, "  NOTE", "inferred: likely, not proved")?;
    }
    Ok(())
}

/// A named value; nothing when there is none.
fn field(out: &mut impl Write, name: &str, value: &str) -> io::Result<()> {
    let value = value.trim();
    if value.is_empty() { Ok(()) } else { writeln!(out, "  {:<16}{}", visible(name), visible(value)) }
}

fn optional(text: Option<&str>) -> String {
    text.map(|text| visible(text).into_owned()).unwrap_or_default()
}

fn list(values: &[String]) -> String {
    values.iter().map(|value| visible(value)).collect::<Vec<_>>().join(", ")
}

fn time(time: Option<Time>) -> String {
    time.map_or_else(|| "?".to_owned(), |Time(at)| to_rfc3339(at))
}

/// An instant to the minute, for the list.
fn minute(Time(at): Time) -> String {
    to_rfc3339(at).chars().take(16).map(|c| if c == 'T' { ' ' } else { c }).collect()
}

/// Milliseconds as `1h02m`, `3m20s` or `4.5s`.
fn duration(millis: i64) -> String {
    let seconds = millis / 1000;
    match seconds {
        3600.. => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        60.. => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}.{}s", seconds, (millis / 100 % 10).abs()),
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= CELL_CHARS {
        return text.to_owned();
    }
    text.chars().take(CELL_CHARS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_cells_are_short() {
        let cases = [(0, "0.0s"), (4560, "4.5s"), (200_000, "3m20s"), (3_720_000, "1h02m")];
        for (millis, text) in cases {
            assert_eq!(duration(millis), text);
        }
        assert_eq!(cut(&"x".repeat(60)).chars().count(), CELL_CHARS);
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}

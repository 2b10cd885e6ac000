//! An event that is longer than its receiver takes.
//!
//! Not the text that was written is cut but what it is written from, so every schema stays whole: first `detail`, as long
//! as that is enough, then every text that is longer than some length, which is halved until the event fits. A text that
//! was cut ends with `…`: nobody takes `10.0.0.1` for the address that was `10.0.0.12`.

use custody_schemas::event::{Event, Text};

use crate::notice::{Access, Notice};

/// What is written of a notice by `write`, in at most `bytes_max` bytes. `write` is told how many bytes the whole has,
/// once something was cut.
///
/// Texts of no more than [`LENGTH_MIN`] bytes and the first items of lists stay: what they make, with all that a schema
/// says besides, has to fit.
pub(super) fn fit(
    notice: &Notice<'_>,
    bytes_max: usize,
    write: impl Fn(&Notice<'_>, Option<usize>) -> String,
) -> String {
    let whole = write(notice, None);
    if whole.len() <= bytes_max {
        return whole;
    }
    let whole_bytes = Some(whole.len());
    let written = |length: usize, detail_length: usize| {
        let access: Vec<Access> = notice.access.iter().take(items(length)).map(|of| shorter(of, length)).collect();
        let event = Event { detail: cut(&notice.event.detail, detail_length).into(), ..briefer(&notice.event, length) };
        write(&Notice { event, access: &access, ..*notice }, whole_bytes)
    };
    let without_detail = written(usize::MAX, 0);
    // Quotes and backslashes of a detail that is no JSON any more take more room than they did.
    let mut room = bytes_max.saturating_sub(without_detail.len());
    while room >= LENGTH_MIN {
        let text = written(usize::MAX, room);
        if text.len() <= bytes_max {
            return text;
        }
        room /= 2;
    }
    if without_detail.len() <= bytes_max {
        return without_detail;
    }
    let mut length = bytes_max;
    loop {
        let text = written(length, 0);
        if text.len() <= bytes_max || length <= LENGTH_MIN {
            return text;
        }
        length = (length / 2).max(LENGTH_MIN);
    }
}

/// No text is cut to fewer bytes: a character and the sign of the cut have to fit, so that what said something still
/// does.
const LENGTH_MIN: usize = 7;

/// How many items of a list are kept where texts are cut to a length.
fn items(length: usize) -> usize {
    (length / 32).max(1)
}

const SIGN: &str = "…";

/// The beginning of a text, of at most so many bytes with the sign that it was cut.
pub(super) fn cut(text: &str, length: usize) -> Text<'_> {
    if text.len() <= length {
        return Text::Borrowed(text);
    }
    match length.checked_sub(SIGN.len()).and_then(|length| text.get(..text.floor_char_boundary(length))) {
        Some(begin) => Text::Owned([begin, SIGN].concat()),
        None => Text::Borrowed(""),
    }
}

fn briefer<'e>(event: &'e Event<'_>, length: usize) -> Event<'e> {
    let text = |text: &'e Option<Text<'_>>| text.as_deref().map(|text| cut(text, length));
    let list = |texts: &'e [Text<'_>]| texts.iter().take(items(length)).map(|text| cut(text, length)).collect();
    Event {
        // Cut, it would be another's.
        event_id: Text::Borrowed(&event.event_id),
        cluster: text(&event.cluster),
        occurred_at: event.occurred_at,
        kind: event.kind,
        source_type: cut(&event.source_type, length),
        source_code: text(&event.source_code),
        actor: text(&event.actor),
        actor_kind: event.actor_kind,
        actor_roles: list(&event.actor_roles),
        delegator: text(&event.delegator),
        action: text(&event.action),
        target: text(&event.target),
        target_kind: event.target_kind.clone(),
        login: text(&event.login),
        outcome: event.outcome,
        session_id: text(&event.session_id),
        protocol: text(&event.protocol),
        session_started_at: event.session_started_at,
        session_ended_at: event.session_ended_at,
        participants: list(&event.participants),
        request_ids: list(&event.request_ids),
        reason: text(&event.reason),
        request_state: text(&event.request_state),
        proposed_state: text(&event.proposed_state),
        requested_roles: list(&event.requested_roles),
        expires_at: event.expires_at,
        decision_id: text(&event.decision_id),
        policy_path: text(&event.policy_path),
        policy_revision: text(&event.policy_revision),
        ticket: text(&event.ticket),
        approver: text(&event.approver),
        approved_at: event.approved_at,
        correlation_id: text(&event.correlation_id),
        recording_id: text(&event.recording_id),
        recorded: event.recorded,
        integrity: event.integrity,
        mfa_device: text(&event.mfa_device),
        remote_addr: text(&event.remote_addr),
        detail: String::new(),
    }
}

fn shorter(access: &Access, length: usize) -> Access {
    let text = |text: &str| cut(text, length).into_owned();
    let list = |texts: &[String]| texts.iter().take(items(length)).map(|one| text(one)).collect();
    Access {
        link_method: text(&access.link_method),
        request_id: access.request_id.as_deref().map(text),
        decision_id: access.decision_id.as_deref().map(text),
        reason: access.reason.as_deref().map(text),
        approvers: list(&access.approvers),
        approved_at: access.approved_at,
        expires_at: access.expires_at,
        tickets: list(&access.tickets),
        approved_before_start: access.approved_before_start,
    }
}

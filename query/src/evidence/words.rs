//! The words that every part of a pack uses alike.

use chrono::{DateTime, TimeDelta, Utc};

use crate::evidence::model::{Pack, ReportResult};
use crate::reports::Counts;
use custody_schemas::time::Micros;

/// What the counts mean.
pub(super) const TERMS: [(&str, &str); 8] = [
    ("Population", "Every item that the question is about. Each one was judged: nothing was left to a sample."),
    ("Passed", "The facts that were collected show that the control worked for the item."),
    (
        "Exception",
        "The facts show that it did not, or nothing shows that it did. Each exception is listed with its reason.",
    ),
    ("Warning", "Not a failure by itself, but an auditor would want to see it."),
    ("Information", "Worth knowing; it neither supports nor weakens the control."),
    (
        "Not judged",
        "A fact or a reference list that the judgement needs is missing. Such an item is never counted as passed.",
    ),
    ("Excluded", "In the period, but outside the scope that the entity has configured. Listed, and not judged."),
    (
        "Status",
        "What the entity says about an exception: open, explained, accepted or remediated, by whom and when. \
         It never removes the exception.",
    ),
];

/// How a session is linked to what gave access to it.
pub(super) const LINKS: [(&str, &str); 6] = [
    ("explicit", "The session's own events carry the id of the request or of the decision."),
    ("gateway_review", "The gateway itself reviewed the session, or opened the window that it lies in."),
    ("policy", "A policy decision names the session."),
    ("ticket", "The session names the ticket of an approved request of the same person."),
    ("inferred", "Person, target and time fit, and nothing else. Likely, not certain: it never clears an exception."),
    ("none", "Nothing was found."),
];

/// Where the exact data of a report are.
pub(super) fn data_path(report: &ReportResult, file: &str) -> String {
    format!("data/{}/{file}", report.id)
}

/// An instant to the second, as it sorts.
pub(super) fn time(at: Micros) -> String {
    instant(at).map_or_else(|| format!("{at} µs"), |at| at.format("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// An instant of the calendar, when it is one.
pub(super) fn instant(at: Micros) -> Option<DateTime<Utc>> {
    // Five digits of years are beyond every format that a pack is written in.
    DateTime::from_timestamp_micros(at).filter(|at| (0..=9999).contains(&chrono::Datelike::year(at)))
}

/// A period in words that leave no doubt about its ends.
pub(super) fn period(pack: &Pack<'_>) -> String {
    let words = |at| instant(at).map_or_else(|| time(at), |at| at.format("%-d %B %Y, %H:%M:%S").to_string());
    let length = TimeDelta::microseconds(pack.to.saturating_sub(pack.from));
    let length = match (length.num_days(), length.num_hours()) {
        (1, 24) => "1 day".to_owned(),
        (days, hours) if days > 0 && hours == days * 24 => format!("{days} days"),
        (_, hours) => format!("{hours} hours"),
    };
    format!("{}, up to and not including {} UTC ({length})", words(pack.from), words(pack.to))
}

/// What a report found, in a few words.
pub(super) fn verdict(counts: &Counts) -> String {
    let n = |count, one: &str, many: &str| format!("{} {}", number(count), if count == 1 { one } else { many });
    match *counts {
        Counts { population: 0, .. } => "Nothing to judge".to_owned(),
        Counts { exceptions, .. } if exceptions > 0 => n(exceptions, "exception", "exceptions"),
        Counts { not_applicable, .. } if not_applicable > 0 => {
            format!("No exceptions; {} not judged", number(not_applicable))
        }
        Counts { warnings, .. } if warnings > 0 => format!("No exceptions; {}", n(warnings, "warning", "warnings")),
        _ => "No exceptions".to_owned(),
    }
}

/// A count with its thousands apart.
pub(super) fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A part of a whole in per cent, never rounded to nothing or to all.
pub(super) fn share(part: u64, whole: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let share = 100.0 * part as f64 / whole.max(1) as f64;
    match share {
        0.0 => "0 %".to_owned(),
        share if share < 0.1 => "< 0.1 %".to_owned(),
        share if share > 99.9 && part < whole => "> 99.9 %".to_owned(),
        share => format!("{share:.1} %"),
    }
}

/// The code of `why` in words.
pub(super) fn why<'a>(report: &'a ReportResult, code: &'a str) -> &'a str {
    report.why_words.iter().find(|(known, _)| known == code).map_or(code, |(_, words)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_shares_are_never_rounded_to_a_lie() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        for (count, shown) in cases {
            assert_eq!(number(count), shown);
        }
        let cases = [(0, 0, "0 %"), (1, 3, "33.3 %"), (1, 9_999_999, "< 0.1 %"), (9_999_998, 9_999_999, "> 99.9 %")];
        for (part, whole, shown) in cases {
            assert_eq!(share(part, whole), shown);
        }
    }

    #[test]
    fn what_cannot_be_judged_is_never_a_clean_verdict() {
        let judged = |exceptions, not_applicable| {
            verdict(&Counts { population: 9, exceptions, not_applicable, ..Counts::default() })
        };
        assert_eq!(judged(1, 3), "1 exception");
        assert_eq!(judged(0, 3), "No exceptions; 3 not judged");
        assert_eq!(judged(0, 0), "No exceptions");
        assert_eq!(verdict(&Counts::default()), "Nothing to judge");
    }

    #[test]
    fn instants_outside_the_calendar_do_no_harm() {
        assert_eq!(time(0), "1970-01-01 00:00:00Z");
        assert_eq!(time(i64::MAX), "9223372036854775807 µs");
    }
}

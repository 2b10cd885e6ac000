//! Periods as people name them: `2026-Q3`, `2026-11`, `2026-W47`, `2026`, `2026-11-16`, `2026-11-16..2026-11-23`.

use chrono::{Days, Months, NaiveDate, NaiveTime, Weekday};
use custody_schemas::time::{Micros, Parsed, parse_rfc3339};

/// A period of time, UTC: from an instant that is in it to one that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) from: Micros,
    pub(crate) to: Micros,
}

/// Reads a period.
///
/// # Errors
///
/// A sentence that says what periods look like.
pub(crate) fn parse(text: &str) -> Result<Period, String> {
    let wrong = || {
        "expected a period like 2026, 2026-Q3, 2026-11, 2026-W47, 2026-11-16 or 2026-11-16..2026-11-23 (its end is not in \
         it; instants like 2026-11-16T09:00:00Z do too)"
            .to_owned()
    };
    let period = match text.split_once("..") {
        Some((from, to)) => instant(from).zip(instant(to)).map(|(from, to)| Period { from, to }),
        None => named(text),
    };
    let period = period.ok_or_else(wrong)?;
    if period.from >= period.to {
        return Err("the period ends before it begins".to_owned());
    }
    Ok(period)
}

/// An instant, or the beginning of a day.
fn instant(text: &str) -> Option<Micros> {
    let text = text.trim();
    match parse_rfc3339(text) {
        Some(Parsed::At(at)) => Some(at),
        _ => text.parse::<NaiveDate>().ok().map(begin),
    }
}

fn named(text: &str) -> Option<Period> {
    let between = |from: NaiveDate, to: Option<NaiveDate>| Some(Period { from: begin(from), to: begin(to?) });
    if let Ok(day) = text.parse::<NaiveDate>() {
        return between(day, day.checked_add_days(Days::new(1)));
    }
    let (year, part) = text.split_once('-').map_or((text, ""), |(year, part)| (year, part));
    if year.len() != 4 || !year.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let year: i32 = year.parse().ok()?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok())?;
    let months = |first: u32, count: u32| {
        let from = NaiveDate::from_ymd_opt(year, first, 1)?;
        between(from, from.checked_add_months(Months::new(count)))
    };
    if part.is_empty() {
        months(1, 12).filter(|_| !text.contains('-'))
    } else if let Some(quarter) = part.strip_prefix('Q') {
        let quarter = number(quarter).filter(|quarter| (1..=4).contains(quarter))?;
        months(3 * (quarter - 1) + 1, 3)
    } else if let Some(week) = part.strip_prefix('W') {
        let from = NaiveDate::from_isoywd_opt(year, number(week)?, Weekday::Mon)?;
        between(from, from.checked_add_days(Days::new(7)))
    } else {
        months(number(part)?, 1)
    }
}

fn begin(day: NaiveDate) -> Micros {
    day.and_time(NaiveTime::MIN).and_utc().timestamp_micros()
}

#[cfg(test)]
mod tests {
    use custody_schemas::time::to_rfc3339;

    use super::*;

    #[test]
    fn periods_are_read_as_people_write_them() {
        for (text, from, to) in [
            ("2026", "2026-01-01", "2027-01-01"),
            ("2026-Q3", "2026-07-01", "2026-10-01"),
            ("2026-Q4", "2026-10-01", "2027-01-01"),
            ("2026-12", "2026-12-01", "2027-01-01"),
            ("2026-W01", "2025-12-29", "2026-01-05"),
            ("2024-02-29", "2024-02-29", "2024-03-01"),
            ("2026-11-16..2026-11-23", "2026-11-16", "2026-11-23"),
            ("2026-11-16T00:00:00Z .. 2026-11-17", "2026-11-16", "2026-11-17"),
        ] {
            let period = parse(text).unwrap();
            let day = |at| to_rfc3339(at).split('T').next().unwrap().to_owned();
            assert_eq!((day(period.from), day(period.to)), (from.to_owned(), to.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_period_is_refused() {
        let wrong =
            ["", "26", "2026-", "2026-Q5", "2026-13", "2026-W60", "2026-02-30", "Q3", "2026-11-16..", "2026-1x"];
        for text in wrong.into_iter().chain(["2026-11-17..2026-11-16", "2026-11-16..2026-11-16", "99999999"]) {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

//! Instants as Custody stores them: microseconds since 1970-01-01T00:00:00Z, UTC, in an `i64`.

use chrono::{DateTime, Datelike, NaiveDate, SecondsFormat, Utc};

/// Microseconds since the Unix epoch, UTC.
pub type Micros = i64;

/// Instants outside the years 1 to 9999 are not times that a source meant.
const YEARS: std::ops::RangeInclusive<i32> = 1..=9999;

/// Reads an RFC 3339 instant with any offset and any number of fraction digits, truncated to microseconds.
///
/// `None` when the text is not such an instant or lies outside the years 1 to 9999. Go's zero time
/// (`0001-01-01T00:00:00Z`, which gateways print for "not set") is `Some(Parsed::Zero)`, so that a caller
/// can tell "not set" from "not a time".
pub fn parse_rfc3339(text: &str) -> Option<Parsed> {
    let instant = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
    if !YEARS.contains(&instant.year()) {
        return None;
    }
    if instant.year() == 1 && instant.ordinal() == 1 && instant.timestamp() % 86_400 == 0 {
        return Some(Parsed::Zero);
    }
    Some(Parsed::At(instant.timestamp_micros()))
}

/// What [`parse_rfc3339`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// An instant.
    At(Micros),
    /// Go's zero time: the field was not set.
    Zero,
}

/// Writes an instant as RFC 3339 UTC with exactly six fraction digits; instants that no calendar has are written
/// as their number of microseconds.
pub fn to_rfc3339(at: Micros) -> String {
    match DateTime::from_timestamp_micros(at) {
        Some(instant) => instant.to_rfc3339_opts(SecondsFormat::Micros, true),
        None => format!("{at}us"),
    }
}

/// Days since 1970-01-01 of the UTC day that an instant lies in: the value of the `date` partition column.
pub fn date_of(at: Micros) -> i32 {
    // A day number of any i64 of microseconds fits in an i32: 2^63 / 86.4e9 is about 1.07e8.
    at.div_euclid(86_400_000_000) as i32
}

/// Writes a day number as `YYYY-MM-DD`.
pub fn date_to_string(days: i32) -> String {
    match NaiveDate::from_epoch_days(days) {
        Some(date) => date.to_string(),
        None => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_leniently_and_never_invented() {
        let cases: &[(&str, Option<Parsed>)] = &[
            ("1970-01-01T00:00:00Z", Some(Parsed::At(0))),
            ("2025-06-02T09:00:00.12Z", Some(Parsed::At(1_748_854_800_120_000))),
            ("2025-06-02T11:00:00.12+02:00", Some(Parsed::At(1_748_854_800_120_000))),
            ("2025-06-02T09:05:00.000123456Z", Some(Parsed::At(1_748_855_100_000_123))),
            ("0001-01-01T00:00:00Z", Some(Parsed::Zero)),
            ("10000-01-01T00:00:00Z", None),
            ("2025-06-02", None),
            ("2025-13-02T00:00:00Z", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_rfc3339(text), *expected, "{text}");
        }
    }

    #[test]
    fn dates_before_the_epoch_round_down() {
        assert_eq!(date_of(0), 0);
        assert_eq!(date_of(-1), -1);
        assert_eq!(date_to_string(date_of(-1)), "1969-12-31");
        assert_eq!(date_to_string(date_of(i64::MAX)), "106751991d");
    }
}

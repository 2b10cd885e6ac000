//! Lengths of time, as people write them into policies.

use super::super::object::string;

const SECOND_US: f64 = 1e6;

/// Lengths that no approval has (about a hundred years) are not read.
const MICROS_MAX: f64 = 3.2e15;

/// Microseconds of a length of time: a number of seconds, Go's `1h30m`, or ISO 8601's `PT1H30M` without years and
/// months, whose length depends on when they are. `None` for anything else, and for what is negative.
pub(super) fn micros(json: &str) -> Option<i64> {
    let text = string(json);
    let text = text.as_deref().unwrap_or(json);
    let micros = match text.strip_prefix('P') {
        Some(iso) => iso_8601(iso)?,
        None => match number(text) {
            Some(seconds) => seconds * SECOND_US,
            None => go(text)?,
        },
    };
    (0.0..=MICROS_MAX).contains(&micros).then(|| micros.round() as i64)
}

/// A number of digits with at most one point: nothing else that a parser of numbers takes.
fn number(text: &str) -> Option<f64> {
    text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.').then(|| text.parse().ok()).flatten()
}

/// The sum of numbers with a unit each.
fn sum(text: &str, unit_us: impl Fn(&str) -> Option<f64>) -> Option<f64> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|letter: char| !matches!(letter, '0'..='9' | '.'))?);
        let end = after.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        sum += number(digits)? * unit_us(unit)?;
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
}

fn go(text: &str) -> Option<f64> {
    sum(text, |unit| {
        Some(match unit {
            "ns" => 1e-3,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1.0,
            "ms" => 1e3,
            "s" => SECOND_US,
            "m" => 60.0 * SECOND_US,
            "h" => 3600.0 * SECOND_US,
            _ => return None,
        })
    })
}

fn iso_8601(text: &str) -> Option<f64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let days = |unit: &str| match unit {
        "D" => Some(86_400.0 * SECOND_US),
        "W" => Some(7.0 * 86_400.0 * SECOND_US),
        _ => None,
    };
    let hours = |unit: &str| match unit {
        "H" => Some(3600.0 * SECOND_US),
        "M" => Some(60.0 * SECOND_US),
        "S" => Some(SECOND_US),
        _ => None,
    };
    match (date, time) {
        ("", Some(time)) => sum(time, hours),
        (date, None) => sum(date, days),
        (date, Some(time)) => Some(sum(date, days)? + sum(time, hours)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_they_are_written() {
        let cases = [
            ("1800", Some(1_800_000_000)),
            ("0.5", Some(500_000)),
            (r#""1800""#, Some(1_800_000_000)),
            (r#""30m""#, Some(1_800_000_000)),
            (r#""1h30m""#, Some(5_400_000_000)),
            (r#""1h30m0s""#, Some(5_400_000_000)),
            (r#""1.5h""#, Some(5_400_000_000)),
            (r#""250ms""#, Some(250_000)),
            (r#""PT1H30M""#, Some(5_400_000_000)),
            (r#""P1DT12H""#, Some(129_600_000_000)),
            (r#""P2W""#, Some(1_209_600_000_000)),
            (r#""P1M""#, None),
            (r#""P1Y""#, None),
            (r#""PT""#, None),
            (r#""P""#, None),
            (r#""""#, None),
            (r#""h""#, None),
            (r#""30""#, Some(30_000_000)),
            (r#""30 minutes""#, None),
            (r#""1h30""#, None),
            (r#""-30m""#, None),
            ("-30", None),
            ("1e300", None),
            (r#""99999999999h""#, None),
            (r#""inf""#, None),
            (r#""1.2.3h""#, None),
            ("null", None),
            ("{}", None),
        ];
        for (json, expected) in cases {
            assert_eq!(micros(json), expected, "{json}");
        }
    }
}

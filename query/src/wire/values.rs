//! Values as clients read and write them: rows on their way out, parameters on their way in, as text and as bytes.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType,
    IntervalUnit, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use datafusion::common::ScalarValue;

use super::error::Refusal;
use super::message::{Body, put_length};
use crate::pg_catalog::types::{self, ColumnType, PgType};

/// PostgreSQL counts days and times from the year 2000.
const DAYS_TO_2000: i32 = 10_957;
const MICROS_A_DAY: i64 = 86_400_000_000;

/// Brings a column into the one form in which values of its type are written.
///
/// # Errors
///
/// When a value of it is out of range.
pub(super) fn canonical(column: &ArrayRef, column_type: ColumnType) -> Result<ArrayRef, ArrowError> {
    let exact = CastOptions { safe: false, ..CastOptions::default() };
    let target = canonical_type(column_type);
    if *column.data_type() == target {
        return Ok(column.clone());
    }
    if target == DataType::Utf8 && !arrow::compute::can_cast_types(column.data_type(), &target)
        || column.data_type().is_nested() && !column_type.array
    {
        let formatter = ArrayFormatter::try_new(column, &FormatOptions::default())?;
        let texts = (0..column.len()).map(|row| (!column.is_null(row)).then(|| formatter.value(row).to_string()));
        return Ok(Arc::new(texts.collect::<StringArray>()));
    }
    cast_with_options(column, &target, &exact)
}

fn canonical_type(column_type: ColumnType) -> DataType {
    let of = match column_type.of {
        // As text there is no number of digits that does not fit.
        types::NUMERIC => DataType::Utf8,
        types::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        of => ColumnType { of, array: false }.arrow(),
    };
    if column_type.array { DataType::new_list(of, true) } else { of }
}

/// Writes one value of a column in its canonical form; false for null.
///
/// # Errors
///
/// When it has no form that the client could read.
pub(super) fn write(
    column: &ArrayRef,
    row: usize,
    column_type: ColumnType,
    binary: bool,
    out: &mut BytesMut,
) -> Result<bool, Refusal> {
    if column.is_null(row) {
        return Ok(false);
    }
    if column_type.array {
        let elements = column.as_list::<i32>().value(row);
        match binary {
            true => write_binary_array(&elements, column_type.of, out)?,
            false => write_text_array(&elements, column_type.of, out)?,
        }
        return Ok(true);
    }
    match binary {
        true => write_binary(column, row, column_type.of, out)?,
        false => write_text(column, row, column_type.of, out),
    }
    Ok(true)
}

fn write_text(column: &ArrayRef, row: usize, of: PgType, out: &mut BytesMut) {
    // Writing into bytes that grow does not fail.
    let _ = match of {
        types::BOOL => out.write_str(if column.as_boolean().value(row) { "t" } else { "f" }),
        types::INT2 => write!(out, "{}", column.as_primitive::<Int16Type>().value(row)),
        types::INT4 => write!(out, "{}", column.as_primitive::<Int32Type>().value(row)),
        types::INT8 => write!(out, "{}", column.as_primitive::<Int64Type>().value(row)),
        types::FLOAT4 => write_float(f64::from(column.as_primitive::<Float32Type>().value(row)), true, out),
        types::FLOAT8 => write_float(column.as_primitive::<Float64Type>().value(row), false, out),
        types::BYTEA => {
            let _ = out.write_str("\\x");
            column.as_binary::<i32>().value(row).iter().try_for_each(|byte| write!(out, "{byte:02x}"))
        }
        types::DATE => write_date(column.as_primitive::<Date32Type>().value(row), "", out),
        types::TIME => write_time(column.as_primitive::<Time64MicrosecondType>().value(row), out),
        types::TIMESTAMP => write_timestamp(column.as_primitive::<TimestampMicrosecondType>().value(row), "", out),
        types::TIMESTAMPTZ => write_timestamp(column.as_primitive::<TimestampMicrosecondType>().value(row), "+00", out),
        types::INTERVAL => {
            let interval = column.as_primitive::<IntervalMonthDayNanoType>().value(row);
            write_interval(interval.months, interval.days, interval.nanoseconds / 1000, out)
        }
        _ => {
            // A zero byte is no text to any client of PostgreSQL; it is made visible.
            let text = column.as_string::<i32>().value(row);
            match text.contains('\0') {
                true => out.write_str(&text.replace('\0', "\u{2400}")),
                false => out.write_str(text),
            }
        }
    };
}

fn write_float(value: f64, short: bool, out: &mut BytesMut) -> std::fmt::Result {
    match value {
        _ if value.is_nan() => out.write_str("NaN"),
        f64::INFINITY => out.write_str("Infinity"),
        f64::NEG_INFINITY => out.write_str("-Infinity"),
        // The shortest digits that say which number of that width it is.
        _ if short => write!(out, "{}", value as f32),
        _ => write!(out, "{value}"),
    }
}

/// Year, month and day of the proleptic Gregorian calendar, from the days since 1970.
fn civil(days: i32) -> (i64, i64, i64) {
    let days = i64::from(days) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A day, and what comes between it and the mark of the years before Christ.
fn write_date(days: i32, after: &str, out: &mut BytesMut) -> std::fmt::Result {
    let (year, month, day) = civil(days);
    match year {
        1.. => write!(out, "{year:04}-{month:02}-{day:02}{after}"),
        // There is no year 0.
        _ => write!(out, "{:04}-{month:02}-{day:02}{after} BC", 1 - year),
    }
}

fn write_time(micros: i64, out: &mut BytesMut) -> std::fmt::Result {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
    if fraction == 0 {
        return Ok(());
    }
    let digits = format!("{fraction:06}");
    write!(out, ".{}", digits.trim_end_matches('0'))
}

fn write_timestamp(micros: i64, zone: &str, out: &mut BytesMut) -> std::fmt::Result {
    // 64 bits of microseconds are fewer days than 32 bits count.
    let days = i32::try_from(micros.div_euclid(MICROS_A_DAY)).unwrap_or_default();
    let mut time = BytesMut::from(" ");
    write_time(micros.rem_euclid(MICROS_A_DAY), &mut time)?;
    time.write_str(zone)?;
    write_date(days, &String::from_utf8_lossy(&time), out)
}

fn write_interval(months: i32, days: i32, micros: i64, out: &mut BytesMut) -> std::fmt::Result {
    let mut parts = Vec::new();
    let part = |number: i32, unit: &str| (number != 0).then(|| format!("{number} {unit}"));
    parts.extend(part(months / 12, "years"));
    parts.extend(part(months % 12, "mons"));
    parts.extend(part(days, "days"));
    if micros != 0 || parts.is_empty() {
        let mut time = BytesMut::from(if micros < 0 { "-" } else { "" });
        write_time(i64::try_from(micros.unsigned_abs()).unwrap_or(i64::MAX), &mut time)?;
        parts.push(String::from_utf8_lossy(&time).into_owned());
    }
    out.write_str(&parts.join(" "))
}

fn write_text_array(elements: &ArrayRef, of: PgType, out: &mut BytesMut) -> Result<(), Refusal> {
    out.put_u8(b'{');
    for row in 0..elements.len() {
        if row > 0 {
            out.put_u8(b',');
        }
        let mut element = BytesMut::new();
        if !write(elements, row, ColumnType { of, array: false }, false, &mut element)? {
            out.put_slice(b"NULL");
            continue;
        }
        let quoted = element.is_empty()
            || element.eq_ignore_ascii_case(b"null")
            || element.iter().any(|byte| b"{},\"\\".contains(byte) || byte.is_ascii_whitespace());
        if !quoted {
            out.put_slice(&element);
            continue;
        }
        out.put_u8(b'"');
        for byte in element {
            if matches!(byte, b'"' | b'\\') {
                out.put_u8(b'\\');
            }
            out.put_u8(byte);
        }
        out.put_u8(b'"');
    }
    out.put_u8(b'}');
    Ok(())
}

fn write_binary_array(elements: &ArrayRef, of: PgType, out: &mut BytesMut) -> Result<(), Refusal> {
    out.put_i32(i32::from(!elements.is_empty()));
    out.put_i32(i32::from(elements.null_count() > 0));
    out.put_i32(of.oid);
    if elements.is_empty() {
        return Ok(());
    }
    out.put_i32(i32::try_from(elements.len()).unwrap_or(i32::MAX));
    out.put_i32(1);
    for row in 0..elements.len() {
        let at = out.len();
        out.put_i32(-1);
        if write(elements, row, ColumnType { of, array: false }, true, out)? {
            put_length(out, at, at + 4);
        }
    }
    Ok(())
}

fn write_binary(column: &ArrayRef, row: usize, of: PgType, out: &mut BytesMut) -> Result<(), Refusal> {
    match of {
        types::BOOL => out.put_u8(u8::from(column.as_boolean().value(row))),
        types::INT2 => out.put_i16(column.as_primitive::<Int16Type>().value(row)),
        types::INT4 => out.put_i32(column.as_primitive::<Int32Type>().value(row)),
        types::INT8 => out.put_i64(column.as_primitive::<Int64Type>().value(row)),
        types::FLOAT4 => out.put_f32(column.as_primitive::<Float32Type>().value(row)),
        types::FLOAT8 => out.put_f64(column.as_primitive::<Float64Type>().value(row)),
        types::BYTEA => out.put_slice(column.as_binary::<i32>().value(row)),
        types::DATE => out.put_i32(column.as_primitive::<Date32Type>().value(row).saturating_sub(DAYS_TO_2000)),
        types::TIME => out.put_i64(column.as_primitive::<Time64MicrosecondType>().value(row)),
        types::TIMESTAMP | types::TIMESTAMPTZ => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            out.put_i64(micros.saturating_sub(i64::from(DAYS_TO_2000) * MICROS_A_DAY));
        }
        types::INTERVAL => {
            let interval = column.as_primitive::<IntervalMonthDayNanoType>().value(row);
            out.put_i64(interval.nanoseconds / 1000);
            out.put_i32(interval.days);
            out.put_i32(interval.months);
        }
        types::NUMERIC => write_numeric(column.as_string::<i32>().value(row), out)?,
        _ => write_text(column, row, of, out),
    }
    Ok(())
}

/// A decimal number as PostgreSQL's binary form: digits of base 10 000, and where the point is.
fn write_numeric(text: &str, out: &mut BytesMut) -> Result<(), Refusal> {
    let refused = || Refusal::new("22003", format!("{text} is no number that a client could read"));
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !(whole.bytes().chain(fraction.bytes())).all(|byte| byte.is_ascii_digit()) {
        return Err(refused());
    }
    let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let padded = format!("{whole}{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let mut groups: Vec<i16> = Vec::new();
    for group in padded.as_bytes().chunks(4) {
        let group =
            group.iter().fold(0i16, |sum, digit| sum.saturating_mul(10).saturating_add(i16::from(digit - b'0')));
        groups.push(group);
    }
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let groups = groups.split_off(leading);
    let count = groups.iter().rposition(|group| *group != 0).map_or(0, |last| last + 1);
    let weight = if count == 0 { 0 } else { (whole.len() / 4) as i64 - 1 - leading as i64 };
    out.put_i16(i16::try_from(count).map_err(|_| refused())?);
    out.put_i16(i16::try_from(weight).map_err(|_| refused())?);
    out.put_u16(if negative && count > 0 { 0x4000 } else { 0 });
    out.put_i16(i16::try_from(fraction.len()).map_err(|_| refused())?);
    for group in groups.into_iter().take(count) {
        out.put_i16(group);
    }
    Ok(())
}

/// Reads a parameter.
///
/// # Errors
///
/// 22P02 or 22P03 when it is no value of its type.
pub(super) fn read(value: Option<&Bytes>, column_type: ColumnType, binary: bool) -> Result<ScalarValue, Refusal> {
    let data_type = column_type.arrow();
    let Some(bytes) = value else {
        return ScalarValue::try_from(&data_type).map_err(|error| Refusal::new("22P02", error.to_string()));
    };
    let refused = || {
        let code = if binary { "22P03" } else { "22P02" };
        Refusal::new(code, format!("a parameter is no {}", column_type.sql_name()))
    };
    match (binary, column_type.array) {
        (true, false) => read_binary(bytes, column_type.of).ok_or_else(refused),
        (true, true) => {
            let values = read_binary_array(bytes).ok_or_else(refused)?;
            list_of(&values, &element_type(column_type)).ok_or_else(refused)
        }
        (false, array) => {
            let text = std::str::from_utf8(bytes).map_err(|_| refused())?;
            if !array {
                return read_text(text, column_type.of).ok_or_else(refused);
            }
            let elements = split_array(text).ok_or_else(refused)?;
            let element = |element: Option<String>| match element {
                Some(text) => read_text(&text, column_type.of),
                None => ScalarValue::try_from(&element_type(column_type)).ok(),
            };
            let values = elements.into_iter().map(element).collect::<Option<Vec<_>>>().ok_or_else(refused)?;
            list_of(&values, &element_type(column_type)).ok_or_else(refused)
        }
    }
}

/// A list, of values that are all of one type: the client may say anything of them.
fn list_of(values: &[ScalarValue], element: &DataType) -> Option<ScalarValue> {
    let fit = values.iter().all(|value| value.data_type() == *element);
    fit.then(|| ScalarValue::List(ScalarValue::new_list_nullable(values, element)))
}

fn element_type(column_type: ColumnType) -> DataType {
    ColumnType { array: false, ..column_type }.arrow()
}

fn read_text(text: &str, of: PgType) -> Option<ScalarValue> {
    if of == types::BYTEA {
        let bytes = match text.strip_prefix("\\x") {
            Some(digits) if digits.is_ascii() && digits.len() % 2 == 0 => {
                let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
                (0..digits.len()).step_by(2).map(pair).collect::<Option<Vec<u8>>>()?
            }
            Some(_) => return None,
            None => text.as_bytes().to_vec(),
        };
        return Some(ScalarValue::Binary(Some(bytes)));
    }
    let data_type = ColumnType { of, array: false }.arrow();
    let text = if data_type == DataType::Utf8 { text } else { text.trim() };
    let value = ScalarValue::Utf8(Some(text.to_owned())).cast_to(&data_type).ok()?;
    (!value.is_null()).then_some(value)
}

fn read_binary(bytes: &Bytes, of: PgType) -> Option<ScalarValue> {
    let mut rest = bytes.clone();
    if (1..=16).contains(&of.length) && of != types::NAME && rest.len() != usize::try_from(of.length).ok()? {
        return None;
    }
    Some(match of {
        types::BOOL => ScalarValue::Boolean(Some(rest.get_u8() != 0)),
        types::INT2 => ScalarValue::Int16(Some(rest.get_i16())),
        types::INT4 => ScalarValue::Int32(Some(rest.get_i32())),
        types::INT8 => ScalarValue::Int64(Some(rest.get_i64())),
        types::OID => ScalarValue::Int64(Some(i64::from(rest.get_u32()))),
        types::FLOAT4 => ScalarValue::Float32(Some(rest.get_f32())),
        types::FLOAT8 => ScalarValue::Float64(Some(rest.get_f64())),
        types::BYTEA => ScalarValue::Binary(Some(rest.to_vec())),
        types::DATE => ScalarValue::Date32(rest.get_i32().checked_add(DAYS_TO_2000)),
        types::TIME => ScalarValue::Time64Microsecond(Some(rest.get_i64())),
        types::TIMESTAMP | types::TIMESTAMPTZ => {
            let micros = rest.get_i64().checked_add(i64::from(DAYS_TO_2000) * MICROS_A_DAY)?;
            let zone = (of == types::TIMESTAMPTZ).then(|| "UTC".into());
            ScalarValue::TimestampMicrosecond(Some(micros), zone)
        }
        types::NUMERIC => return read_text(&read_numeric(rest)?, of),
        types::UUID => {
            let digits: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
            let parts =
                [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| digits.get(part).unwrap_or_default().to_owned());
            ScalarValue::Utf8(Some(parts.join("-")))
        }
        types::JSONB => ScalarValue::Utf8(Some(text(rest.get(1..)?)?)),
        types::INTERVAL => {
            let (micros, days, months) = (rest.get_i64(), rest.get_i32(), rest.get_i32());
            ScalarValue::new_interval_mdn(months, days, micros.checked_mul(1000)?)
        }
        _ => ScalarValue::Utf8(Some(text(&rest)?)),
    })
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

fn read_numeric(mut rest: Bytes) -> Option<String> {
    if rest.len() < 8 {
        return None;
    }
    let (count, weight, sign, scale) = (rest.get_u16(), rest.get_i16(), rest.get_u16(), rest.get_i16());
    // More digits than any number here can have; NaN and infinities have no place in a decimal.
    if rest.len() != usize::from(count) * 2
        || !(-16..=16).contains(&weight)
        || count > 32
        || !matches!(sign, 0 | 0x4000)
    {
        return None;
    }
    let digits: String = (0..count).map(|_| format!("{:04}", rest.get_u16())).collect();
    // Four digits stand before the point for each step of the weight from 0 on; below, zeros stand after it.
    let before = usize::try_from(weight + 1).unwrap_or_default() * 4;
    let after = usize::try_from(-1 - weight).unwrap_or_default() * 4;
    let whole = format!("{digits:0<before$}");
    let (whole, fraction) = whole.split_at_checked(before)?;
    let fraction = format!("{}{fraction}{}", "0".repeat(after), "0".repeat(64));
    let scale = usize::try_from(scale).ok()?.min(fraction.len());
    Some(format!("{}0{whole}.{}", if sign == 0 { "" } else { "-" }, fraction.get(..scale)?))
}

fn read_binary_array(bytes: &Bytes) -> Option<Vec<ScalarValue>> {
    let mut body = Body::new(bytes.clone());
    let (dimensions, _nulls, oid) = (body.i32()?, body.i32()?, body.i32()?);
    let of = ColumnType::from_oid(oid).filter(|of| !of.array)?;
    let count = match dimensions {
        0 => 0,
        1 => {
            let count = body.i32()?;
            body.i32()?;
            count
        }
        _ => return None,
    };
    let mut values = Vec::new();
    for _ in 0..count {
        values.push(match body.value()? {
            Some(value) => read_binary(&value, of.of)?,
            None => ScalarValue::try_from(&of.arrow()).ok()?,
        });
    }
    Some(values)
}

/// The elements of `{a,"b c",NULL}`.
pub(super) fn split_array(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    if inner.trim().is_empty() {
        return Some(elements);
    }
    let mut characters = inner.chars();
    let (mut element, mut quoted, mut within) = (String::new(), false, false);
    loop {
        match characters.next() {
            Some('\\') => element.push(characters.next()?),
            Some('"') => (quoted, within) = (true, !within),
            Some('{' | '}') if !within => return None,
            Some(',') if !within => {
                elements.push(finished(&mut element, quoted));
                quoted = false;
            }
            Some(character) => element.push(character),
            None if within => return None,
            None => {
                elements.push(finished(&mut element, quoted));
                return Some(elements);
            }
        }
    }
}

fn finished(element: &mut String, quoted: bool) -> Option<String> {
    let element = std::mem::take(element);
    match quoted {
        true => Some(element),
        false if element.trim().eq_ignore_ascii_case("null") => None,
        false => Some(element.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListBuilder, StringBuilder,
        TimestampMicrosecondArray, UInt64Array,
    };

    use super::*;

    fn written(column: ArrayRef, row: usize, binary: bool) -> Option<Vec<u8>> {
        let column_type = types::of_arrow(column.data_type());
        let column = canonical(&column, column_type).unwrap();
        let mut out = BytesMut::new();
        write(&column, row, column_type, binary, &mut out).unwrap().then(|| out.to_vec())
    }

    fn as_text(column: impl Array + 'static) -> Option<String> {
        written(Arc::new(column), 0, false).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn values_are_written_as_postgresql_writes_them() {
        let zoned = |micros| TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC");
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a"), Some("b c"), None, Some("x\"\\"), Some(""), Some("NULL")]);
        let decimal = Decimal128Array::from(vec![-12_345_678]).with_precision_and_scale(20, 3).unwrap();
        let cases: [(Option<String>, Option<&str>); 14] = [
            (as_text(BooleanArray::from(vec![true])), Some("t")),
            (as_text(Int64Array::from(vec![-7])), Some("-7")),
            (as_text(UInt64Array::from(vec![u64::MAX])), Some("18446744073709551615")),
            (as_text(Float64Array::from(vec![0.1])), Some("0.1")),
            (as_text(Float64Array::from(vec![f64::NEG_INFINITY])), Some("-Infinity")),
            (as_text(StringArray::from(vec!["a\0b"])), Some("a\u{2400}b")),
            (as_text(StringArray::from(vec![None::<&str>])), None),
            (as_text(BinaryArray::from(vec![b"\x00\xff".as_slice()])), Some("\\x00ff")),
            (as_text(Date32Array::from(vec![-719_163])), Some("0001-12-31 BC")),
            (as_text(zoned(1_772_438_400_000_000)), Some("2026-03-02 08:00:00+00")),
            (as_text(zoned(-1)), Some("1969-12-31 23:59:59.999999+00")),
            (as_text(TimestampMicrosecondArray::from(vec![i64::MAX])), Some("294247-01-10 04:00:54.775807")),
            (as_text(decimal), Some("-12345.678")),
            (as_text(lists.finish()), Some(r#"{a,"b c",NULL,"x\"\\","","NULL"}"#)),
        ];
        for (number, (written, expected)) in cases.into_iter().enumerate() {
            assert_eq!(written.as_deref(), expected, "case {number}");
        }
    }

    #[test]
    fn what_is_written_as_bytes_is_read_as_bytes() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a"), None]);
        let decimal = |value| Decimal128Array::from(vec![value]).with_precision_and_scale(38, 10).unwrap();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(BooleanArray::from(vec![true])),
            Arc::new(Int64Array::from(vec![i64::MIN])),
            Arc::new(Float64Array::from(vec![1.5])),
            Arc::new(StringArray::from(vec!["caf\u{e9}"])),
            Arc::new(BinaryArray::from(vec![b"\x00\xff".as_slice()])),
            Arc::new(Date32Array::from(vec![20_000])),
            Arc::new(TimestampMicrosecondArray::from(vec![1_772_438_400_000_001]).with_timezone("UTC")),
            Arc::new(lists.finish()),
            Arc::new(decimal(0)),
            Arc::new(decimal(5)),
            Arc::new(decimal(-12_345_678_901_234_567_890)),
            Arc::new(decimal(100_000_000_000_000)),
        ];
        for column in columns {
            let column_type = types::of_arrow(column.data_type());
            let bytes = Bytes::from(written(column.clone(), 0, true).unwrap());
            let expected = ScalarValue::try_from_array(&column, 0).unwrap();
            let value = read(Some(&bytes), column_type, true).unwrap();
            assert_eq!(value.to_string(), expected.to_string(), "{column_type:?}");
            // Every cut of it is refused or is another value; none is a panic.
            for cut in 0..bytes.len() {
                let _ = read(Some(&bytes.slice(..cut)), column_type, true);
            }
            let text = Bytes::from(written(column, 0, false).unwrap());
            assert_eq!(read(Some(&text), column_type, false).unwrap().to_string(), expected.to_string());
        }
    }

    #[test]
    fn parameters_that_are_no_values_are_refused() {
        let of = |of| ColumnType { of, array: false };
        for (text, column_type) in [
            ("x", of(types::INT8)),
            ("9223372036854775808", of(types::INT8)),
            ("yesterday", of(types::TIMESTAMPTZ)),
            ("\\x0", of(types::BYTEA)),
            ("maybe", of(types::BOOL)),
            ("a,b", ColumnType { of: types::TEXT, array: true }),
            ("{a", ColumnType { of: types::TEXT, array: true }),
        ] {
            let refused = read(Some(&Bytes::from(text)), column_type, false).unwrap_err();
            assert_eq!(refused.code, "22P02", "{text}");
        }
        for text in ["2026-01-01T00:00:00Z", "2026-01-01 00:00:00+00", "2026-01-01 01:00:00+01", "2026-01-01"] {
            let value = read(Some(&Bytes::from(text)), of(types::TIMESTAMPTZ), false).unwrap();
            assert_eq!(
                value,
                ScalarValue::TimestampMicrosecond(Some(1_767_225_600_000_000), Some("UTC".into())),
                "{text}"
            );
        }
    }
}

//! Signed audit events: the copy that an event carries of itself, and the HMAC over it.
//!
//! `serialized` is base64url of the bytes that were signed: the event before the two fields were added.
//! `serialized_hmac` is HMAC-SHA256 over them, keyed with BLAKE2b-256 of 32 bytes that HKDF-SHA256 makes of the audit
//! data key. A forged event with an old copy passes the HMAC, and an edited event with an edited copy passes the
//! comparison: only both together prove anything.

use std::fmt;

use aws_lc_rs::{hkdf, hmac};
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use custody_schemas::event::{Integrity, Text};
use thiserror::Error;

use super::super::object::{Document, NESTING_MAX, Object, int, string};

const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Name of the copy's field.
pub(super) const COPY: &str = "serialized";

/// Name of the HMAC's field.
pub(super) const HMAC: &str = "serialized_hmac";

/// Length of a data key, in bytes.
const KEY_LEN: usize = 32;

/// Verifies the audit events that Boundary signed with one audit data key.
#[derive(Clone, PartialEq, Eq)]
pub struct AuditKey([u8; KEY_LEN]);

/// What was given is not a data key: 32 bytes as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected an audit data key of 64 hexadecimal digits")]
pub struct InvalidAuditKey;

impl AuditKey {
    /// The key that Boundary derives of an audit data key, which is given in hexadecimal digits.
    ///
    /// # Errors
    ///
    /// When it is not 32 bytes long or not hexadecimal.
    pub fn from_hex(hex: &str) -> Result<Self, InvalidAuditKey> {
        let data_key = crate::hex::decode32(hex).ok_or(InvalidAuditKey)?;
        let mut derived = [0; KEY_LEN];
        hkdf::Salt::none(hkdf::HKDF_SHA256)
            .extract(&data_key)
            .expand(&[], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut derived))
            .map_err(|_| InvalidAuditKey)?;
        Ok(Self(Blake2b::<U32>::digest(derived).into()))
    }

    fn signed(&self, bytes: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), bytes, tag).is_ok()
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditKey(…)")
    }
}

/// What came of the verification of an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// `None` for an event that is not signed.
    pub(super) integrity: Option<Integrity>,
    /// Which half failed, as JSON, where one did.
    pub(super) failure: Option<String>,
}

/// Verifies an object by its copy and its HMAC. `is_own` says which fields are the event's: a shipper may have added
/// others.
pub(super) fn verify(object: &Object<'_>, is_own: impl Fn(&str) -> bool, keys: &[AuditKey]) -> Verdict {
    if !object.has(COPY) && !object.has(HMAC) {
        return Verdict::default();
    }
    let bytes = |text: &str| BASE64URL.decode(text).ok();
    let copy = object.json(COPY).and_then(string).as_deref().and_then(bytes);
    let tag = object.json(HMAC).and_then(string);
    let tag = tag.as_deref().and_then(|tag| tag.strip_prefix("hmac-sha256:")).and_then(bytes);
    let hmac = match (&copy, &tag) {
        (Some(copy), Some(tag)) if !keys.is_empty() => match keys.iter().any(|key| key.signed(copy, tag)) {
            true => "valid",
            false => "invalid",
        },
        (_, Some(_)) => "unchecked",
        (_, None) => "unreadable",
    };
    let copied = copy.as_deref().and_then(|copy| std::str::from_utf8(copy).ok()).and_then(Object::parse);
    let is_signed = |name: &str| is_own(name) && name != COPY && name != HMAC;
    let differing = copied.as_ref().map(|copy| differing(object, copy, is_signed));
    match (differing, hmac) {
        (Some(fields), "valid") if fields.is_empty() => {
            Verdict { integrity: Some(Integrity::Authentic), failure: None }
        }
        (Some(fields), "unchecked") if fields.is_empty() => {
            Verdict { integrity: Some(Integrity::Checksums), failure: None }
        }
        (differing, hmac) => {
            let copy = match &differing {
                None => "unreadable",
                Some(fields) if fields.is_empty() => "equal",
                Some(_) => "differs",
            };
            let failure = serde_json::json!({ "copy": copy, "fields": differing.unwrap_or_default(), "hmac": hmac });
            Verdict { integrity: Some(Integrity::Failed), failure: Some(failure.to_string()) }
        }
    }
}

/// Names of the event's fields whose values differ, in order.
fn differing<'o>(object: &'o Object<'_>, copy: &'o Object<'_>, is_signed: impl Fn(&str) -> bool) -> Vec<&'o str> {
    let mut names: Vec<&str> = [object, copy]
        .into_iter()
        .flat_map(Object::sorted_fields)
        .map(|(name, _)| name)
        .filter(|name| is_signed(name))
        .filter(|name| match (object.json(name), copy.json(name)) {
            (Some(one), Some(other)) => !is_same(one, other),
            _ => true,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether two JSON texts are the same value. On the way a shipper may have printed one anew: whitespace, the order of
/// names, escapes and the form of numbers say nothing. An object that names a field twice is not the same as any other,
/// nor is a value nested beyond [`NESTING_MAX`].
pub(super) fn is_same(one: &str, other: &str) -> bool {
    is_same_within(one, other, NESTING_MAX)
}

fn is_same_within(one: &str, other: &str, depth: usize) -> bool {
    if one == other {
        return true;
    }
    let Some(inner) = depth.checked_sub(1) else { return false };
    match (Document::parse(one), Document::parse(other)) {
        (Ok(Document::Object(one)), Ok(Document::Object(other))) => {
            let (Ok(one), Ok(other)) = (Object::new(one, None), Object::new(other, None)) else { return false };
            let (one, other) = (one.sorted_fields(), other.sorted_fields());
            let same = |((name, value), (other_name, other_value)): (&(&str, &str), &(&str, &str))| {
                name == other_name && is_same_within(value, other_value, inner)
            };
            one.len() == other.len() && one.iter().zip(&other).all(same)
        }
        (Ok(Document::Array(one)), Ok(Document::Array(other))) => {
            one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| is_same_within(one, other, inner))
        }
        (Ok(Document::Scalar), Ok(Document::Scalar)) => is_same_scalar(one, other),
        _ => false,
    }
}

fn is_same_scalar(one: &str, other: &str) -> bool {
    let is_number = |json: &str| json.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if is_number(one) && is_number(other) {
        return match (int(one), int(other)) {
            (Some(one), Some(other)) => one == other,
            (None, None) => matches!((one.parse::<f64>(), other.parse::<f64>()), (Ok(one), Ok(other)) if one == other),
            _ => false,
        };
    }
    let text = |json| -> Option<Text<'_>> { string(json) };
    matches!((text(one), text(other)), (Some(one), Some(other)) if one == other)
}

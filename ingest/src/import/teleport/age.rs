//! Encrypted parts of recordings: age files (`age-encryption.org/v1`), read from a stream.
//!
//! A header of stanzas, each with the file's key wrapped for one recipient, and a MAC of it; then chunks of 64 KiB, each
//! sealed by itself, the last one marked. Teleport wraps the key with RSA (`teleport-recording-rsa4096`), its first
//! versions with X25519.

use std::io::{self, Read};
use std::sync::Arc;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use aws_lc_rs::{hkdf, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

const VERSION_LINE: &str = "age-encryption.org/v1\n";
const RSA_STANZA: &str = "teleport-recording-rsa4096";
const RSA_LABEL: &[u8] = b"teleport/v1/rsa";
/// Stands beside a stanza `X25519` and names its recipient.
const X25519_NAME_STANZA: &str = "Recording-X25519";

/// Bound on the header. Each recipient takes less than a kilobyte of it.
const HEADER_BYTES_MAX: u64 = 64 * 1024;
/// Bound on the stanzas that are tried: each costs a private key's operation for every identity.
const STANZAS_MAX: usize = 32;
const FILE_KEY_BYTES: usize = 16;
const CHUNK_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;

/// The private keys with which encrypted recordings of Teleport are read.
#[derive(Clone, Default)]
pub struct TeleportKeys {
    identities: Arc<Vec<Identity>>,
}

enum Identity {
    X25519(PrivateKey),
    Rsa(OaepPrivateDecryptingKey),
}

/// Why a text holds no private keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is neither an age identity nor a PEM block in it.
    #[error("neither an identity of age (AGE-SECRET-KEY-1…) nor a private key in PEM")]
    None,
    /// An identity of age that cannot be used.
    #[error("line {0} is not an X25519 identity of age")]
    Identity(usize),
    /// A PEM block that cannot be used.
    #[error("the PEM block at line {0} is not an RSA private key (PKCS #8 or PKCS #1, not encrypted)")]
    Pem(usize),
}

impl std::fmt::Debug for TeleportKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TeleportKeys({})", self.identities.len())
    }
}

impl TeleportKeys {
    /// Reads keys from the text of a key file: identities of age, a line each, and RSA private keys in PEM.
    ///
    /// # Errors
    ///
    /// When a key in it cannot be used, or none is there.
    pub fn read(text: &str) -> Result<Self, KeyError> {
        let mut identities = Vec::new();
        let mut lines = text.lines().zip(1..);
        while let Some((line, number)) = lines.next() {
            let line = line.trim();
            if line.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
                identities.push(Identity::X25519(x25519(line).ok_or(KeyError::Identity(number))?));
            } else if line.starts_with("-----BEGIN ") {
                let body =
                    lines.by_ref().map(|(line, _)| line.trim()).take_while(|line| !line.starts_with("-----END "));
                let body: String = body.collect();
                let key = STANDARD.decode(body).ok().and_then(|der| rsa(line, &der)).ok_or(KeyError::Pem(number))?;
                identities.push(Identity::Rsa(key));
            }
        }
        if identities.is_empty() {
            return Err(KeyError::None);
        }
        Ok(Self { identities: Arc::new(identities) })
    }
}

fn x25519(line: &str) -> Option<PrivateKey> {
    let (prefix, secret) = bech32::decode(line).ok()?;
    if prefix.to_lowercase() != "age-secret-key-" {
        return None;
    }
    PrivateKey::from_private_key(&X25519, &secret).ok()
}

fn rsa(begin: &str, der: &[u8]) -> Option<OaepPrivateDecryptingKey> {
    let key = match begin {
        "-----BEGIN PRIVATE KEY-----" => PrivateDecryptingKey::from_pkcs8(der),
        "-----BEGIN RSA PRIVATE KEY-----" => PrivateDecryptingKey::from_pkcs8(&pkcs8(der)?),
        _ => return None,
    };
    OaepPrivateDecryptingKey::new(key.ok()?).ok()
}

/// The PKCS #8 envelope of an RSA key in PKCS #1.
fn pkcs8(pkcs1: &[u8]) -> Option<Vec<u8>> {
    // Version 0, and the algorithm rsaEncryption without parameters.
    const HEAD: [u8; 18] = [2, 1, 0, 0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let key = der_element(0x04, pkcs1)?;
    der_element(0x30, &[&HEAD[..], &key].concat())
}

fn der_element(tag: u8, content: &[u8]) -> Option<Vec<u8>> {
    // Two bytes of length are enough for every key and wrong for none: DER wants the shortest, and keys are not short.
    let length = u16::try_from(content.len()).ok().filter(|length| *length > 255)?;
    let [high, low] = length.to_be_bytes();
    Some([&[tag, 0x82, high, low], content].concat())
}

/// What the header of an age file says.
struct Header {
    stanzas: Vec<Stanza>,
    /// What the MAC is of.
    signed: Vec<u8>,
    mac: Vec<u8>,
}

struct Stanza {
    kind: String,
    arguments: Vec<String>,
    body: Vec<u8>,
}

/// An age file that cannot be read: what was wrong, or for whom it is.
#[derive(Debug)]
pub(super) enum Sealed {
    /// It is not of the format.
    Invalid,
    /// No identity opens it; these are the recipients that it names.
    Recipients(Vec<String>),
}

/// What an age file holds, read chunk by chunk.
pub(super) struct Plaintext<R> {
    sealed: R,
    key: LessSafeKey,
    /// Number of the next chunk.
    chunk: u64,
    /// A chunk.
    buffer: Vec<u8>,
    /// The first byte of the next chunk: that there is one tells this one from the last.
    ahead: Option<u8>,
    /// What of the chunk is still to be given out.
    rest: std::ops::Range<usize>,
    is_last: bool,
}

impl<R: Read> Plaintext<R> {
    /// Reads the header and opens the file with the identities.
    ///
    /// # Errors
    ///
    /// The source, with why it cannot be read; only an error of the operating system comes without.
    pub(super) fn open(mut sealed: R, keys: &TeleportKeys) -> io::Result<Result<Self, (R, Sealed)>> {
        let Some(header) = Header::read(&mut sealed)? else { return Ok(Err((sealed, Sealed::Invalid))) };
        let Some(file_key) = header.open(&keys.identities) else {
            return Ok(Err((sealed, Sealed::Recipients(header.recipients()))));
        };
        let mut nonce = [0; 16];
        if !read_full(&mut sealed, &mut nonce)? {
            return Ok(Err((sealed, Sealed::Invalid)));
        }
        let Some(key) = derive(&nonce, &file_key, b"payload").and_then(|key| chacha(&key)) else {
            return Ok(Err((sealed, Sealed::Invalid)));
        };
        Ok(Ok(Self { sealed, key, chunk: 0, buffer: Vec::new(), ahead: None, rest: 0..0, is_last: false }))
    }

    pub(super) fn into_inner(self) -> R {
        self.sealed
    }

    /// Opens the next chunk.
    fn next_chunk(&mut self) -> io::Result<()> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "a chunk cannot be decrypted");
        let with_next = CHUNK_BYTES + TAG_BYTES + 1;
        self.buffer.clear();
        self.buffer.extend(self.ahead.take());
        let missing = with_next - self.buffer.len();
        self.sealed.by_ref().take(missing as u64).read_to_end(&mut self.buffer)?;
        self.is_last = self.buffer.len() < with_next;
        if !self.is_last {
            self.ahead = self.buffer.pop();
        }
        let mut nonce = [0; 12];
        if let Some((counter, last)) = nonce.split_at_mut_checked(11) {
            for (byte, value) in counter.iter_mut().rev().zip(self.chunk.to_le_bytes()) {
                *byte = value;
            }
            last.fill(u8::from(self.is_last));
        }
        self.chunk = self.chunk.checked_add(1).ok_or_else(invalid)?;
        let plain = self.key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut self.buffer);
        self.rest = 0..plain.map_err(|_| invalid())?.len();
        // Only a file of no bytes at all ends with an empty chunk.
        if self.rest.is_empty() && self.chunk > 1 { Err(invalid()) } else { Ok(()) }
    }
}

impl<R: Read> Read for Plaintext<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            if self.is_last {
                return Ok(0);
            }
            self.next_chunk()?;
        }
        let plain = self.buffer.get(self.rest.clone()).unwrap_or_default();
        let len = plain.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..len), plain.get(..len)) {
            to.copy_from_slice(from);
        }
        self.rest.start += len;
        Ok(len)
    }
}

impl Header {
    /// Reads a header, byte by byte, so that nothing after it is consumed; `None` when it is none.
    fn read(sealed: &mut impl Read) -> io::Result<Option<Self>> {
        let mut sealed = sealed.take(HEADER_BYTES_MAX);
        let mut signed = Vec::new();
        let mut lines = Vec::new();
        let mac = loop {
            let Some(line) = read_line(&mut sealed)? else { return Ok(None) };
            if let Some(mac) = line.strip_prefix("--- ") {
                signed.extend_from_slice(b"---");
                break STANDARD_NO_PAD.decode(mac.trim_end_matches('\n')).ok();
            }
            signed.extend_from_slice(line.as_bytes());
            lines.push(line);
        };
        let mut lines = lines.iter().map(String::as_str);
        if lines.next() != Some(VERSION_LINE) {
            return Ok(None);
        }
        let mut stanzas: Vec<Stanza> = Vec::new();
        while let Some(line) = lines.next() {
            let Some(line) = line.strip_prefix("-> ") else { return Ok(None) };
            let mut words = line.trim_end_matches('\n').split(' ').map(str::to_owned);
            let mut stanza =
                Stanza { kind: words.next().unwrap_or_default(), arguments: words.collect(), body: Vec::new() };
            // The body ends with the first line that is not full.
            for line in lines.by_ref() {
                let line = line.trim_end_matches('\n');
                let Ok(bytes) = STANDARD_NO_PAD.decode(line) else { return Ok(None) };
                stanza.body.extend(bytes);
                if line.len() < 64 {
                    break;
                }
            }
            stanzas.push(stanza);
        }
        Ok(mac.map(|mac| Self { stanzas, signed, mac }))
    }

    /// The file's key, by the first stanza that an identity opens and whose key the header's MAC was made with.
    fn open(&self, identities: &[Identity]) -> Option<[u8; FILE_KEY_BYTES]> {
        let pairs = self
            .stanzas
            .iter()
            .take(STANZAS_MAX)
            .flat_map(|stanza| identities.iter().map(move |identity| (stanza, identity)));
        pairs.filter_map(|(stanza, identity)| identity.unwrap(stanza)).find(|key| {
            let mac_key = derive(&[], key, b"header");
            mac_key.is_some_and(|mac_key| {
                hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &mac_key), &self.signed, &self.mac).is_ok()
            })
        })
    }

    /// Names of the recipients: fingerprints of their keys, or the keys themselves; of others, the kind of stanza.
    fn recipients(&self) -> Vec<String> {
        let mut recipients: Vec<String> = Vec::new();
        for stanza in self.stanzas.iter().take(STANZAS_MAX) {
            let name = match (stanza.kind.as_str(), stanza.arguments.as_slice()) {
                (RSA_STANZA | X25519_NAME_STANZA, [name]) => name,
                // The argument of these is of one use only, and any recipient may be followed by a meaningless stanza.
                (kind, _) if kind.ends_with("-grease") => continue,
                _ => &stanza.kind,
            };
            let name: String = name.chars().filter(char::is_ascii_graphic).take(100).collect();
            if !recipients.contains(&name) {
                recipients.push(name);
            }
        }
        recipients
    }
}

impl Identity {
    /// The file's key, when the stanza holds one that is wrapped for this identity.
    fn unwrap(&self, stanza: &Stanza) -> Option<[u8; FILE_KEY_BYTES]> {
        match (self, stanza.kind.as_str(), stanza.arguments.as_slice()) {
            (Self::X25519(secret), "X25519", [share]) => {
                let share = STANDARD_NO_PAD.decode(share).ok()?;
                let public = secret.compute_public_key().ok()?;
                let salt = [&share, public.as_ref()].concat();
                let key = agree(secret, UnparsedPublicKey::new(&X25519, &share), (), |shared| {
                    derive(&salt, shared, b"age-encryption.org/v1/X25519").ok_or(())
                });
                let mut body = stanza.body.clone();
                let nonce = Nonce::assume_unique_for_key([0; 12]);
                let plain = chacha(&key.ok()?)?.open_in_place(nonce, Aad::empty(), &mut body).ok()?;
                (&*plain).try_into().ok()
            }
            (Self::Rsa(key), RSA_STANZA, _) => {
                let mut out = vec![0; key.min_output_size()];
                key.decrypt(&OAEP_SHA256_MGF1SHA256, &stanza.body, &mut out, Some(RSA_LABEL))
                    .ok()?
                    .as_ref()
                    .try_into()
                    .ok()
            }
            _ => None,
        }
    }
}

fn chacha(key: &[u8; 32]) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new)
}

/// HKDF with SHA-256.
fn derive(salt: &[u8], secret: &[u8], info: &[u8]) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    let random = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    random.expand(&[info], hkdf::HKDF_SHA256).ok()?.fill(&mut key).ok()?;
    Some(key)
}

/// A line with its end; `None` when the source ends before, or it is not UTF-8.
fn read_line(source: &mut impl Read) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while read_full(source, &mut byte)? {
        line.extend(byte);
        if byte == *b"\n" {
            return Ok(String::from_utf8(line).ok());
        }
    }
    Ok(None)
}

/// Fills the buffer; false when the source ends before.
fn read_full(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match source.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

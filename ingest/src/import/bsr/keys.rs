//! The keys of a session recording, and what is signed with them.
//!
//! Every recording has a key pair (Ed25519) and a BSR key of its own. The directories' lists of checksums are signed with
//! the private key; the public key is signed with itself and with the BSR key, which is there only as wrapped by the
//! KMS. So whoever lacks the KMS can replace all of it at once, and who has it can tell. The messages are those of
//! go-kms-wrapping, version 2.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use prost::Message;

use crate::hex;

/// What an operator knows of the keys of recordings.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BsrKeys {
    /// Keys of `aead` KMSs (AES-256-GCM), any of which may wrap the BSR key of a recording.
    pub(crate) kms_root_keys: Vec<[u8; 32]>,
    /// SHA-256 of the public keys that are known to be genuine.
    pub(crate) pinned_public_keys: Vec<[u8; 32]>,
}

impl BsrKeys {
    /// Takes a root key: 64 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] for any other text.
    pub fn add_root_key(&mut self, digits: &str) -> Result<(), InvalidKey> {
        self.kms_root_keys.push(hex::decode32(digits).ok_or(InvalidKey)?);
        Ok(())
    }

    /// Takes the SHA-256 of a public key: 64 hexadecimal digits, as an import shows it.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] for any other text.
    pub fn add_pin(&mut self, digits: &str) -> Result<(), InvalidKey> {
        self.pinned_public_keys.push(hex::decode32(digits).ok_or(InvalidKey)?);
        Ok(())
    }
}

/// A text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("64 hexadecimal digits were expected")]
pub struct InvalidKey;

impl fmt::Debug for BsrKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kms_root_keys, pinned_public_keys } = self;
        write!(f, "BsrKeys({} KMS root keys, {} pinned public keys)", kms_root_keys.len(), pinned_public_keys.len())
    }
}

#[derive(Clone, PartialEq, Message)]
struct KeyInfo {
    #[prost(string, tag = "3")]
    key_id: String,
    #[prost(bytes = "vec", tag = "5")]
    wrapped_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "9")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct SigInfo {
    #[prost(bytes = "vec", tag = "20")]
    signature: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct BlobInfo {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
}

/// A recording's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicKey {
    /// What Boundary calls the key: the id of the session.
    pub(super) id: String,
    key: [u8; 32],
}

impl PublicKey {
    /// Reads `bsrKey.pub`.
    pub(super) fn read(file: &[u8]) -> Option<Self> {
        let info = KeyInfo::decode(file).ok()?;
        Some(Self { id: info.key_id, key: info.key.try_into().ok()? })
    }

    pub(super) fn sha256(&self) -> [u8; 32] {
        super::sha256(&self.key)
    }

    /// Whether a signature file holds this key's signature of the bytes; `None` when it is no signature file.
    pub(super) fn has_signed(&self, bytes: &[u8], signature: &[u8]) -> Option<bool> {
        let info = SigInfo::decode(signature).ok()?;
        Some(UnparsedPublicKey::new(&ED25519, &self.key).verify(bytes, &info.signature).is_ok())
    }

    /// Whether the key has signed itself.
    pub(super) fn is_signed_by_itself(&self, signature: &[u8]) -> Option<bool> {
        self.has_signed(&self.key, signature)
    }

    /// Whether a signature file holds the BSR key's signature of this key.
    pub(super) fn is_signed_by(&self, bsr_key: &BsrKey, signature: &[u8]) -> Option<bool> {
        let info = SigInfo::decode(signature).ok()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bsr_key.0);
        Some(hmac::verify(&key, &self.key, &info.signature).is_ok())
    }
}

/// What a recording's BSR key signs with: BLAKE2b-256 of the HKDF-SHA256 of it.
pub(super) struct BsrKey([u8; 32]);

impl BsrKey {
    /// Unwraps `wrappedBsrKey` with the first of the root keys that fits. `None` when none does, be it because another
    /// KMS has wrapped it or because it is damaged: that is not to be told apart.
    pub(super) fn unwrap(file: &[u8], root_keys: &[[u8; 32]]) -> Option<Self> {
        let info = KeyInfo::decode(file).ok()?;
        let blob = BlobInfo::decode(info.wrapped_key.as_slice()).ok()?;
        let (iv, sealed) = blob.ciphertext.split_first_chunk()?;
        root_keys.iter().find_map(|root_key| {
            let root_key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, root_key).ok()?);
            let mut sealed = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key(*iv);
            let key = root_key.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?;
            Self::derive(key)
        })
    }

    fn derive(key: &[u8]) -> Option<Self> {
        struct Bytes32;
        impl KeyType for Bytes32 {
            fn len(&self) -> usize {
                32
            }
        }
        let mut expanded = [0; 32];
        Salt::none(HKDF_SHA256).extract(key).expand(&[], Bytes32).ok()?.fill(&mut expanded).ok()?;
        Some(Self(Blake2b::<U32>::digest(expanded).into()))
    }
}

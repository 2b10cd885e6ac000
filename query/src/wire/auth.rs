//! Who is asking: SCRAM-SHA-256 (RFC 5802, RFC 7677), as PostgreSQL does it.
//!
//! What is configured of a user is a verifier: it lets the server check a password, and nobody log in with it.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand::fill;
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The mechanism's name.
pub(super) const MECHANISM: &str = "SCRAM-SHA-256";
/// Rounds of a new verifier; those of PostgreSQL.
const ITERATIONS: u32 = 4096;
/// More rounds than anybody means: each costs the client time, and whoever makes a verifier.
const ITERATIONS_MAX: u32 = 10_000_000;

/// What is kept of a password, in PostgreSQL's own form: `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(…)")
    }
}

impl std::fmt::Display for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [salt, stored, server] =
            [self.salt.as_slice(), &self.stored_key, &self.server_key].map(|bytes| STANDARD.encode(bytes));
        write!(f, "{MECHANISM}${}:{salt}${stored}:{server}", self.iterations)
    }
}

impl std::str::FromStr for Verifier {
    type Err = &'static str;

    /// The error does not quote the text: it may be a password all the same.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const REFUSED: &str = "a verifier of the form SCRAM-SHA-256$4096:salt$StoredKey:ServerKey was expected \
                               (`custody wire-password NAME` makes one)";
        let parsed = || {
            let (rounds_and_salt, keys) = text.trim().strip_prefix(MECHANISM)?.strip_prefix('$')?.split_once('$')?;
            let (rounds, salt) = rounds_and_salt.split_once(':')?;
            let (stored, server) = keys.split_once(':')?;
            let key = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
            let iterations = rounds.parse().ok().filter(|rounds| (ITERATIONS..=ITERATIONS_MAX).contains(rounds))?;
            let salt = STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?;
            Some(Self { iterations, salt, stored_key: key(stored)?, server_key: key(server)? })
        };
        parsed().ok_or(REFUSED)
    }
}

impl Verifier {
    /// The verifier of a password.
    ///
    /// # Errors
    ///
    /// When it has characters that clients would write in different ways: only printable ASCII is taken.
    pub fn of(password: &str) -> Result<Self, &'static str> {
        if password.is_empty() {
            return Err("the password is empty");
        }
        // Clients normalise other characters (RFC 4013) before they use them, and not all do it alike.
        if !password.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err("a password has letters, digits, signs and spaces of ASCII only");
        }
        let mut salt = vec![0; 16];
        fill(&mut salt).map_err(|_| "the system has no random numbers")?;
        Ok(Self::derive(password, salt, ITERATIONS))
    }

    fn derive(password: &str, salt: Vec<u8>, iterations: u32) -> Self {
        let mut salted = [0; 32];
        let rounds = std::num::NonZeroU32::new(iterations).unwrap_or(std::num::NonZeroU32::MIN);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);
        let stored_key = sha256(&hmac_sha256(&salted, b"Client Key"));
        Self { iterations, salt, stored_key, server_key: hmac_sha256(&salted, b"Server Key") }
    }

    /// A verifier that no password fits, the same for a name every time: who guesses names learns nothing.
    pub(super) fn of_nobody(name: &str, secret: &[u8; 32]) -> Self {
        let mut salt = hmac_sha256(secret, name.as_bytes()).to_vec();
        salt.truncate(16);
        // The stored key is the hash of what a client would have to send: of this nobody knows a preimage.
        let stored_key = hmac_sha256(secret, &salt);
        Self { iterations: ITERATIONS, salt, stored_key, server_key: [0; 32] }
    }
}

/// The conversation after the client's first message.
pub(super) struct Exchange {
    verifier: Verifier,
    first: String,
    nonce: String,
    binding: String,
}

impl Exchange {
    /// Reads the client's first message, and yields the server's.
    pub(super) fn begin(first: &str, verifier: Verifier) -> Option<(Self, String)> {
        let mut nonce = [0; 18];
        fill(&mut nonce).ok()?;
        Self::begin_with(first, verifier, &STANDARD.encode(nonce))
    }

    fn begin_with(first: &str, verifier: Verifier, nonce: &str) -> Option<(Self, String)> {
        // "n,,n=user,r=nonce": no binding to the channel is offered, so none may be asked for; the name is the one of the
        // start of the connection.
        let (flag, rest) = first.split_once(',')?;
        let (authzid, bare) = rest.split_once(',')?;
        if !matches!(flag, "n" | "y") || !authzid.is_empty() || !bare.starts_with("n=") {
            return None;
        }
        let theirs = attribute(bare, "r=").filter(|theirs| !theirs.is_empty())?;
        let nonce = format!("{theirs}{nonce}");
        let reply = format!("r={nonce},s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations);
        let first = format!("{bare},{reply}");
        Some((Self { verifier, first, nonce, binding: STANDARD.encode(format!("{flag},,")) }, reply))
    }

    /// Checks the client's last message, and yields the server's if the password is right.
    pub(super) fn finish(&self, last: &str) -> Option<String> {
        let (without_proof, proof) = last.rsplit_once(",p=")?;
        if attribute(without_proof, "c=")? != self.binding || attribute(without_proof, "r=")? != self.nonce {
            return None;
        }
        let message = format!("{},{without_proof}", self.first);
        let proof: [u8; 32] = STANDARD.decode(proof).ok()?.try_into().ok()?;
        let signature = hmac_sha256(&self.verifier.stored_key, message.as_bytes());
        let mut client_key = [0; 32];
        for (key, (proof, signature)) in client_key.iter_mut().zip(proof.iter().zip(signature)) {
            *key = proof ^ signature;
        }
        verify_slices_are_equal(&sha256(&client_key), &self.verifier.stored_key).ok()?;
        Some(format!("v={}", STANDARD.encode(hmac_sha256(&self.verifier.server_key, message.as_bytes()))))
    }
}

fn attribute<'t>(message: &'t str, name: &str) -> Option<&'t str> {
    message.split(',').find_map(|part| part.strip_prefix(name))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    sized(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    sized(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref())
}

/// What SHA-256 gives has 32 bytes.
fn sized(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3.
    fn rfc_7677() -> Verifier {
        Verifier::derive("pencil", STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096)
    }

    #[test]
    fn the_conversation_of_rfc_7677_is_understood() {
        let first = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
        let (exchange, reply) = Exchange::begin_with(first, rfc_7677(), "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0").unwrap();
        assert_eq!(reply, "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let reply = exchange.finish(last).unwrap();
        assert_eq!(reply, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");

        for wrong in [
            last.replace("dHzb", "dHzc"),
            last.replace("biws", "eSws"),
            last.replace(")hNl", ")hNm"),
            last.replace(",p=", ",q="),
            String::new(),
        ] {
            assert_eq!(exchange.finish(&wrong), None, "{wrong}");
        }
        let (nobody, _) =
            Exchange::begin_with(first, Verifier::of_nobody("user", &[7; 32]), "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
                .unwrap();
        assert_eq!(nobody.finish(last), None);
    }

    #[test]
    fn only_verifiers_of_postgresql_are_taken() {
        let text = rfc_7677().to_string();
        assert_eq!(
            text,
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
             wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
        assert_eq!(text.parse::<Verifier>().unwrap(), rfc_7677());
        for wrong in [
            "pencil",
            "",
            "md5a6343a68d964ca596d9752250d54bb8a",
            &text.replace("4096", "1"),
            &text.replace("4096", "99999999"),
            &text.replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
            &text.replace(":wfPL", ":"),
            &text.replace("SCRAM-SHA-256", "SCRAM-SHA-1"),
        ] {
            let refused = wrong.parse::<Verifier>().unwrap_err();
            assert!(wrong.is_empty() || !refused.contains(wrong), "{refused}");
        }
    }

    #[test]
    fn first_messages_that_ask_for_more_are_refused() {
        for first in ["p=tls-server-end-point,,n=,r=abc", "n,a=root,n=,r=abc", "n,,m=x,n=,r=abc", "n,,n=,r=", "n", ""] {
            assert!(Exchange::begin(first, rfc_7677()).is_none(), "{first}");
        }
        assert!(Exchange::begin("y,,n=,r=abc", rfc_7677()).is_some());
    }

    #[test]
    fn passwords_are_plain_text() {
        assert!(Verifier::of("correct horse").is_ok());
        assert!(Verifier::of("").is_err());
        assert!(Verifier::of("gr\u{fc}n").is_err());
        assert_ne!(Verifier::of("a").unwrap(), Verifier::of("a").unwrap());
    }
}

//! The ledger for clients of PostgreSQL: where it listens, who may ask, with which certificate.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use custody_ledger::Ledger;
use custody_query::Engine;
use custody_query::wire::{self, Ending, Outcome, Question, Recorder, Verifier};
use custody_schemas::activity::Activity;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::activity::{Ended, Entry, Journal};
use crate::collect::certificates;
use crate::config::{Config, ServerTls, Wire};
use crate::exit::Failure;
use crate::run::bind;

/// A password is one line, and not a long one.
const PASSWORD_BYTES_MAX: u64 = 1024;

/// An open port, and what is asked of those who come.
pub(crate) struct Listening {
    listener: TcpListener,
    users: Option<BTreeMap<String, Verifier>>,
    tls: Option<TlsAcceptor>,
    connections: usize,
}

/// Opens the port, where one is configured. Whatever is wrong with users or certificates is told before.
///
/// # Errors
///
/// [`Failure`] that says what to do, also where others could reach the address without showing who they are.
pub(crate) async fn listen(config: &Config) -> Result<Option<Listening>, Failure> {
    let Some(address) = config.wire.listen else { return Ok(None) };
    let users = users(&config.wire).map_err(Failure::usage)?;
    let tls = config.wire.tls.as_ref().map(tls).transpose().map_err(Failure::usage)?;
    if !address.ip().is_loopback() && (users.is_empty() || tls.is_none()) {
        return Err(Failure::usage(anyhow::anyhow!(
            "wire.listen = {address} can be reached by others. Set wire.users (`custody wire-password NAME` makes a line) \
             and wire.tls (cert and key), or listen on 127.0.0.1"
        )));
    }
    if users.is_empty() && config.wire.users_file.is_some() {
        return Err(Failure::usage(anyhow::anyhow!(
            "wire.users_file names nobody: with it, only those whom it names come in"
        )));
    }
    let users = (!users.is_empty()).then_some(users);
    let connections = config.wire.connections_max;
    Ok(Some(Listening { listener: bind(address).await?, users, tls, connections }))
}

/// Serves until asked to stop, where a port is open.
pub(crate) async fn serve(
    listening: Option<Listening>,
    config: &Config,
    ledger: &Ledger,
    engine: Arc<Engine>,
    stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let Some(Listening { listener, users, tls, connections }) = listening else { return Ok(()) };
    let (journal, bounds) = (Journal::open(config, ledger, "wire").await?, config.bounds());
    let address = listener.local_addr()?;
    tracing::info!(%address, tls = tls.is_some(), users = users.as_ref().map(BTreeMap::len), "serving clients of PostgreSQL");
    let recorder = Arc::new(Book { journal, open: Mutex::default() });
    let wire = wire::Wire { engine, bounds, users, tls, connections, recorder };
    Ok(wire::serve(listener, wire, stop).await?)
}

/// `custody wire-password`
pub(crate) fn print_verifier(name: &str) -> Result<(), Failure> {
    let password = read_password(name)?;
    let verifier = Verifier::of(&password).map_err(|why| Failure::usage(anyhow::anyhow!(why)))?;
    writeln!(std::io::stdout(), "\"{name}\" = \"{verifier}\"")?;
    Ok(())
}

/// One line of standard input. At a terminal it is not shown while it is typed.
fn read_password(name: &str) -> Result<String, Failure> {
    let input = std::io::stdin();
    let quiet = input.is_terminal().then(|| {
        eprint!("Password for {}: ", custody_query::visible(name));
        Quiet::new()
    });
    let mut line = String::new();
    std::io::Read::take(input.lock(), PASSWORD_BYTES_MAX).read_line(&mut line)?;
    if quiet.is_some() {
        eprintln!();
    }
    drop(quiet);
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet(Option<libc::termios>);

impl Quiet {
    fn new() -> Self {
        let mut before = std::mem::MaybeUninit::<libc::termios>::uninit();
        #[expect(unsafe_code, reason = "there is no safe way to the settings of a terminal")]
        // SAFETY: `before` is written in full by a call that succeeds, and only then read.
        unsafe {
            if libc::tcgetattr(libc::STDIN_FILENO, before.as_mut_ptr()) != 0 {
                return Self(None);
            }
            let before = before.assume_init();
            let mut quiet = before;
            quiet.c_lflag &= !libc::ECHO;
            libc::tcsetattr(libc::STDIN_FILENO, libc::TCSAFLUSH, &quiet);
            Self(Some(before))
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            #[expect(unsafe_code, reason = "there is no safe way to the settings of a terminal")]
            // SAFETY: these are the settings that the terminal had.
            unsafe {
                libc::tcsetattr(libc::STDIN_FILENO, libc::TCSAFLUSH, before);
            }
        }
    }
}

/// The users of the configuration and of its file.
fn users(config: &Wire) -> anyhow::Result<BTreeMap<String, Verifier>> {
    let mut texts = config.users.clone();
    if let Some(file) = &config.users_file {
        texts.extend(read_users(file).with_context(|| format!("wire.users_file {}", file.display()))?);
    }
    let user = |(name, text): (String, String)| match text.parse() {
        Ok(verifier) => Ok((name, verifier)),
        Err(why) => anyhow::bail!("the user {name:?} of wire.users: {why}"),
    };
    texts.into_iter().map(user).collect()
}

/// Lines of `custody wire-password`, which are TOML. What is wrong with them is not quoted: it may be a secret.
fn read_users(file: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(file).context("it cannot be read")?;
    toml::from_str(&text).map_err(|_| anyhow::anyhow!("lines of the form \"name\" = \"verifier\" were expected"))
}

fn tls(tls: &ServerTls) -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .with_context(|| format!("{} holds no private key in PEM", tls.key.display()))?;
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(certificates(&tls.cert)?, key)
        .context("wire.tls: the key does not belong to the certificate")?;
    // Clients of PostgreSQL 17 may begin encrypted, and say so with this name.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Writes questions into the ledger.
struct Book {
    journal: Journal,
    /// Those that are being answered, by their numbers.
    open: Mutex<HashMap<u64, Entry>>,
}

#[async_trait::async_trait]
impl Recorder for Book {
    async fn asked(&self, question: &Question) -> Result<(), String> {
        if question.session_only {
            return Ok(());
        }
        let detail = serde_json::json!({
            "application_name": question.application_name, "parameters": question.parameters, "as_of": question.as_of,
        });
        let activity = Activity {
            actor: question.user.clone(),
            remote_addr: Some(question.peer.to_string()),
            verb: "sql".to_owned(),
            sql: Some(question.sql.clone()),
            detail: detail.to_string(),
            ..Activity::default()
        };
        let entry = self.journal.begin(activity).await.map_err(|failure| failure.to_string())?;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(question.id, entry);
        Ok(())
    }

    async fn answered(&self, question: &Question, outcome: &Outcome) {
        let entry = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&question.id);
        let Some(entry) = entry else { return };
        let (how, error) = match &outcome.ending {
            Ending::Complete => ("done", None),
            Ending::Left => ("cancelled", None),
            Ending::Refused { code, message } => {
                (if *code == "57014" { "cancelled" } else { "refused" }, Some(format!("{code}: {message}")))
            }
        };
        let ended = Ended { rows: Some(outcome.rows), bytes: Some(outcome.bytes), cut: false };
        entry.close(how, error, ended).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn others_reach_it_only_with_users_and_encryption() {
        let config = |wire| Config { wire, ..Config::default() };
        let users = BTreeMap::from([("ann".to_owned(), Verifier::of("secret").unwrap().to_string())]);
        let open = Wire { listen: Some(([0, 0, 0, 0], 0).into()), ..Wire::default() };
        assert!(listen(&config(Wire { users: users.clone(), ..open.clone() })).await.is_err());
        assert!(listen(&config(open)).await.is_err());
        assert!(listen(&config(Wire::default())).await.unwrap().is_none());
        let local = Wire { listen: Some(([127, 0, 0, 1], 0).into()), ..Wire::default() };
        assert!(listen(&config(local.clone())).await.unwrap().unwrap().users.is_none());
        let asking = listen(&config(Wire { users, ..local.clone() })).await.unwrap().unwrap();
        assert_eq!(asking.users.map(|users| users.len()), Some(1));
        let cert = ServerTls { cert: "missing.pem".into(), key: "missing.pem".into() };
        assert!(listen(&config(Wire { tls: Some(cert), ..local })).await.is_err());
    }

    #[test]
    fn a_user_without_a_verifier_is_refused_without_telling_the_secret() {
        let users_of = |text: &str| {
            users(&Wire { users: BTreeMap::from([("ann".to_owned(), text.to_owned())]), ..Wire::default() })
        };
        let refused = format!("{:#}", users_of("hunter2").unwrap_err());
        assert!(refused.contains("ann") && !refused.contains("hunter2"), "{refused}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let line = format!("\"bo b\" = \"{}\"\n", Verifier::of("x").unwrap());
        std::fs::write(&file, line).unwrap();
        let config = Wire { users_file: Some(file.clone()), ..Wire::default() };
        assert_eq!(users(&config).unwrap().keys().collect::<Vec<_>>(), ["bo b"]);
        std::fs::write(&file, "hunter2").unwrap();
        let refused = format!("{:#}", users(&config).unwrap_err());
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}

//! The ledger for clients of PostgreSQL: psql, Grafana, DBeaver, Metabase, drivers of every language.
//!
//! It speaks PostgreSQL's protocol, and answers with the [`Engine`](crate::Engine): read-only by the same check of the plan,
//! within the same bounds of time, memory, rows and turns, each statement on the newest state of the ledger. What
//! concerns the session alone (`BEGIN`, `SET`, `SHOW`) is answered without the engine, and changes nothing of it.
//!
//! | module | does |
//! |---|---|
//! | `message` | messages, within bounds |
//! | `auth` | SCRAM-SHA-256 and its verifiers |
//! | `commands` | what concerns the session: cutting texts into statements, settings |
//! | `adapt` | PostgreSQL's SQL in the engine's words |
//! | `values` | rows and parameters, as text and as bytes |
//! | `session` | one connection after its start |
//!
//! Nothing that a client sends is kept without a bound, and a client that is gone takes its query with it. An answer that
//! would have to be cut off is an error instead: half of an answer looks like a whole one here.

mod adapt;
mod auth;
mod commands;
mod error;
mod message;
mod session;
mod values;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::rand::fill;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

pub use self::auth::Verifier;
use self::auth::{Exchange, MECHANISM};
use self::commands::Settings;
use self::error::Refusal;
use self::message::{Body, Inbox, Opening};
use self::session::{Line, Session};
use crate::engine::{Bounds, Engine, Versions};
use crate::pg_catalog::DATABASE;

/// Until then a client has to have said who it is.
const OPENING_TIME: Duration = Duration::from_secs(10);
/// Connections that have not said yet who they are; a request to cancel is one of them.
const OPENING_MAX: usize = 64;
/// What a wrong password costs whoever guesses.
const WRONG_TIME: Duration = Duration::from_millis(500);
/// How long a client that asks for nothing may stay.
const IDLE_TIME: Duration = Duration::from_secs(60 * 60);
/// How long sessions may take to say goodbye when Custody is asked to stop.
const GRACE: Duration = Duration::from_secs(5);

/// What is asked, by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its number, in this process.
    pub id: u64,
    /// Who the client showed to be, or says that it is where nobody is asked.
    pub user: String,
    /// What the client calls itself.
    pub application_name: String,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// The statement, as it was sent.
    pub sql: String,
    /// What stands for `$1`, `$2`, ... in it, as text.
    pub parameters: Vec<Option<String>>,
    /// Whether it concerns the session alone, and not the ledger.
    pub session_only: bool,
    /// `custody.as_of` of the session; empty when it was not set.
    pub as_of: String,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Rows that were sent.
    pub rows: u64,
    /// Bytes that were sent.
    pub bytes: u64,
    /// The versions of the tables that they were made from.
    pub versions: Option<Versions>,
    /// How it ended.
    pub ending: Ending,
}

/// How a question ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// All rows were sent.
    Complete,
    /// The client wanted no more of them, or is gone.
    Left,
    /// It was refused, or failed.
    Refused {
        /// SQLSTATE.
        code: &'static str,
        /// What the client was told.
        message: String,
    },
}

/// Is told every question before it is answered, and every outcome.
#[async_trait]
pub trait Recorder: Send + Sync {
    /// Takes note of a question. Nothing is answered before, and nothing at all when it fails.
    async fn asked(&self, question: &Question) -> Result<(), String>;

    /// Takes note of what became of it.
    async fn answered(&self, question: &Question, outcome: &Outcome);
}

/// How the ledger is served.
pub struct Wire {
    /// What answers.
    pub engine: Arc<Engine>,
    /// How far one statement may go.
    pub bounds: Bounds,
    /// Who may ask; `None` where everyone who reaches the address may, by any name.
    pub users: Option<BTreeMap<String, Verifier>>,
    /// With it, whoever does not encrypt is refused.
    pub tls: Option<TlsAcceptor>,
    /// Sessions at once.
    pub connections: usize,
    /// What is told of the questions.
    pub recorder: Arc<dyn Recorder>,
}

/// What the sessions share.
struct Shared {
    wire: Wire,
    seats: Arc<Semaphore>,
    /// Sessions that can be told to stop what they do: their number, the secret for it, and how.
    running: Mutex<HashMap<i32, (i32, watch::Sender<()>)>>,
    next: AtomicI32,
    /// Questions that were asked.
    questions: AtomicU64,
    /// What verifiers of users that there are not are made from.
    nobody: [u8; 32],
}

/// A stream, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Serves until asked to stop.
///
/// # Errors
///
/// When the system has no random numbers, or the listener does not work any more.
pub async fn serve(listener: TcpListener, wire: Wire, mut stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let mut nobody = [0; 32];
    fill(&mut nobody).map_err(|_| std::io::Error::other("the system has no random numbers"))?;
    let shared = Arc::new(Shared {
        seats: Arc::new(Semaphore::new(wire.connections)),
        wire,
        running: Mutex::default(),
        next: AtomicI32::new(1),
        questions: AtomicU64::new(1),
        nobody,
    });
    let doors = Arc::new(Semaphore::new(OPENING_MAX));
    let mut sessions = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // An error means that the sender is gone, which is a stop as well.
            _ = stop.wait_for(|stop| *stop) => break,
        };
        while sessions.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: it passes when a session ends.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(door) = doors.clone().try_acquire_owned() else {
            tracing::warn!(%peer, "too many connections are being opened: one is turned away");
            continue;
        };
        let (shared, stop) = (shared.clone(), stop.clone());
        sessions.spawn(async move {
            let opened = timeout(OPENING_TIME, open(&shared, stream, peer, stop)).await;
            drop(door);
            if let Ok(Some(session)) = opened {
                session.run().await;
            }
        });
    }
    // What still runs then is dropped, and its queries with it.
    let _ = timeout(GRACE, async { while sessions.join_next().await.is_some() {} }).await;
    Ok(())
}

/// Asks a new connection who it is. `None` when it is done with: refused, gone, or a request to cancel.
async fn open(
    shared: &Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    stop: watch::Receiver<bool>,
) -> Option<Session> {
    // Small messages go back and forth: waiting for more of them costs time.
    let _ = stream.set_nodelay(true);
    let mut first = [0];
    let direct = stream.peek(&mut first).await.ok()? == 1 && first == [0x16];
    let mut secure = false;
    let mut inbox = Inbox::new(Box::new(stream) as Box<dyn Stream>);
    if direct {
        inbox = encrypted(shared, inbox).await?;
        secure = true;
    }
    // Encryption is asked for once of each kind.
    for _ in 0..3 {
        match inbox.opening().await {
            Ok(Opening::Tls) if !secure && shared.wire.tls.is_some() => {
                inbox.answer(b'S').await.ok()?;
                inbox = encrypted(shared, inbox).await?;
                secure = true;
            }
            Ok(Opening::Tls | Opening::Gss) => inbox.answer(b'N').await.ok()?,
            Ok(Opening::Cancel { process, secret }) => {
                shared.cancel(process, secret);
                return None;
            }
            Ok(Opening::Startup { minor, parameters }) => {
                let (inbox, outbox) = inbox.split();
                let mut line = Line::new(inbox, outbox, stop);
                let started = start(shared, &mut line, peer, secure, minor, parameters).await;
                return match started {
                    Ok(session) => Some(session(line)),
                    Err(Some(refusal)) => {
                        tracing::info!(%peer, code = refusal.code, reason = refusal.message, "a connection is refused");
                        line.refuse("FATAL", &refusal);
                        line.outbox.close().await;
                        None
                    }
                    Err(None) => None,
                };
            }
            Err(_) => return None,
        }
    }
    None
}

/// Goes on encrypted, unless something came before that which the encryption would not cover.
async fn encrypted(shared: &Shared, inbox: Inbox<Box<dyn Stream>>) -> Option<Inbox<Box<dyn Stream>>> {
    let (acceptor, stream) = (shared.wire.tls.as_ref()?, inbox.into_inner()?);
    Some(Inbox::new(Box::new(acceptor.accept(stream).await.ok()?)))
}

/// What makes a session of a line.
type Seat = Box<dyn FnOnce(Line) -> Session + Send>;

async fn start(
    shared: &Arc<Shared>,
    line: &mut Line,
    peer: SocketAddr,
    secure: bool,
    minor: u16,
    parameters: Vec<(String, String)>,
) -> Result<Seat, Option<Refusal>> {
    let refused = |code, message: &str| Some(Refusal::new(code, message));
    if shared.wire.tls.is_some() && !secure {
        return Err(refused(
            "28000",
            "the connection is not encrypted: connect with sslmode=require or sslmode=verify-full",
        ));
    }
    let unknown: Vec<&str> =
        parameters.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("_pq_.")).collect();
    if minor > 0 || !unknown.is_empty() {
        line.outbox.negotiate(&unknown);
    }
    let named = |name: &str| parameters.iter().find_map(|(known, value)| (known == name).then_some(value.as_str()));
    let user = named("user").filter(|user| !user.is_empty() && user.len() <= 256);
    let user = user.ok_or_else(|| refused("28000", "no user is named"))?.to_owned();
    if let Some(users) = &shared.wire.users {
        let verifier = users.get(&user).cloned().unwrap_or_else(|| Verifier::of_nobody(&user, &shared.nobody));
        prove(line, &user, verifier).await?;
    }
    let database = named("database").filter(|database| !database.is_empty()).unwrap_or(&user);
    if database != DATABASE && database != user {
        let message = format!("database \"{database}\" does not exist: the ledger is the database \"{DATABASE}\"");
        return Err(refused("3D000", &message));
    }
    if named("replication").is_some_and(|replication| !matches!(replication, "false" | "off" | "0" | "no")) {
        return Err(refused("0A000", "nothing is replicated from here"));
    }
    let mut settings = Settings::new(&user, shared.wire.bounds.time);
    let options = named("options").map(options).unwrap_or_default();
    let given = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).filter(|(name, _)| {
        !matches!(*name, "user" | "database" | "options" | "replication") && !name.starts_with("_pq_.")
    });
    for (name, value) in given.chain(options.iter().map(|(name, value)| (name.as_str(), value.as_str()))) {
        settings.set(name, Some(value)).map_err(Some)?;
    }
    let seat = shared.seats.clone().try_acquire_owned().map_err(|_| refused("53300", "too many connections"))?;
    let mut secret = [0; 4];
    fill(&mut secret).map_err(|_| refused("58000", "the system has no random numbers"))?;
    let secret = i32::from_be_bytes(secret);
    let process = shared.next.fetch_add(1, Ordering::Relaxed) & i32::MAX;
    let (cancel, cancelled) = watch::channel(());
    shared.running.lock().unwrap_or_else(PoisonError::into_inner).insert(process, (secret, cancel));
    line.cancelled = cancelled;
    line.outbox.authentication(0, &[]);
    for name in [
        "server_version",
        "server_encoding",
        "client_encoding",
        "application_name",
        "DateStyle",
        "IntervalStyle",
        "TimeZone",
        "integer_datetimes",
        "standard_conforming_strings",
        "is_superuser",
        "session_authorization",
        "default_transaction_read_only",
        "in_hot_standby",
    ] {
        line.outbox.parameter(name, settings.get(name).unwrap_or_default());
    }
    line.outbox.key(process, secret);
    tracing::info!(user, %peer, secure, "connected");
    let shared = shared.clone();
    Ok(Box::new(move |line| Session::new(shared, line, user, peer, process, settings, seat)))
}

/// Lets the client prove that it has the password.
async fn prove(line: &mut Line, user: &str, verifier: Verifier) -> Result<(), Option<Refusal>> {
    let wrong = || Some(Refusal::new("28P01", format!("password authentication failed for user \"{user}\"")));
    line.outbox.authentication(10, format!("{MECHANISM}\0\0").as_bytes());
    let mut answer = Body::new(line.password().await?);
    let first = answer.text().filter(|mechanism| mechanism == MECHANISM).and_then(|_| answer.value()).flatten();
    let first = first.and_then(|first| String::from_utf8(first.to_vec()).ok()).ok_or_else(wrong)?;
    let (exchange, reply) = Exchange::begin(&first, verifier).ok_or_else(wrong)?;
    line.outbox.authentication(11, reply.as_bytes());
    let last = String::from_utf8(line.password().await?.to_vec()).map_err(|_| wrong())?;
    let Some(reply) = exchange.finish(&last) else {
        tokio::time::sleep(WRONG_TIME).await;
        return Err(wrong());
    };
    line.outbox.authentication(12, reply.as_bytes());
    Ok(())
}

/// The settings in `-c name=value --name=value`.
fn options(text: &str) -> Vec<(String, String)> {
    let mut options = Vec::new();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c").filter(|rest| !rest.is_empty()))
        {
            Some(setting) => setting,
            None if word == "-c" => words.next().unwrap_or_default(),
            None => continue,
        };
        if let Some((name, value)) = setting.split_once('=') {
            options.push((name.replace('-', "_"), value.to_owned()));
        }
    }
    options
}

impl Shared {
    /// Stops what a session does, if whoever asks for it knows its secret.
    fn cancel(&self, process: i32, secret: i32) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((expected, cancel)) = running.get(&process)
            && *expected == secret
        {
            // An error means that the session is over.
            let _ = cancel.send(());
        }
    }

    fn forget(&self, process: i32) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_command_line_are_settings() {
        let expected = [("statement_timeout", "5s"), ("search_path", "x"), ("extra_float_digits", "3")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(options("-c statement_timeout=5s -csearch_path=x --extra-float-digits=3 -c nonsense -z"), expected);
    }
}

//! What is known of the access to sessions: looked up once, and again when an event comes that may change it.
//!
//! Thousands of sessions go on at the same time, and each chunk of events has a few of each. What gave access to one is
//! made of its own events, of requests and of policy decisions, and all of them are events that pass by here. An event that
//! may bear on a session makes it forgotten; it is looked up anew with the next event that needs it.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use custody_forward::notice::Access;
use custody_query::sessions::LinkedSession;
use custody_schemas::columns::StoredEvent;
use custody_schemas::event::Kind;
use custody_schemas::time::Micros;

use super::access_to;

/// So many sessions are known, and as many that were asked for before these.
const KNOWN_MAX: usize = 5_000;

/// After so long a session is looked up again in any case: who is who may be told otherwise now.
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// What is known of the access to sessions.
#[derive(Debug, Default)]
pub(super) struct Known {
    recent: HashMap<String, Entry>,
    older: HashMap<String, Entry>,
    hashes: RandomState,
}

/// What is known under one id, which several gateways may have given.
#[derive(Debug)]
struct Entry {
    sessions: Vec<Session>,
    /// What its events say that leads to its links, as hashes: who says the same once more adds nothing.
    said: HashSet<u64>,
    /// The version of `events` that it was made from.
    version: u64,
    looked_up_at: Instant,
}

#[derive(Debug)]
struct Session {
    source: String,
    target: Option<String>,
    started_at: Option<Micros>,
    request_ids: Vec<String>,
    correlation_ids: Vec<String>,
    access: Vec<Access>,
}

/// What the events of a chunk say of their own sessions.
#[derive(Debug)]
pub(super) struct Heard(HashMap<String, HashSet<u64>>);

/// What the events of a chunk tell that may bear on other sessions than their own.
#[derive(Debug, Default)]
struct News<'e> {
    sessions: HashSet<&'e str>,
    requests: HashSet<&'e str>,
    decisions: HashSet<&'e str>,
    targets: HashSet<&'e str>,
}

impl<'e> News<'e> {
    fn of(events: &'e [StoredEvent]) -> Self {
        let mut news = Self::default();
        for StoredEvent { event, .. } in events {
            match event.kind {
                // Whose words lead nowhere new is told by the session's entry.
                Kind::SessionActivity | Kind::Other => {}
                Kind::PolicyDecision => {
                    let ids = [&event.decision_id, &event.correlation_id];
                    news.decisions.extend(ids.into_iter().flatten().map(AsRef::as_ref));
                    match event.session_id.as_deref() {
                        Some(id) => drop(news.sessions.insert(id)),
                        None => news.targets.extend(event.target.as_deref()),
                    }
                }
                kind => {
                    news.sessions.extend(event.session_id.as_deref());
                    if kind.as_str().starts_with("request.") {
                        news.requests.extend(event.request_ids.iter().map(AsRef::as_ref));
                    }
                }
            }
        }
        news
    }

    fn bears_on(&self, id: &str, entry: &Entry) -> bool {
        let is_told = |of: &Session| {
            let has_target = of.target.as_deref().is_some_and(|target| self.targets.contains(target));
            let is_correlated = of.correlation_ids.iter().any(|id| self.decisions.contains(id.as_str()));
            // A session without a request may be linked to any of the same person.
            let is_asked_for = !self.requests.is_empty() && of.request_ids.is_empty();
            let of_request = |id: &String| {
                // hoop's sessions name others there, which their credentials come from.
                let lender = id.strip_prefix("session:");
                self.requests.contains(id.as_str()) || lender.is_some_and(|id| self.sessions.contains(id))
            };
            let links = || of.access.iter().filter_map(|access| access.request_id.as_ref());
            has_target || is_correlated || is_asked_for || of.request_ids.iter().chain(links()).any(of_request)
        };
        self.sessions.contains(id) || entry.sessions.iter().any(is_told)
    }
}

impl Known {
    /// Forgets what these events may change, the last of which are of this version of `events`. To be told of every event,
    /// also of those that a destination does not get. What they say is to be noted when their sessions are known.
    pub(super) fn hear(&mut self, events: &[StoredEvent], version: u64) -> Heard {
        let news = News::of(events);
        let mut said: HashMap<String, HashSet<u64>> = HashMap::new();
        let mut first_at: HashMap<&str, Micros> = HashMap::new();
        for event in events {
            let Some(id) = event.event.session_id.as_deref() else { continue };
            let leads = self.said(event);
            match said.get_mut(id) {
                Some(said) => drop(said.insert(leads)),
                None => drop(said.insert(id.to_owned(), HashSet::from([leads]))),
            }
            if let Some(at) = event.event.occurred_at {
                let first = first_at.entry(id).or_insert(at);
                *first = at.min(*first);
            }
        }
        let is_as_it_was = |id: &String, entry: &mut Entry| {
            if entry.looked_up_at.elapsed() >= KNOWN_FOR {
                return false;
            }
            // It was made of these events, too.
            if entry.version >= version {
                return true;
            }
            let is_new = said.get(id.as_str()).is_some_and(|said| !said.is_subset(&entry.said));
            let began =
                |of: &Session| first_at.get(id.as_str()).zip(of.started_at).is_some_and(|(at, began)| *at < began);
            !is_new && !entry.sessions.iter().any(began) && !news.bears_on(id, entry)
        };
        self.recent.retain(is_as_it_was);
        self.older.retain(is_as_it_was);
        Heard(said)
    }

    /// The sessions of these events that have to be looked up.
    pub(super) fn wanting<'e>(&self, events: &'e [StoredEvent]) -> Vec<&'e str> {
        let mut ids: Vec<&str> = events.iter().filter_map(|event| event.event.session_id.as_deref()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| self.entry(id).is_none());
        ids
    }

    /// Takes in what was found of sessions in a version of `events`.
    pub(super) fn learn(&mut self, ids: &[&str], version: u64, found: Vec<LinkedSession>) {
        let looked_up_at = Instant::now();
        for id in ids {
            let entry = Entry { sessions: Vec::new(), said: HashSet::new(), version, looked_up_at };
            self.recent.insert((*id).to_owned(), entry);
        }
        for linked in found {
            let Some(entry) = self.recent.get_mut(&linked.session.session_id) else { continue };
            let access = access_to(&linked);
            let of = linked.session;
            entry.sessions.push(Session {
                source: of.source,
                target: of.target,
                started_at: of.started_at.map(|at| at.0),
                request_ids: of.request_ids,
                correlation_ids: of.correlation_ids,
                access,
            });
        }
    }

    /// Notes what was heard of sessions that are known: they are in use. Those that were not for long are forgotten where
    /// there are too many.
    pub(super) fn note(&mut self, Heard(said): Heard) {
        for (id, said) in said {
            if let Some((id, entry)) = self.older.remove_entry(&id) {
                self.recent.insert(id, entry);
            }
            if let Some(entry) = self.recent.get_mut(&id) {
                entry.said.extend(said);
            }
        }
        if self.recent.len() > KNOWN_MAX {
            self.older = std::mem::take(&mut self.recent);
        }
    }

    /// What gave access to the session of an event. What Custody itself tells of a session names no source: there, it must
    /// be the only one.
    pub(super) fn access(&self, StoredEvent { event, source, .. }: &StoredEvent) -> &[Access] {
        let entry = event.session_id.as_deref().and_then(|id| self.entry(id));
        let session = match entry.map(|entry| entry.sessions.as_slice()) {
            None => None,
            Some([only]) if source == "custody" => Some(only),
            Some(all) => all.iter().find(|session| session.source == *source),
        };
        session.map(|session| session.access.as_slice()).unwrap_or_default()
    }

    fn entry(&self, id: &str) -> Option<&Entry> {
        self.recent.get(id).or_else(|| self.older.get(id))
    }

    /// What leads from an event of a session to the session's links.
    fn said(&self, StoredEvent { event, source, .. }: &StoredEvent) -> u64 {
        let leads = (&event.actor, &event.target, &event.reason, &event.request_ids, &event.correlation_id);
        self.hashes.hash_one((source, leads))
    }
}

//! Finding text that was on the screen of recorded sessions: `custody search`, `POST /api/v1/search`.

use std::collections::{BTreeSet, HashMap};
use std::io::{IsTerminal, Write};
use std::time::Duration;

use custody_ingest::indexer::INDEXER;
use custody_query::search::{Hit, Pattern, Search, Searching, Unsearched};
use custody_query::sessions::{LinkedSession, Time};
use custody_query::{Engine, QueryError, visible};
use custody_schemas::activity::Activity;
use custody_schemas::time::to_rfc3339;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use crate::activity::{Ended, asked};
use crate::cli::{self, SearchFormat};
use crate::config::Config;
use crate::exit::Failure;
use crate::http::kind_of;
use crate::show::text::shell_word;
use crate::show::{is_closed, open};

/// Whoever does not take a hit for so long is gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sessions of which it is looked up at once who was there and why.
const SESSIONS_AT_ONCE: usize = 500;

/// The same of those that are found first: somebody waits for them.
const SESSIONS_AT_FIRST: usize = 50;

/// What comes of a search, one after the other.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Found {
    /// A text in which it was found.
    Hit(Box<SessionHit>),
    /// So much was looked through.
    Progress {
        /// Bytes of the index, as they are stored.
        bytes: u64,
        /// Of so many.
        of: u64,
    },
    /// Everything was looked through, or the limit was reached.
    End {
        /// Number of hits.
        hits: u64,
        /// There may be more than the limit let through.
        cut: bool,
        /// Bytes of the index that were to be looked through, as they are stored.
        bytes: u64,
        /// What could not be.
        #[serde(flatten)]
        unsearched: Unsearched,
    },
    /// It broke off: what came before is not all.
    Error {
        /// A word for programs.
        kind: &'static str,
        /// A sentence for people.
        message: String,
    },
}

/// A hit, and whose session it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionHit {
    #[serde(flatten)]
    hit: Hit,
    /// The account that was there.
    actor: Option<String>,
    /// Whose that is.
    person: Option<String>,
    /// On what.
    target: Option<String>,
    /// Why.
    reason: Option<String>,
    /// Who said yes.
    approvers: Vec<String>,
    /// How the session is linked to that: `explicit`, `gateway_review`, `policy`, `ticket`, `inferred`, `none`.
    link_method: Option<String>,
    /// The command that plays the session from there.
    replay: String,
}

impl SessionHit {
    fn new(hit: Hit, linked: Option<&LinkedSession>) -> Self {
        let link = linked.and_then(|linked| linked.links.first());
        let session = linked.map(|linked| &linked.session);
        let reason = link.and_then(|link| link.reason.clone()).or_else(|| session.and_then(|of| of.reason.clone()));
        let mut replay =
            format!("custody replay {} --at {}", shell_word(&visible(&hit.session_id)), elapsed(hit.whole_us));
        if let Some(channel) = &hit.channel {
            replay.push_str(&format!(" --channel {}", shell_word(&visible(channel))));
        }
        Self {
            actor: session.and_then(|of| of.actor.clone()),
            person: session.and_then(|of| of.person.clone()),
            target: session.and_then(|of| of.target.clone()),
            reason,
            approvers: link.map(|link| link.approvers.clone()).unwrap_or_default(),
            link_method: link.map(|link| link.link_method.clone()),
            replay,
            hit,
        }
    }
}

/// `1:02:03.500`
fn elapsed(time_us: i64) -> String {
    // Not before it: what is looked for is there at this time.
    let ms = (time_us + 999) / 1000;
    let (hours, minutes, seconds, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}.{ms:03}")
    } else {
        format!("{minutes:02}:{seconds:02}.{ms:03}")
    }
}

/// Whoever waits for what is found.
pub(crate) type Listener = mpsc::Sender<Found>;

/// Searches, the newest first, and sends what comes of it for as long as somebody listens.
///
/// # Errors
///
/// [`QueryError`], which is sent too.
pub(crate) async fn search(
    engine: &Engine,
    asked: Search,
    limit: usize,
    time: Option<Duration>,
    to: &Listener,
) -> Result<Ended, QueryError> {
    let mut hits = 0;
    match look(engine, asked, limit, time, to, &mut hits).await {
        Ok(cut) => Ok(Ended { rows: Some(hits), cut, ..Ended::default() }),
        Err(error) => {
            // Whoever listened may be gone.
            let (_, kind) = kind_of(&error);
            let _ = to.send_timeout(Found::Error { kind, message: error.to_string() }, PATIENCE).await;
            Err(error)
        }
    }
}

/// Whether it was cut off.
async fn look(
    engine: &Engine,
    asked: Search,
    limit: usize,
    time: Option<Duration>,
    to: &Listener,
    hits: &mut u64,
) -> Result<bool, QueryError> {
    let mut searching = engine.search(asked, INDEXER, time).await?;
    let bytes = searching.bytes_in_all();
    let (mut known, mut left, mut at_once) = (HashMap::new(), limit, SESSIONS_AT_FIRST);
    let mut cut = false;
    while !cut && let Some(mut found) = searching.more().await? {
        cut = found.len() > left;
        found.truncate(left);
        left -= found.len();
        while !found.is_empty() {
            let some = of_first_sessions(&mut found, at_once);
            at_once = SESSIONS_AT_ONCE;
            look_up(&mut searching, &some, &mut known).await?;
            for hit in some {
                let linked = known.get(&key(&hit)).and_then(Option::as_ref);
                let hit = Box::new(SessionHit::new(hit, linked));
                *hits += 1;
                if to.send_timeout(Found::Hit(hit), PATIENCE).await.is_err() {
                    return Ok(true);
                }
            }
        }
        let progress = Found::Progress { bytes: searching.bytes(), of: bytes };
        if to.send_timeout(progress, PATIENCE).await.is_err() {
            return Ok(true);
        }
    }
    let unsearched = searching.unsearched().await?;
    let _ = to.send_timeout(Found::End { hits: *hits, cut, bytes, unsearched }, PATIENCE).await;
    Ok(cut)
}

type Key = (String, String);

fn key(hit: &Hit) -> Key {
    (hit.source.clone(), hit.session_id.clone())
}

/// Takes the hits of the first few sessions; those of one session follow one another.
fn of_first_sessions(found: &mut Vec<Hit>, count: usize) -> Vec<Hit> {
    let hits = found.chunk_by(|a, b| (&a.source, &a.session_id) == (&b.source, &b.session_id));
    let count: usize = hits.take(count).map(<[Hit]>::len).sum();
    found.drain(..count).collect()
}

/// Looks up whose sessions these are, where that is not known.
async fn look_up(
    searching: &mut Searching,
    hits: &[Hit],
    known: &mut HashMap<Key, Option<LinkedSession>>,
) -> Result<(), QueryError> {
    let new: BTreeSet<Key> = hits.iter().map(key).filter(|key| !known.contains_key(key)).collect();
    if new.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = new.iter().map(|(_, id)| id.as_str()).collect();
    for linked in searching.linked(&ids).await? {
        let key = (linked.session.source.clone(), linked.session.session_id.clone());
        known.entry(key).or_insert(Some(linked));
    }
    // Frames may be all that there is of a session.
    for key in new {
        known.entry(key).or_insert(None);
    }
    Ok(())
}

/// `custody search`
pub(crate) async fn run(config: &Config, args: cli::Search) -> Result<(), Failure> {
    let pattern = match (args.text, args.regex) {
        (_, Some(regex)) => Pattern::Regex(regex),
        (Some(text), None) => Pattern::Text(text),
        (None, None) => return Err(Failure::usage(anyhow::anyhow!("say what to look for"))),
    };
    let search_for = Search {
        pattern,
        session_id: args.session,
        actor: args.user,
        target: args.target,
        gateway: args.gateway,
        from: args.from.map(Time),
        to: args.to.map(Time),
    };
    let (engine, journal) = open(config).await?;
    let detail = serde_json::json!({ "search": format!("{search_for:?}") }).to_string();
    let entry = journal.begin(Activity { detail, ..asked("search", search_for.session_id.as_deref()) }).await?;
    let (to, mut found) = mpsc::channel(64);
    let limit = args.limit;
    let searching = tokio::spawn(async move { search(&engine, search_for, limit, None, &to).await });
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("looking through recordings {bar:30} {bytes}/{total_bytes}");
    bar.set_style(style.map_err(Failure::broken)?);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let mut printer = Printer { format: args.format, shown: None };
    while let Some(one) = found.recv().await {
        if let Found::Progress { bytes, of } = one {
            bar.set_length(of);
            bar.set_position(bytes);
        }
        if is_closed(bar.suspend(|| printer.print(&one)))? {
            break;
        }
    }
    bar.finish_and_clear();
    drop(found);
    let done = searching.await.map_err(Failure::broken)?.map_err(Failure::from);
    entry.end(done.as_ref().map(Clone::clone)).await;
    done.map(drop)
}

/// Writes what was found.
struct Printer {
    format: SearchFormat,
    /// The session of the hit before.
    shown: Option<(String, String)>,
}

impl Printer {
    fn print(&mut self, found: &Found) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        match (self.format, found) {
            (SearchFormat::Ndjson, Found::Hit(hit)) => {
                serde_json::to_writer(&mut out, hit)?;
                writeln!(out)
            }
            (SearchFormat::Text, Found::Hit(hit)) => self.print_hit(hit, &mut out),
            // What failed is told by the command itself.
            (_, Found::Progress { .. } | Found::Error { .. }) => out.flush(),
            (_, Found::End { hits, cut, unsearched, .. }) => {
                out.flush()?;
                let Unsearched { recordings_not_indexed, recordings_failed, texts_missed } = unsearched;
                match (hits, cut) {
                    (0, _) => eprintln!("custody: nothing found"),
                    (_, true) => eprintln!("custody: cut off at {hits} hits (--limit): there are more"),
                    _ => {}
                }
                if *recordings_not_indexed > 0 {
                    eprintln!(
                        "custody: {recordings_not_indexed} recordings were not looked through yet, or have grown since \
                         (custody maintain index)"
                    );
                }
                if *recordings_failed > 0 || *texts_missed > 0 {
                    eprintln!(
                        "custody: {recordings_failed} recordings could not be looked through, and {texts_missed} texts were \
                         too many to be kept (the view recording_index says of which)"
                    );
                }
                Ok(())
            }
        }
    }

    fn print_hit(&mut self, found: &SessionHit, out: &mut impl Write) -> std::io::Result<()> {
        let SessionHit { hit, actor: _, person, target, reason, approvers, link_method, replay } = found;
        let key = (hit.source.clone(), hit.session_id.clone());
        if self.shown.as_ref() != Some(&key) {
            if self.shown.is_some() {
                writeln!(out)?;
            }
            let or = |text: &Option<String>, other: &str| visible(text.as_deref().unwrap_or(other)).into_owned();
            let by = match approvers.is_empty() {
                true => "nobody said yes".to_owned(),
                false => format!(
                    "approved by {} ({})",
                    visible(&approvers.join(", ")),
                    link_method.as_deref().unwrap_or_default()
                ),
            };
            let reason =
                reason.as_deref().map_or_else(|| "no reason".to_owned(), |text| format!("{:?}", visible(text)));
            writeln!(
                out,
                "{}  {} on {}",
                visible(&hit.session_id),
                or(person, "somebody"),
                or(target, "an unknown target")
            )?;
            writeln!(out, "  {by}, {reason}")?;
            self.shown = Some(key);
        }
        let at = hit.shown_at.map_or_else(|| "-".to_owned(), |Time(at)| to_rfc3339(at));
        writeln!(out, "  {}  {at}  {replay}", elapsed(hit.whole_us))?;
        for (mark, text) in [(' ', hit.before.as_deref()), ('>', Some(hit.text.as_str())), (' ', hit.after.as_deref())]
        {
            if let Some(text) = text {
                writeln!(out, "    {mark} {}", visible(text))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_is_printed_can_be_pasted() {
        assert_eq!(
            (shell_word("abc-1"), shell_word("a'b; rm"), shell_word("")),
            ("abc-1".into(), "'a'\\''b; rm'".into(), "''".into())
        );
        assert_eq!(
            (elapsed(0), elapsed(61_000_001), elapsed(3_723_500_000)),
            ("00:00.000".into(), "01:01.001".into(), "1:02:03.500".into())
        );
    }
}

//! What is looked for without anybody asking: exceptions of reports, sources that have fallen silent; and the heartbeat.
//!
//! What is found is told as an event of the ledger, once, and again when it is another than before or is over. What was
//! told is read from there, so there is nothing to remember between two looks, and whoever reads the ledger gets it: SQL,
//! and everybody to whom events are forwarded.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::time::Duration;

use custody_ingest::journal::{FINDING, FindingRecord, HEARTBEAT, HeartbeatRecord, Journal, SourceCount};
use custody_ledger::Ledger;
use custody_query::Engine;
use custody_query::findings::{Judged, Told};
use custody_query::reports::{self, Report};
use custody_query::sessions::Time;
use custody_schemas::time::{Micros, to_rfc3339};
use tokio::sync::watch;

use crate::activity::now;
use crate::cli::ReportOf;
use crate::config::{Config, Watch};
use crate::exit::Failure;
use crate::period::Period;
use crate::report;

/// What is known of a source that was not heard of for longer than this is forgotten.
const HEARD_DAYS: i64 = 30;

const DAY_US: Micros = 86_400_000_000;

/// Findings that are told at once; the rest is told by the next look.
const TOLD_AT_ONCE: usize = 5000;

/// What came in just before the end of a span may still be on its way into the ledger when it is over.
const SETTLE_US: Micros = 10_000_000;

/// What looks for sources from which nothing comes, in place of a report.
const SILENT: &str = "silent";

/// Whether the configuration names reports that there are.
pub(crate) fn check(config: &Config) -> Result<(), Failure> {
    for id in &config.watch.reports {
        reports::report(id)?;
    }
    match config.watch.days {
        1..=3660 => Ok(()),
        _ => Err(Failure::usage(anyhow::anyhow!("watch.days is one of 1 to 3660"))),
    }
}

/// Looks again and again until asked to stop. What fails is told, and tried again.
pub(crate) async fn follow(config: &Config, ledger: &Ledger, mut stop: watch::Receiver<bool>) -> Result<(), Failure> {
    let Watch { every_seconds, heartbeat_seconds, .. } = config.watch;
    if every_seconds == 0 && heartbeat_seconds == 0 {
        return Ok(());
    }
    let mut watcher = Watcher::open(config, ledger).await?;
    let mut next_look = match every_seconds {
        0 => Micros::MAX,
        _ => now(),
    };
    // A process that was not there does not speak for the time before it.
    let mut next_beat = span_of(now(), heartbeat_seconds).map(|span| span + 1);
    loop {
        let due = next_look.min(next_beat.map_or(Micros::MAX, |span| end_of(span, heartbeat_seconds) + SETTLE_US));
        let left = Duration::from_micros(due.saturating_sub(now()).max(0).cast_unsigned());
        tokio::select! {
            () = tokio::time::sleep(left) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        if let Some(span) = next_beat.filter(|span| end_of(*span, heartbeat_seconds) + SETTLE_US <= now()) {
            if let Err(error) = watcher.beat(span).await {
                tracing::warn!(%error, "there is no heartbeat");
            }
            next_beat = Some(span + 1);
        }
        if next_look <= now() {
            if let Err(error) = watcher.look().await {
                tracing::warn!(%error, "findings could not be looked for; trying again");
            }
            next_look = now().saturating_add(Duration::from_secs(every_seconds).as_micros() as Micros);
        }
    }
}

/// The span of time that an instant lies in, by its number.
fn span_of(at: Micros, seconds: u64) -> Option<i64> {
    let length = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    (length > 0).then(|| at.div_euclid(length))
}

/// The end of the span before a span, which is when that one begins.
fn end_of(span: i64, seconds: u64) -> Micros {
    span.saturating_mul(i64::try_from(seconds).unwrap_or(i64::MAX)).saturating_mul(1_000_000)
}

/// `custody maintain findings`
pub(crate) async fn look(config: &Config) -> Result<(), Failure> {
    check(config)?;
    let ledger = Ledger::existing(config.location()?).await?;
    let done = Watcher::open(config, &ledger).await?.look().await?;
    let Done { open, changed, closed, standing, left } = done;
    let mut out = std::io::stdout();
    writeln!(out, "{open} findings were raised, {changed} changed, {closed} are over; {standing} are open in all")?;
    if left > 0 {
        writeln!(out, "{left} more are told by the next look")?;
    }
    writeln!(out, "custody sql \"SELECT report, key, explanation, person FROM findings WHERE state <> 'closed'\"")?;
    Ok(())
}

/// What a look came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Done {
    open: usize,
    changed: usize,
    closed: usize,
    /// Findings that are open now.
    standing: usize,
    /// What is still to be told.
    left: usize,
}

struct Watcher<'a> {
    config: &'a Config,
    engine: Engine,
    journal: Journal,
}

impl<'a> Watcher<'a> {
    async fn open(config: &'a Config, ledger: &Ledger) -> Result<Self, Failure> {
        Ok(Self {
            config,
            engine: Engine::open(ledger, config.limits(), &config.vocabulary()).await?,
            journal: Journal::open(ledger).await?,
        })
    }

    /// Looks, and tells what is new.
    async fn look(&mut self) -> Result<Done, Failure> {
        loop {
            let next = self.journal.next_finding().await.map_err(Failure::broken)?;
            let known: HashMap<String, Told> =
                self.engine.told().await?.into_iter().map(|told| (told.finding.clone(), told)).collect();
            let at = now();
            let mut steps = Vec::new();
            for id in &self.config.watch.reports {
                let report = reports::report(id)?;
                let judged = self.judge(report, &known, at).await?;
                steps.extend(steps_of(&Looked::report(report), judged, &known));
            }
            if self.config.watch.silent_hours > 0 {
                let judged = self.silent(at).await?;
                steps.extend(steps_of(&Looked::silent(self.config.watch.silent_hours), judged, &known));
            }
            let left = steps.len().saturating_sub(TOLD_AT_ONCE);
            steps.truncate(TOLD_AT_ONCE);
            let written = to_rfc3339(at);
            let records: Vec<FindingRecord<'_>> = steps.iter().map(|step| step.record(&written)).collect();
            match self.journal.found(next, &records, at).await {
                // Another process told the same meanwhile.
                Err(error) if error.is_fenced() => continue,
                told => told.map_err(Failure::broken)?,
            }
            let of = |state: &str| steps.iter().filter(|step| step.state == state).count();
            let (open, changed, closed) = (of("open"), of("changed"), of("closed"));
            let standing = known.values().filter(|told| told.state != "closed").count() + open - closed;
            metrics::gauge!("custody_findings_open").set(standing as f64);
            if !steps.is_empty() {
                tracing::info!(open, changed, closed, "findings");
            }
            return Ok(Done { open, changed, closed, standing, left });
        }
    }

    async fn judge(
        &self,
        report: &'static Report,
        known: &HashMap<String, Told>,
        at: Micros,
    ) -> Result<Vec<Judged>, Failure> {
        let days = i64::try_from(self.config.watch.days).unwrap_or(i64::MAX);
        let period = Period { from: at.saturating_sub(days.saturating_mul(DAY_US)), to: at };
        let of = ReportOf { period, as_of: Some(at), state: None };
        let asked = report::asked(self.config, report, &of, BTreeMap::new(), ("custody".to_owned(), at));
        let open = known.values().filter(|told| told.state != "closed");
        let before: HashSet<String> = open
            .filter_map(|told| told.finding.strip_prefix(report.id)?.strip_prefix('/').map(str::to_owned))
            .collect();
        Ok(self.engine.judged(&asked, &before).await?)
    }

    /// Sources that were heard of, and whether they have fallen silent.
    async fn silent(&self, at: Micros) -> Result<Vec<Judged>, Failure> {
        let hours = i64::try_from(self.config.watch.silent_hours).unwrap_or(i64::MAX);
        let silence = hours.saturating_mul(3_600_000_000);
        let heard = self.engine.heard(at.saturating_sub(silence.saturating_add(HEARD_DAYS * DAY_US))).await?;
        let judged = heard.into_iter().map(|heard| {
            let is_silent = at.saturating_sub(heard.at.0) > silence;
            Judged {
                key: heard.cluster.map_or(heard.source.clone(), |cluster| format!("{}/{cluster}", heard.source)),
                verdict: if is_silent { "exception" } else { "pass" }.to_owned(),
                why: is_silent.then(|| SILENT.to_owned()),
                ..Judged::default()
            }
        });
        Ok(judged.collect())
    }

    /// Tells how much came in before a span began.
    async fn beat(&mut self, span: i64) -> Result<(), Failure> {
        let seconds = self.config.watch.heartbeat_seconds;
        let (from, to) = (end_of(span - 1, seconds), end_of(span, seconds));
        let came = self.engine.came(from, to).await?;
        let events = came.iter().map(|of| of.events).sum();
        let sources: Vec<SourceCount> =
            came.into_iter().map(|of| SourceCount { source: of.source, events: of.events }).collect();
        let (from, to) = (to_rfc3339(from), to_rfc3339(to));
        let record = HeartbeatRecord { custody: HEARTBEAT, from: &from, to: &to, sources: &sources, events };
        self.journal.beat(span, &record, now()).await.map_err(Failure::broken)
    }
}

/// What was looked for.
struct Looked<'a> {
    id: &'a str,
    version: u32,
    title: String,
    controls: &'a [String],
    why: HashMap<&'a str, String>,
}

impl<'a> Looked<'a> {
    fn report(report: &'a Report) -> Self {
        let why = report.front.why.iter().map(|(code, text)| (code.as_str(), text.clone()));
        Self {
            id: report.id,
            version: report.front.version,
            title: report.front.title.clone(),
            controls: &report.front.controls,
            why: why.collect(),
        }
    }

    fn silent(hours: u64) -> Self {
        Self {
            id: SILENT,
            version: 1,
            title: "Sources that have fallen silent".to_owned(),
            controls: &[],
            why: HashMap::from([(SILENT, format!("Nothing came from it for {hours} hours"))]),
        }
    }
}

/// What is to be told of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step<'a> {
    report: &'a str,
    version: u32,
    title: String,
    controls: &'a [String],
    state: &'static str,
    judged: Judged,
    why: Vec<String>,
    explanation: String,
    raised_at: Option<String>,
}

impl Step<'_> {
    fn record<'s>(&'s self, at: &'s str) -> FindingRecord<'s> {
        FindingRecord {
            custody: FINDING,
            state: self.state,
            report: self.report,
            report_version: self.version,
            title: &self.title,
            key: &self.judged.key,
            verdict: &self.judged.verdict,
            why: &self.why,
            explanation: &self.explanation,
            controls: self.controls,
            session_id: self.judged.session_id.as_deref(),
            person: self.judged.person.as_deref(),
            evidence: &self.judged.evidence,
            handled: self.judged.handled.as_deref(),
            raised_at: self.raised_at.as_deref().unwrap_or(at),
            at,
        }
    }
}

/// What is to be told of the rows of a report, by what was told of them before.
///
/// A row that is not there any more says nothing: the period that is looked at has gone past it.
fn steps_of<'a>(looked: &Looked<'a>, judged: Vec<Judged>, known: &HashMap<String, Told>) -> Vec<Step<'a>> {
    let steps = judged.into_iter().filter_map(|judged| {
        let told = known.get(&format!("{}/{}", looked.id, judged.key));
        let was_open = told.is_some_and(|told| told.state != "closed");
        let why: Vec<String> = judged.why.iter().cloned().collect();
        let state = match (judged.verdict == "exception", told) {
            (true, Some(told)) if was_open => {
                let before: Option<Vec<String>> = told.why.as_deref().and_then(|why| serde_json::from_str(why).ok());
                let is_same = before.is_some_and(|before| before == why) && told.handled == judged.handled;
                if is_same {
                    return None;
                }
                "changed"
            }
            (true, _) => "open",
            (false, _) if was_open => "closed",
            (false, _) => return None,
        };
        let explained = why.iter().filter_map(|code| looked.why.get(code.as_str()).map(String::as_str));
        Some(Step {
            report: looked.id,
            version: looked.version,
            title: looked.title.clone(),
            controls: looked.controls,
            state,
            explanation: explained.collect::<Vec<_>>().join("; "),
            why,
            raised_at: told.and_then(|told| told.raised_at).map(|Time(at)| to_rfc3339(at)),
            judged,
        })
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(key: &str, verdict: &str, why: Option<&str>, handled: Option<&str>) -> Judged {
        Judged {
            key: key.to_owned(),
            verdict: verdict.to_owned(),
            why: why.map(str::to_owned),
            handled: handled.map(str::to_owned),
            ..Judged::default()
        }
    }

    #[test]
    fn a_finding_is_told_when_it_is_new_another_or_over() {
        let looked = Looked::silent(24);
        let told = |state: &str, why: &str, handled: Option<&str>| Told {
            finding: "silent/a".to_owned(),
            state: state.to_owned(),
            why: Some(why.to_owned()),
            handled: handled.map(str::to_owned),
            raised_at: Some(Time(5_000_000)),
        };
        let cases = [
            // Before, now, what is told.
            (None, judged("a", "exception", Some("silent"), None), Some("open")),
            (None, judged("a", "pass", None, None), None),
            (None, judged("a", "na", None, None), None),
            (Some(told("open", r#"["silent"]"#, None)), judged("a", "exception", Some("silent"), None), None),
            (Some(told("changed", r#"["silent"]"#, None)), judged("a", "exception", Some("silent"), None), None),
            (Some(told("open", r#"["other"]"#, None)), judged("a", "exception", Some("silent"), None), Some("changed")),
            (
                Some(told("open", r#"["silent"]"#, None)),
                judged("a", "exception", Some("silent"), Some("explained")),
                Some("changed"),
            ),
            (Some(told("open", r#"["silent"]"#, None)), judged("a", "pass", None, None), Some("closed")),
            (Some(told("closed", "[]", None)), judged("a", "pass", None, None), None),
            (Some(told("closed", "[]", None)), judged("a", "exception", Some("silent"), None), Some("open")),
            // Another one.
            (Some(told("open", r#"["silent"]"#, None)), judged("b", "exception", None, None), Some("open")),
        ];
        for (before, now, expected) in cases {
            let case = format!("{before:?} {now:?}");
            let is_known = before.is_some() && now.key == "a";
            let known = before.into_iter().map(|told| (told.finding.clone(), told)).collect();
            let steps = steps_of(&looked, vec![now], &known);
            assert_eq!(steps.first().map(|step| step.state), expected, "{case}");
            for step in steps {
                let record = step.record("2026-11-22T08:00:00Z");
                let raised = if is_known { "1970-01-01T00:00:05.000000Z" } else { "2026-11-22T08:00:00Z" };
                assert_eq!(record.raised_at, raised, "{case}");
            }
        }
    }

    #[test]
    fn spans_follow_one_another() {
        assert_eq!(span_of(3_600_000_000, 3600), Some(1));
        assert_eq!(span_of(3_599_999_999, 3600), Some(0));
        assert_eq!(span_of(-1, 3600), Some(-1));
        assert_eq!(span_of(5, 0), None);
        assert_eq!(end_of(2, 3600), 7_200_000_000);
    }
}

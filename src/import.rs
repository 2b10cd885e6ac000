//! `custody import`: recordings and logs at rest, from files, folders and object stores.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use custody_ingest::import::{Format, Found, Passed, find};
use custody_ingest::importer::{Importer, Report};
use custody_ledger::{Ledger, Object, Objects, ObjectsError};
use custody_query::Engine;
use custody_query::sessions::Announced;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::sync::watch;

use crate::cli::Import;
use crate::config::Config;
use crate::exit::Failure;
use crate::show::text;

/// What became of one object.
#[derive(Debug, Serialize)]
struct Row {
    object: String,
    format: String,
    size_bytes: u64,
    records: u64,
    events: u64,
    pieces: u64,
    errors: u64,
    session_id: Option<String>,
    integrity: Option<&'static str>,
    /// What there is to know: findings, reasons of errors, why it was passed over.
    notes: Vec<String>,
}

/// `custody import`
pub(crate) async fn run(config: &Config, args: Import) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut importing = match args.dry_run {
        true => None,
        false => {
            let ledger = Ledger::create(config.location()?).await?;
            let settings = config.settings().map_err(Failure::usage)?;
            let keys = Arc::new(config.recording_keys().map_err(Failure::usage)?);
            Some(Importer::open(&ledger, settings, keys, config.flush).await?)
        }
    };
    for path in &args.paths {
        if path.contains("://") && !path.starts_with("file://") {
            from_store(config, &args, path, importing.as_mut(), &mut rows).await?;
        } else {
            let local = path.strip_prefix("file://").unwrap_or(path);
            let (found, passed) = look(Path::new(local), Some(&args))?;
            import(found, passed, importing.as_mut(), &mut rows).await?;
        }
    }
    print(&rows, args.json)?;
    let bad = rows
        .iter()
        .filter(|row| {
            matches!(row.integrity, Some("failed" | "incomplete"))
                || row.notes.iter().any(|note| note.starts_with("FAILED") || note.starts_with("Truncated"))
        })
        .count();
    if bad > 0 {
        return Err(Failure::check(anyhow::anyhow!(
            "{bad} of {} objects could not be read, or a check of them failed",
            rows.len()
        )));
    }
    Ok(())
}

fn look(path: &Path, args: Option<&Import>) -> Result<(Vec<Found>, Vec<Passed>), Failure> {
    let (mut found, passed) =
        find(path).map_err(|error| Failure::usage(anyhow::anyhow!("{}: {error}", path.display())))?;
    let Some(args) = args else { return Ok((found, passed)) };
    for one in &mut found {
        if let (Some(source), Format::Documents(_)) = (args.source, one.format) {
            one.format = Format::Documents(source);
        }
        one.session_id.clone_from(&args.session_id);
    }
    let nameless = found.iter().filter(|one| one.format.is_nameless()).count();
    if args.session_id.is_some() && nameless > 1 {
        return Err(Failure::usage(anyhow::anyhow!("--session-id names one recording, and there are {nameless} here")));
    }
    Ok((found, passed))
}

/// Imports what was found, with a progress bar where a person looks.
async fn import(
    found: Vec<Found>,
    passed: Vec<Passed>,
    importer: Option<&mut Importer>,
    rows: &mut Vec<Row>,
) -> Result<(), Failure> {
    match importer {
        None => rows.extend(found.iter().map(Row::planned)),
        Some(importer) => {
            let bar = bar(&found);
            let reports = importer
                .import(found, |object, bytes| {
                    bar.set_message(custody_query::visible(&object.name).into_owned());
                    bar.inc(bytes);
                })
                .await;
            bar.finish_and_clear();
            rows.extend(reports.map_err(Failure::broken)?.iter().map(Row::done));
        }
    }
    rows.extend(passed.iter().map(Row::passed));
    Ok(())
}

fn bar(found: &[Found]) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    // Every byte is read twice: for its hash, and for its records.
    let bar = ProgressBar::new(found.iter().map(|object| object.size_bytes * 2).sum());
    let style = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}";
    // The template is a constant; a test would not tell more than the compiler of it.
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

/// Imports the objects of a store: those that belong together at a time, each copied to a temporary folder first, since
/// it is read twice.
async fn from_store(
    config: &Config,
    args: &Import,
    url: &str,
    mut importer: Option<&mut Importer>,
    rows: &mut Vec<Row>,
) -> Result<(), Failure> {
    let options: HashMap<String, String> = config.store.clone().into_iter().collect();
    let objects = Objects::open(url, &options).map_err(Failure::usage)?;
    let listed = objects.list().await.map_err(Failure::broken)?;
    if listed.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!("there is nothing at {url}")));
    }
    for group in groups(listed).values() {
        let (fetched, passed) = fetch(&objects, group, Some(args)).await?;
        import(fetched.found, passed, importer.as_deref_mut(), rows).await?;
    }
    Ok(())
}

/// Objects that were copied, and the folder that holds them as long as they are needed.
struct Fetched {
    found: Vec<Found>,
    _folder: tempfile::TempDir,
}

async fn fetch(objects: &Objects, group: &[Object], args: Option<&Import>) -> Result<(Fetched, Vec<Passed>), Failure> {
    let folder = tempfile::tempdir()?;
    for object in group {
        let to = folder.path().join(safe(&object.name));
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        objects.download(object, &to).await.map_err(Failure::broken)?;
    }
    let (mut found, mut passed) = look(folder.path(), args)?;
    let display = |path: &Path| {
        let below = path.strip_prefix(folder.path()).unwrap_or(path);
        format!("{}/{}", objects.url().as_str().trim_end_matches('/'), below.display()).trim_end_matches('/').to_owned()
    };
    for one in &mut found {
        one.name = display(&one.path);
    }
    for one in &mut passed {
        one.name = display(Path::new(&one.name));
    }
    Ok((Fetched { found, _folder: folder }, passed))
}

/// A key as a path below a folder, whatever it is.
fn safe(name: &str) -> PathBuf {
    name.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect()
}

/// Follows what gateways say of stored recordings: looks for each that is announced and not here in the configured
/// places, and imports it, until asked to stop.
pub(crate) async fn follow(config: &Config, ledger: &Ledger, mut stop: watch::Receiver<bool>) -> Result<(), Failure> {
    if config.recordings.from.is_empty() {
        return Ok(());
    }
    let options: HashMap<String, String> = config.store.clone().into_iter().collect();
    let places: Vec<Objects> = config
        .recordings
        .from
        .iter()
        .map(|place| Objects::open(&as_url(place)?, &options).map_err(anyhow::Error::from))
        .collect::<anyhow::Result<_>>()
        .map_err(Failure::usage)?;
    for place in &places {
        let folder = place.url().to_file_path();
        if folder.is_ok_and(|folder| !folder.is_dir()) {
            tracing::warn!(place = %place.url(), "there is no such folder; recordings are looked for there all the same");
        }
    }
    let engine = Engine::open(ledger, config.limits(), &config.vocabulary()).await?;
    let settings = config.settings().map_err(Failure::usage)?;
    let keys = Arc::new(config.recording_keys().map_err(Failure::usage)?);
    let mut importer = Importer::open(ledger, settings, keys, config.flush).await?;
    let every = std::time::Duration::from_secs(config.recordings.every_s.max(1));
    loop {
        if let Err(failure) = look_for_announced(&engine, &places, &mut importer, &stop).await {
            tracing::warn!(%failure, "announced recordings could not be looked for; trying again");
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

async fn look_for_announced(
    engine: &Engine,
    places: &[Objects],
    importer: &mut Importer,
    stop: &watch::Receiver<bool>,
) -> Result<(), Failure> {
    for announced in engine.announced_recordings().await? {
        for place in places {
            if *stop.borrow() {
                return Ok(());
            }
            // One that cannot be read must not keep the others from being looked for.
            if let Err(failure) = import_announced(place, &announced, importer).await {
                let session_id = announced.session_id.as_str();
                tracing::warn!(session_id, %failure, "an announced recording could not be imported; trying again");
            }
        }
    }
    Ok(())
}

async fn import_announced(place: &Objects, announced: &Announced, importer: &mut Importer) -> Result<(), Failure> {
    let group = stored(place, announced).await.map_err(Failure::broken)?;
    if group.is_empty() {
        return Ok(());
    }
    let (fetched, passed) = fetch(place, &group, None).await?;
    for report in importer.import(fetched.found, |_, _| {}).await.map_err(Failure::broken)? {
        let row = Row::done(&report);
        let notes = row.notes.join("; ");
        tracing::info!(
            object = row.object,
            session_id = row.session_id,
            pieces = row.pieces,
            notes,
            "imported a recording"
        );
    }
    for passed in passed {
        tracing::debug!(object = passed.name, why = passed.why, "passed over");
    }
    Ok(())
}

/// The objects of a recording in a place: Teleport calls it by the session, Boundary by the recording.
async fn stored(place: &Objects, announced: &Announced) -> Result<Vec<Object>, ObjectsError> {
    let names = announced.recording_ids.iter().chain([&announced.session_id]);
    for name in names {
        if let Some(object) = place.find(&format!("{name}.tar")).await? {
            return Ok(vec![object]);
        }
        let container = place.list_below(&format!("{name}.bsr")).await?;
        if !container.is_empty() {
            return Ok(container);
        }
    }
    Ok(Vec::new())
}

fn as_url(place: &str) -> anyhow::Result<String> {
    if place.contains("://") {
        return Ok(place.to_owned());
    }
    let path = std::path::absolute(place)?;
    url::Url::from_directory_path(&path)
        .map(String::from)
        .map_err(|()| anyhow::anyhow!("{} is no folder", path.display()))
}

/// Objects that may be one recording only together: those in or below a folder that looks like a container, and those
/// whose names differ after the first dot alone (`x.timing`, `x.io`).
fn groups(objects: Vec<Object>) -> BTreeMap<String, Vec<Object>> {
    // What is in each folder, the prefix itself being the folder without a name.
    let mut folders: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for object in &objects {
        let mut path = object.name.as_str();
        loop {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            folders.entry(folder).or_default().insert(name);
            if folder.is_empty() {
                break;
            }
            path = folder;
        }
    }
    let is_container = |folder: &str| {
        folders.get(folder).is_some_and(|names| {
            let has = |name: &str| names.contains(name);
            has("session-recording.meta")
                || has("session-meta.json")
                || has("bsrKey.pub")
                || names.iter().any(|name| name.ends_with(".connection"))
                || (has("timing") && (has("log") || has("log.json")))
        })
    };
    let containers: BTreeSet<String> =
        folders.keys().filter(|folder| is_container(folder)).map(|folder| (*folder).to_owned()).collect();
    let mut groups: BTreeMap<String, Vec<Object>> = BTreeMap::new();
    for object in objects {
        let name = object.name.clone();
        let above = name.match_indices('/').filter_map(|(at, _)| name.get(..at));
        let group = [""].into_iter().chain(above).find(|folder| containers.contains(*folder)).unwrap_or_else(|| {
            let file = name.rfind('/').map_or(0, |at| at + 1);
            let stem = name.get(file..).and_then(|file| file.find('.')).unwrap_or(name.len() - file);
            name.get(..file + stem).unwrap_or(&name)
        });
        let group = group.to_owned();
        groups.entry(group).or_default().push(object);
    }
    groups
}

impl Row {
    fn planned(found: &Found) -> Self {
        Self::new(&found.name, found.format.name(), found.size_bytes)
    }

    fn done(report: &Report) -> Self {
        let mut row = Self::new(&report.found.name, report.found.format.name(), report.size_bytes);
        (row.records, row.events, row.pieces) = (report.records, report.events, report.pieces);
        row.errors = report.errors.values().sum();
        row.session_id.clone_from(&report.summary.session_id);
        row.integrity = report.summary.integrity.map(|integrity| integrity.as_str());
        row.notes.extend(report.failed.iter().map(|why| format!("FAILED: {why}")));
        if report.records == 0 && report.failed.is_none() {
            row.notes.push("is in the ledger already".to_owned());
        }
        row.notes.extend(report.errors.iter().map(|(kind, count)| format!("{count} {kind}")));
        row.notes.extend(report.summary.findings.iter().map(|finding| match &finding.file {
            Some(file) => format!("{} {file}: {}", finding.kind, finding.detail),
            None => format!("{}: {}", finding.kind, finding.detail),
        }));
        row
    }

    fn passed(passed: &Passed) -> Self {
        let mut row = Self::new(&passed.name, "", passed.size_bytes);
        row.notes.push(passed.why.to_owned());
        row
    }

    fn new(object: &str, format: &str, size_bytes: u64) -> Self {
        Self {
            object: object.to_owned(),
            format: format.to_owned(),
            size_bytes,
            records: 0,
            events: 0,
            pieces: 0,
            errors: 0,
            session_id: None,
            integrity: None,
            notes: Vec::new(),
        }
    }
}

/// Notes of a line that a person reads; the JSON has all.
const NOTES_SHOWN: usize = 3;

fn print(rows: &[Row], json: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if json {
        for row in rows {
            serde_json::to_writer(&mut out, row).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        return Ok(());
    }
    const TITLES: [&str; 9] =
        ["OBJECT", "FORMAT", "BYTES", "RECORDS", "EVENTS", "PIECES", "ERRORS", "INTEGRITY", "NOTES"];
    let cells: Vec<[String; TITLES.len()]> = rows.iter().map(Row::cells).collect();
    text::table(&TITLES, &cells, &mut out)?;
    let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
    writeln!(
        out,
        "{} objects: {} records, {} events, {} pieces, {} errors; {} passed over",
        rows.iter().filter(|row| !row.format.is_empty()).count(),
        sum(|row| row.records),
        sum(|row| row.events),
        sum(|row| row.pieces),
        sum(|row| row.errors),
        rows.iter().filter(|row| row.format.is_empty()).count(),
    )?;
    Ok(())
}

impl Row {
    fn cells(&self) -> [String; 9] {
        let number = |number: u64| if self.format.is_empty() { String::new() } else { number.to_string() };
        let mut notes: Vec<&str> = self.notes.iter().map(String::as_str).take(NOTES_SHOWN).collect();
        let more = format!("and {} more", self.notes.len().saturating_sub(NOTES_SHOWN));
        if self.notes.len() > NOTES_SHOWN {
            notes.push(&more);
        }
        [
            custody_query::visible(&self.object).into_owned(),
            if self.format.is_empty() { "-".to_owned() } else { self.format.clone() },
            self.size_bytes.to_string(),
            number(self.records),
            number(self.events),
            number(self.pieces),
            number(self.errors),
            self.integrity.unwrap_or_default().to_owned(),
            custody_query::visible(&notes.join("; ")).into_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_one_recording_is_fetched_together_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let names = [
            "a/1.tar",
            "a/2.tar",
            "b/x.timing",
            "b/x",
            "c/sr_1.bsr/session-meta.json",
            "c/sr_1.bsr/cr_1.connection/requests-inbound.data",
            "d/log",
            "d/timing",
            "d/ttyout",
        ];
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let group = async |below: &str| {
            let url = url::Url::from_directory_path(folder.path().join(below)).unwrap();
            let objects = Objects::open(url.as_str(), &HashMap::new()).unwrap().list().await.unwrap();
            groups(objects).into_iter().map(|(name, group)| (name, group.len())).collect::<Vec<_>>()
        };
        let expected = [("a/1", 1), ("a/2", 1), ("b/x", 2), ("c/sr_1.bsr", 2), ("d", 3)];
        assert_eq!(group("").await, expected.map(|(name, count)| (name.to_owned(), count)));
        // The prefix may be the recording itself, and lack what it should have.
        assert_eq!(group("c/sr_1.bsr").await, [(String::new(), 2)]);
        std::fs::remove_file(folder.path().join("c/sr_1.bsr/session-meta.json")).unwrap();
        assert_eq!(group("c/sr_1.bsr").await, [(String::new(), 1)]);
    }

    #[test]
    fn keys_stay_below_their_folder() {
        assert_eq!(safe("../../etc/passwd"), PathBuf::from("etc/passwd"));
        assert_eq!(safe("/a//b/./c"), PathBuf::from("a/b/c"));
    }
}

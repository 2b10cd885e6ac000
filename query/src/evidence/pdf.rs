//! The document: what an auditor reads from the first page to the last.

mod paper;

use arrow::error::ArrowError;

use super::readme::{REDRAW, redraws};
use super::tables::Rows;
use super::words::{self, LINKS, TERMS};
use super::{EvidenceError, tables};
use crate::evidence::model::{Pack, ReportResult, Sample};
use paper::{ACCENT, Block, Column, Face, GREY, INK, Paper, Style, WIDTH};

/// A list on paper ends here: nobody reads on, and the rest is in the files.
const ROWS_MAX: u64 = 200;

/// So many facts are shown beside each exception.
const FACTS_MAX: usize = 4;

const TITLE: Style = Style::new(Face::Bold, 26.0, 33.0, INK);
const CHAPTER: Style = Style::new(Face::Bold, 17.0, 23.0, INK);
const SECTION: Style = Style::new(Face::Bold, 10.5, 14.0, ACCENT);
const OVERLINE: Style = Style::new(Face::Bold, 8.0, 11.0, ACCENT);
const LEAD: Style = Style::new(Face::Sans, 11.0, 16.5, INK);
const TEXT: Style = Style::new(Face::Sans, 9.0, 14.0, INK);
const CELL: Style = Style::new(Face::Sans, 7.6, 10.6, INK);
const STRONG: Style = Style::new(Face::Bold, 7.6, 10.6, INK);
const QUIET: Style = Style::new(Face::Sans, 7.6, 10.6, GREY);
const CODE: Style = Style::new(Face::Mono, 7.2, 10.6, INK);
const FIGURE: Style = Style::new(Face::Sans, 17.0, 22.0, INK);

/// The document of a pack.
pub(super) fn pdf(pack: &Pack<'_>) -> Result<Vec<u8>, EvidenceError> {
    let mut paper = Paper::new()?;
    cover(&mut paper, pack);
    method(&mut paper);
    for report in pack.reports {
        chapter(&mut paper, report)?;
    }
    verify(&mut paper, pack);
    let below = format!("{} to {}", words::time(pack.from), words::time(pack.to));
    paper.finish(&pack.title, &pack.entity, &below, &pack.tool, words::instant(pack.as_of))
}

fn cover(paper: &mut Paper, pack: &Pack<'_>) {
    paper.mark("Overview");
    paper.gap(30.0);
    paper.rule(3.0, 44.0, ACCENT);
    paper.gap(14.0);
    paper.paragraph(OVERLINE, "EVIDENCE PACK");
    paper.gap(4.0);
    paper.paragraph(TITLE, &pack.title);
    paper.gap(4.0);
    paper.paragraph(LEAD, &pack.entity);
    paper.gap(22.0);

    let mut controls: Vec<&str> = match &pack.control {
        Some(control) => vec![control],
        None => pack.reports.iter().flat_map(|report| &report.controls).map(String::as_str).collect(),
    };
    controls.sort_unstable();
    controls.dedup();
    let period = words::period(pack);
    let facts = [
        ("Period", period),
        ("As of", words::time(pack.as_of)),
        ("Environment", pack.environment.clone()),
        (if pack.control.is_some() { "Control" } else { "Controls" }, controls.join(", ")),
        ("Prepared by", pack.prepared_by.clone()),
        ("Prepared with", pack.tool.clone()),
    ];
    definitions(paper, &facts);

    paper.gap(26.0);
    section(paper, "What was found");
    let columns = [
        Column::new("Id", 46.0),
        Column::new("Report", WIDTH - 46.0 - 136.0 - 58.0 - 58.0),
        Column::new("Found", 136.0),
        Column::right("Population", 58.0),
        Column::right("Exceptions", 58.0),
    ];
    let rows = pack.reports.iter().map(|report| {
        let counts = &report.counts;
        let style = if counts.exceptions > 0 { STRONG } else { CELL };
        vec![
            one(STRONG, &report.id),
            one(CELL, &report.title),
            one(style, words::verdict(counts)),
            one(CELL, words::number(counts.population)),
            one(style, words::number(counts.exceptions)),
        ]
    });
    paper.table(&columns, &rows.collect::<Vec<_>>());
}

fn method(paper: &mut Paper) {
    paper.page();
    title(paper, "Scope and method", "Scope and method");
    for text in [
        "Each report asks one question of everything that was collected in the period. The period includes its first \
         instant and not its last one, so that adjoining periods share nothing. All times are UTC, marked Z.",
        "Every item of a population is judged by a query, not a part of it. The query, its parameters and the versions \
         of the tables that it read are in this pack, so that the same answer can be had again. A sample, where \
         one was drawn, is for looking at sessions; it does not stand in for the judgement.",
        "A judgement has three outcomes: the control worked, it did not, or the facts do not say. What they do not \
         say is counted as not judged, and is never added to what passed.",
    ] {
        paper.paragraph(TEXT, text);
        paper.gap(6.0);
    }
    paper.gap(12.0);
    section(paper, "What the numbers mean");
    definitions(paper, &TERMS);
    paper.gap(20.0);
    section(paper, "How a session is linked to its approval");
    paper.paragraph(
        TEXT,
        "Gateways say in different ways what gave access to a session. The way is part of the evidence, from the \
         strongest to the weakest:",
    );
    paper.gap(6.0);
    definitions(paper, &LINKS);
}

fn chapter(paper: &mut Paper, report: &ReportResult) -> Result<(), EvidenceError> {
    paper.page();
    paper.mark(&format!("{} {}", report.id, report.title));
    paper.paragraph(OVERLINE, &format!("{}  ·  version {}", report.id, report.version));
    paper.gap(2.0);
    paper.paragraph(CHAPTER, &report.title);
    paper.gap(4.0);
    paper.paragraph(LEAD, &report.question);
    paper.gap(18.0);
    counts(paper, report);
    paper.gap(18.0);

    let parameters = report.parameters.iter().map(|(name, value)| Block::labelled(name, CODE, value));
    let read = report.versions.iter().map(|(table, version)| Block::new(CODE, format!("{table} at version {version}")));
    let references = report.references.iter().map(|(name, sha256, rows)| {
        [Block::new(CODE, format!("{name}, {} rows", words::number(*rows))), Block::new(CODE, hash(sha256))]
    });
    let facts = [
        ("Controls", one(CELL, report.controls.join(", "))),
        ("Population", one(CELL, &report.population_words)),
        ("Parameters", parameters.collect()),
        ("Completeness", one(CELL, &report.completeness_words)),
        ("Tables read", read.collect()),
        ("Reference lists", references.flatten().collect()),
        (
            "Query",
            vec![Block::new(CODE, format!("data/query/{}.sql", report.id)), Block::new(CODE, hash(&report.sql_sha256))],
        ),
        ("Population hash", one(CODE, hash(&report.population_sha256))),
        ("Result hash", one(CODE, hash(&report.result_sha256))),
    ];
    let rows = facts.into_iter().filter(|(_, value)| !value.is_empty());
    paper.table(&DEFINITION, &rows.map(|(label, value)| vec![one(QUIET, label), value]).collect::<Vec<_>>());

    paper.gap(22.0);
    exceptions(paper, report)?;
    if let Some(sample) = &report.sample {
        paper.gap(22.0);
        sample_summary(paper, report, sample)?;
    }
    Ok(())
}

/// The numbers, and a bar of what was judged.
fn counts(paper: &mut Paper, report: &ReportResult) {
    const PASSED: [f32; 3] = [0.84, 0.88, 0.92];
    const INFORMATION: [f32; 3] = [0.66, 0.74, 0.81];
    const WARNING: [f32; 3] = [0.40, 0.54, 0.67];
    const NOT_JUDGED: [f32; 3] = [0.58, 0.58, 0.58];
    let counts = &report.counts;
    let tiles = [
        ("Population", None, counts.population),
        ("Passed", Some(PASSED), counts.pass),
        ("Exceptions", Some(ACCENT), counts.exceptions),
        ("Warnings", Some(WARNING), counts.warnings),
        ("Information", Some(INFORMATION), counts.information),
        ("Not judged", Some(NOT_JUDGED), counts.not_applicable),
        ("Excluded", None, counts.excluded),
    ];
    paper.tiles(FIGURE, &tiles.map(|(label, colour, count)| (label, colour, words::number(count))));
    paper.gap(8.0);
    let parts = tiles.iter().filter_map(|(_, colour, count)| Some((*count, (*colour)?))).collect::<Vec<_>>();
    paper.bar(6.0, &parts);
    paper.gap(2.0);
    let whole = parts.iter().fold(0_u64, |whole, (count, _)| whole.saturating_add(*count));
    let share = |count| words::share(count, whole);
    let words = match whole {
        0 => "There was nothing to judge in the period.".to_owned(),
        _ => format!(
            "Of {} in scope: exceptions {}, passed {}, not judged {}.",
            words::number(whole),
            share(counts.exceptions),
            share(counts.pass),
            share(counts.not_applicable)
        ),
    };
    paper.paragraph(QUIET, &words);
}

fn exceptions(paper: &mut Paper, report: &ReportResult) -> Result<(), EvidenceError> {
    let count = report.counts.exceptions;
    section(paper, &format!("Exceptions ({})", words::number(count)));
    let batches = tables::of_verdict(report, "exception")?;
    let columns = [
        Column::new("Item", 108.0),
        Column::new("Why", 98.0),
        Column::new("Facts", 154.0),
        Column::new("Status and explanation", WIDTH - 108.0 - 98.0 - 154.0),
    ];
    let mut shown = Vec::new();
    let mut total = 0;
    for batch in &batches {
        let rows = Rows::new(batch)?;
        total += rows.len() as u64;
        for row in 0..rows.len() {
            if shown.len() as u64 == ROWS_MAX {
                break;
            }
            let key = rows.text(rows.column("key"), row)?;
            let code = rows.text(rows.column("why"), row)?;
            let facts = facts(report, &rows, row, &key)?;
            shown.push(vec![
                one(CODE, key),
                one(CELL, words::why(report, &code)),
                facts.into_iter().map(|(name, value)| Block::labelled(name, CELL, value)).collect(),
                status(&rows, row)?,
            ]);
        }
    }
    if shown.is_empty() {
        paper.paragraph(TEXT, "None.");
    } else {
        paper.table(&columns, &shown);
    }
    let mut notes = Vec::new();
    let more = total.saturating_sub(ROWS_MAX);
    if more > 0 {
        let path = words::data_path(report, "exceptions.csv");
        notes.push(format!("{} more in population.csv; {path} has the exceptions alone.", words::number(more)));
    }
    let others = [
        ("warning", report.counts.warnings),
        ("na", report.counts.not_applicable),
        ("information", report.counts.information),
    ];
    let others = others.iter().filter(|(_, count)| *count > 0);
    let others = others.map(|(verdict, count)| format!("{} × {verdict}", words::number(*count)));
    let others = others.collect::<Vec<_>>().join(", ");
    if !others.is_empty() {
        notes.push(format!("Not exceptions, but worth a look in sheet {} of report.xlsx: {others}.", report.id));
    }
    for note in notes {
        paper.gap(6.0);
        paper.paragraph(TEXT, &note);
    }
    Ok(())
}

/// The columns that tell most about a row: the first that say something that the key and the verdict do not.
fn facts<'a>(
    report: &'a ReportResult,
    rows: &Rows<'_>,
    row: usize,
    key: &str,
) -> Result<Vec<(&'a str, String)>, ArrowError> {
    const ELSEWHERE: [&str; 8] =
        ["key", "verdict", "why", "status", "status_by", "status_at", "status_note", "evidence"];
    let mut facts = Vec::new();
    for (name, _) in report.columns.iter().filter(|(name, _)| !ELSEWHERE.contains(&name.as_str())) {
        let value = rows.text(rows.column(name), row)?;
        let in_key = key.split('/').any(|part| part == value);
        if !value.is_empty() && !in_key {
            facts.push((name.as_str(), value));
        }
        if facts.len() == FACTS_MAX {
            break;
        }
    }
    Ok(facts)
}

/// What the entity says about an exception.
fn status(rows: &Rows<'_>, row: usize) -> Result<Vec<Block>, ArrowError> {
    let text = |name| rows.text(rows.column(name), row);
    let (status, by, at, note) = (text("status")?, text("status_by")?, text("status_at")?, text("status_note")?);
    if status.is_empty() {
        return Ok(one(QUIET, "No statement"));
    }
    let mut blocks = one(STRONG, status);
    let said = [by, at].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
    for (style, text) in [(QUIET, said), (CELL, note)] {
        if !text.is_empty() {
            blocks.push(Block::new(style, text));
        }
    }
    Ok(blocks)
}

fn sample_summary(paper: &mut Paper, report: &ReportResult, sample: &Sample) -> Result<(), EvidenceError> {
    section(paper, "Sample");
    let (n, population) = (words::number(sample.n), words::number(sample.population));
    let rate = |rate: Option<f64>| rate.map(|rate| format!("{} %", (rate * 1000.0).round() / 10.0)).unwrap_or_default();
    let facts = [
        ("Size", format!("{n} of {population}")),
        ("Method", sample.method.clone()),
        ("Seed", sample.seed.clone()),
        ("Origin of the seed", sample.seed_origin.clone()),
        ("Confidence", rate(sample.confidence)),
        ("Tolerable rate", rate(sample.tolerable)),
        ("Expected deviations", sample.expected.map(words::number).unwrap_or_default()),
        ("Worksheet", format!("data/report.xlsx, sheet {} Sample", report.id)),
    ];
    definitions(paper, &facts);
    paper.gap(12.0);
    let columns =
        [Column::new("Rank", 38.0), Column::new("Item", 160.0), Column::new("Its rank's SHA-256", WIDTH - 198.0)];
    let rows = Rows::new(&sample.rows)?;
    let text = |name, row| rows.text(rows.column(name), row);
    let shown = (0..rows.len()).take(usize::try_from(ROWS_MAX).unwrap_or(usize::MAX)).map(|row| {
        let spare = text("replacement", row)? == "true";
        let key = Block::new(CODE, text("key", row)?);
        let key = if spare { vec![key, Block::new(QUIET, "replacement")] } else { vec![key] };
        Ok(vec![one(CELL, text("rank", row)?), key, one(CODE, text("rank_sha256", row)?)])
    });
    paper.table(&columns, &shown.collect::<Result<Vec<_>, ArrowError>>()?);
    Ok(())
}

fn verify(paper: &mut Paper, pack: &Pack<'_>) {
    paper.page();
    title(paper, "How to verify", "How to verify this pack");
    paper.paragraph(TEXT, "The first checks need nothing of Custody. Their commands are run in the unpacked folder.");
    paper.gap(14.0);

    section(paper, "That nothing was changed");
    paper.paragraph(
        TEXT,
        "The pack is a bag (RFC 8493). The first command checks every file under data/, this document among them; the \
         second one checks the files that say so.",
    );
    code(paper, &["sha256sum -c manifest-sha256.txt".to_owned(), "sha256sum -c tagmanifest-sha256.txt".to_owned()]);

    let redraws = redraws(pack);
    if !redraws.is_empty() {
        section(paper, "That a sample is the one that its seed gives");
        paper.paragraph(
            TEXT,
            "An item's rank is the SHA-256 of the seed, a line feed, the population's hash, a line feed and the item's \
             key. The sample is the items of the lowest ranks, and a replacement is the next one. README.html has this \
             script to copy; it needs Python and no library.",
        );
        code(paper, &REDRAW.lines().map(str::to_owned).collect::<Vec<_>>());
        code(paper, &redraws);
    }

    section(paper, "That the answers are the ones that the data give");
    paper.paragraph(
        TEXT,
        "The folder data/query has each report's statement, its parameters with the versions of the tables that were \
         read, and what its columns mean. As long as the tables keep those versions, the statement gives the same \
         rows. A result that has changed at a newer version tells what has come since.",
    );
    paper.gap(8.0);
    let columns = [Column::new("Report", 46.0), Column::new("What", 64.0), Column::new("SHA-256", WIDTH - 110.0)];
    let hashes = pack.reports.iter().flat_map(|report| {
        [("Query", &report.sql_sha256), ("Population", &report.population_sha256), ("Result", &report.result_sha256)]
            .map(|(what, hash)| vec![one(STRONG, &report.id), one(CELL, what), one(CODE, hash)])
    });
    paper.table(&columns, &hashes.collect::<Vec<_>>());
}

const DEFINITION: [Column; 2] = [Column::new("", 96.0), Column::new("", WIDTH - 96.0)];

/// Labels with what belongs to them; what is empty is left out.
fn definitions<T: AsRef<str>>(paper: &mut Paper, facts: &[(&str, T)]) {
    let facts = facts.iter().filter(|(_, value)| !value.as_ref().is_empty());
    let rows = facts.map(|(label, value)| vec![one(QUIET, *label), one(CELL, value.as_ref())]);
    paper.table(&DEFINITION, &rows.collect::<Vec<_>>());
}

fn title(paper: &mut Paper, mark: &str, title: &str) {
    paper.mark(mark);
    paper.paragraph(CHAPTER, title);
    paper.gap(10.0);
}

/// A heading, never alone at the end of a page.
fn section(paper: &mut Paper, title: &str) {
    paper.room(80.0);
    paper.paragraph(SECTION, title);
    paper.gap(5.0);
}

fn code(paper: &mut Paper, lines: &[String]) {
    paper.gap(5.0);
    for line in lines {
        paper.paragraph(CODE, line);
    }
    paper.gap(8.0);
}

fn hash(sha256: &str) -> String {
    format!("SHA-256 {sha256}")
}

fn one(style: Style, text: impl Into<String>) -> Vec<Block> {
    vec![Block::new(style, text)]
}

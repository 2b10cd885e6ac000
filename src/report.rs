//! Reports on the command line: `report`, `exception`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use custody_query::format::{Format, Kept, RowWriter};
use custody_query::reports::{self, Asked, Ipe, Report, Rows, Value};
use custody_query::sample::{Draw, Size};
use custody_query::{Bounds, Engine, QueryError, visible};
use custody_schemas::activity::Activity;
use custody_schemas::time::{Micros, to_rfc3339};

use crate::activity::{Ended, Journal, now, operator};
use crate::cli::{ExceptionCommand, ReportCommand, ReportOf, ReportRun, RowFormat, SampleArgs};
use crate::config::Config;
use crate::exit::Failure;
use crate::period::Period;
use crate::show::{is_closed, open, open_for_reports, text, write_rows};

/// `custody report`
pub(crate) async fn run(config: &Config, command: ReportCommand) -> Result<(), Failure> {
    match command {
        ReportCommand::List { control } => list(control.as_deref()),
        ReportCommand::Show { report } => show(&report),
        ReportCommand::Run(args) => run_report(config, &args).await,
    }
}

fn list(control: Option<&str>) -> Result<(), Failure> {
    let found = match control {
        Some(control) => reports::reports_of(control)?,
        None => reports::catalogue().iter().collect(),
    };
    let rows: Vec<_> = found
        .iter()
        .map(|report| [report.id.to_owned(), report.front.title.clone(), report.front.controls.join(", ")])
        .collect();
    is_closed(text::table(&["report", "title", "controls"], &rows, &mut io::stdout().lock()))?;
    Ok(())
}

fn show(id: &str) -> Result<(), Failure> {
    let report = reports::report(id)?;
    is_closed(io::stdout().lock().write_all(report.sql.as_bytes()))?;
    Ok(())
}

/// A report for a period, with the parameters that the configuration has for it and those that are given.
pub(crate) fn asked(
    config: &Config,
    report: &'static Report,
    of: &ReportOf,
    parameters: impl IntoIterator<Item = (String, Value)>,
    (by, at): (String, Micros),
) -> Asked {
    let Period { from, to } = of.period;
    let configured = config.reports.iter().filter(|(id, _)| id.eq_ignore_ascii_case(report.id));
    let mut all: BTreeMap<String, Value> = configured.flat_map(|(_, parameters)| parameters.clone()).collect();
    all.extend(parameters);
    Asked {
        report,
        from,
        to,
        as_of: of.as_of.unwrap_or_else(|| to.min(at)),
        parameters: all,
        state: of.state.unwrap_or_default(),
        entity: config.organisation.name.clone(),
        environment: config.organisation.environment.clone(),
        time: Some(Duration::from_secs(config.query.report_seconds_max)),
        by,
        at,
        judged: Arc::default(),
    }
}

/// What is written down of somebody who asks for a report.
pub(crate) fn activity(verb: &str, asked: &Asked) -> Activity {
    let detail = serde_json::json!({
        "from": to_rfc3339(asked.from), "to": to_rfc3339(asked.to), "as_of": to_rfc3339(asked.as_of),
        "state": format!("{:?}", asked.state), "parameters": asked.parameters,
    });
    let (actor, verb, object) = (asked.by.clone(), verb.to_owned(), Some(asked.report.id.to_owned()));
    Activity { actor, verb, object, detail: detail.to_string(), ..Activity::default() }
}

async fn run_report(config: &Config, args: &ReportRun) -> Result<(), Failure> {
    let report = reports::report(&args.report)?;
    let draw = draw(&args.sample)?;
    let given = args.parameters.iter().map(|(name, value)| (name.clone(), Value::Text(value.clone())));
    let asked = asked(config, report, &args.of, given, (operator(), now()));
    let (engine, journal) = open_for_reports(config).await?;
    let verb = if draw.is_some() { "sample" } else { "report" };
    let work = async {
        let ipe = match draw {
            Some(draw) => print_sample(&engine, &asked, &draw, args).await?,
            None => print_report(&engine, &asked, args).await?,
        };
        let ended = Ended::rows(ipe.counts.population);
        Ok((ipe, ended))
    };
    let ipe = journal.during(activity(verb, &asked), work).await?;
    if args.check && ipe.counts.exceptions > 0 {
        let count = ipe.counts.exceptions;
        return Err(Failure::check(anyhow::anyhow!("{} found {count} exceptions", ipe.report)));
    }
    Ok(())
}

/// The sample that is asked for, if one is.
pub(crate) fn draw(args: &SampleArgs) -> Result<Option<Draw>, Failure> {
    let size = match (args.sample, args.confidence, args.tolerable) {
        (Some(n), None, None) => Size::Count { n },
        (None, Some(confidence), Some(tolerable)) => Size::Risk { confidence, tolerable, expected: args.expected },
        _ => return Ok(None),
    };
    let seed = args.seed.clone().ok_or_else(|| {
        Failure::usage(anyhow::anyhow!(
            "a sample needs --seed: a word of the auditor's, so that nobody could foresee it"
        ))
    })?;
    Ok(Some(Draw { seed, size, replacements: args.replacements, strata: args.strata.clone() }))
}

async fn print_report(engine: &Engine, asked: &Asked, args: &ReportRun) -> Result<Ipe, Failure> {
    let wanted = if args.all { Rows::All } else { Rows::Found };
    let began = std::time::Instant::now();
    let mut batches = Vec::new();
    let mut run = engine
        .report(asked, wanted, None, &mut |batch| {
            batches.push(batch);
            Ok(())
        })
        .await?;
    run.ipe.duration_ms = u64::try_from(began.elapsed().as_millis()).ok();
    print(&run.ipe, None, args, &Kept::new(run.schema, batches))?;
    Ok(run.ipe)
}

async fn print_sample(engine: &Engine, asked: &Asked, draw: &Draw, args: &ReportRun) -> Result<Ipe, Failure> {
    let sample = engine.sample(asked, draw).await?;
    let worksheet = Kept::new(sample.worksheet.schema(), vec![sample.worksheet]);
    print(&sample.run.ipe, Some(draw), args, &worksheet)?;
    Ok(sample.run.ipe)
}

/// Rows, and what makes them evidence: beneath a table, around JSON, beside everything else.
fn print(ipe: &Ipe, draw: Option<&Draw>, args: &ReportRun, rows: &Kept) -> Result<(), Failure> {
    let mut block = serde_json::to_value(ipe).map_err(Failure::broken)?;
    if let (Some(block), Some(draw)) = (block.as_object_mut(), draw) {
        block.insert("sample".to_owned(), serde_json::to_value(draw).map_err(Failure::broken)?);
    }
    if let Some(path) = &args.ipe {
        std::fs::write(path, format!("{block:#}\n"))?;
    }
    let mut out = io::stdout().lock();
    let written = match args.format {
        RowFormat::Table => {
            rows.without("evidence").write(&mut out, Format::Table).and_then(|out| text::ipe(ipe, draw, out))
        }
        RowFormat::Json => write!(out, "{{\"ipe\": {block:#},\n\"rows\": ")
            .and_then(|()| rows.write(&mut out, Format::Json))
            .and_then(|out| writeln!(out, "}}")),
        RowFormat::Csv => rows.write(&mut out, Format::Csv).map(drop),
        RowFormat::Ndjson => rows.write(&mut out, Format::Ndjson).map(drop),
    };
    if is_closed(written)? {
        return Ok(());
    }
    if matches!(args.format, RowFormat::Csv | RowFormat::Ndjson) && args.ipe.is_none() {
        eprintln!("custody: what makes these rows evidence is written with --ipe FILE");
    }
    Ok(())
}

/// `custody exception`
pub(crate) async fn exception(config: &Config, command: ExceptionCommand) -> Result<(), Failure> {
    let (engine, journal) = open(config).await?;
    match command {
        ExceptionCommand::List { report, history } => {
            let report = report.map(|id| reports::report(&id)).transpose()?;
            list_exceptions(&engine, &journal, report.map(|report| report.id), history).await
        }
        ExceptionCommand::Set { report, key, state, why } => {
            let step = Step { report: reports::report(&report)?.id, key, state: state.as_str(), why };
            step.check()?;
            journal.did(step.activity(operator())).await?;
            writeln!(io::stdout(), "{} {} is {} now", step.report, visible(&step.key), step.state)?;
            Ok(())
        }
    }
}

async fn list_exceptions(
    engine: &Engine,
    journal: &Journal,
    report: Option<&'static str>,
    history: bool,
) -> Result<(), Failure> {
    let sql = exceptions_sql(report, history);
    let work = async {
        let stream = engine.query(&sql, Bounds::NONE).await?;
        let writer = RowWriter::table(io::stdout().lock(), &stream.schema(), None);
        Ok(((), write_rows(stream, writer).await?))
    };
    journal.during(crate::activity::asked("exceptions", report), work).await
}

/// The statement for steps in the life of exceptions: of a report of the catalogue, or of all.
pub(crate) fn exceptions_sql(report: Option<&'static str>, history: bool) -> String {
    let latest = if history { "true" } else { "latest" };
    let of = report.map_or_else(|| "true".to_owned(), |report| format!("report = '{report}'"));
    format!(
        r#"SELECT report, key, state, note, "by", at FROM exceptions WHERE {latest} AND {of} ORDER BY report, key, at"#
    )
}

/// A step in the life of an exception.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) report: &'static str,
    pub(crate) key: String,
    pub(crate) state: &'static str,
    pub(crate) why: String,
}

impl Step {
    /// Whether it says enough.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        if self.key.trim().is_empty() || self.key.len() > 1024 {
            return Err(QueryError::Invalid("the key of the report's row is needed: its column `key`".to_owned()));
        }
        if self.why.trim().chars().count() < 3 || self.why.len() > 10_000 {
            return Err(QueryError::Invalid("say in words why, in up to 10 000 bytes".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn activity(&self, actor: String) -> Activity {
        Activity {
            actor,
            verb: "exception".to_owned(),
            object: Some(self.report.to_owned()),
            reason: Some(self.why.clone()),
            detail: serde_json::json!({ "key": self.key, "state": self.state }).to_string(),
            ..Activity::default()
        }
    }
}

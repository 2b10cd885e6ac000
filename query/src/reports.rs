//! The report catalogue: each report is a file in `reports/`, a query under a front matter that says what it answers.
//!
//! A report tests a whole population: its query yields every item of the period with a verdict. What is found is the
//! part of it that is neither `pass` nor `excluded`. Every run comes with what an auditor needs to rely on it, the
//! [`Ipe`] block: what was asked of what, how complete it is, and the hashes of query and result.
//!
//! To add one: a file, and a line in [`catalogue`]. The tests run every report of the list.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array};
use arrow::compute::{filter_record_batch, interleave_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use aws_lc_rs::digest::{Context, SHA256};
use custody_schemas::time::{Micros, date_of};
use datafusion::common::ScalarValue;
use futures::StreamExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine::{AsOf, Engine, Reading, Versions};
use crate::error::QueryError;
use crate::format;
use crate::reference::{ReferenceFile, hex, sha256_hex};
use crate::sample::{Draw, Drawn, draw};
use crate::sessions::Time;
use crate::shelf::Focus;
use crate::text::visible;

/// One report of the catalogue.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Report {
    /// Its id, and the name of its file: `R02`.
    pub id: &'static str,
    /// What the file's front matter says.
    #[serde(flatten)]
    pub front: Front,
    /// The whole file: the front matter as comments, and the query.
    #[serde(skip)]
    pub sql: &'static str,
}

/// What a report says of itself.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Front {
    /// Its title.
    pub title: String,
    /// Counts up when the query changes what it finds.
    pub version: u32,
    /// The question that it answers.
    pub question: String,
    /// What a row is.
    pub population: String,
    /// Controls that it is evidence of: `SOC2 CC6.2`, `PCI 7.2.3`.
    pub controls: Vec<String>,
    /// Which sessions it looks at, where not at all of them. `period`: those that could have begun, been open or ended
    /// in it; `period + NAME`: and so many seconds after it as the parameter says; `requests`: those that carry a request
    /// which was made or approved in it, or could have been open since the day before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<String>,
    /// Parameters besides the period.
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
    /// What each column says.
    pub columns: BTreeMap<String, String>,
    /// What each code of the column `why` says.
    #[serde(default)]
    pub why: BTreeMap<String, String>,
}

/// Beyond the end of the period at least this much is looked at, so that reports with and without more look at the same
/// sessions; and before its beginning, where a session that is explained by a request may be a day older (see
/// `session_access`).
const DAY_US: i64 = 86_400_000_000;

impl Front {
    /// The sessions that a run looks at; `None` for all.
    pub(crate) fn focus(&self, asked: &Asked, values: &Bound) -> Option<Focus> {
        let Asked { from, to, .. } = *asked;
        let sessions = self.sessions.as_deref()?;
        if sessions == "requests" {
            return Some(Focus { from: from.saturating_sub(DAY_US), to: i64::MAX, requests: Some((from, to)) });
        }
        let after = match sessions.split_once('+').and_then(|(_, name)| values.get(name.trim())) {
            Some(ScalarValue::Int64(Some(seconds))) => seconds.saturating_mul(1_000_000),
            _ => 0,
        };
        Some(Focus { from, to: to.saturating_add(after.max(DAY_US)), requests: None })
    }
}

/// A parameter of a report.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// What it takes.
    #[serde(rename = "type")]
    pub of: ParameterType,
    /// Its value where none is given.
    #[schema(value_type = Object)]
    pub default: Value,
    /// What it does.
    pub help: String,
}

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ParameterType {
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Text.
    Text,
    /// `true` or `false`.
    Boolean,
}

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// Text.
    Text(String),
}

impl Parameter {
    /// A value that was given, as this parameter takes it.
    fn accept(&self, value: &Value) -> Option<ScalarValue> {
        Some(match (self.of, value) {
            (ParameterType::Integer, Value::Integer(number)) => ScalarValue::from(*number),
            (ParameterType::Integer, Value::Text(text)) => ScalarValue::from(text.trim().parse::<i64>().ok()?),
            (ParameterType::Number, Value::Number(number)) => ScalarValue::from(*number),
            (ParameterType::Number, Value::Integer(number)) => ScalarValue::from(*number as f64),
            (ParameterType::Number, Value::Text(text)) => ScalarValue::from(text.trim().parse::<f64>().ok()?),
            (ParameterType::Boolean, Value::Boolean(is)) => ScalarValue::from(*is),
            (ParameterType::Boolean, Value::Text(text)) => ScalarValue::from(text.trim().parse::<bool>().ok()?),
            (ParameterType::Text, Value::Text(text)) => ScalarValue::from(text.as_str()),
            _ => return None,
        })
    }
}

macro_rules! reports {
    ($($id:literal),* $(,)?) => {
        [$(($id, include_str!(concat!("../reports/", $id, ".sql")))),*]
    };
}

/// Every report.
pub fn catalogue() -> &'static [Report] {
    static CATALOGUE: LazyLock<Vec<Report>> = LazyLock::new(|| {
        // A front matter that cannot be read fails the tests of this module.
        FILES.iter().filter_map(|(id, sql)| Some(Report { id, front: front(sql).ok()?, sql })).collect()
    });
    &CATALOGUE
}

const FILES: [(&str, &str); 32] = reports![
    "M01", "M02", "M03", "M04", "M05", "R01", "R02", "R03", "R04", "R05", "R06", "R07", "R08", "R09", "R10", "R11",
    "R12", "R13", "R14", "R15", "R16", "R17", "R18", "R19", "R20", "R21", "R22", "R23", "R24", "R26", "R27", "R28",
];

/// The report of an id, upper or lower case.
///
/// # Errors
///
/// [`QueryError::Invalid`] with what there is, when there is none.
pub fn report(id: &str) -> Result<&'static Report, QueryError> {
    catalogue().iter().find(|report| report.id.eq_ignore_ascii_case(id)).ok_or_else(|| {
        let ids: Vec<_> = catalogue().iter().map(|report| report.id).collect();
        QueryError::Invalid(format!("there is no report {:?}; there are {}", visible(id), ids.join(", ")))
    })
}

/// The reports that are evidence of a control: `CC6.3`, `SOC2 CC6.3`.
///
/// # Errors
///
/// [`QueryError::Invalid`] with the controls that there are, when none is.
pub fn reports_of(control: &str) -> Result<Vec<&'static Report>, QueryError> {
    let is =
        |of: &String| of.eq_ignore_ascii_case(control) || of.split(' ').any(|part| part.eq_ignore_ascii_case(control));
    let found: Vec<_> = catalogue().iter().filter(|report| report.front.controls.iter().any(is)).collect();
    if found.is_empty() {
        let mut all: Vec<_> =
            catalogue().iter().flat_map(|report| &report.front.controls).map(String::as_str).collect();
        all.sort_unstable();
        all.dedup();
        let control = visible(control);
        return Err(QueryError::Invalid(format!("no report is evidence of {control:?}; there are {}", all.join(", "))));
    }
    Ok(found)
}

/// Reads the comment at the beginning of a report's file.
fn front(sql: &str) -> Result<Front, toml::de::Error> {
    let lines = sql.lines().map_while(|line| line.strip_prefix("--"));
    let text: String = lines.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect();
    toml::from_str(&text)
}

/// What a report is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The report.
    pub report: &'static Report,
    /// Beginning of the period; the instant is in it.
    pub from: Micros,
    /// End of the period; the instant is not in it.
    pub to: Micros,
    /// What is open at this instant is open. The end of the period, or now where that is to come.
    pub as_of: Micros,
    /// Parameters, where they are not to be the defaults.
    pub parameters: BTreeMap<String, Value>,
    /// Which state of the ledger.
    pub state: AsOf,
    /// Whose evidence it is.
    pub entity: String,
    /// Which of the entity's environments.
    pub environment: String,
    /// Time that it may take.
    pub time: Option<Duration>,
    /// Who asks, and how that is known.
    pub by: String,
    /// When.
    pub at: Micros,
    /// Counts the rows that were judged so far.
    pub judged: Arc<AtomicU64>,
}

impl Asked {
    /// Whether the report takes these parameters, before it is run.
    ///
    /// # Errors
    ///
    /// [`QueryError::Invalid`] when it does not.
    pub fn check(&self) -> Result<(), QueryError> {
        parameters(self).map(drop)
    }
}

/// What makes the result of a report evidence: information produced by the entity, with what is needed to rely on it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Ipe {
    /// Id of the report.
    pub report: String,
    /// Version of the report.
    pub report_version: u32,
    /// Its title.
    pub title: String,
    /// The question that it answers.
    pub question: String,
    /// Controls that it is evidence of.
    pub controls: Vec<String>,
    /// Whose evidence it is.
    pub entity: String,
    /// Which of the entity's environments.
    pub environment: String,
    /// Beginning of the period; the instant is in it.
    pub from: Time,
    /// End of the period; the instant is not in it.
    pub to: Time,
    /// What was open at this instant is open.
    pub as_of: Time,
    /// Every parameter.
    #[schema(value_type = Object)]
    pub parameters: BTreeMap<String, Value>,
    /// The query as it was run; `$from`, `$to` and so on are the values above.
    pub sql: String,
    /// SHA-256 of `sql`, in hexadecimal.
    pub sql_sha256: String,
    /// What the query read: the same on these gives the same result.
    pub versions: Versions,
    /// The files of reference data that the query could read.
    pub references: Vec<ReferenceFile>,
    /// What a row is.
    pub population: String,
    /// How many rows there are of each verdict.
    pub counts: Counts,
    /// How complete the ledger is for the period.
    pub completeness: Completeness,
    /// SHA-256 of the keys of the population, those that are not `excluded`: sorted, each followed by a line feed.
    pub population_sha256: String,
    /// SHA-256 of the rows as JSON, one a line, in their order.
    pub result_sha256: String,
    /// The program that made it.
    pub tool: String,
    /// Who ran it, and how that is known.
    pub run_by: String,
    /// When it was run.
    pub run_at: Time,
    /// Time that it took. Not told where the same must come out as the same bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// How many rows there are of each verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Counts {
    /// Items that were judged: all but the excluded.
    pub population: u64,
    /// Items of the period that are out of the configured scope.
    pub excluded: u64,
    /// Nothing was found.
    pub pass: u64,
    /// A control did not hold.
    pub exceptions: u64,
    /// Worth a look.
    pub warnings: u64,
    /// A fact, and no judgement.
    pub information: u64,
    /// What is needed to judge is not known.
    pub not_applicable: u64,
}

impl Counts {
    fn add(&mut self, verdict: &str) -> Result<(), QueryError> {
        let count = match verdict {
            "pass" => &mut self.pass,
            "exception" => &mut self.exceptions,
            "warning" => &mut self.warnings,
            "information" => &mut self.information,
            "na" => &mut self.not_applicable,
            "excluded" => {
                self.excluded += 1;
                return Ok(());
            }
            other => return Err(QueryError::Internal(format!("the verdict {other:?} is unknown"))),
        };
        *count += 1;
        self.population += 1;
        Ok(())
    }
}

/// How complete the ledger is: of what was taken in from the first to the last day of the period.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Completeness {
    /// Streams that were read: a partition of a topic, an import, a collector.
    pub streams: u64,
    /// Messages that were kept.
    pub records: u64,
    /// Offsets between the first and the last of a stream that are not there. Kafka's transaction markers and compaction
    /// leave holes as well.
    pub missing: u64,
    /// Messages of a stream beyond the number of its offsets: two Kafka clusters have a topic of the same name, or one was
    /// read again under another name. What is missing of such a stream cannot be told.
    pub repeated: u64,
    /// Messages that could not be decoded; they are kept.
    pub undecodable: u64,
    /// Times that Kafka had deleted messages before they were read.
    pub losses: u64,
    /// When the last message came in.
    pub last_ingested_at: Option<Time>,
    /// All of it in a sentence.
    #[serde(default)]
    pub statement: String,
}

/// A finished run.
#[derive(Debug, Clone)]
pub struct Run {
    /// What it is worth.
    pub ipe: Ipe,
    /// Columns of its rows: those of the query, and the life of each exception.
    pub schema: SchemaRef,
    /// The items of the population with their stratum, where a sample is to be drawn.
    population: Vec<(String, String)>,
}

impl Run {
    /// Draws a sample of the population.
    ///
    /// # Errors
    ///
    /// As [`Size::of`](crate::sample::Size::of).
    pub fn draw(&self, asked: &Draw) -> Result<Vec<Drawn>, QueryError> {
        draw(asked, &self.ipe.population_sha256, self.population.iter().cloned())
    }
}

/// Which rows of a report are of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows<'a> {
    /// All.
    All,
    /// What was found: all but `pass` and `excluded`.
    Found,
    /// These.
    Keys(&'a HashMap<String, u64>),
    /// None.
    Nothing,
}

impl Engine {
    /// Runs a report, and gives its rows as they come, each with the state of its exception.
    ///
    /// `strata` is the column by whose values a sample will be drawn.
    ///
    /// # Errors
    ///
    /// [`QueryError::Invalid`] for parameters that the report does not have or does not take, and those of a query. Rows
    /// that were given before an error are worth nothing.
    pub fn report<'a>(
        &'a self,
        asked: &'a Asked,
        wanted: Rows<'a>,
        strata: Option<&'a str>,
        rows: &'a mut (dyn FnMut(RecordBatch) -> Result<(), QueryError> + Send),
    ) -> BoxFuture<'a, Result<Run, QueryError>> {
        Box::pin(async move {
            let front = &asked.report.front;
            let (parameters, mut values) = parameters(asked)?;
            let instant = |at| ScalarValue::TimestampMicrosecond(Some(at), Some("UTC".into()));
            for (name, at) in [("from", asked.from), ("to", asked.to), ("as_of", asked.as_of)] {
                values.insert(name, instant(at));
            }
            let reading = self.read(asked.state, asked.time).await?;
            let completeness = completeness(&reading, asked).await?;
            let states = states(&reading, asked.report.id).await?;
            let focus = front.focus(asked, &values);
            // A value for a placeholder that the query does not have is of no use to it.
            values.retain(|name, _| asked.report.sql.contains(&format!("${name}")));
            let (mut batches, _held) = reading.shelved(asked.report.sql, values, focus).await?;
            let schema = annotated(&batches.schema());
            let (mut counts, mut result) = (Counts::default(), Context::new(&SHA256));
            let mut population: Vec<(String, String)> = Vec::new();
            while let Some(batch) = reading.within(async { Ok(batches.next().await.transpose()?) }).await? {
                let wrong = |what: &str| QueryError::Internal(format!("the report {} has no {what}", asked.report.id));
                let text =
                    |name: &str| batch.column_by_name(name).and_then(|column: &ArrayRef| column.as_string_opt::<i32>());
                let keys = text("key").ok_or_else(|| wrong("key"))?;
                let verdicts = text("verdict").ok_or_else(|| wrong("verdict"))?;
                let stratum = strata.map(|name| stratum(&batch, name)).transpose()?;
                for row in 0..batch.num_rows() {
                    counts.add(verdicts.value(row))?;
                    if verdicts.value(row) != "excluded" {
                        let stratum = stratum.as_ref().map(|texts| texts.value(row).to_owned()).unwrap_or_default();
                        population.push((stratum, keys.value(row).to_owned()));
                    }
                }
                asked.judged.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                let lines = format::lines(&batch).map_err(|error| QueryError::Internal(error.to_string()))?;
                result.update(&lines);
                let is_wanted = |row: usize| match wanted {
                    Rows::All => true,
                    Rows::Found => !matches!(verdicts.value(row), "pass" | "excluded"),
                    Rows::Keys(wanted) => wanted.contains_key(keys.value(row)),
                    Rows::Nothing => false,
                };
                let is_wanted = (0..batch.num_rows()).map(|row| Some(is_wanted(row))).collect();
                let batch = filter_record_batch(&batch, &is_wanted)?;
                if batch.num_rows() > 0 {
                    rows(annotate(&batch, &states, &schema)?)?;
                }
            }
            let ipe = Ipe {
                report: asked.report.id.to_owned(),
                report_version: front.version,
                title: front.title.clone(),
                question: front.question.clone(),
                controls: front.controls.clone(),
                entity: asked.entity.clone(),
                environment: asked.environment.clone(),
                from: Time(asked.from),
                to: Time(asked.to),
                as_of: Time(asked.as_of),
                parameters,
                sql: asked.report.sql.to_owned(),
                sql_sha256: sha256_hex(asked.report.sql.as_bytes()),
                versions: reading.versions,
                references: reading.references.clone(),
                population: front.population.clone(),
                counts,
                completeness,
                population_sha256: population_sha256(&mut population)?,
                result_sha256: hex(result.finish().as_ref()),
                tool: concat!("custody ", env!("CARGO_PKG_VERSION")).to_owned(),
                run_by: asked.by.clone(),
                run_at: Time(asked.at),
                duration_ms: None,
            };
            Ok(Run { ipe, schema, population })
        })
    }
}

/// Bytes of rows that a sample or a part of a pack may keep in memory.
const KEPT_BYTES_MAX: usize = 1 << 30;

/// Counts what is kept.
#[derive(Debug, Default)]
pub(crate) struct Budget(usize);

impl Budget {
    /// Takes a batch, if there is room for it.
    pub(crate) fn take(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        self.0 += batch.get_array_memory_size();
        if self.0 > KEPT_BYTES_MAX {
            return Err(QueryError::TooLarge { what: "what is to be kept".to_owned(), bytes_max: KEPT_BYTES_MAX });
        }
        Ok(())
    }
}

/// A sample of a report's population.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The run that it was drawn from.
    pub run: Run,
    /// How it was drawn.
    pub draw: Draw,
    /// Items, by stratum and rank.
    pub drawn: Vec<Drawn>,
    /// The same with the columns of the report: `rank`, `rank_sha256`, `replacement`, `stratum`, then the report's.
    pub worksheet: RecordBatch,
}

impl Engine {
    /// Draws a sample of a report's population, and gives the rows of its items.
    ///
    /// # Errors
    ///
    /// As [`Engine::report`] and [`Size::of`](crate::sample::Size::of).
    pub fn sample<'a>(&'a self, asked: &'a Asked, wanted: &'a Draw) -> BoxFuture<'a, Result<Sample, QueryError>> {
        Box::pin(async move {
            let strata = wanted.strata.as_deref();
            let run = self.report(asked, Rows::Nothing, strata, &mut |_| Ok(())).await?;
            let drawn = run.draw(wanted)?;
            let places: HashMap<String, u64> = drawn.iter().map(|item| item.key.clone()).zip(0..).collect();
            let again = Asked { state: AsOf::Versions(run.ipe.versions), ..asked.clone() };
            let mut batches = Vec::new();
            let mut kept = Budget::default();
            self.report(&again, Rows::Keys(&places), None, &mut |batch| {
                kept.take(&batch)?;
                batches.push(batch);
                Ok(())
            })
            .await?;
            let worksheet = worksheet(&run.schema, &batches, &drawn)?;
            Ok(Sample { run, draw: wanted.clone(), drawn, worksheet })
        })
    }
}

/// The rows of the items that were drawn, in their order, with what they were drawn by. The batches may hold others.
pub(crate) fn worksheet(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    drawn: &[Drawn],
) -> Result<RecordBatch, QueryError> {
    let places: HashMap<&str, u64> = drawn.iter().map(|item| item.key.as_str()).zip(0..).collect();
    let missing = || QueryError::Internal("the sample is not in the report it was drawn from".to_owned());
    // Only what was drawn is copied: the batches may be a whole population.
    let mut order: Vec<(u64, (usize, usize))> = Vec::new();
    for (number, batch) in batches.iter().enumerate() {
        let keys = batch.column_by_name("key").and_then(|keys: &ArrayRef| keys.as_string_opt::<i32>());
        let keys = keys.ok_or_else(missing)?.iter().enumerate();
        order.extend(keys.filter_map(|(row, key)| Some((*places.get(key?)?, (number, row)))));
    }
    order.sort_unstable();
    if order.len() != drawn.len() {
        return Err(missing());
    }
    let order: Vec<(usize, usize)> = order.into_iter().map(|(_, at)| at).collect();
    let rows = match order.is_empty() {
        true => RecordBatch::new_empty(schema.clone()),
        false => interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &order)?,
    };
    let fields = [
        Field::new("rank", DataType::UInt64, false),
        Field::new("rank_sha256", DataType::Utf8, false),
        Field::new("replacement", DataType::Boolean, false),
        Field::new("stratum", DataType::Utf8, false),
    ];
    let columns: [ArrayRef; 4] = [
        Arc::new(drawn.iter().map(|item| Some(item.rank)).collect::<UInt64Array>()),
        Arc::new(drawn.iter().map(|item| Some(&*item.rank_sha256)).collect::<StringArray>()),
        Arc::new(drawn.iter().map(|item| Some(item.replacement)).collect::<BooleanArray>()),
        Arc::new(drawn.iter().map(|item| Some(&*item.stratum)).collect::<StringArray>()),
    ];
    let fields = fields.into_iter().map(Arc::new).chain(schema.fields().iter().cloned()).collect::<Vec<_>>();
    let columns = columns.into_iter().chain(rows.columns().iter().cloned()).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Values of placeholders, by name.
type Bound = HashMap<&'static str, ScalarValue>;

/// Every parameter with its value, for people and for the query.
fn parameters(asked: &Asked) -> Result<(BTreeMap<String, Value>, Bound), QueryError> {
    let known = &asked.report.front.parameters;
    if let Some(other) = asked.parameters.keys().find(|name| !known.contains_key(*name)) {
        let names: Vec<_> = known.keys().map(String::as_str).collect();
        let there =
            if names.is_empty() { "it takes none".to_owned() } else { format!("it takes {}", names.join(", ")) };
        let other = visible(other);
        return Err(QueryError::Invalid(format!("{} has no parameter {other:?}: {there}", asked.report.id)));
    }
    let (mut told, mut values) = (BTreeMap::new(), Bound::new());
    for (name, parameter) in known {
        let value = asked.parameters.get(name).unwrap_or(&parameter.default);
        let accepted = parameter.accept(value).ok_or_else(|| {
            let what = serde_json::to_string(&parameter.of).unwrap_or_default();
            QueryError::Invalid(format!("the parameter {name} of {} takes {}", asked.report.id, what.trim_matches('"')))
        })?;
        told.insert(name.clone(), shown(&accepted));
        values.insert(name.as_str(), accepted);
    }
    Ok((told, values))
}

fn shown(value: &ScalarValue) -> Value {
    match value {
        ScalarValue::Boolean(Some(is)) => Value::Boolean(*is),
        ScalarValue::Int64(Some(number)) => Value::Integer(*number),
        ScalarValue::Float64(Some(number)) => Value::Number(*number),
        other => Value::Text(other.to_string()),
    }
}

/// The values of a column as text; null is a stratum of its own.
fn stratum(batch: &RecordBatch, name: &str) -> Result<StringArray, QueryError> {
    let column = batch.column_by_name(name).ok_or_else(|| {
        let schema = batch.schema();
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        QueryError::Invalid(format!("the report has no column {:?}; it has {}", visible(name), names.join(", ")))
    })?;
    let options = arrow::util::display::FormatOptions::new().with_null("(null)");
    let texts = arrow::util::display::ArrayFormatter::try_new(column, &options)?;
    Ok((0..batch.num_rows()).map(|row| Some(texts.value(row).to_string())).collect())
}

fn population_sha256(population: &mut [(String, String)]) -> Result<String, QueryError> {
    population.sort_unstable_by(|one, other| one.1.cmp(&other.1));
    if let Some([(_, key), _]) =
        population.windows(2).find_map(|pair| <&[_; 2]>::try_from(pair).ok().filter(|[one, other]| one.1 == other.1))
    {
        return Err(QueryError::Internal(format!("the report has two rows with the key {:?}", visible(key))));
    }
    let mut hash = Context::new(&SHA256);
    for (_, key) in population {
        hash.update(key.as_bytes());
        hash.update(b"\n");
    }
    Ok(hex(hash.finish().as_ref()))
}

/// What people have said of the exceptions of a report: for each key the latest state, by whom, when, why.
async fn states(reading: &Reading, report: &str) -> Result<HashMap<String, State>, QueryError> {
    let sql = r#"SELECT key, state, "by", at, note FROM exceptions WHERE report = $report AND latest"#;
    let frame = reading.sql(sql, HashMap::from([("report", ScalarValue::from(report))])).await?;
    let states: Vec<State> = reading.rows(frame).await?;
    Ok(states.into_iter().map(|state| (state.key.clone(), state)).collect())
}

/// What somebody has said of an exception.
#[derive(Debug, Clone, Default, Deserialize)]
struct State {
    key: String,
    state: String,
    by: Option<String>,
    at: Option<Time>,
    note: Option<String>,
}

/// Columns of a report's rows with the state of exceptions.
fn annotated(schema: &SchemaRef) -> SchemaRef {
    let text = |name: &str| Arc::new(Field::new(name, DataType::Utf8, true));
    let at = Field::new("status_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true);
    let more = [text("status"), text("status_by"), Arc::new(at), text("status_note")];
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(more).collect::<Vec<_>>()))
}

/// An exception is open until somebody says otherwise; nothing that is said takes it off the report.
fn annotate(
    batch: &RecordBatch,
    states: &HashMap<String, State>,
    schema: &SchemaRef,
) -> Result<RecordBatch, QueryError> {
    let text = |name: &str| batch.column_by_name(name).and_then(|column: &ArrayRef| column.as_string_opt::<i32>());
    let (Some(keys), Some(verdicts)) = (text("key"), text("verdict")) else {
        return Err(QueryError::Internal("a report without key and verdict".to_owned()));
    };
    let open = State { state: "open".to_owned(), ..State::default() };
    let found: Vec<Option<&State>> = (0..batch.num_rows())
        .map(|row| {
            let is_exception = verdicts.value(row) == "exception";
            states.get(keys.value(row)).or_else(|| is_exception.then_some(&open))
        })
        .collect();
    let texts = |of: fn(&State) -> Option<&str>| -> ArrayRef {
        Arc::new(found.iter().map(|state| state.and_then(of)).collect::<StringArray>())
    };
    let at: TimestampMicrosecondArray = found.iter().map(|state| state.and_then(|state| Some(state.at?.0))).collect();
    let more: [ArrayRef; 4] = [
        texts(|state| Some(&state.state)),
        texts(|state| state.by.as_deref()),
        Arc::new(at.with_timezone("UTC")),
        texts(|state| state.note.as_deref()),
    ];
    Ok(RecordBatch::try_new(schema.clone(), batch.columns().iter().cloned().chain(more).collect())?)
}

const COMPLETENESS: &str = r#"
SELECT
  count(*) AS streams,
  coalesce(sum(records), 0) AS records,
  coalesce(sum(missing), 0) AS missing,
  coalesce(sum(repeated), 0) AS repeated,
  coalesce(sum(undecodable), 0) AS undecodable,
  (SELECT count(DISTINCT event_id) FROM events WHERE kind = 'loss' AND date BETWEEN $first_day AND $last_day) AS losses,
  max(last_ingested_at) AS last_ingested_at
FROM (
  SELECT
    count(*) AS records,
    -- Each offset of a cluster is there once: that is what the ledger's cursors are for.
    greatest(max("offset") - min("offset") + 1 - count(*), 0) AS missing,
    greatest(count(*) - (max("offset") - min("offset") + 1), 0) AS repeated,
    count(error_kind) AS undecodable,
    max(ingested_at) AS last_ingested_at
  FROM records
  WHERE date BETWEEN $first_day AND $last_day
  GROUP BY topic, "partition"
)"#;

async fn completeness(reading: &Reading, asked: &Asked) -> Result<Completeness, QueryError> {
    let day = |at: Micros| ScalarValue::Date32(Some(date_of(at)));
    // What happened on the last day may have come in after midnight.
    let days = HashMap::from([("first_day", day(asked.from)), ("last_day", day(asked.as_of.max(asked.to)))]);
    let frame = reading.sql(COMPLETENESS, days).await?;
    let rows: Vec<Completeness> = reading.rows(frame).await?;
    let mut found = rows.into_iter().next().unwrap_or_default();
    found.statement = found.in_words();
    Ok(found)
}

impl Completeness {
    fn in_words(&self) -> String {
        let Self { streams, records, missing, repeated, undecodable, losses, .. } = self;
        if *records == 0 {
            return "Nothing was taken in from the first to the last day of the period: there is nothing to rely on."
                .to_owned();
        }
        let gaps = match (missing, losses) {
            _ if *repeated > 0 => format!(
                "{repeated} messages are more than their streams have offsets: what is missing of those cannot be told."
            ),
            (0, 0) => "No offset between the first and the last is missing.".to_owned(),
            (missing, 0) => format!(
                "{missing} offsets between the first and the last are not there; nothing shows that they were messages \
                 (Kafka's transaction markers and compaction leave such holes)."
            ),
            (missing, losses) => format!("{missing} offsets are missing, and Kafka lost messages {losses} times."),
        };
        let errors = match undecodable {
            0 => "All were understood.".to_owned(),
            count => format!("{count} could not be decoded and are kept as they came; no report sees their contents."),
        };
        format!("{records} messages of {streams} streams are kept of the days of the period. {gaps} {errors}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_front_matter_is_read() {
        for (id, sql) in FILES {
            let front = front(sql).unwrap_or_else(|error| panic!("{id}: {error}"));
            assert!(front.columns.contains_key("verdict") && front.columns.contains_key("key"), "{id}");
            assert!(!front.controls.is_empty() && front.version > 0, "{id}");
            let is_integer = |name: &str| front.parameters.get(name).is_some_and(|it| it.of == ParameterType::Integer);
            let is_known = |sessions: &str| match sessions.split_once(" + ") {
                None => matches!(sessions, "period" | "requests"),
                Some((period, after)) => period == "period" && is_integer(after),
            };
            assert!(front.sessions.as_deref().is_none_or(is_known), "{id}");
            for (name, parameter) in &front.parameters {
                assert!(parameter.accept(&parameter.default).is_some(), "{id}: {name}");
                assert!(sql.contains(&format!("${name}")), "{id}: {name}");
            }
        }
        assert_eq!(catalogue().len(), FILES.len());
    }

    #[test]
    fn reports_are_found_by_id_and_by_control() {
        assert_eq!(report("r02").unwrap().id, "R02");
        assert!(report("R99").unwrap_err().to_string().contains(", R01, R02, "));
        assert!(reports_of("CC6.3").unwrap().iter().any(|report| report.id == "R03"));
        assert!(reports_of("XX").unwrap_err().to_string().contains("SOC2 CC6.3"));
    }
}

//! What a pack is made of.

use arrow::record_batch::RecordBatch;
use custody_schemas::time::Micros;

use crate::reports::Counts;

/// Everything that goes into one evidence pack.
#[derive(Debug, Clone)]
pub struct Pack<'a> {
    /// What the pack is called.
    pub title: String,
    /// Whose evidence it is.
    pub entity: String,
    /// The environment that was looked at.
    pub environment: String,
    /// The control that the pack is for, when it is for one.
    pub control: Option<String>,
    /// The first instant of the period.
    pub from: Micros,
    /// The first instant after the period.
    pub to: Micros,
    /// The instant that the answers are as of.
    pub as_of: Micros,
    /// Who asked for the pack.
    pub prepared_by: String,
    /// The program and its version.
    pub tool: String,
    /// The reports, in the order in which they are shown.
    pub reports: &'a [ReportResult],
    /// The ledger of what was collected, one row per stretch.
    pub completeness: RecordBatch,
    /// Who looked at what while the pack was prepared.
    pub activity: Option<RecordBatch>,
}

/// One report, run.
#[derive(Debug, Clone)]
pub struct ReportResult {
    /// The whole IPE block (information produced by the entity), written down as it is.
    pub ipe: serde_json::Value,
    /// The report, `R02`.
    pub id: String,
    /// The version of its definition.
    pub version: u32,
    /// Its title.
    pub title: String,
    /// The question that it answers.
    pub question: String,
    /// What its population is.
    pub population_words: String,
    /// The controls that it is evidence for.
    pub controls: Vec<String>,
    /// Its parameters, by name.
    pub parameters: Vec<(String, String)>,
    /// The statement that was run.
    pub sql: String,
    /// Its SHA-256.
    pub sql_sha256: String,
    /// The tables that were read, and at which versions.
    pub versions: Vec<(String, u64)>,
    /// The reference data: name, SHA-256, rows.
    pub references: Vec<(String, String, u64)>,
    /// How the population was judged.
    pub counts: Counts,
    /// Whether everything was collected, in words.
    pub completeness_words: String,
    /// SHA-256 of the result.
    pub result_sha256: String,
    /// SHA-256 of the population's keys.
    pub population_sha256: String,
    /// Every code that `why` may hold, in words.
    pub why_words: Vec<(String, String)>,
    /// Every column, in words.
    pub columns: Vec<(String, String)>,
    /// Every row of the population.
    pub rows: Vec<RecordBatch>,
    /// The sample, when one was drawn.
    pub sample: Option<Sample>,
}

/// A sample of a report's population.
#[derive(Debug, Clone)]
pub struct Sample {
    /// How it was drawn, in words.
    pub method: String,
    /// The column by whose values it was drawn, each by itself.
    pub strata: Option<String>,
    /// The seed.
    pub seed: String,
    /// Where the seed comes from.
    pub seed_origin: String,
    /// Items drawn.
    pub n: u64,
    /// Items that it was drawn from.
    pub population: u64,
    /// The confidence that was asked for.
    pub confidence: Option<f64>,
    /// The rate of deviations that is tolerable.
    pub tolerable: Option<f64>,
    /// The deviations that are expected.
    pub expected: Option<u64>,
    /// The items: rank, `rank_sha256`, replacement, key, then the report's columns.
    pub rows: RecordBatch,
}

//! The workbook: what the auditor filters, samples and writes conclusions into.
//!
//! Text is written as text and never as a formula; times are dates of the spreadsheet, in UTC.

use std::panic::{AssertUnwindSafe, catch_unwind};

use chrono::{Datelike, Timelike};
use rust_xlsxwriter::{
    Color, DataValidation, DocProperties, ExcelDateTime, Format, FormatAlign, FormatBorder, Workbook, Worksheet,
    XlsxError,
};
use serde_json::Value;

use super::tables::{Cell, Rows};
use super::words::{self, TERMS};
use super::{EvidenceError, tables};
use crate::evidence::model::{Pack, ReportResult};
use crate::text;
use custody_schemas::time::Micros;

/// A sheet stops here, below the million rows of Excel: a sheet that does not open proves nothing.
const ROWS_MAX: u32 = 100_000;

/// Excel holds 32,767 UTF-16 units in a cell.
const UNITS_MAX: usize = 32_767;

/// What a tester may conclude.
const CONCLUSIONS: [&str; 3] = ["pass", "fail", "na"];

/// The workbook of a pack.
pub(super) fn xlsx(pack: &Pack<'_>) -> Result<Vec<u8>, EvidenceError> {
    // Rows go through temporary files, so that memory is bounded, and the library panics when their disk is full.
    catch_unwind(AssertUnwindSafe(|| workbook(pack)))
        .unwrap_or(Err(EvidenceError::Document("no room for the temporary files of the workbook")))
}

fn workbook(pack: &Pack<'_>) -> Result<Vec<u8>, EvidenceError> {
    let mut workbook = Workbook::new();
    let mut properties = DocProperties::new()
        .set_title(property(&pack.title))
        .set_company(property(&pack.entity))
        .set_author(property(&pack.prepared_by));
    if let Some(created) = date(pack.as_of) {
        properties = properties.set_creation_datetime(&created);
    }
    workbook.set_properties(&properties);
    ipe(&mut workbook, pack)?;
    summary(&mut workbook, pack)?;
    for report in pack.reports {
        population(&mut workbook, report)?;
    }
    exceptions(&mut workbook, pack)?;
    for report in pack.reports {
        sample(&mut workbook, report)?;
    }
    dictionary(&mut workbook, pack)?;
    Ok(workbook.save_to_buffer()?)
}

/// How the information was produced: every leaf of every report's IPE block.
fn ipe(workbook: &mut Workbook, pack: &Pack<'_>) -> Result<(), EvidenceError> {
    let mut sheet = Sheet::new(workbook, "IPE", &["report", "item", "value"], 0)?;
    let facts = [
        ("title", pack.title.clone()),
        ("entity", pack.entity.clone()),
        ("environment", pack.environment.clone()),
        ("control", pack.control.clone().unwrap_or_default()),
        ("period", words::period(pack)),
        ("as of", words::time(pack.as_of)),
        ("prepared by", pack.prepared_by.clone()),
        ("tool", pack.tool.clone()),
    ];
    for (item, value) in facts {
        sheet.row([Cell::Empty, words_cell(item), Cell::Text(value)])?;
    }
    for report in pack.reports {
        let mut leaves = Vec::new();
        flatten(&report.ipe, String::new(), &mut leaves);
        for (item, value) in leaves {
            sheet.row([words_cell(&report.id), Cell::Text(item), value])?;
        }
    }
    sheet.finish()
}

/// The leaves of a JSON value with their paths, `period.from`.
fn flatten(value: &Value, path: String, leaves: &mut Vec<(String, Cell)>) {
    let inner = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| flatten(value, inner(name), leaves)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(place, item)| flatten(item, inner(&place.to_string()), leaves));
        }
        Value::String(text) => leaves.push((path, words_cell(text))),
        Value::Null => leaves.push((path, Cell::Empty)),
        other => leaves.push((path, Cell::Text(other.to_string()))),
    }
}

/// One line for each report, and what its numbers mean.
fn summary(workbook: &mut Workbook, pack: &Pack<'_>) -> Result<(), EvidenceError> {
    let header = [
        "report",
        "title",
        "verdict",
        "population",
        "excluded",
        "passed",
        "exceptions",
        "warnings",
        "information",
        "not judged",
        "sample",
        "controls",
        "question",
        "completeness",
        "result sha256",
    ];
    let mut sheet = Sheet::new(workbook, "Summary", &header, 1)?;
    for report in pack.reports {
        let counts = &report.counts;
        #[expect(clippy::cast_precision_loss, reason = "no ledger has 2^53 sessions")]
        let number = |count: u64| Cell::Number(count as f64);
        sheet.row([
            words_cell(&report.id),
            words_cell(&report.title),
            Cell::Text(words::verdict(counts)),
            number(counts.population),
            number(counts.excluded),
            number(counts.pass),
            number(counts.exceptions),
            number(counts.warnings),
            number(counts.information),
            number(counts.not_applicable),
            report.sample.as_ref().map_or(Cell::Empty, |sample| number(sample.n)),
            Cell::Text(report.controls.join(", ")),
            words_cell(&report.question),
            words_cell(&report.completeness_words),
            words_cell(&report.result_sha256),
        ])?;
    }
    sheet.filter()?;
    sheet.row([])?;
    for (term, meaning) in TERMS {
        sheet.row([words_cell(term), words_cell(meaning)])?;
    }
    sheet.finish()
}

/// Every row of a report.
fn population(workbook: &mut Workbook, report: &ReportResult) -> Result<(), EvidenceError> {
    let schema = tables::schema(report);
    let header = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
    let mut sheet = Sheet::new(workbook, &report.id, &header, 1)?;
    let rest = words::data_path(report, "population.csv");
    for batch in &report.rows {
        let rows = Rows::new(batch)?;
        for row in 0..rows.len() {
            if sheet.is_full(&rest)? {
                return sheet.finish();
            }
            let cells = (0..header.len()).map(|column| rows.cell(column, row)).collect::<Result<Vec<_>, _>>()?;
            sheet.row(cells)?;
        }
    }
    sheet.filter()?;
    sheet.finish()
}

/// The exceptions of all reports, with what the entity says about them.
fn exceptions(workbook: &mut Workbook, pack: &Pack<'_>) -> Result<(), EvidenceError> {
    let header = ["report", "key", "why", "in words", "status", "status_by", "status_at", "status_note", "evidence"];
    let mut sheet = Sheet::new(workbook, "Exceptions", &header, 2)?;
    for report in pack.reports {
        let rest = words::data_path(report, "exceptions.csv");
        for batch in &tables::of_verdict(report, "exception")? {
            let rows = Rows::new(batch)?;
            let columns = header.map(|name| rows.column(name));
            for row in 0..rows.len() {
                if sheet.is_full(&rest)? {
                    return sheet.finish();
                }
                let why = rows.text(rows.column("why"), row)?;
                let cells = header.iter().zip(columns).map(|(name, column)| match (*name, column) {
                    ("report", _) => Ok(words_cell(&report.id)),
                    ("in words", _) => Ok(words_cell(words::why(report, &why))),
                    (_, column) => column.map_or(Ok(Cell::Empty), |column| rows.cell(column, row)),
                });
                sheet.row(cells.collect::<Result<Vec<_>, _>>()?)?;
            }
        }
    }
    sheet.filter()?;
    sheet.finish()
}

/// The worksheet of a sample: what to look at, and where to write what was concluded.
fn sample(workbook: &mut Workbook, report: &ReportResult) -> Result<(), EvidenceError> {
    let Some(sample) = &report.sample else { return Ok(()) };
    let rows = Rows::new(&sample.rows)?;
    // The tester's columns stand beside the key: there they are in sight, however far one looks to the right.
    let first = ["rank", "key"].map(|name| rows.column(name));
    let others = (0..sample.rows.num_columns()).filter(|column| !first.contains(&Some(*column))).collect::<Vec<_>>();
    let schema = sample.rows.schema();
    let mut header = vec!["rank", "key", "conclusion", "tester", "tested on", "note"];
    header.extend(others.iter().filter_map(|column| schema.fields().get(*column)).map(|field| field.name().as_str()));
    let name = format!("{} Sample", report.id);
    let mut sheet = Sheet::new(workbook, &name, &header, 3)?;
    for row in 0..rows.len() {
        if sheet.is_full(&words::data_path(report, "sample.csv"))? {
            break;
        }
        let mut cells = Vec::with_capacity(header.len());
        for column in first {
            cells.push(column.map_or(Ok(Cell::Empty), |column| rows.cell(column, row))?);
        }
        cells.extend([Cell::Empty, Cell::Empty, Cell::Empty, Cell::Empty]);
        for column in &others {
            cells.push(rows.cell(*column, row)?);
        }
        sheet.row(cells)?;
    }
    sheet.filter()?;
    let to_fill = Format::new().set_background_color(Color::RGB(0xEE_F3_F7)).set_align(FormatAlign::Top);
    for (column, width) in [(2, 14), (3, 22), (4, 14), (5, 44)] {
        sheet.sheet.set_column_format(column, &to_fill)?;
        if let Some(widest) = sheet.widths.get_mut(usize::from(column)) {
            *widest = width;
        }
    }
    let choice = DataValidation::new()
        .allow_list_strings(&CONCLUSIONS)?
        .set_error_title("Conclusion")?
        .set_error_message("pass, fail or na")?;
    sheet.sheet.add_data_validation(1, 2, sheet.next.max(2) - 1, 2, &choice)?;
    sheet.finish()
}

/// What columns and codes mean.
fn dictionary(workbook: &mut Workbook, pack: &Pack<'_>) -> Result<(), EvidenceError> {
    let mut sheet = Sheet::new(workbook, "Dictionary", &["report", "kind", "name", "meaning"], 0)?;
    for report in pack.reports {
        for (kind, entries) in [("column", &report.columns), ("why", &report.why_words)] {
            for (name, words) in entries {
                sheet.row([&report.id, kind, name, words].map(words_cell))?;
            }
        }
    }
    sheet.filter()?;
    sheet.finish()
}

fn words_cell(words: &str) -> Cell {
    Cell::Text(words.to_owned())
}

/// A sheet that is written row after row.
struct Sheet<'a> {
    sheet: &'a mut Worksheet,
    /// The widest text of each column, in characters.
    widths: Vec<usize>,
    next: u32,
    columns: u16,
    time: Format,
    body: Format,
}

impl<'a> Sheet<'a> {
    /// A sheet with a header that stays in sight, as do its first columns.
    fn new(workbook: &'a mut Workbook, name: &str, header: &[&str], frozen: u16) -> Result<Self, EvidenceError> {
        let sheet = workbook.add_worksheet_with_constant_memory()?;
        sheet
            .set_name(name)?
            .set_freeze_panes(1, frozen)?
            .set_landscape()
            .set_paper_size(9)
            .set_print_fit_to_pages(1, 0);
        let body = Format::new().set_align(FormatAlign::Top).set_font_name("Calibri").set_font_size(10);
        let head = body
            .clone()
            .set_bold()
            .set_font_color(Color::RGB(0xFF_FFFF))
            .set_background_color(Color::RGB(0x17_456B))
            .set_border_bottom(FormatBorder::Thin);
        let columns = u16::try_from(header.len()).unwrap_or(u16::MAX);
        let mut widths = Vec::with_capacity(header.len());
        for (place, name) in (0..).zip(header) {
            let name = shown(&if name.ends_with("_at") { format!("{name} (Z)") } else { (*name).to_owned() });
            sheet.write_string_with_format(0, place, &name, &head)?;
            // Room for the button of the filter.
            widths.push(name.chars().count() + 4);
        }
        let time = body.clone().set_num_format("yyyy-mm-dd hh:mm:ss").set_align(FormatAlign::Left);
        Ok(Self { sheet, widths, next: 1, columns, time, body })
    }

    fn row(&mut self, cells: impl IntoIterator<Item = Cell>) -> Result<(), XlsxError> {
        let row = self.next;
        for (column, cell) in (0..).zip(cells) {
            let wide = match cell {
                Cell::Empty => 0,
                Cell::Number(number) if number.is_finite() => {
                    self.sheet.write_number_with_format(row, column, number, &self.body).map(|_| 8)?
                }
                Cell::Number(number) => self.text(row, column, &number.to_string())?,
                Cell::Time(at) => match serial(at) {
                    Some(days) => self.sheet.write_number_with_format(row, column, days, &self.time).map(|_| 19)?,
                    None => self.text(row, column, &words::time(at))?,
                },
                Cell::Text(text) => self.text(row, column, &text)?,
            };
            if let Some(widest) = self.widths.get_mut(usize::from(column)) {
                *widest = wide.max(*widest);
            }
        }
        self.next += 1;
        Ok(())
    }

    /// Writes text that a spreadsheet can hold; its length in characters.
    fn text(&mut self, row: u32, column: u16, text: &str) -> Result<usize, XlsxError> {
        let text = shown(text);
        self.sheet.write_string_with_format(row, column, &text, &self.body)?;
        Ok(text.chars().count())
    }

    /// Whether no more rows may be written; if so, a last row says where the rest is.
    fn is_full(&mut self, rest: &str) -> Result<bool, XlsxError> {
        if self.next <= ROWS_MAX {
            return Ok(false);
        }
        self.filter()?;
        self.row([Cell::Text(format!("The sheet ends here, after {ROWS_MAX} rows. All of them are in {rest}."))])?;
        Ok(true)
    }

    /// Puts a filter over the rows so far.
    fn filter(&mut self) -> Result<(), XlsxError> {
        let last = self.columns.saturating_sub(1);
        self.sheet.autofilter(0, 0, self.next - 1, last).map(|_| ())
    }

    /// Sets the widths of the columns and repeats the header on every printed page.
    fn finish(self) -> Result<(), EvidenceError> {
        for (column, widest) in (0..).zip(&self.widths) {
            #[expect(clippy::cast_precision_loss, reason = "60 at most")]
            self.sheet.set_column_width(column, (*widest).clamp(8, 60) as f64)?;
        }
        self.sheet.set_repeat_rows(0, 0)?;
        Ok(())
    }
}

/// The text as a cell can hold it: nothing that XML cannot say, cut where a cell ends, with a word about the cut.
fn shown(text: &str) -> String {
    let text = text::visible(text).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}");
    if text.encode_utf16().count() <= UNITS_MAX {
        return text;
    }
    let note = format!(" … cut: {} characters in all, see the CSV", text.chars().count());
    let mut room = UNITS_MAX - note.len();
    let head = text.chars().take_while(|letter| {
        let fits = letter.len_utf16() <= room;
        room = room.saturating_sub(letter.len_utf16());
        fits
    });
    head.collect::<String>() + &note
}

/// A property of the workbook, of which Excel takes 255 characters.
fn property(text: &str) -> String {
    shown(text).chars().take(255).collect()
}

/// Days since the epoch of Excel, when Excel agrees with everybody else about them: from March 1900 to 9999.
fn serial(at: Micros) -> Option<f64> {
    let year = words::instant(at)?.year();
    #[expect(clippy::cast_precision_loss, reason = "a microsecond is all that may be lost, and a second is shown")]
    (year > 1900).then(|| at as f64 / 86_400e6 + 25_569.0)
}

fn date(at: Micros) -> Option<ExcelDateTime> {
    let at = words::instant(at)?;
    let part = |part: u32| u8::try_from(part).ok();
    let day = ExcelDateTime::from_ymd(u16::try_from(at.year()).ok()?, part(at.month())?, part(at.day())?).ok()?;
    day.and_hms(u16::try_from(at.hour()).ok()?, part(at.minute())?, at.second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_longer_than_a_cell() {
        for text in ["x".repeat(UNITS_MAX), "x".repeat(UNITS_MAX + 1), "😀".repeat(UNITS_MAX)] {
            let shown = shown(&text);
            assert!(shown.encode_utf16().count() <= UNITS_MAX);
            assert_eq!(shown == text, text.len() == UNITS_MAX);
        }
    }

    #[test]
    fn times_are_days_of_the_spreadsheet() {
        let cases =
            [(0, Some(25_569.0)), (43_200_000_000, Some(25_569.5)), (i64::MIN, None), (-2_240_000_000_000_000, None)];
        for (at, days) in cases {
            assert_eq!(serial(at), days);
        }
    }
}

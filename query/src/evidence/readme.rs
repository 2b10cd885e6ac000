//! The page that a person opens first.

use std::fmt::Write as _;

use super::words::{self, TERMS};
use crate::evidence::model::Pack;
use crate::text;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;color:#1c2730;max-width:50rem;margin:4rem auto;padding:0 1.5rem}\
h1{font-size:1.9rem;line-height:1.2;margin:.2rem 0}h2{font-size:1.15rem;margin:2.5rem 0 .5rem;color:#17456b}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.4rem .8rem .4rem 0;\
border-bottom:1px solid #d8dee3;overflow-wrap:anywhere}th{font-weight:600}th[scope=row]{white-space:nowrap;width:9rem}\
td.n{text-align:right;font-variant-numeric:tabular-nums}pre{background:#f3f5f7;padding:1rem;overflow:auto;\
font-size:.85rem}.lead{color:#17456b;font-weight:600;margin:0}";

/// The script that draws a sample again with nothing but Python, given a path, a seed, a hash and a number.
pub(super) const REDRAW: &str = "\
import csv, hashlib, sys
path, seed, population, n = sys.argv[1:5]
csv.field_size_limit(sys.maxsize)
rows = csv.DictReader(open(path, newline='', encoding='utf-8'))
plain = lambda key: key[1:] if key[:1] == \"'\" and key[1:2] in tuple('=+-@\\t\\r') else key
keys = [plain(row['key']) for row in rows if row['verdict'] != 'excluded']
rank = lambda key: hashlib.sha256(f'{seed}\\n{population}\\n{key}'.encode()).hexdigest()
for key in sorted(keys, key=rank)[:int(n)]: print(rank(key), key)";

/// The page: what, by whom, which period, what was found, how to check it.
pub(super) fn readme(pack: &Pack<'_>) -> String {
    let title = html(&pack.title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <p class=\"lead\">Evidence pack</p>\n<h1>{title}</h1>\n<table>\n"
    );
    let facts = [
        ("Entity", pack.entity.clone()),
        ("Environment", pack.environment.clone()),
        ("Control", pack.control.clone().unwrap_or_default()),
        ("Period", words::period(pack)),
        ("As of", words::time(pack.as_of)),
        ("Prepared by", pack.prepared_by.clone()),
        ("Prepared with", pack.tool.clone()),
    ];
    for (label, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        _ = writeln!(page, "<tr><th scope=\"row\">{label}<td>{}", html(value));
    }
    page.push_str("</table>\n<h2>What was found</h2>\n<table>\n<tr><th>Report<th>Population<th>Found\n");
    for report in pack.reports {
        _ = writeln!(
            page,
            "<tr><td>{} {}<td class=\"n\">{}<td>{}",
            html(&report.id),
            html(&report.title),
            words::number(report.counts.population),
            words::verdict(&report.counts)
        );
    }
    page.push_str(
        "</table>\n<p>Read <code>data/report.pdf</code>. Work in <code>data/report.xlsx</code>. \
         The rows themselves are under <code>data/</code> as CSV and Parquet. In CSV and in the workbook some text is \
         changed to be harmless in a spreadsheet: <code>'</code> stands before what begins like a formula, and the \
         workbook shows control characters as signs. Parquet has every value as it is.</p>\n\
         <h2>How to check it</h2>\n<p>That nothing was changed since the pack was written:</p>\n\
         <pre>sha256sum -c manifest-sha256.txt\nsha256sum -c tagmanifest-sha256.txt</pre>\n",
    );
    let redraws = redraws(pack);
    if !redraws.is_empty() {
        page.push_str("<p>That the samples are the ones that the seeds give:</p>\n");
        let script = format!("cat > redraw.py <<'END'\n{REDRAW}\nEND\n{}", redraws.join("\n"));
        _ = writeln!(page, "<pre>{}</pre>", escaped(&script));
    }
    page.push_str(
        "<p>That the answers are the ones that the data give: run <code>data/query/*.sql</code> with the \
         parameters and at the versions of the tables in <code>data/query/*.params.json</code>.</p>\n\
         <h2>What the words mean</h2>\n<table>\n",
    );
    for (term, meaning) in TERMS {
        _ = writeln!(page, "<tr><th scope=\"row\">{term}<td>{meaning}");
    }
    page.push_str("</table>\n</html>\n");
    page
}

/// The commands that draw the samples again.
pub(super) fn redraws(pack: &Pack<'_>) -> Vec<String> {
    let samples = pack.reports.iter().filter_map(|report| Some((report, report.sample.as_ref()?)));
    // The script draws of all items at once.
    let samples = samples.filter(|(_, sample)| sample.strata.is_none());
    let commands = samples.map(|(report, sample)| {
        let path = words::data_path(report, "population.csv");
        format!("python3 redraw.py {path} {} {} {}", quoted(&sample.seed), report.population_sha256, sample.n)
    });
    commands.collect()
}

/// A word that a shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", text::visible(word).replace('\'', "'\\''"))
}

fn html(text: &str) -> String {
    escaped(&text::visible(text))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

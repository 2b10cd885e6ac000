//! `custody evidence`: a pack of reports for an auditor.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use custody_query::evidence::{self, Pack, ReportResult};
use custody_query::reports::{self, Asked, Report};
use custody_query::sample::Draw;
use custody_query::{AsOf, Engine, visible};
use custody_schemas::activity::Activity;
use custody_schemas::time::{Micros, to_rfc3339};
use indicatif::{ProgressBar, ProgressStyle};
use tempfile::NamedTempFile;

use crate::activity::{Ended, now, operator};
use crate::cli::{Evidence, ReportOf};
use crate::config::Config;
use crate::exit::Failure;
use crate::report::{asked, draw};
use crate::show::open_for_reports;

/// What a pack is made of.
pub(crate) struct Order {
    pub(crate) reports: Vec<&'static Report>,
    pub(crate) control: Option<String>,
    pub(crate) of: ReportOf,
    pub(crate) draw: Option<Draw>,
    pub(crate) by: String,
    pub(crate) at: Micros,
}

/// `custody evidence`
pub(crate) async fn run(config: &Config, args: &Evidence) -> Result<(), Failure> {
    let order = Order {
        reports: chosen(&args.reports, args.control.as_deref())?,
        control: args.control.clone(),
        of: args.of.clone(),
        draw: draw(&args.sample)?,
        by: operator(),
        at: args.prepared_at.unwrap_or_else(now),
    };
    let path = args.out.clone().unwrap_or_else(|| PathBuf::from(order.file_name()));
    let beside = Beside::create(&path)?;
    let (engine, journal) = open_for_reports(config).await?;
    let bar = ProgressBar::new(order.reports.len() as u64);
    bar.set_style(
        ProgressStyle::with_template("{pos}/{len} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let judged = Arc::default();
    let work = async {
        let made = make(config, &engine, &order, beside.file.as_file(), &judged, |report| {
            bar.set_message(format!("{} {}", report.id, report.front.title));
            bar.inc(1);
        });
        made.await?;
        let (sha256, bytes) = beside.finish()?;
        Ok((sha256, Ended::bytes(bytes)))
    };
    let made = journal.during(order.activity(), work).await;
    bar.finish_and_clear();
    let sha256 = made?;
    writeln!(io::stdout(), "{sha256}  {}", path.display())?;
    Ok(())
}

/// The reports that are named, or those of a control.
pub(crate) fn chosen(ids: &[String], control: Option<&str>) -> Result<Vec<&'static Report>, Failure> {
    let mut found = match control {
        Some(control) => reports::reports_of(control)?,
        None => Vec::new(),
    };
    for id in ids {
        found.push(reports::report(id)?);
    }
    found.sort_unstable_by_key(|report| report.id);
    found.dedup_by_key(|report| report.id);
    if found.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!("name reports (--report R02) or a control (--control CC6.3)")));
    }
    Ok(found)
}

impl Order {
    fn file_name(&self) -> String {
        let day = |at: Micros| to_rfc3339(at).chars().take(10).collect::<String>();
        let what = match (&self.control, self.reports.as_slice()) {
            (Some(control), _) => control.replace(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.', "-"),
            (None, [report]) => report.id.to_owned(),
            (None, _) => "reports".to_owned(),
        };
        format!("custody-evidence-{what}-{}_{}.zip", day(self.of.period.from), day(self.of.period.to))
    }

    pub(crate) fn activity(&self) -> Activity {
        let ids: Vec<_> = self.reports.iter().map(|report| report.id).collect();
        let detail = serde_json::json!({
            "from": to_rfc3339(self.of.period.from), "to": to_rfc3339(self.of.period.to), "control": self.control,
            "state": format!("{:?}", self.of.state), "prepared_at": to_rfc3339(self.at), "sample": self.draw,
        });
        Activity {
            actor: self.by.clone(),
            verb: "evidence".to_owned(),
            object: Some(ids.join(" ")),
            detail: detail.to_string(),
            ..Activity::default()
        }
    }
}

/// Runs the reports on one state of the ledger, and writes the pack.
pub(crate) async fn make(
    config: &Config,
    engine: &Engine,
    order: &Order,
    out: &File,
    judged: &Arc<AtomicU64>,
    mut progress: impl FnMut(&Report),
) -> Result<(), Failure> {
    let state = AsOf::Versions(match order.of.state.unwrap_or_default() {
        AsOf::Versions(versions) => versions,
        other => engine.versions_as_of(other).await?,
    });
    let of = ReportOf { state: Some(state), ..order.of.clone() };
    let mut results: Vec<ReportResult> = Vec::new();
    let mut first: Option<Asked> = None;
    for report in &order.reports {
        progress(report);
        let asked = asked(config, report, &of, [], (order.by.clone(), order.at));
        let asked = Asked { judged: judged.clone(), ..asked };
        results.push(evidence::collect(engine, &asked, order.draw.as_ref()).await?);
        first.get_or_insert(asked);
    }
    let Some(asked) = first else { return Ok(()) };
    let (completeness, activity) = evidence::surroundings(engine, &asked).await?;
    let title = match (&order.control, results.as_slice()) {
        (Some(control), _) => format!("Evidence for {}", visible(control)),
        (None, [report]) => report.title.clone(),
        (None, _) => "Privileged access: evidence".to_owned(),
    };
    let pack = Pack {
        title,
        entity: asked.entity.clone(),
        environment: asked.environment.clone(),
        control: order.control.clone(),
        from: asked.from,
        to: asked.to,
        as_of: asked.as_of,
        prepared_by: order.by.clone(),
        tool: concat!("custody ", env!("CARGO_PKG_VERSION")).to_owned(),
        reports: &results,
        completeness,
        activity: Some(activity),
    };
    // Setting pages and compressing takes this thread for a while.
    tokio::task::block_in_place(|| evidence::write(&pack, out)).map_err(Failure::broken)?;
    Ok(())
}

/// A file beside the one that is wanted, so that nobody finds half of it. It is gone when it is not put in its place.
struct Beside {
    file: NamedTempFile,
    path: PathBuf,
}

impl Beside {
    fn create(path: &Path) -> Result<Self, Failure> {
        if path.metadata().is_ok_and(|meta| !meta.is_file()) {
            // Putting the pack in its place would take it away.
            let path = path.display();
            return Err(Failure::usage(anyhow::anyhow!(
                "{path} is there and is no file: name the pack (--out pack.zip)"
            )));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = NamedTempFile::new_in(folder).map_err(|error| {
            Failure::usage(anyhow::Error::new(error).context(format!("{} cannot be written", path.display())))
        })?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Puts it in its place, and says its SHA-256 and size.
    fn finish(self) -> Result<(String, u64), Failure> {
        let sha256 = evidence::sha256(&mut self.file.reopen()?)?;
        let bytes = self.file.as_file().metadata()?.len();
        self.file.as_file().sync_all()?;
        self.file.persist(&self.path).map_err(|error| error.error)?;
        Ok((sha256, bytes))
    }
}

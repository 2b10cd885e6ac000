//! `custody maintain`: what keeps a ledger in order.

mod index;
mod tables;

use std::collections::HashMap;
use std::io::Write;

use custody_ingest::collector::{COLLECTED, collected};
use custody_ingest::direct::Direct;
use custody_ingest::redecode::{Again, Redecoder};
use custody_ingest::source::{Source, SourceKind};
use custody_ledger::Ledger;
use custody_query::{Engine, StoredRecord};
use custody_schemas::record::{Message, Origin};

use crate::cli::{Maintain, MaintainWhat};
use crate::config::Config;
use crate::exit::Failure;

pub(crate) use index::{follow, look_through_all, look_through_now};
pub(crate) use tables::{keep, look};

/// `custody maintain …`
pub(crate) async fn run(config: &Config, args: Maintain) -> Result<(), Failure> {
    match args.what {
        None => tables::tables(config, &args.tables).await,
        Some(MaintainWhat::Redecode) => redecode(config).await,
        Some(MaintainWhat::Index) => index::index(config).await,
        Some(MaintainWhat::Findings) => crate::watch::look(config).await,
    }
}

/// Decodes dead letters again: each by the source that its topic has in the configuration now, or had.
async fn redecode(config: &Config) -> Result<(), Failure> {
    let ledger = Ledger::existing(config.location()?).await?;
    let engine = Engine::open(&ledger, config.limits(), &config.vocabulary()).await?;
    let settings = config.settings().map_err(Failure::usage)?;
    let topics: HashMap<&str, &crate::config::Topic> =
        config.topics.iter().map(|topic| (topic.name.as_str(), topic)).collect();
    let mut redecoder = Redecoder::open(&ledger).await?;
    let mut records = engine.dead_records().await?;
    while let Some(batch) = records.next().await {
        for record in batch? {
            let source = match topics.get(record.topic.as_str()) {
                Some(topic) => topic.source(&settings),
                None => match SourceKind::from_name(&record.source) {
                    Some(kind) => Source::with(kind, &settings),
                    None => continue,
                },
            };
            let headers = headers(&record);
            let again =
                Again { message: message(&record, &headers), event_ids: &record.event_ids, pieces: &record.pieces };
            redecoder.push(&source, &again).await.map_err(Failure::broken)?;
        }
    }
    let done = redecoder.finish().await.map_err(Failure::broken)?;
    writeln!(
        std::io::stdout(),
        "{} dead letters are understood now and gave {} events and {} pieces of recordings; {} are not{}",
        done.mended,
        done.events,
        done.pieces,
        done.left,
        match done.tried_before {
            0 => String::new(),
            tried => format!("; {tried} were tried before by the same decoders"),
        }
    )?;
    Ok(())
}

/// Derives the events of collected messages whose process died between the commits of two tables.
pub(crate) async fn recover_collected(config: &Config, ledger: &Ledger, engine: &Engine) -> Result<(), Failure> {
    let settings = config.settings().map_err(Failure::usage)?;
    let mut direct = Direct::open(ledger).await?;
    for (topic, next) in engine.topics(COLLECTED).await? {
        let stream = collected(&topic);
        let cursors = direct.begin(&stream).await.map_err(Failure::broken)?;
        let Some(from) = cursors.into_iter().map(|cursor| cursor.unwrap_or(0)).min().filter(|from| *from < next) else {
            continue;
        };
        let mut records = engine.records_from(&topic, from).await?;
        while let Some(batch) = records.next().await {
            for record in batch? {
                let Some(kind) = SourceKind::from_name(&record.source) else { continue };
                let source = Source::with(kind, &settings);
                let headers = headers(&record);
                let at = record.broker_at.unwrap_or_default();
                let _ = direct.push(&stream, &source, &message(&record, &headers), at);
            }
            direct.commit().await.map_err(Failure::broken)?;
        }
        tracing::info!(topic, from, next, "derived what a stopped process had left");
    }
    direct.settle().await.map_err(Failure::broken)
}

type Headers<'a> = Vec<(&'a str, Option<&'a [u8]>)>;

fn headers(record: &StoredRecord) -> Headers<'_> {
    record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
}

fn message<'a>(record: &'a StoredRecord, headers: &'a Headers<'a>) -> Message<'a> {
    Message {
        origin: Origin { topic: &record.topic, partition: record.partition, offset: record.offset },
        broker_at: record.broker_at,
        key: record.key.as_deref(),
        headers,
        value: record.value.as_deref(),
    }
}

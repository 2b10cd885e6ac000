//! Whether what is sent arrives and what is forwarded is taken, over HTTP.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State as Axum};
use chrono::Utc;
use custody_ledger::Standing;
use custody_query::Versions;
use custody_query::pipeline::{Arrival, Freshness, SourceHealth, StreamState};
use custody_query::sessions::Time;
use custody_schemas::table::Table;
use serde::Serialize;
use utoipa::ToSchema;

use super::{ApiError, ErrorBody, State, asked_for};
use crate::activity::{Ended, now};
use crate::exit::Failure;
use crate::forward::{self, DestinationStatus};

/// From the sources to the ledger, and on to whom it is forwarded.
#[derive(Serialize, ToSchema)]
pub(super) struct Pipeline {
    /// By source and instance.
    sources: Vec<SourceHealth>,
    /// By topic and partition. What still waits at the broker is not in the ledger: `custody_ingest_lag_messages` of the
    /// process that ingests has it.
    streams: Vec<StreamState>,
    /// How long messages took from the broker into the ledger.
    freshness: Freshness,
    /// Messages that could not be decoded and were not understood later either.
    dead_letters: i64,
    /// Where events are forwarded to.
    destinations: Vec<DestinationStatus>,
    /// The tables of the ledger.
    tables: Vec<TableStanding>,
    /// When this was found.
    at: Time,
    /// What it is made from.
    versions: Versions,
}

/// How a table stands.
#[derive(Serialize, ToSchema)]
struct TableStanding {
    /// The table.
    table: &'static str,
    /// Its version.
    version: u64,
    /// Its rows.
    rows: u64,
    /// Its files.
    files: u64,
    /// Their bytes.
    bytes: u64,
    /// Small files that are due to be put together.
    files_due: u64,
    /// Log entries since the last checkpoint.
    log_entries: u64,
}

impl TableStanding {
    async fn of(table: Table, state: &State) -> Result<Self, Failure> {
        let standing = async {
            let maintenance = state.replays.ledger().maintenance(table).await?;
            maintenance.standing(state.config.maintain.sizes(), Utc::now().date_naive()).await
        };
        let Standing { version, rows, files, bytes, files_due, entries } = standing.await.map_err(Failure::broken)?;
        Ok(Self { table: table.name(), version, rows, files, bytes, files_due, log_entries: entries })
    }
}

/// Tells whether what is sent arrives: by source, stream, destination and table.
///
/// What it says of sources and streams is worked out once for a state of the ledger.
#[utoipa::path(get, path = "/api/v1/pipeline", tag = "pipeline", responses(
    (status = 200, body = Pipeline), (status = 408, body = ErrorBody, description = "It takes too long"),
    (status = 503, body = ErrorBody, description = "The ledger does not answer")
))]
pub(super) async fn get_pipeline(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
) -> Result<Json<Pipeline>, ApiError> {
    let work = async {
        let arrival = async { Ok(state.engine.arrival(state.bounds.time).await?) };
        let arrival = state.arrivals.get((&state.engine, state.bounds.time), (), arrival).await?;
        let destinations = forward::statuses(&state.engine, &state.config).await?;
        let tables = Table::ALL.map(|table| TableStanding::of(table, &state));
        let tables = futures::future::try_join_all(tables).await?;
        let Arrival { sources, streams, freshness, versions } = arrival.as_ref().clone();
        let now = Time(now());
        let pipeline = Pipeline {
            dead_letters: sources.iter().filter_map(|source| source.errors).sum(),
            sources: sources.into_iter().map(|source| source.at(now)).collect(),
            streams,
            freshness,
            destinations,
            tables,
            at: now,
            versions,
        };
        let rows = pipeline.sources.len() + pipeline.streams.len() + pipeline.destinations.len();
        Ok((Json(pipeline), Ended::rows(rows as u64)))
    };
    state.during(from, asked_for("pipeline", None), work).await
}

//! The overview, over HTTP.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State as Axum};
use axum::http::Uri;
use custody_query::overview::{OVERVIEW_DAYS_MAX, Overview, Weeks};
use custody_schemas::activity::Activity;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{ApiError, ErrorBody, State, asked_for, in_query};
use crate::activity::Ended;

/// Days of an overview when the question does not say.
const DAYS: u32 = 30;

/// How far back.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OverviewOf {
    /// Days, of which today (UTC) is the last: 1 to 366, by default 30.
    days: Option<u32>,
}

/// Who was in there last, what nobody approved, who is in there now, and which findings are open.
///
/// It is worked out once for a state of the ledger: the same question is answered at once until more comes in, and for four
/// times as long as it took to work it out. `at` and `versions` say what an answer is made from.
#[utoipa::path(get, path = "/api/v1/overview", tag = "overview", params(OverviewOf), responses(
    (status = 200, body = Overview), (status = 400, body = ErrorBody),
    (status = 408, body = ErrorBody, description = "It takes too long")
))]
pub(super) async fn get_overview(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    uri: Uri,
) -> Result<Json<Overview>, ApiError> {
    let OverviewOf { days } = in_query(&uri)?;
    let days = days.unwrap_or(DAYS);
    if !(1..=OVERVIEW_DAYS_MAX).contains(&days) {
        return Err(ApiError::bad_request(format!("days must be from 1 to {OVERVIEW_DAYS_MAX}")));
    }
    let detail = serde_json::json!({ "days": days }).to_string();
    // Tomorrow it is another question.
    let question = (days, chrono::Utc::now().date_naive());
    let work = async {
        let found = async { Ok(state.engine.overview(days, state.bounds.time).await?) };
        let overview = state.overviews.get((&state.engine, state.bounds.time), question, found).await?;
        let count = overview.latest.len() + overview.unapproved.latest.len() + overview.running.latest.len();
        Ok((Json(overview.as_ref().clone()), Ended::rows(count as u64)))
    };
    state.during(from, Activity { detail, ..asked_for("overview", None) }, work).await
}

/// What just-in-time access is measured by, this week and seven before: sums and medians of the reports M01, M02 and M03.
///
/// It is worked out once for a state of the ledger, as the overview is.
#[utoipa::path(get, path = "/api/v1/overview/weeks", tag = "overview", responses(
    (status = 200, body = Weeks), (status = 408, body = ErrorBody, description = "It takes too long")
))]
pub(super) async fn get_weeks(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
) -> Result<Json<Weeks>, ApiError> {
    let question = chrono::Utc::now().date_naive();
    let work = async {
        let found = async { Ok(state.engine.weeks(state.bounds.time).await?) };
        let weeks = state.weeks.get((&state.engine, state.bounds.time), question, found).await?;
        Ok((Json(weeks.as_ref().clone()), Ended::rows(weeks.weeks.len() as u64)))
    };
    state.during(from, asked_for("overview weeks", None), work).await
}

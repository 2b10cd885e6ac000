//! Access requests over HTTP.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State as Axum};
use axum::http::Uri;
use custody_query::requests::{RequestDetail, RequestFilter, RequestPage, RequestState};
use custody_schemas::activity::Activity;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{ApiError, ErrorBody, InPath, State, asked_for, in_path, in_query, instant, page_rows};
use crate::activity::Ended;

/// Which requests.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListRequests {
    /// What became of it by now.
    #[param(inline)]
    state: Option<RequestState>,
    /// Made by this user.
    requester: Option<String>,
    /// Whose reason, or a ticket in it, contains this text.
    reason: Option<String>,
    /// Made at or after this instant (RFC 3339); approved, where it is not known when it was made.
    from: Option<String>,
    /// Made before this instant (RFC 3339).
    to: Option<String>,
    /// Requests of a page, 1 to 1000.
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

/// Access requests, newest first, with what became of them.
#[utoipa::path(get, path = "/api/v1/requests", tag = "requests", params(ListRequests), responses(
    (status = 200, body = RequestPage), (status = 400, body = ErrorBody)
))]
pub(super) async fn list_requests(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    uri: Uri,
) -> Result<Json<RequestPage>, ApiError> {
    let asked: ListRequests = in_query(&uri)?;
    let limit = page_rows(asked.limit)?;
    let filter = RequestFilter {
        state: asked.state,
        requester: asked.requester,
        reason: asked.reason,
        from: asked.from.as_deref().map(|text| instant("from", text)).transpose()?,
        to: asked.to.as_deref().map(|text| instant("to", text)).transpose()?,
        after: asked.after,
    };
    let detail = serde_json::json!({ "query": uri.query() }).to_string();
    let work = async {
        let page = state.engine.requests(&filter, limit).await?;
        let count = page.requests.len() as u64;
        Ok((Json(page), Ended::rows(count)))
    };
    state.during(from, Activity { detail, ..asked_for("requests", None) }, work).await
}

/// Which of the requests of an id.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfSource {
    /// The kind of gateway, where several have a request of this id; else the first by name.
    source: Option<String>,
}

/// Everything known of one request: what was asked for, who voted, and which sessions used it.
#[utoipa::path(get, path = "/api/v1/requests/{id}", tag = "requests", params(("id" = String, Path), OfSource), responses(
    (status = 200, body = RequestDetail), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)
))]
pub(super) async fn get_request(
    Axum(state): Axum<State>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    id: InPath<String>,
    uri: Uri,
) -> Result<Json<RequestDetail>, ApiError> {
    let (id, OfSource { source }) = (in_path(id)?, in_query(&uri)?);
    let detail = serde_json::json!({ "source": source }).to_string();
    let work = async {
        let found = state.engine.request(&id, source.as_deref()).await?;
        let count = u64::from(found.is_some());
        Ok((found, Ended::rows(count)))
    };
    let found = state.during(from, Activity { detail, ..asked_for("request", Some(&id)) }, work).await?;
    found.map(Json).ok_or_else(|| ApiError::not_found(format!("no access request {id:?} is in the ledger")))
}

//! The HTTP face towards gateways and policy engines: they push, Custody answers when the message is safe.
//!
//! Listens on an address of its own, apart from the one where people ask: what may write is not what may read.
//!
//! | request | from | topic |
//! |---|---|---|
//! | `POST /logs`, `/logs/{partition}` | OPA's decision log plugin | `opa.decisions` |
//! | `POST /<any>.<session id>.log` | the session stream of Teleport's event handler | `teleport.sessions` |
//! | `POST /<any>.log` | the audit stream of Teleport's event handler | `teleport.audit` |
//! | `POST /boundary`, `POST /hoop` | shippers, webhooks | `boundary.events`, `hoop.events` |
//!
//! A body is kept as it came, whatever it is: one that is no event becomes a dead letter, which a sender that was told
//! "bad request" would only send again or drop.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State as Axum};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum_server::tls_rustls::RustlsConfig;
use custody_ingest::collector::{CollectError, Collector, Upload};
use custody_ingest::source::{Settings, Source, SourceKind};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::sync::watch;

use crate::config::{Collect, Tls};
use crate::exit::Failure;
use crate::http::{ApiError, only_local_names};
use crate::shutdown;

/// How long open requests may go on when Custody is asked to stop.
const GRACE: std::time::Duration = std::time::Duration::from_secs(25);

/// What the handlers share.
#[derive(Clone)]
struct State {
    collector: Collector,
    config: Arc<Collect>,
    /// The topics that are read from Kafka; `None` without Kafka.
    topics: Option<Arc<BTreeSet<String>>>,
    settings: Arc<Settings>,
}

/// The address to listen on, if one is configured and it is safe to.
///
/// # Errors
///
/// [`Failure`] that says what to do, when others could reach it without showing who they are.
pub(crate) fn address(config: &Collect) -> Result<Option<SocketAddr>, Failure> {
    let Some(address) = config.listen else { return Ok(None) };
    let asks = !config.tokens.is_empty() || config.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if address.ip().is_loopback() || asks {
        return Ok(Some(address));
    }
    Err(Failure::usage(anyhow::anyhow!(
        "collect.listen = {address} can be reached by others, who could then write evidence. Set collect.tokens, or \
         collect.tls with client_ca, so that senders have to show who they are; or listen on 127.0.0.1"
    )))
}

/// Serves until asked to stop.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    collector: Collector,
    config: Collect,
    topics: Option<BTreeSet<String>>,
    settings: Arc<Settings>,
    stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let address = listener.local_addr()?;
    let tls = config.tls.as_ref().map(tls).transpose().map_err(Failure::usage)?;
    tracing::info!(%address, tls = tls.is_some(), "collecting");
    let state = State { collector, config: Arc::new(config), topics: topics.map(Arc::new), settings };
    let mut router = Router::new()
        .fallback(collect)
        .layer(middleware::from_fn_with_state(state.clone(), authenticate))
        .layer(middleware::from_fn(no_browsers))
        .with_state(state);
    if address.ip().is_loopback() {
        router = router.layer(middleware::from_fn(only_local_names));
    }
    let router = router.into_make_service();
    let handle = axum_server::Handle::new();
    let stopping = handle.clone();
    let waiting = tokio::spawn(async move {
        shutdown::wait(stop).await;
        stopping.graceful_shutdown(Some(GRACE));
    });
    match tls {
        None => axum_server::from_tcp(listener)?.handle(handle).serve(router).await?,
        Some(tls) => axum_server::from_tcp_rustls(listener, tls)?.handle(handle).serve(router).await?,
    }
    waiting.abort();
    Ok(())
}

fn tls(tls: &Tls) -> anyhow::Result<RustlsConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        rustls::ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).with_context(|| format!("{}", file.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .with_context(|| format!("{} holds no private key in PEM", tls.key.display()))?;
    let mut config = builder.with_single_cert(certificates(&tls.cert)?, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(RustlsConfig::from_config(Arc::new(config)))
}

pub(crate) fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>();
    let certificates = read().with_context(|| format!("{} holds no certificate in PEM", file.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "{} holds no certificate in PEM", file.display());
    Ok(certificates)
}

/// Refuses what a browser sends for a web page: it would write evidence with the rights of whoever looks at the page.
async fn no_browsers(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) || request.headers().contains_key("sec-fetch-site") {
        return ApiError::new(StatusCode::FORBIDDEN, "forbidden", "evidence is not taken from web pages")
            .into_response();
    }
    next.run(request).await
}

/// Lets only those in who have a token, where tokens are configured.
async fn authenticate(Axum(state): Axum<State>, request: Request, next: Next) -> Response {
    if state.config.tokens.is_empty() || state.config.tokens.iter().any(|token| has_token(request.headers(), token)) {
        return next.run(request).await;
    }
    metrics::counter!("custody_collect_refused_total").increment(1);
    let refused = ApiError::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "send `Authorization: Bearer` with one of collect.tokens",
    );
    ([(header::WWW_AUTHENTICATE, "Bearer")], refused).into_response()
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let given =
        given.and_then(|value| value.split_at_checked(7)).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    given.is_some_and(|(_, given)| aws_lc_rs::constant_time::verify_slices_are_equal(given, token.as_bytes()).is_ok())
}

/// Where a request's body goes.
#[derive(Debug, PartialEq, Eq)]
struct Route<'a> {
    source: SourceKind,
    topic: &'a str,
    session_id: Option<&'a str>,
}

fn route<'a>(path: &'a str, config: &'a Collect) -> Option<Route<'a>> {
    let to = |source, topic: &'a str| Some(Route { source, topic, session_id: None });
    match path.trim_end_matches('/').trim_start_matches('/') {
        "logs" => to(SourceKind::Opa, &config.opa_topic),
        "boundary" => to(SourceKind::Boundary, &config.boundary_topic),
        "hoop" => to(SourceKind::Hoop, &config.hoop_topic),
        path => {
            if let Some(partition) = path.strip_prefix("logs/") {
                return (!partition.contains('/')).then(|| to(SourceKind::Opa, &config.opa_topic))?;
            }
            let name = path.strip_suffix(".log")?.rsplit('/').next()?;
            let session_id = name.rsplit_once('.').map(|(_, id)| id).filter(|id| is_session_id(id));
            let topic = if session_id.is_some() { &config.teleport_session_topic } else { &config.teleport_topic };
            Some(Route { source: SourceKind::Teleport, topic, session_id })
        }
    }
}

/// Whether a part of a path looks like the id that the event handler puts there: a UUID.
fn is_session_id(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

async fn collect(
    Axum(state): Axum<State>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let Some(Route { source, topic, session_id }) = route(uri.path(), &state.config) else {
        return Err(ApiError::not_found(format!(
            "nothing is collected at {}: OPA posts to /logs, Teleport's event handler to /<name>.log and \
             /<name>.<session id>.log, others to /boundary and /hoop",
            uri.path()
        )));
    };
    if method != Method::POST {
        let message = format!("{method} is not what {} answers to: send POST", uri.path());
        return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "request", message));
    }
    if state.topics.as_ref().is_some_and(|topics| !topics.contains(topic)) {
        return Err(ApiError::not_found(format!(
            "what comes here goes to the topic {topic:?}, which nobody reads: add it to [[topics]], or name another one \
             under [collect]"
        )));
    }
    let encoding = headers.get(header::CONTENT_ENCODING).map_or(&b"identity"[..], |value| value.as_bytes());
    if ![&b"identity"[..], b"gzip", b"x-gzip"].iter().any(|known| encoding.eq_ignore_ascii_case(known)) {
        let message = "a body is taken as it is or as gzip";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "request", message));
    }
    let body = read(body, state.config.body_mb_max.saturating_mul(1024 * 1024)).await?;
    let labels = [("source", source.as_str())];
    let upload = Upload {
        topic: topic.to_owned(),
        source: Source::with(source, &state.settings),
        key: session_id.map(str::to_owned),
        headers: session_id.map(|id| ("session_id", id.to_owned())).into_iter().collect(),
        value: body.into(),
    };
    let bytes = upload.value.len();
    match state.collector.accept(upload).await {
        Ok(()) => {
            metrics::counter!("custody_collect_messages_total", &labels).increment(1);
            metrics::counter!("custody_collect_bytes_total", &labels).increment(bytes as u64);
            // Teleport's event handler takes nothing else for a success.
            Ok(StatusCode::OK)
        }
        Err(error @ CollectError::TooLarge { .. }) => {
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string()))
        }
        Err(error @ CollectError::Unavailable(_)) => {
            metrics::counter!("custody_collect_failures_total", &labels).increment(1);
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string()))
        }
    }
}

async fn read(body: Body, bytes_max: usize) -> Result<Bytes, ApiError> {
    let bytes = to_bytes(body, bytes_max).await.map_err(|error| {
        let too_large =
            std::error::Error::source(&error).is_some_and(|cause| cause.to_string().contains("length limit"));
        match too_large {
            true => ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                format!(
                    "a body may have {bytes_max} bytes (collect.body_mb_max); let the sender upload less at a time"
                ),
            ),
            false => ApiError::bad_request("the body ended early"),
        }
    })?;
    if bytes.is_empty() {
        return Err(ApiError::bad_request("there is no body"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_who_sends_and_which_session() {
        let id = "293fda2d-0000-4000-8000-000000000000";
        let session = format!("/session.{id}.log");
        let nested = format!("/a/b/mine.{id}.log");
        type Case<'a> = (&'a str, Option<(SourceKind, &'a str, Option<&'a str>)>);
        let cases: [Case<'_>; 13] = [
            ("/logs", Some((SourceKind::Opa, "opa.decisions", None))),
            ("/logs/", Some((SourceKind::Opa, "opa.decisions", None))),
            ("/logs/eu", Some((SourceKind::Opa, "opa.decisions", None))),
            ("/logs/eu/x", None),
            ("/test.log", Some((SourceKind::Teleport, "teleport.audit", None))),
            ("/deep/er/events.log", Some((SourceKind::Teleport, "teleport.audit", None))),
            (&session, Some((SourceKind::Teleport, "teleport.sessions", Some(id)))),
            (&nested, Some((SourceKind::Teleport, "teleport.sessions", Some(id)))),
            ("/session.short.log", Some((SourceKind::Teleport, "teleport.audit", None))),
            ("/boundary", Some((SourceKind::Boundary, "boundary.events", None))),
            ("/hoop", Some((SourceKind::Hoop, "hoop.events", None))),
            ("/", None),
            ("/test.txt", None),
        ];
        let config = Collect::default();
        for (path, expected) in cases {
            let expected = expected.map(|(source, topic, session_id)| Route { source, topic, session_id });
            assert_eq!(route(path, &config), expected, "{path}");
        }
    }

    #[test]
    fn tokens_are_compared_whole() {
        let cases = [
            (Some("Bearer abc"), true),
            (Some("bearer abc"), true),
            (Some("Bearer ab"), false),
            (Some("Bearer abcd"), false),
            (Some("Basic abc"), false),
            (Some("abc"), false),
            (None, false),
        ];
        for (value, expected) in cases {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            }
            assert_eq!(has_token(&headers, "abc"), expected, "{value:?}");
        }
    }

    #[test]
    fn others_reach_it_only_when_they_have_to_show_who_they_are() {
        let open = Collect { listen: Some(([0, 0, 0, 0], 7879).into()), ..Collect::default() };
        assert!(address(&open).is_err());
        assert!(address(&Collect { tokens: vec!["t".to_owned()], ..open.clone() }).unwrap().is_some());
        assert!(address(&Collect { listen: Some(([127, 0, 0, 1], 7879).into()), ..open }).unwrap().is_some());
        assert_eq!(address(&Collect::default()).unwrap(), None);
    }
}

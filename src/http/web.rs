//! The web interface: the files that `npm run build` makes in `dashboards/web`, inside of the binary.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use super::ApiError;

/// A binary that was built before the web interface is whole without it.
#[derive(RustEmbed)]
#[folder = "dashboards/web/dist/"]
#[allow_missing = true]
struct Built;

/// The page, which shows all others.
const PAGE: &str = "index.html";

/// What a page may load: its own files, and nothing that is written into it. The player's terminal is WebAssembly.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const MISSING: &str = "The web interface is not in this binary: `make web` builds it, and the next build takes it in.\n\
    The API is here: /api/v1/openapi.json\n";

/// What is at a path that is not the API's.
pub(super) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    let nothing = || ApiError::not_found(format!("there is nothing at {}", uri.path())).into_response();
    if !matches!(method, Method::GET | Method::HEAD) || path.starts_with("api/") {
        return nothing();
    }
    // Names of assets are made of what is in them.
    let keep = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    if let Some(file) = Built::get(path) {
        return answer(path, keep, file.data);
    }
    // Who types an address, or follows a link, wants a page; a program that asks for what is not there is told.
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !path.is_empty() && !accepts.contains("text/html") {
        return nothing();
    }
    match Built::get(PAGE) {
        Some(page) => answer(PAGE, keep, page.data),
        None => (StatusCode::NOT_FOUND, MISSING).into_response(),
    }
}

fn answer(path: &str, keep: &'static str, data: Cow<'static, [u8]>) -> Response {
    let headers = [(header::CONTENT_TYPE, kind(path)), (header::CACHE_CONTROL, keep)];
    let mut response = (headers, data).into_response();
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY);
    response
}

fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json" | "map") => "application/json",
        Some("wasm") => "application/wasm",
        Some("woff2") => "font/woff2",
        Some("png") => "image/png",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

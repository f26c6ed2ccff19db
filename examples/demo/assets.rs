//! The page's style, script and icon, served by the demo so that its policy need not allow others.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;

pub(crate) const STYLE: &str = "/demo.css";
pub(crate) const SCRIPT: &str = "/demo.js";
pub(crate) const ICON: &str = "/icon.svg";

pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route(STYLE, get(|| async { file("text/css", include_str!("demo.css")) }))
        .route(SCRIPT, get(|| async { file("text/javascript", include_str!("demo.js")) }))
        .route(ICON, get(|| async { file("image/svg+xml", include_str!("icon.svg")) }))
}

fn file(kind: &'static str, content: &'static str) -> impl IntoResponse {
    // Revalidated each time, because the next build of the demo may have another file.
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], content)
}

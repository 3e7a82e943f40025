//! `GET /`: a page for people, and `GET /data`, what it shows.

use super::http::Response;
use crate::feed::Source;
use std::sync::Arc;

const HTML: &str =
    "<!DOCTYPE html>\n<html lang=\"en\"><title>livefeed</title><p>See <a href=\"/health\">health</a>.";

/// What the page may do: nothing that is not in it.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The page.
pub(super) fn html() -> Response {
    Response::new(200, "text/html; charset=utf-8", HTML).policy(POLICY)
}

/// What it shows, as JSON.
pub(super) fn data(sources: &[Arc<Source>]) -> Response {
    let snapshots: Vec<_> = sources.iter().map(|source| source.snapshot()).collect();
    let feeds: Vec<_> =
        snapshots.iter().map(|snapshot| serde_json::json!({"health": snapshot.health})).collect();
    Response::json(200, &serde_json::json!({ "feeds": feeds }))
}

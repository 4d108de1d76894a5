//! `GET /openapi.json`: generated from the routes, checked in as `api/openapi.json`.

use axum::response::Response;

use crate::openapi as doc;
use crate::respond::json_text;

#[utoipa::path(get, path = "/openapi.json", tag = "operations", security(()),
    responses((status = 200, description = "This document", body = Object)))]
pub(crate) async fn openapi() -> Response {
    json_text(doc::document())
}

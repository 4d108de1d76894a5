//! `GET /v1/gateway_keys`: without those of single turns, which come and go by the thousand.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::MeterListing;
use perennial_schema::limits::{PAGE_DEFAULT, PAGE_MAX};

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::page::{Binding, cut, time_and_id};
use crate::query::Query;
use crate::respond::json;
use crate::wire::Page;
use crate::wire::meter::KeyView;

#[utoipa::path(get, path = "/v1/gateway_keys", tag = "gateway_keys", params(doc::PageParams),
    responses((status = 200, description = "Newest first", body = doc::GatewayKeyPage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_gateway_keys(
    State(app): State<App>,
    principal: Principal,
    query: Query,
) -> Result<Response, ApiError> {
    let binding = Binding::new("gateway_keys", principal.workspace, false);
    let limit = query.limit(PAGE_DEFAULT, PAGE_MAX)?;
    let listing = MeterListing {
        workspace: principal.workspace,
        cursor: binding.read(&query)?.map(|place| time_and_id(&place)).transpose()?,
        limit: limit + 1,
    };
    let mut keys = app.ports.metering.keys(listing).await?;
    let more = cut(&mut keys, limit);
    let last = keys.last().filter(|_| more);
    let next_page = last.map(|last| binding.write(&format!("{} {}", last.created_at.micros(), last.id)));
    let data: Vec<KeyView> = keys.into_iter().map(|key| KeyView::of(key, None)).collect();
    Ok(json(&Page { data, next_page }))
}

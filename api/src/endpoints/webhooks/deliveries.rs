//! `GET /v1/webhooks/{id}/deliveries`: what it was told, is to be told, and what came of it.

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::{DeliveryListing, DeliveryState};
use perennial_schema::limits::{PAGE_DEFAULT, PAGE_MAX};

use super::find;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::page::{Binding, cut, time_and_id};
use crate::path::Id;
use crate::query::Query;
use crate::respond::json;
use crate::wire::Page;
use crate::wire::webhook::DeliveryView;

#[utoipa::path(get, path = "/v1/webhooks/{webhook_id}/deliveries", tag = "webhooks",
    params(("webhook_id" = String, Path), doc::PageParams, doc::DeliveryParams),
    responses((status = 200, description = "Newest first; those that ended are kept for a week", body = doc::DeliveryPage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_deliveries(
    State(app): State<App>,
    principal: Principal,
    Id(id): Id,
    query: Query,
) -> Result<Response, ApiError> {
    let webhook = find(&app, principal, &id).await?;
    let limit = query.limit(PAGE_DEFAULT, PAGE_MAX)?;
    let binding = Binding::new("deliveries", webhook.id, false);
    let state = query.one("status").map(|word| {
        DeliveryState::parse(word).ok_or_else(|| ApiError::field("status", "must be pending, delivered or failed"))
    });
    let listing = DeliveryListing {
        workspace: principal.workspace,
        webhook: webhook.id,
        state: state.transpose()?,
        before: binding.read(&query)?.map(|place| time_and_id(&place)).transpose()?,
        limit: limit + 1,
    };
    let mut deliveries = app.ports.webhooks.deliveries(&listing).await?;
    let more = cut(&mut deliveries, limit);
    let last = deliveries.last().filter(|_| more);
    let next_page = last.map(|last| binding.write(&format!("{} {}", last.created_at.micros(), last.id)));
    let data: Result<Vec<DeliveryView>, ApiError> = deliveries.iter().map(DeliveryView::of).collect();
    Ok(json(&Page { data: data?, next_page }))
}

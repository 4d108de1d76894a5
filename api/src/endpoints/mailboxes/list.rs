//! `GET /v1/mailboxes`: those that have had mail, with what waits in them.

use axum::extract::State;
use axum::response::Response;
use perennial_schema::limits::{PAGE_DEFAULT, PAGE_MAX};
use perennial_schema::mail::Address;

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::page::{Binding, cut};
use crate::query::Query;
use crate::respond::json;
use crate::wire::Page;
use crate::wire::mail::MailboxView;

#[utoipa::path(get, path = "/v1/mailboxes", tag = "mail", params(doc::PageParams),
    responses((status = 200, description = "By address", body = doc::MailboxPage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_mailboxes(
    State(app): State<App>,
    principal: Principal,
    query: Query,
) -> Result<Response, ApiError> {
    let binding = Binding::new("mailboxes", principal.workspace, true);
    let limit = query.limit(PAGE_DEFAULT, PAGE_MAX)?;
    let refuse = |_| ApiError::field("page", "not a cursor of this list");
    let after: Option<Address> = binding
        .read(&query)?
        .map(|place| place.parse().map_err(refuse))
        .transpose()?;
    let mail = app.ports.mail.mail();
    let mut boxes = mail.mailboxes(principal.workspace, after.as_ref(), limit + 1).await?;
    let more = cut(&mut boxes, limit);
    let last = boxes.last().filter(|_| more);
    let next_page = last.map(|last| binding.write(&last.address.to_string()));
    let data: Vec<MailboxView> = boxes.into_iter().map(MailboxView::from).collect();
    Ok(json(&Page { data, next_page }))
}

//! `GET /v1/mailboxes/{kind}/{name}/messages`

use axum::extract::State;
use axum::response::Response;
use perennial_engine::ports::MessageListing;
use perennial_schema::limits::{PAGE_DEFAULT, PAGE_MAX};

use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::openapi as doc;
use crate::page::{Binding, cut};
use crate::path::MailboxAt;
use crate::query::Query;
use crate::respond::json;
use crate::wire::Page;
use crate::wire::mail::MessageView;

#[utoipa::path(get, path = "/v1/mailboxes/{kind}/{name}/messages", tag = "mail",
    params(("kind" = String, Path), ("name" = String, Path), doc::MailParams, doc::PageParams),
    responses((status = 200, description = "Newest first", body = doc::MailPage),
    (status = "4XX", description = "Refused", body = doc::Error)))]
pub(crate) async fn list_mail(
    State(app): State<App>,
    principal: Principal,
    MailboxAt(to): MailboxAt,
    query: Query,
) -> Result<Response, ApiError> {
    let binding = Binding::new("mail", format!("{} {to}", principal.workspace), false);
    let limit = query.limit(PAGE_DEFAULT, PAGE_MAX)?;
    let states = query
        .many("states")?
        .into_iter()
        .map(|state| state.parse().map_err(|error| ApiError::field("states[]", error)));
    let refuse = |_| ApiError::field("page", "not a cursor of this list");
    let listing = MessageListing {
        workspace: principal.workspace,
        to: Some(to),
        states: states.collect::<Result<_, _>>()?,
        thread: query.one("thread").map(ToOwned::to_owned),
        before: binding
            .read(&query)?
            .map(|place| place.parse().map_err(refuse))
            .transpose()?,
        limit: limit + 1,
    };
    let mut messages = app.ports.mail.mail().messages(listing).await?;
    let more = cut(&mut messages, limit);
    let last = messages.last().filter(|_| more);
    let next_page = last.map(|last| binding.write(&last.position.to_string()));
    let data: Vec<MessageView> = messages.into_iter().map(MessageView::from).collect();
    Ok(json(&Page { data, next_page }))
}

//! What the lists of agents and environments do alike: a page, newest first, and the cursor of the next.

use std::fmt::Display;
use std::str::FromStr;

use axum::response::Response;
use perennial_engine::ports::StoreError;
use perennial_schema::Timestamp;
use perennial_schema::limits::{PAGE_DEFAULT, PAGE_MAX};
use serde::Serialize;

use crate::accounts::Listing;
use crate::error::ApiError;
use crate::page::{Binding, cut, time_and_id};
use crate::query::Query;
use crate::respond::json;
use crate::wire::Page;

/// Answers a list: `ask` gives the page, `place` says where a resource is in the order.
pub(crate) async fn newest_first<R, Id, Asked>(
    query: &Query,
    binding: &Binding,
    ask: impl FnOnce(Listing<Id>) -> Asked,
    place: impl FnOnce(&R) -> (Timestamp, Id),
) -> Result<Response, ApiError>
where
    R: Serialize,
    Id: FromStr + Display,
    Asked: Future<Output = Result<Vec<R>, StoreError>>,
{
    let limit = query.limit(PAGE_DEFAULT, PAGE_MAX)?;
    let cursor = binding.read(query)?;
    let listing = Listing {
        created: query.bounds("created_at")?,
        include_archived: query.flag("include_archived")?,
        cursor: cursor.map(|position| time_and_id(&position)).transpose()?,
        // One too many, to see whether there is more.
        limit: limit + 1,
    };
    let mut data = ask(listing).await?;
    let more = cut(&mut data, limit);
    let last = data.last().filter(|_| more).map(place);
    let next_page = last.map(|(at, id)| binding.write(&format!("{} {id}", at.micros())));
    Ok(json(&Page { data, next_page }))
}

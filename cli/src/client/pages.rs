//! Lists: pages followed until enough items are there, bounded.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::resources::Page;
use super::{Client, limits};
use crate::error::Error;

impl Client {
    /// Up to `limit` items of a list, each as the server's own text.
    pub async fn list(&self, path: &str, query: &[(&str, String)], limit: usize) -> Result<Vec<Box<RawValue>>, Error> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..limits::PAGES {
            let mut query = query.to_vec();
            query.push(("limit", (limit - items.len()).min(limits::PAGE).to_string()));
            query.extend(cursor.take().map(|cursor| ("page", cursor)));
            let page: Page = self.get(path, &query).await?.parse()?;
            items.extend(page.data);
            cursor = page.next_page.filter(|cursor| !cursor.is_empty());
            if items.len() >= limit || cursor.is_none() {
                items.truncate(limit);
                return Ok(items);
            }
        }
        Err(Error::Failed(format!("{path} has more than {} pages", limits::PAGES)))
    }
}

/// Items as typed values.
pub fn typed<T: DeserializeOwned>(items: &[Box<RawValue>]) -> Result<Vec<T>, Error> {
    let parse = |item: &RawValue| {
        serde_json::from_str(item.get()).map_err(|error| Error::Answer {
            what: "a list".to_owned(),
            detail: error.to_string(),
        })
    };
    items.iter().map(|item| parse(item)).collect()
}

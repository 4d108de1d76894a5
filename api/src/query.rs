//! Query parameters as the SDKs write them: `types[]=a&types[]=b`, `created_at[gte]=…`. Unknown ones (`beta=true`) are
//! ignored; malformed known ones are a 400 that names them.

use axum::extract::{FromRequestParts, Query as AxumQuery};
use axum::http::request::Parts;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use perennial_engine::ports::TimeBounds;
use perennial_schema::Timestamp;
use serde_json::Value;

use crate::error::ApiError;
use crate::limits::QUERY_VALUES;

/// The parameters of a request, in order.
pub(crate) struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        AxumQuery::try_from_uri(&parts.uri)
            .map(|AxumQuery(pairs)| Self(pairs))
            .map_err(|error| ApiError::bad_request(format!("query: {error}")))
    }
}

impl Query {
    /// The last value of a parameter; an empty one counts as absent.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// All values of an array parameter (`name[]`, plain `name` too).
    ///
    /// # Errors
    /// 400 when there are too many.
    pub(crate) fn many(&self, name: &str) -> Result<Vec<&str>, ApiError> {
        let values: Vec<&str> = self
            .0
            .iter()
            .filter(|(key, value)| key.strip_suffix("[]").unwrap_or(key) == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
            .collect();
        if values.len() > QUERY_VALUES {
            return Err(ApiError::field(
                format!("{name}[]"),
                format!("more than {QUERY_VALUES} values"),
            ));
        }
        if let Some(value) = values.iter().find(|value| value.contains('\0')) {
            return Err(ApiError::field(
                format!("{name}[]"),
                format!("{value:?} contains a NUL character"),
            ));
        }
        Ok(values)
    }

    /// A parameter parsed from text.
    ///
    /// # Errors
    /// 400 naming it.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, ApiError> {
        self.one(name)
            .map(|text| {
                text.parse()
                    .map_err(|_| ApiError::field(name, format!("{:?} is not {expected}", cut(text))))
            })
            .transpose()
    }

    /// A boolean, false when absent.
    ///
    /// # Errors
    /// 400 naming it.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        Ok(self.parsed(name, "true or false")?.unwrap_or(false))
    }

    /// `limit`, within `1..=max`.
    ///
    /// # Errors
    /// 400 naming it.
    pub(crate) fn limit(&self, default: u32, max: u32) -> Result<u32, ApiError> {
        match self.parsed::<u32>("limit", "a whole number")? {
            None => Ok(default),
            Some(limit) if (1..=max).contains(&limit) => Ok(limit),
            Some(limit) => Err(ApiError::field("limit", format!("{limit} is not between 1 and {max}"))),
        }
    }

    /// `order`: true for `asc`, false for `desc`.
    ///
    /// # Errors
    /// 400 naming it.
    pub(crate) fn ascending(&self, default: bool) -> Result<bool, ApiError> {
        match self.one("order") {
            None => Ok(default),
            Some("asc") => Ok(true),
            Some("desc") => Ok(false),
            Some(other) => Err(ApiError::field(
                "order",
                format!("{:?} is neither asc nor desc", cut(other)),
            )),
        }
    }

    /// `name[gt|gte|lt|lte]`.
    ///
    /// # Errors
    /// 400 naming the one that is not RFC 3339.
    pub(crate) fn bounds(&self, name: &str) -> Result<TimeBounds, ApiError> {
        Ok(TimeBounds {
            gt: self.time(&format!("{name}[gt]"))?,
            gte: self.time(&format!("{name}[gte]"))?,
            lt: self.time(&format!("{name}[lt]"))?,
            lte: self.time(&format!("{name}[lte]"))?,
        })
    }

    /// A time.
    ///
    /// # Errors
    /// 400 naming it.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = self.one(name) else { return Ok(None) };
        time(text).map(Some).ok_or_else(|| {
            ApiError::field(
                name,
                format!("{:?} is not an RFC 3339 time like 2026-01-01T00:00:00Z", cut(text)),
            )
        })
    }

    /// Whether `include=extensions` was asked for.
    ///
    /// # Errors
    /// 400 for another value.
    pub(crate) fn extensions(&self) -> Result<bool, ApiError> {
        let values = self.many("include")?;
        let mut words = values.iter().flat_map(|value| value.split(','));
        match words.find(|word| *word != "extensions") {
            Some(other) => Err(ApiError::field(
                "include",
                format!("{:?} is not known; try extensions", cut(other)),
            )),
            None => Ok(!values.is_empty()),
        }
    }
}

/// RFC 3339, where an unescaped `+` of an offset arrives as a space. Python's naive datetimes and dates carry no offset and
/// are taken as UTC.
pub(crate) fn time(text: &str) -> Option<Timestamp> {
    if let Ok(time) = DateTime::parse_from_rfc3339(&text.replacen(' ', "+", 1)) {
        return Some(time.to_utc().into());
    }
    let naive = text
        .parse::<NaiveDateTime>()
        .or_else(|_| text.parse::<NaiveDate>().map(|date| date.and_time(NaiveTime::MIN)));
    naive.ok().map(|time| time.and_utc().into())
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A short rendering of a JSON value's type, for messages.
pub(crate) const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_in_every_form_sdks_write() {
        for text in [
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00+00:00",
            "2026-01-01T00:00:00 00:00",
            "2026-01-01T01:00:00.000000+01:00",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.000",
            "2026-01-01",
        ] {
            assert_eq!(
                time(text).map(|time| time.to_string()).as_deref(),
                Some("2026-01-01T00:00:00.000000Z"),
                "{text}"
            );
        }
        for text in ["", "now", "2026-13-01", "2026-01-01T25:00:00Z", "1767225600"] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}

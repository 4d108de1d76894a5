//! A span as a value.

use std::borrow::Cow;

use perennial_schema::{Timestamp, TraceParent};

use crate::names;

/// Which side of something a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Inside this process.
    Internal,
    /// It answers a request.
    Server,
    /// It asks another one.
    Client,
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
    /// A measure.
    Measure(f64),
    /// Yes or no.
    Flag(bool),
}

/// A name of [`names`] and what it says.
pub type Attribute = (&'static str, Value);

/// Something that began and ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Which trace, and which span of it.
    pub context: TraceParent,
    /// The span it is part of; none is the first of its trace.
    pub parent: Option<u64>,
    /// What is done, in few words of which there are not many.
    pub name: Cow<'static, str>,
    /// Which side of it.
    pub kind: Kind,
    /// Began at.
    pub start: Timestamp,
    /// Ended at.
    pub end: Timestamp,
    /// What there is to know, each name once.
    pub attributes: Vec<Attribute>,
    /// Why it failed: one of few words, never a message.
    pub error: Option<Cow<'static, str>>,
}

impl Span {
    /// One that went well, of which nothing more is known.
    #[must_use]
    pub fn new(
        context: TraceParent,
        parent: Option<u64>,
        name: impl Into<Cow<'static, str>>,
        kind: Kind,
        time: (Timestamp, Timestamp),
    ) -> Self {
        Self {
            context,
            parent,
            name: name.into(),
            kind,
            start: time.0.min(time.1),
            end: time.1,
            attributes: Vec::new(),
            error: None,
        }
    }

    /// Says something of it.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    /// The same if there is something to say.
    #[must_use]
    pub fn with_any(self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Says that it failed.
    #[must_use]
    pub fn failed(mut self, error: Option<impl Into<Cow<'static, str>>>) -> Self {
        self.error = error.map(Into::into);
        match self.error.clone() {
            Some(error) => self.with(names::ERROR_TYPE, error.into_owned()),
            None => self,
        }
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<f64> for Value {
    fn from(measure: f64) -> Self {
        Self::Measure(measure)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

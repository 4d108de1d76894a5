//! Events as clients send them: checked member by member, then stored as they were written.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use perennial_engine::ports::{Guard, Ids};
use perennial_schema::content::{Block, Source};
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::event::{Answer, Awaits, Body, Domain, Draft, KINDS, Private, Raw, domain};
use perennial_schema::limits::EVENTS_PER_SEND;
use perennial_schema::{EventId, OutcomeId, Timestamp, TraceParent};
use serde::Deserialize;
use serde_json::Value;

use super::count;
use crate::body::part;
use crate::error::ApiError;
use crate::query::kind_of;

/// Blocks of one message.
const BLOCKS: usize = 1000;
/// Revisions of an outcome: when the client does not say, and the most.
const ITERATIONS_DEFAULT: u32 = 3;
const ITERATIONS_MAX: u32 = 20;

/// What makes drafts of what a client sent.
pub(crate) struct Reader<'a> {
    pub ids: &'a dyn Ids,
    pub at: Timestamp,
    pub actor: String,
    pub environment: &'a EnvironmentConfig,
    /// Only these types; none means every input.
    pub only: Option<&'a [&'a str]>,
    /// The span of the request that brings them.
    pub trace: Option<TraceParent>,
}

impl Reader<'_> {
    /// Drafts of all events of a request, under the path of their list.
    ///
    /// # Errors
    /// 400 naming the event and the field.
    pub(crate) fn drafts(&self, path: &str, events: &[Raw]) -> Result<Vec<Draft>, ApiError> {
        count(path, events.len(), EVENTS_PER_SEND)?;
        let drafts: Vec<Draft> = events
            .iter()
            .enumerate()
            .map(|(at, event)| self.draft(&format!("{path}[{at}]"), event))
            .collect::<Result<_, _>>()?;
        let mut answered = HashSet::new();
        for (at, draft) in drafts.iter().enumerate() {
            if draft.body.answers().is_some_and(|answer| !answered.insert(answer)) {
                return Err(ApiError::field(
                    format!("{path}[{at}]"),
                    "answers a tool use that an earlier event of this request answers",
                ));
            }
        }
        Ok(drafts)
    }

    fn draft(&self, path: &str, event: &Raw) -> Result<Draft, ApiError> {
        let value: Value = event.parse().map_err(|error| ApiError::field(path, error))?;
        let kind = self.kind(path, &value)?;
        self.check(path, kind, &value)?;
        let outcome = (kind == "user.define_outcome").then(|| self.with_outcome_id(&value));
        let text = outcome.as_deref().unwrap_or(event.text());
        let draft = Draft::input(self.ids.event(), kind, text, self.at, Some(self.actor.clone()));
        let draft = draft.map_err(|error| ApiError::field(path, error))?;
        // What may begin a turn; answers belong to one that has begun.
        let begins = matches!(
            draft.body,
            Body::UserMessage(_) | Body::SystemMessage(_) | Body::UserDefineOutcome(_)
        );
        Ok(match self.trace.filter(|_| begins) {
            Some(trace) => draft.with_private(&Private {
                trace: Some(trace),
                ..Private::default()
            }),
            None => draft,
        })
    }

    fn kind<'v>(&self, path: &str, value: &'v Value) -> Result<&'v str, ApiError> {
        if !value.is_object() {
            return Err(ApiError::field(
                path,
                format!("expected an object, not {}", kind_of(value)),
            ));
        }
        let path = format!("{path}.type");
        let kind = value.get("type").and_then(Value::as_str);
        let kind = kind.ok_or_else(|| ApiError::field(&path, format!("missing; expected one of {}", self.known())))?;
        let shown: String = kind.chars().take(60).collect();
        let allowed = self.only.is_none_or(|only| only.contains(&kind));
        if domain(kind) != Domain::Input || !allowed {
            return Err(ApiError::field(
                path,
                format!("{shown:?} cannot be sent here; expected one of {}", self.known()),
            ));
        }
        if kind == "user.tool_result" && *self.environment != EnvironmentConfig::SelfHosted {
            return Err(ApiError::field(
                path,
                "user.tool_result answers tools run by a self_hosted environment; here the server runs them",
            ));
        }
        Ok(kind)
    }

    /// The id and the default are ours, as the adopted API echoes them.
    fn with_outcome_id(&self, event: &Value) -> String {
        let mut event = event.clone();
        event["outcome_id"] = Value::String(OutcomeId::from_uuid(self.ids.uuid()).to_string());
        if event.get("max_iterations").is_none_or(Value::is_null) {
            event["max_iterations"] = Value::from(ITERATIONS_DEFAULT);
        }
        event.to_string()
    }

    fn known(&self) -> String {
        let inputs = KINDS
            .iter()
            .filter(|(_, domain)| *domain == Domain::Input)
            .map(|(kind, _)| *kind);
        let names: Vec<&str> = inputs
            .filter(|kind| self.only.is_none_or(|only| only.contains(kind)))
            .collect();
        names.join(", ")
    }

    fn check(&self, path: &str, kind: &str, value: &Value) -> Result<(), ApiError> {
        match kind {
            "user.message" => content(path, value, Allowed::MESSAGE),
            "system.message" => content(path, value, Allowed::TEXT),
            "user.define_outcome" => outcome(path, value),
            "user.interrupt" => match value.get("session_thread_id") {
                None | Some(Value::Null) => Ok(()),
                Some(_) => Err(ApiError::field(
                    format!("{path}.session_thread_id"),
                    "this session has its primary thread only; leave it out",
                )),
            },
            "user.tool_confirmation" => part::<ConfirmationShape>(value, path).map(|_| ()),
            "user.custom_tool_result" => {
                part::<CustomResultShape>(value, path)?;
                content(path, value, Allowed::RESULT)
            }
            _ => {
                part::<ResultShape>(value, path)?;
                content(path, value, Allowed::RESULT)
            }
        }
    }
}

/// What must hold of the log when these drafts are appended.
pub(crate) fn guards(drafts: &[Draft]) -> Vec<Guard> {
    let guard = |draft: &Draft| {
        let (tool_use_id, answer) = draft.body.answers()?;
        let awaits = match (answer, &draft.body) {
            (Answer::Confirmation, _) => Awaits::Confirmation,
            (Answer::Result, Body::UserCustomToolResult(_)) => Awaits::CustomResult,
            (Answer::Result, _) => Awaits::ToolResult,
        };
        Some(Guard::Unanswered { tool_use_id, awaits })
    };
    drafts.iter().filter_map(guard).collect()
}

#[derive(Deserialize)]
struct OutcomeShape {
    description: String,
    rubric: RubricShape,
    max_iterations: Option<u32>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum RubricShape {
    Text { content: String },
    File {},
}

fn outcome(path: &str, event: &Value) -> Result<(), ApiError> {
    let shape = part::<OutcomeShape>(event, path)?;
    if shape.description.trim().is_empty() {
        return Err(ApiError::field(format!("{path}.description"), "must not be empty"));
    }
    match shape.rubric {
        RubricShape::Text { content } if content.trim().is_empty() => {
            return Err(ApiError::field(format!("{path}.rubric.content"), "must not be empty"));
        }
        RubricShape::Text { .. } => {}
        RubricShape::File {} => {
            return Err(ApiError::field(
                format!("{path}.rubric.type"),
                "files are not supported yet by this server; send {\"type\": \"text\", \"content\": …}",
            ));
        }
    }
    if shape
        .max_iterations
        .is_some_and(|most| !(1..=ITERATIONS_MAX).contains(&most))
    {
        return Err(ApiError::field(
            format!("{path}.max_iterations"),
            format!("expected 1 to {ITERATIONS_MAX}"),
        ));
    }
    Ok(())
}

#[derive(Deserialize)]
struct ConfirmationShape {
    #[serde(rename = "tool_use_id")]
    _id: EventId,
    #[serde(rename = "result")]
    _result: perennial_schema::event::Verdict,
    #[serde(rename = "deny_message")]
    _message: Option<String>,
}

#[derive(Deserialize)]
struct CustomResultShape {
    #[serde(rename = "custom_tool_use_id")]
    _id: EventId,
    #[serde(rename = "is_error")]
    _is_error: Option<bool>,
}

#[derive(Deserialize)]
struct ResultShape {
    #[serde(rename = "tool_use_id")]
    _id: EventId,
    #[serde(rename = "is_error")]
    _is_error: Option<bool>,
}

/// Which blocks a content array may hold, and whether it must be there.
#[derive(Clone, Copy)]
struct Allowed {
    kinds: &'static [&'static str],
    required: bool,
}

impl Allowed {
    const MESSAGE: Self = Self {
        kinds: &["text", "image", "document"],
        required: true,
    };
    const TEXT: Self = Self {
        kinds: &["text"],
        required: true,
    };
    const RESULT: Self = Self {
        kinds: &["text", "image", "document", "search_result"],
        required: false,
    };
}

fn content(path: &str, event: &Value, allowed: Allowed) -> Result<(), ApiError> {
    let path = format!("{path}.content");
    match event.get("content") {
        None | Some(Value::Null) if !allowed.required => Ok(()),
        None => Err(ApiError::field(path, "missing; expected a list of content blocks")),
        Some(blocks) => content_blocks(path, blocks, allowed),
    }
}

/// Content like that of a `user.message`.
///
/// # Errors
/// 400 naming the field.
pub(crate) fn message_content(path: &str, blocks: &Value) -> Result<(), ApiError> {
    content_blocks(path.to_owned(), blocks, Allowed::MESSAGE)
}

fn content_blocks(path: String, blocks: &Value, allowed: Allowed) -> Result<(), ApiError> {
    let blocks = match blocks {
        Value::Array(blocks) => blocks,
        other => {
            return Err(ApiError::field(
                path,
                format!("expected a list of content blocks, not {}", kind_of(other)),
            ));
        }
    };
    if blocks.is_empty() && allowed.required {
        return Err(ApiError::field(path, "must hold at least one block"));
    }
    count(&path, blocks.len(), BLOCKS)?;
    for (at, value) in blocks.iter().enumerate() {
        block(&format!("{path}[{at}]"), value, allowed)?;
    }
    Ok(())
}

fn block(path: &str, value: &Value, allowed: Allowed) -> Result<(), ApiError> {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
    if !allowed.kinds.contains(&kind) {
        let kind: String = kind.chars().take(60).collect();
        return Err(ApiError::field(
            format!("{path}.type"),
            format!(
                "{kind:?} is not allowed here; expected one of {}",
                allowed.kinds.join(", ")
            ),
        ));
    }
    match part::<Block>(value, path)? {
        // Model providers refuse empty text.
        Block::Text { text } if text.is_empty() && allowed.required => {
            Err(ApiError::field(format!("{path}.text"), "must not be empty"))
        }
        Block::Text { .. } | Block::SearchResult { .. } => Ok(()),
        Block::Image { source } => source_of(&format!("{path}.source"), &source, false),
        Block::Document { source, .. } => source_of(&format!("{path}.source"), &source, true),
    }
}

fn source_of(path: &str, source: &Source, document: bool) -> Result<(), ApiError> {
    match source {
        Source::Base64 { data, .. } => match STANDARD.decode(data) {
            Ok(_) => Ok(()),
            Err(error) => Err(ApiError::field(format!("{path}.data"), format!("not base64: {error}"))),
        },
        Source::Url { url } if url.starts_with("https://") || url.starts_with("http://") => Ok(()),
        Source::Url { .. } => Err(ApiError::field(
            format!("{path}.url"),
            "must begin with https:// or http://",
        )),
        Source::File { .. } => Err(ApiError::field(
            format!("{path}.type"),
            "files are not supported yet by this server; send base64 or url",
        )),
        Source::Text { media_type, .. } if document && media_type == "text/plain" => Ok(()),
        Source::Text { .. } if document => Err(ApiError::field(format!("{path}.media_type"), "expected text/plain")),
        Source::Text { .. } => Err(ApiError::field(format!("{path}.type"), "an image cannot be text")),
    }
}

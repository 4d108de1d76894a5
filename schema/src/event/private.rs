//! What replay needs and nobody else may see.

use serde::{Deserialize, Serialize};

use super::Raw;
use crate::model::StopKind;
use crate::{Attachment, TraceParent};

/// Replay data of one event. Absent for imported or foreign events: `render` copes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Private {
    /// Provider-native form of the block this event shows: thinking with its signature, encrypted reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<Native>,
    /// The id the provider gave a tool call (`toolu_…`, `call_…`); our own id is the event's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_id: Option<String>,
    /// On a tool use that is refused: what the model is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// On a tool use: a self-hosted worker runs it, not an executor of ours.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub self_hosted: bool,
    /// On a tool use: the attached executor that was meant, as it was attached then; absent means where the environment says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand: Option<Attachment>,
    /// Why the model stopped, on `span.model_request_end`; absent means it was simply done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopKind>,
    /// On `span.model_request_start`, when it is not the brain of the request before: who is asked, `harness/provider`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brain: Option<String>,
    /// On `span.model_request_start`: it asks for a summary, and names no input.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compaction: bool,
    /// On an input: the span of the request that sent it. The turn it begins is part of that trace, whoever drives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceParent>,
}

/// A block in a provider's own words, replayed byte for byte to the same provider and dropped for any other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Native {
    /// Whose words: `anthropic`, `openai`.
    pub provider: String,
    /// The block, verbatim.
    pub block: Raw,
}

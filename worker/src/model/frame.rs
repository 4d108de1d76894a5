//! What is the same on every wire: a request is encoded, sent, and read event by event; what it used is told as it becomes
//! known. Models differ in what they take, and say so when they are asked: a request that was refused for one of the things
//! in [`Without`] is worded again without it, which is no retry, and remembered once it has worked.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use perennial_engine::ports::{DeltaSink, ModelError, ModelRequest, ModelStep};
use perennial_schema::event::ErrorKind;
use perennial_schema::model::Usage;
use reqwest::header::HeaderMap;

use super::http::{Endpoint, Events, Http, Via};

/// Models remembered as refusing something.
const REMEMBERED: usize = 256;
/// Wordings tried of one request.
const WORDINGS: u32 = 5;

/// What a model is not asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Without {
    /// How many ways of asking for reasoning it refused.
    pub(super) reasoning: u8,
    /// Pictures are described instead.
    pub(super) pictures: bool,
    /// Documents are described instead.
    pub(super) documents: bool,
    /// The other name for the limit of an answer.
    pub(super) limit_name: bool,
    /// Members that only the vendor's own API is sure to know.
    pub(super) extras: bool,
}

impl Without {
    /// One thing less, if the refusal names one that can be left out (further).
    fn learn(mut self, refusal: &str) -> Option<Self> {
        const REFUSING: [&str; 9] = [
            "support",
            "unknown",
            "unrecognized",
            "extra inputs",
            "not permitted",
            "multimodal",
            "at most 0",
            "is not available",
            "unexpected",
        ];
        let text = refusal.to_ascii_lowercase();
        let names = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if !names(&REFUSING) && !text.contains("reasoning.encrypted_content") {
            return None;
        }
        let before = self;
        if names(&["max_tokens", "max_completion_tokens", "max_output_tokens"]) {
            self.limit_name = true;
        } else if names(&["stream_options", "prompt_cache_key"]) {
            self.extras = true;
        } else if names(&["content[].type", "content type"]) && !(self.pictures && self.documents) {
            (self.pictures, self.documents) = (true, true);
        } else if names(&["image", "vision", "multimodal"]) {
            self.pictures = true;
        } else if names(&["document", "file", "pdf"]) {
            self.documents = true;
        } else if names(&["reasoning", "thinking", "effort", "encrypted content"]) && self.reasoning < 2 {
            self.reasoning += 1;
        }
        (self != before).then_some(self)
    }
}

/// A request in a vendor's words.
pub(super) struct Encoded {
    pub(super) body: Vec<u8>,
    /// Besides the key.
    pub(super) headers: HeaderMap,
}

/// Makes a step of a stream of events.
pub(crate) trait Reader: Send {
    /// Takes the data of one event. True when the answer is over.
    fn event(&mut self, data: &str, sink: &mut dyn DeltaSink) -> Result<bool, ModelError>;

    /// Tokens so far.
    fn usage(&self) -> Usage;

    /// The step, when the answer is whole.
    fn finish(self) -> Result<ModelStep, ModelError>;
}

/// How a vendor is spoken to.
pub(super) trait Wording: Send + Sync {
    /// Reads its answers.
    type Reader: Reader;

    /// The request, the key among its headers.
    fn encode(
        &self,
        endpoint: &Endpoint,
        model: &str,
        request: &ModelRequest,
        without: Without,
    ) -> Result<Encoded, ModelError>;

    /// For an answer that has not begun.
    fn reader(&self) -> Self::Reader;
}

/// A provider, on its wire.
#[derive(Debug)]
pub(super) struct Adapter<W> {
    endpoint: Endpoint,
    wording: W,
    learned: Mutex<BTreeMap<String, Without>>,
}

impl<W: Wording> Adapter<W> {
    pub(super) fn at(endpoint: Endpoint, wording: W) -> Self {
        Self {
            endpoint,
            wording,
            learned: Mutex::default(),
        }
    }

    /// The same over a gateway's provider.
    pub(super) fn through(mut self, via: Via) -> Self {
        self.endpoint = self.endpoint.through(via);
        self
    }

    pub(super) async fn request(
        &self,
        http: &Http,
        model: &str,
        request: &ModelRequest,
        sink: &mut dyn DeltaSink,
    ) -> Result<ModelStep, ModelError> {
        let answered = match self.begin(http, model, request).await {
            Ok(events) => read(events, self.wording.reader(), sink).await,
            Err(error) => Err(error),
        };
        answered.map_err(|error| self.endpoint.without_key(error))
    }

    async fn begin(&self, http: &Http, model: &str, request: &ModelRequest) -> Result<Events, ModelError> {
        let known = self.known(model);
        let mut without = known;
        for wording in 1.. {
            let Encoded { body, headers } = self.wording.encode(&self.endpoint, model, request, without)?;
            let error = match http.post_for(Some(request.payer), &self.endpoint, headers, body).await {
                Ok(events) => {
                    if without != known {
                        self.remember(model, without);
                    }
                    return Ok(events);
                }
                Err(error) => error,
            };
            let final_word = error.retryable || error.kind != ErrorKind::ModelRequestFailedError;
            match without.learn(&error.message) {
                Some(less) if !final_word && wording < WORDINGS => without = less,
                _ => return Err(error),
            }
        }
        Err(super::error::broken("a request was worded too often"))
    }

    fn known(&self, model: &str) -> Without {
        let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        learned.get(model).copied().unwrap_or_default()
    }

    fn remember(&self, model: &str, without: Without) {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        if learned.len() < REMEMBERED || learned.contains_key(model) {
            learned.insert(model.to_owned(), without);
        }
    }
}

async fn read<R: Reader>(mut events: Events, mut reader: R, sink: &mut dyn DeltaSink) -> Result<ModelStep, ModelError> {
    let mut told = Usage::default();
    while let Some(data) = events.next().await? {
        let over = data == "[DONE]" || reader.event(&data, sink)?;
        if reader.usage() != told {
            told = reader.usage();
            sink.used(told);
        }
        if over {
            break;
        }
    }
    reader.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_to_leave_out() {
        let after = |refusals: &[&str]| {
            refusals
                .iter()
                .try_fold(Without::default(), |without, refusal| without.learn(refusal))
        };
        let only = |change: fn(&mut Without)| {
            let mut without = Without::default();
            change(&mut without);
            Some(without)
        };
        let encrypted = "Encrypted content is not supported with this model.";
        assert_eq!(after(&[encrypted]), only(|without| without.reasoning = 1));
        assert_eq!(after(&[encrypted, encrypted]), only(|without| without.reasoning = 2));
        assert_eq!(
            after(&[encrypted, encrypted, encrypted]),
            None,
            "there is nothing more to leave out"
        );
        assert_eq!(
            after(&["this model is not a multimodal model"]),
            only(|without| without.pictures = true)
        );
        assert_eq!(
            after(&["Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'"]),
            only(|without| without.limit_name = true)
        );
        assert_eq!(
            after(&["Unknown parameter: stream_options"]),
            only(|without| without.extras = true)
        );
        assert_eq!(after(&["Invalid `signature` in `thinking` block"]), None);
        assert_eq!(after(&["the model does not exist"]), None);
    }
}

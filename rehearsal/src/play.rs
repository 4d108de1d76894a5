//! One request in, one response out: the script in the newest prompt, on any wire.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::cue::tokens_of;
use crate::reply::{Answer, Reply, Tokens};
use crate::wire::{Ask, Issued, Response, Wire};
use crate::{Failures, ID};

/// How it behaves where vendors' models differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Begins every answer with a thought, asked for or not, which makes every conversation a test of its replay.
    pub thoughtful: bool,
    /// Usage is told from the number of the answer instead of counted from the texts.
    pub numbered: bool,
}

/// The rehearsal model behind the vendors' APIs.
#[derive(Debug)]
pub struct Rehearsal {
    manner: Manner,
    failures: Failures<u64>,
    /// Makes ids of this process its own: a conversation that another one began must not see them twice.
    origin: u32,
    answers: AtomicU64,
}

impl Default for Rehearsal {
    fn default() -> Self {
        Self::new(Manner::default())
    }
}

impl Rehearsal {
    /// One of this manner.
    #[must_use]
    pub fn new(manner: Manner) -> Self {
        Self {
            manner,
            failures: Failures::default(),
            origin: origin(),
            answers: AtomicU64::new(0),
        }
    }

    /// Answers a request that passed [`crate::validate`], or one that nobody checks. The same conversation gets the same
    /// words; ids differ. If the model asked for is [`ID`], it names itself in every message.
    #[must_use]
    pub fn answer(&self, wire: Wire, body: &Value) -> Response {
        self.respond(wire, body, self.reply(wire, body), &mut Issued::default())
    }

    /// What the script in the newest prompt says.
    pub(crate) fn reply(&self, wire: Wire, body: &Value) -> Reply {
        let cue = wire.cue(body);
        let step = cue.play();
        let mut place = DefaultHasher::new();
        (wire, &cue.prompt, cue.step, cue.messages, caller(body)).hash(&mut place);
        if let Some(status) = self.failures.next(place.finish(), &step.failures) {
            return Reply::refusal(wire, status, "you asked for this with /fail");
        }
        let model = body["model"].as_str().unwrap_or_default();
        let answer = Answer::of(&step, (model == ID).then_some(ID));
        if self.manner.thoughtful || (wire.wants_thoughts(body) && !answer.thinks()) {
            answer.first_thinking(&format!("step {}", cue.step)).into()
        } else {
            answer.into()
        }
    }

    /// A reply as bytes.
    pub(crate) fn respond(&self, wire: Wire, body: &Value, reply: Reply, issued: &mut Issued) -> Response {
        let answer = match reply {
            Reply::Answer(answer) => answer,
            status @ Reply::Status { .. } => return status.into(),
        };
        let number = self.answers.fetch_add(1, Ordering::Relaxed) + 1;
        let usage = answer.usage.unwrap_or_else(|| self.usage(&answer, body, number));
        let ask = Ask {
            body,
            id: format!("{:08x}{number:06}", self.origin),
            nonce: number << 8,
            usage,
        };
        wire.respond(&answer, &ask, issued)
    }

    fn usage(&self, answer: &Answer, body: &Value, number: u64) -> Tokens {
        if self.manner.numbered {
            return Tokens {
                input: 10 + number,
                cached: 5,
                cache_write: 2,
                output: 20 + number,
            };
        }
        Tokens {
            input: tokens_of(read(body)),
            output: tokens_of(answer.length()),
            ..Tokens::default()
        }
    }
}

fn origin() -> u32 {
    let id = uuid::Uuid::now_v7();
    id.as_bytes()[12..]
        .iter()
        .fold(0, |number, byte| (number << 8) | u32::from(*byte))
}

/// Bytes of what a model would read of a request: its texts, without names and punctuation.
pub(crate) fn read(body: &Value) -> usize {
    let parts = ["system", "instructions", "tools", "messages", "input"];
    parts.iter().map(|part| length(&body[part])).sum()
}

fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(length).sum(),
        Value::Object(members) => members.values().map(length).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Whose conversation this is, as far as clients say.
fn caller(body: &Value) -> &str {
    let said = [&body["metadata"]["user_id"], &body["prompt_cache_key"], &body["user"]];
    said.into_iter().find_map(Value::as_str).unwrap_or_default()
}

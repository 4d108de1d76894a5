//! Calls that only look at a folder of another host: they travel over the bus, to a process that reaches it.
//!
//! What goes over the bus is bounded and may be lost, so no other call goes this way: one that only looks may be asked again. Its
//! output comes in pieces that fit.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use perennial_engine::ports::{CallError, Order};
use perennial_schema::content::Block;
use perennial_schema::frame::{FromExecutor, ToExecutor};
use perennial_schema::tool::{Effect, Outcome, args_hash};
use perennial_schema::{EventId, ExecutorId, JournalId};

use crate::exchange::Exchange;
use crate::limits::{LOOK_PIECE_CHARS, LOOKS, RELAYED_TEXT_BYTES};
use crate::{dispatch, trunk};

/// The journal of an executor that nobody asked for it: a call that only looks leaves nothing in one that matters.
pub(crate) const ANY_JOURNAL: JournalId = JournalId::from_uuid(uuid::Uuid::nil());

/// Where calls went whose output is still to be read.
#[derive(Debug, Default)]
pub(crate) struct Looks(Mutex<BTreeMap<EventId, ExecutorId>>);

impl Looks {
    pub(crate) fn note(&self, call: EventId, at: ExecutorId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(call, at);
        if known.len() > LOOKS {
            // Ids grow with time; what is left of it at the executor goes with its age.
            known.pop_first();
        }
    }

    pub(crate) fn take(&self, call: EventId) -> Option<ExecutorId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&call)
    }
}

impl Exchange {
    /// What an executor of this host says to a question that came from another one.
    pub(crate) async fn ask_for_others(&self, at: ExecutorId, question: ToExecutor) -> Option<FromExecutor> {
        if !may_travel(&question) {
            return None;
        }
        let link = self.home_line_of(at).await?;
        trunk::ask_once(&link, question).await.map(fitting)
    }
}

/// Whether a question may come over the bus at all.
fn may_travel(question: &ToExecutor) -> bool {
    match question {
        ToExecutor::Call(call) => call.effect == Effect::Read,
        ToExecutor::ReadOutput { .. } | ToExecutor::DropOutput { .. } => true,
        _ => false,
    }
}

/// As much of an answer as an answer over the bus may be long.
fn fitting(answer: FromExecutor) -> FromExecutor {
    match answer {
        FromExecutor::Result {
            session,
            call_id,
            mut outcome,
        } => {
            for block in &mut outcome.content {
                if let Block::Text { text } = block {
                    *text = perennial_schema::text::tail(text, RELAYED_TEXT_BYTES).to_owned();
                }
            }
            outcome.content.truncate(1);
            FromExecutor::Result {
                session,
                call_id,
                outcome,
            }
        }
        FromExecutor::OutputPiece {
            session,
            call_id,
            offset,
            piece,
        } => FromExecutor::OutputPiece {
            session,
            call_id,
            offset,
            // Four characters are three bytes, so what is cut there is whole.
            piece: piece.map(|mut piece| {
                piece.truncate(LOOK_PIECE_CHARS);
                piece
            }),
        },
        other => other,
    }
}

/// The question that a call is, if it only looks.
pub(crate) fn question(order: Order) -> Result<ToExecutor, CallError> {
    if order.effect != Effect::Read || order.secret.is_some() {
        return Err(CallError::NotStarted(
            "this process runs no tools: a worker does".into(),
        ));
    }
    let hash = args_hash(&order.tool, order.input.text());
    Ok(ToExecutor::Call(dispatch::call(order, hash, None)))
}

/// What its answer says.
pub(crate) fn outcome(answer: Option<FromExecutor>) -> Result<Outcome, CallError> {
    match answer {
        Some(FromExecutor::Result { outcome, .. }) => Ok(outcome),
        Some(FromExecutor::Refused { reason, .. }) => Err(dispatch::refused(reason)),
        Some(other) => Err(CallError::NotStarted(format!("unexpected answer {other:?}"))),
        None => Err(CallError::NotStarted(
            "the executor that has the folder does not answer".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use perennial_schema::SessionId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_too_long_for_the_bus_is_cut_and_the_rest_is_asked_for() {
        let (session, call_id) = (
            SessionId::from_uuid(Uuid::from_u128(1)),
            EventId::from_uuid(Uuid::from_u128(2)),
        );
        let bytes: Vec<u8> = (0..1 << 20).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let piece = FromExecutor::OutputPiece {
            session,
            call_id,
            offset: 0,
            piece: Some(STANDARD.encode(&bytes)),
        };
        let FromExecutor::OutputPiece { piece: Some(cut), .. } = fitting(piece) else {
            panic!("a piece");
        };
        let whole = STANDARD.decode(&cut).unwrap();
        assert!(!whole.is_empty() && cut.len() <= LOOK_PIECE_CHARS && bytes.starts_with(&whole));
        let long = FromExecutor::Result {
            session,
            call_id,
            outcome: Outcome::text("\u{e4}".repeat(RELAYED_TEXT_BYTES), true),
        };
        let text = serde_json::to_string(&fitting(long)).unwrap();
        assert!(text.len() < RELAYED_TEXT_BYTES + 1000, "{}", text.len());
    }

    #[test]
    fn looks_are_remembered_until_they_are_too_many() {
        let looks = Looks::default();
        let (call, at) = (
            |n| EventId::from_uuid(Uuid::from_u128(n)),
            ExecutorId::from_uuid(Uuid::from_u128(1)),
        );
        for n in 0..=LOOKS as u128 {
            looks.note(call(n), at);
        }
        assert_eq!(looks.take(call(0)), None);
        assert_eq!((looks.take(call(1)), looks.take(call(1))), (Some(at), None));
    }
}

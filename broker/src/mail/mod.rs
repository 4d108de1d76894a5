//! Mail, behind the engine's `Mailboxes` port, on the same stores as the sessions.

mod memory;
mod sql;
mod words;

pub use memory::Memory;
pub use sql::{embedded, shared};

use perennial_engine::ports::{Letter, Message, SendError, Sent};

/// What a send came to: the message that is there under its id must be the one that was sent.
fn sent(letter: &Letter, found: Option<Message>, added: bool, room: u32) -> Result<Sent, SendError> {
    let message = found.ok_or_else(|| SendError::Full(letter.to.clone(), room))?;
    let there = &message.letter;
    let same = there.from == letter.from
        && there.to == letter.to
        && there.subject == letter.subject
        && there.content == letter.content
        && there.in_reply_to == letter.in_reply_to;
    if !same {
        return Err(SendError::IdReused(letter.id));
    }
    Ok(Sent {
        message,
        replayed: !added,
    })
}

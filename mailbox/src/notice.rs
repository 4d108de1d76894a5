//! Dead letters: whoever sent one is told, by mail from the postmaster.

use perennial_engine::ports::{Letter, Mailboxes, Message, SendError, SessionMetadata, StoreError};
use perennial_schema::MessageId;
use perennial_schema::content::text_content;
use perennial_schema::mail::Sender;
use uuid::Uuid;

use crate::limits;

/// Sets the ids of notices apart from those of the messages they are about.
const APART: u128 = 0x6465_6164_6c65_7474_6572_0000_0000_0000;

/// Tells the senders of dead letters. A crash in between tells them again under the same id, which changes nothing. How many
/// there were.
pub(crate) async fn tell(mail: &dyn Mailboxes) -> Result<usize, StoreError> {
    let dead = mail.untold(limits::NOTICES).await?;
    for message in &dead {
        if let Some(notice) = notice(message) {
            match mail.send(message.workspace, notice, limits::ROOM).await {
                Ok(_) => {}
                Err(SendError::Store(error)) => return Err(error),
                // A sender whose mailbox is full, or who made this id up, is not told.
                Err(error) => {
                    tracing::warn!(message.id = %message.letter.id, %error, "a sender is not told of a dead letter");
                }
            }
        }
        mail.told(message.workspace, message.letter.id).await?;
    }
    Ok(dead.len())
}

fn notice(dead: &Message) -> Option<Letter> {
    let letter = &dead.letter;
    let to = letter.from.address()?.clone();
    let reason = dead.reason.as_deref().unwrap_or("nobody could take it");
    let about = letter
        .subject
        .as_deref()
        .map_or_else(String::new, |subject| format!(" ({subject:?})"));
    let text = format!(
        "Your message {}{about} to {} was not delivered: {reason}.",
        letter.id, letter.to
    );
    Some(Letter {
        id: notice_id(dead),
        from: Sender::Postmaster,
        to,
        subject: Some("undeliverable".to_owned()),
        content: text_content(&text),
        thread: letter.thread.clone(),
        in_reply_to: Some(letter.id),
        metadata: SessionMetadata::new(),
        hops: letter.hops,
        deliver_at: None,
        expires_at: None,
        task: None,
        trace: letter.trace,
    })
}

/// One for each death: a letter that was replayed may die again.
fn notice_id(dead: &Message) -> MessageId {
    let id = dead.letter.id.uuid().as_u128() ^ APART ^ u128::from(dead.changed_at.micros().unsigned_abs());
    MessageId::from_uuid(Uuid::from_u128(id))
}

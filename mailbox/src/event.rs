//! A message as an event of its receiver's log.

use perennial_engine::kernel::admit;
use perennial_engine::ports::{Append, Authority, Message, SessionKey};
use perennial_schema::event::{Body, Draft, MailReceived, Private};
use perennial_schema::{AppendId, EventId, Timestamp};

/// The append that hands it over. Its id and the event's are the message's: it happens once, however often it is tried.
pub(crate) fn append(message: &Message, key: SessionKey, at: Timestamp) -> Append {
    let letter = &message.letter;
    let body = Body::MailReceived(MailReceived {
        message_id: letter.id,
        from: letter.from.to_string(),
        subject: letter.subject.clone(),
        content: letter.content.clone(),
        thread: Some(letter.thread.clone()),
        in_reply_to: letter.in_reply_to,
    });
    let mut event = Draft::new(EventId::from_uuid(letter.id.uuid()), body, at);
    if letter.trace.is_some() {
        event = event.with_private(&Private {
            trace: letter.trace,
            ..Private::default()
        });
    }
    let events = vec![event];
    Append {
        key,
        append_id: AppendId::from_uuid(letter.id.uuid()),
        projection: admit(&events),
        events,
        authority: Authority::Client {
            guards: Vec::new(),
            idempotency: None,
        },
    }
}

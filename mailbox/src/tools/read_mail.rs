//! `read_mail`: what came to this session, which is in its log anyway; for a conversation that was compacted since.

use perennial_engine::ports::Order;
use perennial_schema::content::plain_text;
use serde::Deserialize;

use crate::limits;
use crate::office::Office;

#[derive(Deserialize)]
struct Input {
    limit: Option<u32>,
}

pub(super) async fn run(office: &Office, order: &Order) -> Result<String, String> {
    let input: Input = super::input(&order.input)?;
    let limit = input.limit.unwrap_or(limits::READ_DEFAULT).clamp(1, limits::READ_MOST);
    let mail = office.mail().delivered_to(order.key, limit).await;
    let mail = mail.map_err(|error| error.to_string())?;
    if mail.is_empty() {
        return Ok("No mail came to this session.".to_owned());
    }
    let shown = mail.iter().map(|message| {
        let letter = &message.letter;
        let subject = letter
            .subject
            .as_deref()
            .map(|subject| format!(", subject: {subject}"))
            .unwrap_or_default();
        let answers = letter
            .in_reply_to
            .map(|id| format!(", in reply to {id}"))
            .unwrap_or_default();
        let head = format!(
            "Message {} from {}{subject}{answers} (content is untrusted):",
            letter.id, letter.from
        );
        format!("{head}\n{}", plain_text(&letter.content))
    });
    Ok(shown.collect::<Vec<_>>().join("\n\n"))
}

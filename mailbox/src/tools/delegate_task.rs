//! `delegate_task`: a message whose receiver's turn is awaited. Nobody holds a worker for it: the answer is mail, and wakes.

use perennial_engine::ports::{Order, SessionMetadata};
use perennial_schema::MessageId;
use perennial_schema::content::text_content;
use perennial_schema::mail::{Address, Allowance, Sender};
use serde::Deserialize;

use super::send_message::{content, sent};
use crate::limits;
use crate::office::{Office, Outgoing};
use crate::tasks::Terms;

#[derive(Deserialize)]
struct Input {
    to: String,
    prompt: String,
    max_turns: Option<u32>,
    max_budget: Option<Given>,
    timeout: Option<u64>,
}

/// Tokens, or cents as in budgets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    tokens: Option<u64>,
    amount: Option<String>,
    currency: Option<String>,
}

/// Millionths of a dollar in a cent.
const CENT: u64 = 10_000;

fn allowance(given: &Given) -> Result<Allowance, String> {
    match (given.tokens, &given.amount, given.currency.as_deref()) {
        (Some(tokens), None, None) if tokens > 0 => Ok(Allowance::Tokens(tokens)),
        (None, Some(amount), Some("USD")) => {
            let cents = amount.parse::<u64>().ok().filter(|cents| *cents > 0);
            let microusd = cents.and_then(|cents| cents.checked_mul(CENT));
            let wrong = || "max_budget.amount: must be whole cents as text, like \"250\"".to_owned();
            microusd.map(Allowance::Microusd).ok_or_else(wrong)
        }
        _ => Err("max_budget: give tokens (a number above 0), or amount (cents as text) and currency (USD)".into()),
    }
}

pub(super) async fn run(office: &Office, order: &Order) -> Result<String, String> {
    let input: Input = super::input(&order.input)?;
    let to: Address = input.to.parse().map_err(|error| format!("to: {error}"))?;
    content("prompt", &input.prompt)?;
    if input.max_turns == Some(0) {
        return Err("max_turns: must be at least 1".into());
    }
    let seconds = input.timeout.unwrap_or(limits::TASK_SECONDS);
    if !(1..=limits::TASK_SECONDS_MOST).contains(&seconds) {
        let most = limits::TASK_SECONDS_MOST;
        return Err(format!("timeout: must be 1 to {most} seconds"));
    }
    let id = MessageId::from_uuid(order.call_id.uuid());
    let terms = Terms {
        max_turns: input.max_turns,
        max_budget: input.max_budget.as_ref().map(allowance).transpose()?,
        seconds,
    };
    let task = office.terms(order.key, id, &to, terms).await?;
    let outgoing = Outgoing {
        id,
        from: Sender::At(Address::Session(order.key.session)),
        to,
        subject: Some("task".to_owned()),
        content: text_content(&input.prompt),
        thread: None,
        in_reply_to: None,
        metadata: SessionMetadata::new(),
        deliver_at: None,
        expires_at: None,
        task: Some(task),
        trace: super::trace(order),
    };
    let sent = sent(office, order, &outgoing)
        .await
        .map_err(|error| error.to_string())?;
    Ok(format!(
        "Delegated to {} as task {}. What comes of it is a message of its own and wakes you: end your turn, or go on with \
         something else.",
        sent.message.letter.to, id
    ))
}

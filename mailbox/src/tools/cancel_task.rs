//! `cancel_task`: stops a task that this session delegated. That it was stopped is told like any other end of it, once.

use perennial_engine::ports::Order;
use perennial_schema::MessageId;
use perennial_schema::mail::{Address, Sender};
use serde::Deserialize;

use crate::office::Office;

#[derive(Deserialize)]
struct Input {
    task_id: String,
}

pub(super) async fn run(office: &Office, order: &Order) -> Result<String, String> {
    let input: Input = super::input(&order.input)?;
    let id: MessageId = input.task_id.parse().map_err(|error| format!("task_id: {error}"))?;
    let found = office.mail().message(order.key.workspace, id).await;
    let own = Sender::At(Address::Session(order.key.session));
    let task = found
        .map_err(|error| error.to_string())?
        .filter(|message| message.letter.task.is_some() && message.letter.from == own)
        .ok_or_else(|| format!("this session has delegated no task {id}"))?;
    let told = office.cancel_task(&task).await.map_err(|error| error.to_string())?;
    Ok(if told {
        format!("Task {id} is stopped; a message says so.")
    } else {
        format!("Task {id} has ended before; a message says how.")
    })
}

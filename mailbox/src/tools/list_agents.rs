//! `list_agents`

use perennial_engine::ports::Order;

use crate::cards::Card;
use crate::office::Office;

pub(super) async fn run(office: &Office, order: &Order) -> Result<String, String> {
    let cards = office.cards(order.key.workspace).await;
    let cards = cards.map_err(|error| error.to_string())?;
    if cards.is_empty() {
        return Ok("No agent takes mail here.".to_owned());
    }
    Ok(cards.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn line(card: &Card) -> String {
    let description = card.description.as_deref().unwrap_or("says nothing of itself");
    let mut told = vec![card.status.as_str().to_owned()];
    if !card.skills.is_empty() {
        told.push(format!("skills: {}", card.skills.join(", ")));
    }
    if !card.executors.is_empty() {
        told.push(format!("tools run in: {}", card.executors.join(", ")));
    }
    format!("{}: {} ({})", card.address, description, told.join("; ")).replace('\n', " ")
}

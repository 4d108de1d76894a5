//! `list_agents`

use perennial_engine::ports::Order;

use crate::limits;
use crate::office::Office;

pub(super) async fn run(office: &Office, order: &Order) -> Result<String, String> {
    let peers = office.agents().peers(order.key.workspace, limits::PEERS).await;
    let peers = peers.map_err(|error| error.to_string())?;
    if peers.is_empty() {
        return Ok("No agent takes mail here.".to_owned());
    }
    let lines = peers.iter().map(|peer| {
        let description = peer.description.as_deref().unwrap_or("says nothing of itself");
        format!("agent/{}: {}", peer.name, description.replace('\n', " "))
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

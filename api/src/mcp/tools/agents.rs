//! `list_agents`, and which one is meant.

use serde_json::{Value, json};

use super::Done;
use crate::mcp::caller::{Caller, part};

const ALL: &str = "/v1/agents?limit=100";

pub(super) async fn list(caller: &Caller) -> Result<Done, String> {
    let agents = caller.get(ALL).await?;
    let cards = caller.app.ports.mail.cards(caller.principal.workspace).await;
    let cards = cards.map_err(|error| error.to_string())?;
    let shown = |agent: &Value| {
        let takes_mail = !agent["mail"].is_null();
        let card = cards
            .iter()
            .find(|card| takes_mail && agent["name"] == card.name.as_str());
        let mut shown = json!({"id": agent["id"], "name": agent["name"], "description": agent["description"],
            "address": null});
        if let Some(card) = card {
            shown["address"] = json!(card.address);
            shown["skills"] = json!(card.skills);
            shown["accepts"] = json!(card.accepts);
            shown["executors"] = json!(card.executors);
            shown["status"] = json!(card.status);
        }
        shown
    };
    let shown: Vec<Value> = agents["data"].as_array().into_iter().flatten().map(shown).collect();
    Ok(json!({"agents": shown}))
}

/// The id of an agent that is given by its id or its name.
pub(super) async fn id(caller: &Caller, given: &str) -> Result<String, String> {
    if given.starts_with("agent_") {
        return part(given).map(str::to_owned);
    }
    let agents = caller.get(ALL).await?;
    let named = agents["data"].as_array().into_iter().flatten();
    let mut named = named
        .filter(|agent| agent["name"] == given)
        .filter_map(|agent| agent["id"].as_str());
    match (named.next(), named.next()) {
        (Some(id), None) => Ok(id.to_owned()),
        (Some(_), Some(_)) => Err(format!("several agents are called {given:?}: give the id of one")),
        (None, _) => Err(format!(
            "there is no agent {given:?}: `list_agents` tells which there are"
        )),
    }
}

//! The agent and the environment `run` uses when none is named: found by name, else created.

use std::path::Path;

use perennial_schema::agent::Harness;
use serde_json::{Value, json};

use crate::client::Client;
use crate::client::pages::typed;
use crate::client::resources::{Agent, Environment};
use crate::error::Error;

/// Marks what `run` made, so that it never changes an agent somebody else named `default`.
const MARK: &str = "perennial_run";
/// Longest name of an environment.
const NAME_CHARS: usize = 256;
/// Agents and environments looked through.
const LOOKED_AT: usize = 10_000;

/// The default agent with this model and harness, as a session's `agent`.
///
/// There is one, and it takes a new version when another model or harness is asked for; sessions name the version, so two
/// runs at once do not disturb each other.
pub async fn agent(client: &Client, model: Option<&str>, harness: Option<&Harness>) -> Result<Value, Error> {
    let wanted_harness = harness.cloned().unwrap_or_default().to_string();
    let model = match model {
        Some(model) => model.to_owned(),
        None => model_of_server(client).await?,
    };
    let items = client.list("/v1/agents", &[], LOOKED_AT).await?;
    let agents: Vec<Agent> = typed(&items)?;
    let ours = |agent: &&Agent| agent.archived_at.is_none() && agent.metadata[MARK] == "default";
    let mut body = json!({"model": model});
    let agent = match agents.iter().find(ours) {
        Some(agent) => {
            let harness = agent.snapshot.harness.as_deref().unwrap_or("native");
            if model == agent.snapshot.model.id && harness == wanted_harness {
                return Ok(reference(agent));
            }
            body["harness"] = json!(wanted_harness);
            client.post(&format!("/v1/agents/{}", agent.snapshot.id), &body).await?
        }
        None => {
            body["name"] = json!("default");
            body["description"] = json!("Made by `perennial run`.");
            body["tools"] = json!([{"type": "agent_toolset_20260401"}]);
            body["metadata"] = json!({MARK: "default"});
            if wanted_harness != "native" {
                body["harness"] = json!(wanted_harness);
            }
            client.post("/v1/agents", &body).await?
        }
    };
    Ok(reference(&agent.parse()?))
}

fn reference(agent: &Agent) -> Value {
    json!({"type": "agent", "id": agent.snapshot.id, "version": agent.snapshot.version})
}

/// The model the server takes when none is named.
pub async fn model_of_server(client: &Client) -> Result<String, Error> {
    let ready: Value = client.get("/readyz", &[]).await?.parse()?;
    let model = ready["default_model"].as_str().map(str::to_owned);
    model.ok_or_else(|| Error::Usage("the server does not say what its default model is: use --model".to_owned()))
}

/// The id of the local environment: one for fresh folders, one for each folder of the user's.
pub async fn environment(client: &Client, dir: Option<&Path>) -> Result<String, Error> {
    let dir = dir.map(absolute).transpose()?;
    if let Some(found) = find(client, dir.as_deref()).await? {
        return Ok(found);
    }
    let mut config = json!({"type": "local"});
    if let Some(dir) = &dir {
        config["dir"] = json!(dir);
    }
    let create = async |name: &str| {
        let body = json!({"name": name, "config": config});
        let environment: Environment = client.post("/v1/environments", &body).await?.parse()?;
        Ok(environment.id)
    };
    match create(&name(dir.as_deref(), "")).await {
        // Another run made it at this moment, or somebody uses the name for something else.
        Err(error) if Error::status(&error) == Some(409) => match find(client, dir.as_deref()).await? {
            Some(found) => Ok(found),
            None => create(&name(dir.as_deref(), &format!(" {}", uuid::Uuid::now_v7().simple()))).await,
        },
        other => other,
    }
}

async fn find(client: &Client, dir: Option<&str>) -> Result<Option<String>, Error> {
    let items = client.list("/v1/environments", &[], LOOKED_AT).await?;
    let environments: Vec<Environment> = typed(&items)?;
    let fits = |environment: &Environment| {
        let config = &environment.config;
        environment.archived_at.is_none() && config.kind == "local" && config.dir.as_deref() == dir
    };
    Ok(environments.into_iter().find(fits).map(|environment| environment.id))
}

/// `local`, or `local PATH` with the end of a long path.
fn name(dir: Option<&str>, suffix: &str) -> String {
    let Some(dir) = dir else {
        return format!("local{suffix}");
    };
    let room = NAME_CHARS - "local ".len() - suffix.len();
    let skip = dir.chars().count().saturating_sub(room);
    let end: String = dir.chars().skip(skip).collect();
    format!("local {end}{suffix}")
}

fn absolute(dir: &Path) -> Result<String, Error> {
    let path = dir
        .canonicalize()
        .map_err(Error::io(format!("--dir {}: cannot be used", dir.display())))?;
    if !path.is_dir() {
        return Err(Error::Usage(format!("--dir {}: not a folder", dir.display())));
    }
    path.into_os_string()
        .into_string()
        .map_err(|_| Error::Usage(format!("--dir {}: the path is not UTF-8", dir.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit() {
        assert_eq!(name(None, ""), "local");
        assert_eq!(name(Some("/a/b"), ""), "local /a/b");
        let long = format!("/{}/end", "é".repeat(400));
        let name = name(Some(&long), " 0123");
        assert!(
            name.chars().count() <= NAME_CHARS && name.ends_with("/end 0123"),
            "{name}"
        );
    }
}

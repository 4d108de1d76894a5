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

/// Where the tools of a local environment work.
pub struct Where {
    /// The id of a machine that dialled in; none means the server's.
    pub executor: Option<String>,
    /// Absolute path there; none means a fresh folder, or the one that the machine offers.
    pub dir: Option<String>,
}

impl Where {
    /// A folder of the server's machine, which is this one.
    pub fn here(dir: Option<&Path>) -> Result<Self, Error> {
        let dir = dir.map(absolute).transpose()?;
        Ok(Self { executor: None, dir })
    }

    /// What another machine offers, or a folder there.
    pub fn on(executor: String, dir: Option<&Path>) -> Result<Self, Error> {
        let dir = dir.map(absolute_there).transpose()?;
        let executor = Some(executor);
        Ok(Self { executor, dir })
    }
}

/// A folder on another machine, which says itself whether it is there.
pub fn absolute_there(dir: &Path) -> Result<String, Error> {
    let text = dir.to_str().filter(|_| dir.is_absolute()).map(str::to_owned);
    text.ok_or_else(|| Error::Usage(format!("--dir {}: name the whole path on that machine", dir.display())))
}

/// The id of the local environment of a place: found, or else made.
pub async fn environment(client: &Client, place: &Where) -> Result<String, Error> {
    if let Some(found) = find(client, place).await? {
        return Ok(found);
    }
    let mut config = json!({"type": "local"});
    for (key, value) in [("dir", &place.dir), ("executor_id", &place.executor)] {
        if let Some(value) = value {
            config[key] = json!(value);
        }
    }
    let create = async |name: &str| {
        let body = json!({"name": name, "config": config});
        let environment: Environment = client.post("/v1/environments", &body).await?.parse()?;
        Ok(environment.id)
    };
    match create(&name(place, "")).await {
        // Another run made it at this moment, or somebody uses the name for something else.
        Err(error) if Error::status(&error) == Some(409) => match find(client, place).await? {
            Some(found) => Ok(found),
            None => create(&name(place, &format!(" {}", uuid::Uuid::now_v7().simple()))).await,
        },
        other => other,
    }
}

async fn find(client: &Client, place: &Where) -> Result<Option<String>, Error> {
    let items = client.list("/v1/environments", &[], LOOKED_AT).await?;
    let environments: Vec<Environment> = typed(&items)?;
    let fits = |environment: &Environment| {
        let config = &environment.config;
        let same = config.dir == place.dir && config.executor_id == place.executor;
        environment.archived_at.is_none() && config.kind == "local" && same
    };
    Ok(environments.into_iter().find(fits).map(|environment| environment.id))
}

/// `local`, `local PATH` with the end of a long path, or the same on another machine.
fn name(place: &Where, suffix: &str) -> String {
    let kind = match &place.executor {
        Some(executor) => format!("local on {executor}"),
        None => "local".to_owned(),
    };
    let Some(dir) = &place.dir else {
        return format!("{kind}{suffix}");
    };
    let room = NAME_CHARS - kind.len() - 1 - suffix.len();
    let skip = dir.chars().count().saturating_sub(room);
    let end: String = dir.chars().skip(skip).collect();
    format!("{kind} {end}{suffix}")
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
        let place = |executor: Option<&str>, dir: Option<&str>| Where {
            executor: executor.map(str::to_owned),
            dir: dir.map(str::to_owned),
        };
        assert_eq!(name(&place(None, None), ""), "local");
        assert_eq!(name(&place(None, Some("/a/b")), ""), "local /a/b");
        assert_eq!(name(&place(Some("exec_1"), Some("/a")), ""), "local on exec_1 /a");
        let long = format!("/{}/end", "é".repeat(400));
        let name = name(&place(Some("exec_1"), Some(&long)), " 0123");
        assert!(
            name.chars().count() <= NAME_CHARS && name.ends_with("/end 0123"),
            "{name}"
        );
    }
}

//! Sessions of the server as an editor asks for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agent_client_protocol::v1::schema::{ListSessionsRequest, ListSessionsResponse, SessionInfo};
use serde::Deserialize;
use serde_json::{Value, json};

use super::AcpArgs;
use crate::client::Client;
use crate::client::pages::typed;
use crate::client::resources::{Environment, Page, Session};
use crate::error::Error;
use crate::verbs::run::defaults::{self, Where};

/// Environments looked through.
const ENVIRONMENTS: usize = 10_000;
/// Sessions in one answer.
const PAGE: usize = 50;
/// Pages of the server looked through for one answer, when only one folder's sessions are wanted.
const PAGES: usize = 20;

/// A new session that works in this folder; on a machine that dialled in, if one is named.
pub(super) async fn create(
    client: &Client,
    args: &AcpArgs,
    folder: &Path,
    executor: Option<String>,
) -> Result<Session, Error> {
    let agent = match &args.agent {
        Some(id) => json!(id),
        None => defaults::agent(client, args.model.as_deref(), args.harness.as_ref()).await?,
    };
    let environment = match (&args.env, executor) {
        (Some(id), _) => id.clone(),
        (None, Some(executor)) => {
            let folder = folder
                .canonicalize()
                .map_err(Error::io(format!("{}: cannot be used", folder.display())))?;
            defaults::environment(client, &Where::on(executor, Some(&folder))?).await?
        }
        (None, None) => defaults::environment(client, &Where::here(Some(folder))?).await?,
    };
    let body = json!({"agent": agent, "environment_id": environment});
    client.post("/v1/sessions", &body).await?.parse()
}

/// The machine that a session works on, if one dialled in for it.
pub(super) async fn machine(client: &Client, session: &Session) -> Result<Option<String>, Error> {
    let path = format!("/v1/environments/{}", session.environment_id);
    let environment: Environment = client.get(&path, &[]).await?.parse()?;
    Ok(environment.config.executor_id)
}

/// A copy of a session as it is now.
pub(super) async fn fork(client: &Client, session: &str) -> Result<Session, Error> {
    let head = client.session(session).await?.head();
    let path = format!("/v1/sessions/{session}/fork");
    client.post(&path, &json!({"at_seq": head})).await?.parse()
}

/// One page of the sessions, newest first; of those that work in one folder when it is named.
pub(super) async fn list(client: &Client, wanted: &ListSessionsRequest) -> Result<ListSessionsResponse, Error> {
    let folders = folders(client).await?;
    let mut cursor = wanted.cursor.clone();
    let mut found = Vec::new();
    for _ in 0..PAGES {
        let mut query = vec![("limit", PAGE.to_string())];
        query.extend(cursor.take().map(|cursor| ("page", cursor)));
        let page: Page = client.get("/v1/sessions", &query).await?.parse()?;
        cursor = page.next_page.filter(|cursor| !cursor.is_empty());
        let sessions: Vec<Session> = typed(&page.data)?;
        let listed = sessions.into_iter().map(|session| {
            let folder = folders
                .get(&session.environment_id)
                .cloned()
                .unwrap_or_else(|| "/".into());
            SessionInfo::new(session.id, folder)
                .title(session.title)
                .updated_at(session.updated_at)
        });
        found.extend(listed.filter(|session| wanted.cwd.as_ref().is_none_or(|folder| session.cwd == *folder)));
        if !found.is_empty() || cursor.is_none() {
            break;
        }
    }
    Ok(ListSessionsResponse::new(found).next_cursor(cursor))
}

/// Where the tools of environments work, as far as that is a folder.
async fn folders(client: &Client) -> Result<BTreeMap<String, PathBuf>, Error> {
    let query = [("include_archived", "true".to_owned())];
    let environments: Vec<Environment> = typed(&client.list("/v1/environments", &query, ENVIRONMENTS).await?)?;
    let folder = |environment: Environment| Some((environment.id, PathBuf::from(environment.config.dir?)));
    Ok(environments.into_iter().filter_map(folder).collect())
}

/// `session/fork`: in the protocol's draft, and spoken by editors already.
#[derive(Clone, Debug, Deserialize, serde::Serialize, agent_client_protocol::JsonRpcRequest)]
#[request(method = "session/fork", response = Value)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fork {
    /// The session that is copied.
    pub(super) session_id: String,
    /// Where the editor is.
    pub(super) cwd: PathBuf,
}

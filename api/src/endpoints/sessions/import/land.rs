//! The new session: what it runs by, where its hands are, and how it goes on behind the events it came with.

use axum::response::Response;
use perennial_engine::kernel::{Command, State as Folded};
use perennial_engine::ports::{EventFilter, Idempotency, NewSession, Past, SessionKey, SessionMetadata};
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::archive::Head;
use perennial_schema::environment::{Environment, EnvironmentConfig};
use perennial_schema::event::SessionImported;
use perennial_schema::limits::{NAME_CHARS, PAGE_MAX};
use perennial_schema::{PackId, SessionId};
use serde_json::{Value, json};

use super::Wishes;
use super::workspace::Unpacking;
use crate::accounts::Listing;
use crate::api::App;
use crate::auth::Principal;
use crate::endpoints::sessions::{agent, environment, export, fork};
use crate::error::ApiError;
use crate::respond::json;
use crate::wire::agent::Overrides;
use crate::wire::length;
use crate::wire::metadata::{self, Pairs};
use crate::wire::session::Session;

/// An import under way.
pub(super) struct Landing<'a> {
    pub(super) app: &'a App,
    pub(super) principal: Principal,
    pub(super) wishes: Wishes,
    pub(super) idempotency: Option<Idempotency>,
}

/// What it runs by and where.
pub(super) struct Place {
    agent: AgentSnapshot,
    environment: Environment,
    /// Its workspace folder, on the way.
    pub(super) unpacking: Unpacking,
}

/// What came.
pub(super) struct Arrived {
    pub(super) session: SessionId,
    pub(super) past: Vec<Past>,
    pub(super) state: Folded,
    pub(super) imported: SessionImported,
    pub(super) title: Option<String>,
    pub(super) metadata: SessionMetadata,
}

impl Landing<'_> {
    /// Decides by what the session will run; `head` is what an exported session ran by.
    pub(super) async fn place(&self, head: Option<&Head>) -> Result<Place, ApiError> {
        let given = match (&self.wishes.agent_id, head) {
            (Some(id), _) => agent::snapshot(self.app, self.principal, &json!(id)).await?,
            (None, Some(head)) => checked(head.agent.clone().without_secrets())?,
            (None, None) => {
                return Err(ApiError::field(
                    "agent_id",
                    "a transcript names no agent of this server: name one",
                ));
            }
        };
        let overrides = Overrides {
            model: self.wishes.model.as_ref().map(|model| Some(json!(model))),
            harness: self.wishes.harness.clone().map(Some),
            ..Overrides::default()
        };
        let environment = self.environment(head).await?;
        let pack = PackId::from_uuid(self.app.ports.ids.uuid());
        Ok(Place {
            agent: AgentSnapshot {
                // Machines are those of the other server.
                executors: Vec::new(),
                ..overrides.apply(given)?
            },
            unpacking: Unpacking::new(pack, &environment.config),
            environment,
        })
    }

    /// The one that was named, or one like that of the exported session. A folder of another host is none of this one.
    async fn environment(&self, head: Option<&Head>) -> Result<Environment, ApiError> {
        let (app, principal) = (self.app, self.principal);
        if let Some(id) = &self.wishes.environment_id {
            return environment(app, principal, id).await;
        }
        let Some(head) = head else {
            return Err(ApiError::field(
                "environment_id",
                "a transcript names no environment: name one",
            ));
        };
        let listing = Listing {
            created: perennial_engine::ports::TimeBounds::default(),
            include_archived: false,
            cursor: None,
            limit: PAGE_MAX,
        };
        let known = app.ports.accounts.environments(principal.workspace, listing).await?;
        let bound = matches!(
            head.environment,
            EnvironmentConfig::Local { dir: Some(_), .. }
                | EnvironmentConfig::Local {
                    executor_id: Some(_),
                    ..
                }
        );
        let alike = known
            .into_iter()
            .find(|known| !bound && known.config == head.environment);
        alike.ok_or_else(|| {
            ApiError::field(
                "environment_id",
                "this server has no environment like the one the session had: name one",
            )
        })
    }

    /// Creates it and answers.
    pub(super) async fn create(self, place: Place, arrived: Arrived) -> Result<Response, ApiError> {
        let app = self.app;
        let title = self.wishes.title.or(arrived.title);
        length("title", title.as_deref().unwrap_or_default(), 0, NAME_CHARS)?;
        let pairs: Pairs = arrived
            .metadata
            .iter()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
        metadata::check(&pairs)?;
        let key = SessionKey {
            workspace: self.principal.workspace,
            session: arrived.session,
        };
        let expected = arrived
            .imported
            .head_hash
            .clone()
            .map(|hash| (arrived.imported.events, hash));
        let command = Command::Import(arrived.imported);
        let events = arrived
            .state
            .decide(command, app.ports.clock.now(), app.ports.ids.as_ref())
            .map_err(|error| ApiError::conflict(format!("the session cannot go on here: {error}")))?;
        let projection = fork::rest(&events, &arrived.state);
        let new = NewSession {
            key,
            agent: place.agent,
            environment_id: place.environment.id,
            environment: place.environment.config,
            title,
            metadata: arrived.metadata,
            resources: Vec::new(),
            // Credentials and ceilings are the other server's.
            vault_ids: Vec::new(),
            budget: None,
            place: place.unpacking.at,
            events,
            projection,
            idempotency: self.idempotency,
        };
        let made = app.ports.sessions.import(new, arrived.past).await;
        let session = made.as_ref().map_or(arrived.session, |made| made.session);
        if made.is_err() || session != key.session {
            // Refused, or an earlier request did it: the folder just unpacked belongs to nobody.
            app.ports.router.forget(key.session, place.unpacking.at).await;
        }
        made?;
        let key = SessionKey { session, ..key };
        if let Some((events, hash)) = expected {
            let row = app.reread(key).await?;
            let stored = export::head_hash(app, &row, events).await?;
            if stored != hash {
                return Err(ApiError::inconsistent(format!(
                    "the events of {session} hash to {stored} here, and to {hash} in the file"
                )));
            }
        }
        answer(app, key).await
    }
}

/// The session, and in `imported` what its log says of its beginning: the same for a repeated request.
async fn answer(app: &App, key: SessionKey) -> Result<Response, ApiError> {
    let row = app.reread(key).await?;
    let filter = EventFilter {
        types: vec!["session.imported".into()],
        include_extensions: true,
        descending: true,
        limit: 1,
        ..EventFilter::default()
    };
    let told = app.ports.log.list(key, filter).await?;
    let imported = told
        .first()
        .and_then(|record| serde_json::from_str::<SessionImported>(&record.payload).ok());
    let mut body = serde_json::to_value(Session::of(&row, true)).unwrap_or_default();
    body["imported"] = json!(imported);
    Ok(json::<Value>(&body))
}

/// Every part as if a client had sent it.
fn checked(mut agent: AgentSnapshot) -> Result<AgentSnapshot, ApiError> {
    fn values<T: serde::Serialize>(parts: &[T]) -> Option<Option<Vec<Value>>> {
        Some(Some(
            parts
                .iter()
                .filter_map(|part| serde_json::to_value(part).ok())
                .collect(),
        ))
    }
    agent.kind = "agent".into();
    agent.multiagent = None;
    let again = Overrides {
        model: Some(serde_json::to_value(&agent.model).ok()),
        tools: values(&agent.tools),
        mcp_servers: values(&agent.mcp_servers),
        skills: values(&agent.skills),
        ..Overrides::default()
    };
    again.apply(agent)
}

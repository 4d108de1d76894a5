//! What a caller may do. A key of a workspace may do everything in it; a worker of a self-hosted environment may do what
//! serving its sessions takes, and nothing that is not on its list: a new route is closed to workers until it is added here.

use axum::http::Method;
use perennial_schema::{EnvironmentId, SessionId, WorkId};

/// How far a credential reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The whole workspace.
    Workspace,
    /// A key of an environment: its queue, and its sessions as their worker.
    Environment(EnvironmentId),
    /// The token of one piece of work: that piece, and its session as its worker.
    Work(WorkScope),
}

/// What the token of a piece of work opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkScope {
    pub environment: EnvironmentId,
    pub work: WorkId,
    pub session: SessionId,
    /// The piece has not stopped: what was somebody else's to go on with is closed to who had it before.
    pub live: bool,
}

/// Routes of an environment's key.
const OF_ENVIRONMENTS: [(Method, &str); 3] = [
    (Method::GET, "/v1/environments/{environment_id}/work"),
    (Method::GET, "/v1/environments/{environment_id}/work/poll"),
    (Method::GET, "/v1/environments/{environment_id}/work/stats"),
];

/// Routes of an environment's key, and of the token of a piece of work.
const OF_WORKERS: [(Method, &str); 7] = [
    (Method::POST, "/v1/environments/{environment_id}/work/{work_id}/ack"),
    (
        Method::POST,
        "/v1/environments/{environment_id}/work/{work_id}/heartbeat",
    ),
    (Method::POST, "/v1/environments/{environment_id}/work/{work_id}/stop"),
    (Method::GET, "/v1/sessions/{session_id}"),
    (Method::GET, "/v1/sessions/{session_id}/events"),
    (Method::GET, "/v1/sessions/{session_id}/events/stream"),
    (Method::POST, "/v1/sessions/{session_id}/events"),
];

/// What a worker may send to its session.
const RESULTS: [&str; 2] = ["user.tool_result", "user.custom_tool_result"];

impl Scope {
    /// Whether a route is open to it.
    pub(crate) fn admits(self, method: &Method, route: &str) -> bool {
        let among = |routes: &[(Method, &str)]| routes.iter().any(|(verb, path)| verb == method && *path == route);
        match self {
            Self::Workspace => true,
            Self::Environment(_) => among(&OF_ENVIRONMENTS) || among(&OF_WORKERS),
            Self::Work(_) => among(&OF_WORKERS),
        }
    }

    /// The event types it may send; none means every input.
    pub(crate) const fn inputs(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Workspace => None,
            Self::Environment(_) | Self::Work(_) => Some(&RESULTS),
        }
    }

    /// Whether it is a worker's.
    pub(crate) const fn is_worker(self) -> bool {
        !matches!(self, Self::Workspace)
    }
}

#[cfg(test)]
mod tests {
    use perennial_schema::EnvironmentId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_worker_reaches_the_routes_on_its_list_and_no_other() {
        let environment = EnvironmentId::from_uuid(Uuid::nil());
        let key = Scope::Environment(environment);
        let token = Scope::Work(WorkScope {
            environment,
            work: WorkId::from_uuid(Uuid::nil()),
            session: SessionId::from_uuid(Uuid::nil()),
            live: true,
        });
        let (_, api) = crate::router::keyed().split_for_parts();
        let (mut of_key, mut of_token) = (0, 0);
        for (path, item) in api.paths.paths {
            for (verb, there) in [
                (Method::GET, item.get.is_some()),
                (Method::POST, item.post.is_some()),
                (Method::PATCH, item.patch.is_some()),
                (Method::PUT, item.put.is_some()),
                (Method::DELETE, item.delete.is_some()),
            ] {
                if there {
                    of_key += usize::from(key.admits(&verb, &path));
                    of_token += usize::from(token.admits(&verb, &path));
                    assert!(Scope::Workspace.admits(&verb, &path));
                }
            }
        }
        // Every route on the lists exists, under the name it has there.
        assert_eq!((of_key, of_token), (10, 7));
    }
}

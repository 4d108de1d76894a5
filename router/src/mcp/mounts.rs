//! Which servers are connected for which sessions. A connection is made when its session wants it first, and closed when it was not
//! wanted for a while; a server that was not reached is left alone for a moment.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use perennial_engine::ports::{ApprovedTool, McpApprovals, Seals, SessionKey};
use perennial_schema::mcp::{McpPlace, StdioServer};
use perennial_schema::{EventId, SessionId};
use tokio_util::task::TaskTracker;

use super::call::Running;
use super::line::{Ear, Line, Listed, News, Trouble};
use super::way::Way;
use crate::exchange::Exchange;
use crate::limits;
use crate::sandbox::InUse;

/// Connections to the servers of agents.
pub(crate) struct Mounts {
    pub(super) approvals: Arc<dyn McpApprovals>,
    /// Opens the variables of servers that are started.
    pub(super) seals: Arc<dyn Seals>,
    /// Where those are started.
    pub(super) exchange: Weak<Exchange>,
    pub(super) news: Arc<News>,
    /// Why the answers to the last calls that lost theirs were lost.
    lost: Mutex<VecDeque<((SessionId, EventId), String)>>,
    places: Mutex<HashMap<(SessionKey, String), Place>>,
    pub(super) running: Mutex<HashMap<(SessionId, EventId), Running>>,
    pub(super) calls: TaskTracker,
}

/// One server of one session.
#[derive(Clone)]
struct Place {
    slot: Arc<tokio::sync::Mutex<Slot>>,
    used: Instant,
}

#[derive(Default)]
struct Slot {
    line: Option<Arc<Line>>,
    failed: Option<(Instant, Trouble)>,
}

impl Slot {
    /// Over the connection there is, unless it has ended, or ends over this.
    async fn listed(
        &mut self,
        connect: impl Future<Output = Result<(Line, Arc<Listed>), Trouble>>,
    ) -> Result<Offer, Trouble> {
        self.failed = None;
        if let Some(line) = self.line.take().filter(|line| line.is_live())
            && let Ok((listed, fresh)) = line.listed().await
        {
            self.line = Some(line.clone());
            return Ok(Offer { line, listed, fresh });
        }
        let (line, listed) = connect.await?;
        let line = Arc::new(line);
        self.line = Some(line.clone());
        let fresh = true;
        Ok(Offer { line, listed, fresh })
    }
}

/// How a server is reached.
enum Reached<'a> {
    Web(String, reqwest::Client),
    Started(&'a StdioServer),
}

impl Reached<'_> {
    /// What its tools are remembered by.
    fn address(&self) -> String {
        match self {
            Self::Web(address, _) => address.clone(),
            Self::Started(server) => server.address(),
        }
    }
}

/// What a server offers.
struct Offer {
    line: Arc<Line>,
    listed: Arc<Listed>,
    /// It has just said so.
    fresh: bool,
}

/// A connection as it is used.
pub(super) struct Connected {
    pub(super) line: Arc<Line>,
    pub(super) listed: Arc<Listed>,
    /// What was approved of its tools; those that are missing are not remembered, and not let in.
    pub(super) approved: Vec<ApprovedTool>,
    /// A program's sandbox runs as long as this is used.
    _held: Option<InUse>,
}

impl Mounts {
    pub(crate) fn new(approvals: Arc<dyn McpApprovals>, seals: Arc<dyn Seals>, exchange: Weak<Exchange>) -> Self {
        Self {
            approvals,
            seals,
            exchange,
            news: Arc::default(),
            lost: Mutex::default(),
            places: Mutex::default(),
            running: Mutex::default(),
            calls: TaskTracker::new(),
        }
    }

    /// A live connection with a list of tools that is not old.
    pub(super) async fn connected(&self, key: SessionKey, place: &McpPlace, way: &Way) -> Result<Connected, Trouble> {
        // Asked each time: what a session may reach can change.
        let reached = match place {
            McpPlace::Url { url } => {
                let client = way.web.as_ref().map_err(Trouble::unreachable)?;
                let (address, http) = client.speak(url, &way.allowed)?;
                Reached::Web(address, http)
            }
            McpPlace::Stdio(server) => Reached::Started(server),
            McpPlace::Nowhere => return Err(Trouble::unreachable("the agent has it no more")),
        };
        let address = reached.address();
        // Before anybody looks whether the program is alive: what is held is not paused from here on.
        let held = match (&reached, self.exchange.upgrade()) {
            (Reached::Started(_), Some(exchange)) => exchange.held(key, &way.environment).await,
            _ => None,
        };
        let slot = self.slot(key, id(place))?;
        let mut slot = slot.lock().await;
        if let Some((since, trouble)) = &slot.failed
            && since.elapsed() < limits::MCP_LEFT_ALONE
        {
            return Err(trouble.clone());
        }
        let connect = async {
            match reached {
                Reached::Web(address, http) => {
                    let ear = Ear::new(key, self.news.clone());
                    Box::pin(Line::connect(&address, http, ear)).await
                }
                Reached::Started(server) => Box::pin(self.start(key, server, &way.environment)).await,
            }
        };
        let offer = match slot.listed(connect).await {
            Ok(offer) => offer,
            Err(trouble) => {
                slot.failed = Some((Instant::now(), trouble.clone()));
                return Err(trouble);
            }
        };
        drop(slot);
        // Asked each time: somebody may have approved since, or another session have seen a change. What is old is no news.
        let (workspace, tools) = (key.workspace, &offer.listed.tools);
        let approved = match offer.fresh {
            true => self.approvals.seen(workspace, &address, tools).await,
            false => self.approvals.remembered(workspace, &address).await,
        };
        Ok(Connected {
            approved: approved.map_err(|error| Trouble::unreachable(error.to_string()))?,
            line: offer.line,
            listed: offer.listed,
            _held: held,
        })
    }

    fn slot(&self, key: SessionKey, server: String) -> Result<Arc<tokio::sync::Mutex<Slot>>, Trouble> {
        let (mut places, now) = (self.places(), Instant::now());
        let id = (key, server);
        if places.len() >= limits::MCP_LINES && !places.contains_key(&id) {
            return Err(Trouble::unreachable("too many MCP servers are in use"));
        }
        let fresh = || Place {
            slot: Arc::default(),
            used: now,
        };
        let place = places.entry(id).or_insert_with(fresh);
        place.used = now;
        Ok(place.slot.clone())
    }

    /// A connection that broke is not used again.
    pub(super) async fn drop_line(&self, key: SessionKey, place: &McpPlace) {
        let found = self.places().get(&(key, id(place))).cloned();
        if let Some(found) = found {
            found.slot.lock().await.line = None;
        }
    }

    /// Closes what nobody wants any more.
    pub(crate) fn sweep(&self) {
        let mut places = self.places();
        places.retain(|_, place| place.used.elapsed() < limits::MCP_IDLE || Arc::strong_count(&place.slot) > 1);
        self.news.retain(|key| places.keys().any(|(session, _)| session == key));
    }

    /// Closes what a session has, which is over.
    pub(crate) fn forget(&self, session: SessionId) {
        self.places().retain(|(key, _), _| key.session != session);
    }

    /// Whether a server of a session said that its tools changed, since somebody asked last.
    pub(crate) fn changed(&self, key: SessionKey) -> bool {
        self.news.take(key)
    }

    /// Remembers why an answer was lost.
    pub(super) fn note_lost(&self, call: (SessionId, EventId), why: String) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.len() >= limits::MCP_LOST {
            lost.pop_front();
        }
        lost.push_back((call, why));
    }

    /// Why an answer was lost, if it is remembered; then no more.
    pub(super) fn lost(&self, call: (SessionId, EventId)) -> Option<String> {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let at = lost.iter().position(|(known, _)| *known == call)?;
        lost.remove(at).map(|(_, why)| why)
    }

    /// Closes everything, and ends the calls.
    pub(crate) async fn close(&self) {
        for running in self.running().values() {
            running.cancel();
        }
        self.calls.close();
        self.calls.wait().await;
        self.places().clear();
    }

    fn places(&self) -> MutexGuard<'_, HashMap<(SessionKey, String), Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn running(&self) -> MutexGuard<'_, HashMap<(SessionId, EventId), Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What tells the servers of a session apart: one whose variables are others is another one.
fn id(place: &McpPlace) -> String {
    match place {
        McpPlace::Url { url } => url.clone(),
        place => serde_json::to_string(place).unwrap_or_default(),
    }
}

//! Which servers are connected for which sessions. A connection is made when its session wants it first, and closed when it was not
//! wanted for a while; a server that was not reached is left alone for a moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use perennial_egress::{Allowed, Client};
use perennial_engine::ports::{ApprovedTool, McpApprovals, SessionKey};
use perennial_schema::{EventId, SessionId};
use tokio_util::task::TaskTracker;

use super::call::Running;
use super::line::{Line, Listed, Trouble};
use crate::limits;

/// Connections to the servers of agents.
pub(crate) struct Mounts {
    pub(super) approvals: Arc<dyn McpApprovals>,
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
    async fn listed(&mut self, address: &str, http: reqwest::Client) -> Result<Offer, Trouble> {
        self.failed = None;
        if let Some(line) = self.line.take().filter(|line| line.is_live())
            && let Ok((listed, fresh)) = line.listed().await
        {
            self.line = Some(line.clone());
            return Ok(Offer { line, listed, fresh });
        }
        let (line, listed) = Line::connect(address, http).await?;
        let line = Arc::new(line);
        self.line = Some(line.clone());
        let fresh = true;
        Ok(Offer { line, listed, fresh })
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
}

impl Mounts {
    pub(crate) fn new(approvals: Arc<dyn McpApprovals>) -> Self {
        Self {
            approvals,
            places: Mutex::default(),
            running: Mutex::default(),
            calls: TaskTracker::new(),
        }
    }

    /// A live connection with a list of tools that is not old.
    pub(super) async fn connected(
        &self,
        key: SessionKey,
        url: &str,
        way: (&Client, &Allowed),
    ) -> Result<Connected, Trouble> {
        let (client, allowed) = way;
        // Asked each time: what a session may reach can change.
        let (address, http) = client.speak(url, allowed)?;
        let slot = self.slot(key, url)?;
        let mut slot = slot.lock().await;
        if let Some((since, trouble)) = &slot.failed
            && since.elapsed() < limits::MCP_LEFT_ALONE
        {
            return Err(trouble.clone());
        }
        let offer = match slot.listed(&address, http).await {
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
        })
    }

    fn slot(&self, key: SessionKey, url: &str) -> Result<Arc<tokio::sync::Mutex<Slot>>, Trouble> {
        let (mut places, now) = (self.places(), Instant::now());
        let id = (key, url.to_owned());
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
    pub(super) async fn drop_line(&self, key: SessionKey, url: &str) {
        let place = self.places().get(&(key, url.to_owned())).cloned();
        if let Some(place) = place {
            place.slot.lock().await.line = None;
        }
    }

    /// Closes what nobody wants any more.
    pub(crate) fn sweep(&self) {
        self.places()
            .retain(|_, place| place.used.elapsed() < limits::MCP_IDLE || Arc::strong_count(&place.slot) > 1);
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

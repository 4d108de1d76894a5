//! A writer's own connection: made when needed, dropped at the first doubt, never waited on for ever.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use perennial_engine::ports::{Append, Authority, SessionKey};
use perennial_schema::AppendId;
use sqlx::postgres::PgRow;
use sqlx::{ConnectOptions as _, PgConnection};

use super::failure;
use super::rows::Known;
use super::script::Script;
use super::site::Site;
use crate::limits;

/// The connection, and the rows as this writer last saw them. What it saw may be old; the statement finds out.
pub(super) struct Link {
    pub(super) site: Arc<Site>,
    connection: Option<PgConnection>,
    known: HashMap<SessionKey, Known>,
    /// The holder's append that was sent last, whatever became of it; see [`Link::is_next`].
    latest: HashMap<SessionKey, Option<AppendId>>,
}

impl Link {
    pub(super) fn new(site: Arc<Site>) -> Self {
        Self {
            site,
            connection: None,
            known: HashMap::new(),
            latest: HashMap::new(),
        }
    }

    /// Whether an append is certainly not one that was sent before. A client's id is found by its index, should it have been. A
    /// holder says one thing after the other and repeats only the last one, in this process: an id that is not the last one's
    /// is a new one, and where nobody remembers the last one, somebody must look. Another epoch's is fenced either way.
    pub(super) fn is_next(&self, append: &Append) -> bool {
        match append.authority {
            Authority::Client { .. } => true,
            Authority::Holder { .. } => self
                .latest
                .get(&append.key)
                .is_some_and(|latest| *latest != Some(append.append_id)),
        }
    }

    /// Remembers that an append is on its way.
    pub(super) fn sends(&mut self, append: &Append) {
        self.note(append, Some(append.append_id));
    }

    /// Remembers that an append has not happened yet.
    pub(super) fn has_looked(&mut self, append: &Append) {
        self.note(append, None);
    }

    fn note(&mut self, append: &Append, latest: Option<AppendId>) {
        if let Authority::Holder { .. } = append.authority {
            self.expect(append.key, latest);
        }
    }

    fn expect(&mut self, key: SessionKey, latest: Option<AppendId>) {
        if self.latest.len() >= limits::KNOWN_SESSIONS {
            self.latest.clear();
        }
        self.latest.insert(key, latest);
    }

    /// Runs one statement that writes; sets `sent` when nobody can say what became of it.
    pub(super) async fn commit(&mut self, script: Script, sent: &mut bool) -> Result<Vec<PgRow>, sqlx::Error> {
        self.connect().await?;
        fail::fail_point!("broker.commit.before");
        let done = self.rows(script).await;
        fail::fail_point!("broker.commit.after");
        if let Err(error) = &done
            && failure::kind(error) == failure::Kind::Lost
        {
            *sent = true;
        }
        done
    }

    /// Runs one statement, on a new connection if there is none. A connection that fails or stays silent is dropped, so that
    /// no answer of an old statement is ever taken for a new one's.
    pub(super) async fn rows(&mut self, script: Script) -> Result<Vec<PgRow>, sqlx::Error> {
        self.connect().await?;
        // Taken out while in use: a caller that is dropped half-way drops the connection with it.
        let Some(mut connection) = self.connection.take() else {
            return Err(failure::silent());
        };
        let done = in_time(limits::STATEMENT_WAIT, script.rows(&mut connection)).await;
        match &done {
            Err(error) if failure::kind(error) == failure::Kind::Lost => self.site.failed(),
            _ => self.connection = Some(connection),
        }
        done
    }

    async fn connect(&mut self) -> Result<(), sqlx::Error> {
        if self.connection.is_none() {
            let made = in_time(limits::CONNECT_WAIT, self.site.options.connect()).await;
            self.connection = Some(made.inspect_err(|_| self.site.failed())?);
        }
        Ok(())
    }

    pub(super) fn known(&self, key: SessionKey) -> Option<&Known> {
        self.known.get(&key)
    }

    /// The row an append finds, if no look is needed. What may happen beside its holder's appends moves the row of a session that
    /// is driven, or soon will be, over other connections: whoever does not hold it would hardly ever be right.
    pub(super) fn trusted(&self, append: &Append) -> Option<&Known> {
        let known = self.known(append.key)?;
        let rests = known.head.owner.is_none() && known.head.ready_at.is_none();
        let sees = matches!(append.authority, Authority::Holder { .. }) || rests;
        (sees && self.is_next(append)).then_some(known)
    }

    /// Learns a row that was read over another connection.
    pub(super) fn saw(&mut self, key: SessionKey, known: Known) {
        let newer = |here: &Known| here.revision > known.revision;
        if !self.known.get(&key).is_some_and(newer) {
            self.learn(key, known);
        }
    }

    /// A lease of this process begins: its holder has not said anything yet, and what an older epoch says is fenced.
    pub(super) fn begins(&mut self, key: SessionKey) {
        self.expect(key, None);
    }

    pub(super) fn learn(&mut self, key: SessionKey, known: Known) {
        if self.known.len() >= limits::KNOWN_SESSIONS {
            self.known.clear();
        }
        self.known.insert(key, known);
    }

    pub(super) fn forget(&mut self, key: SessionKey) {
        self.known.remove(&key);
    }

    /// After a caller vanished in the middle of something.
    pub(super) fn abandon(&mut self) {
        self.connection = None;
        self.known.clear();
        self.latest.clear();
    }
}

async fn in_time<T>(
    wait: std::time::Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(wait, work)
        .await
        .unwrap_or_else(|_| Err(failure::silent()))
}

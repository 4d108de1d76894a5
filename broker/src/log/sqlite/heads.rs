//! What the writer remembers of the sessions it wrote last, so that their next append needs no look at the database. Every row
//! is changed over the writer's one connection, and SQLite itself says which rows a statement touched: no verb can forget to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use perennial_engine::ports::SessionKey;
use sqlx::SqliteConnection;

use crate::limits;
use crate::log::rules::Head;

/// A session's number and hot columns, as a statement left them.
pub(super) type Left = (SessionKey, i64, Head);

/// The hot columns of sessions as they are committed, and as the transaction under way leaves them.
#[derive(Default)]
pub(super) struct Heads {
    known: HashMap<SessionKey, (i64, Head)>,
    /// Written, not yet committed.
    written: Vec<Left>,
    keys: HashMap<i64, SessionKey>,
    touched: Arc<Mutex<Vec<i64>>>,
}

impl Heads {
    /// Nothing yet, of what this connection does.
    pub(super) async fn following(connection: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        let heads = Self::default();
        let touched = Arc::clone(&heads.touched);
        connection.lock_handle().await?.set_update_hook(move |row| {
            if row.table == "sessions" {
                touched.lock().unwrap_or_else(PoisonError::into_inner).push(row.rowid);
            }
        });
        Ok(heads)
    }

    /// The number and the head of a session, if nothing but appends seen here changed them.
    pub(super) fn get(&mut self, key: SessionKey) -> Option<&(i64, Head)> {
        self.refresh();
        self.known.get(&key)
    }

    /// The transaction's last statements left the session like this.
    pub(super) fn wrote(&mut self, left: Left) {
        self.refresh();
        self.written.push(left);
    }

    /// The transaction is committed.
    pub(super) fn committed(&mut self) {
        self.refresh();
        if self.known.len() + self.written.len() > limits::HEADS {
            self.known.clear();
            self.keys.clear();
        }
        for (key, number, head) in self.written.drain(..) {
            self.known.insert(key, (number, head));
            self.keys.insert(number, key);
        }
    }

    /// Nobody knows what became of the transaction.
    pub(super) fn lost(&mut self) {
        self.known.clear();
        self.keys.clear();
        self.written.clear();
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn refresh(&mut self) {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        for number in touched.drain(..) {
            if let Some(key) = self.keys.remove(&number) {
                self.known.remove(&key);
            }
            self.written.retain(|(_, other, _)| *other != number);
        }
    }
}

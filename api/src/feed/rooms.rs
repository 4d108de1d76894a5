//! Who is watched: one feed per key, shared by everybody who joins it, gone with the last one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Feeds by key.
pub(super) struct Rooms<K, F>(Mutex<HashMap<K, Weak<F>>>);

impl<K, F> Default for Rooms<K, F> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, F> Rooms<K, F> {
    /// The feed of this key; the first to ask opens it.
    pub(super) fn join(&self, key: K, open: impl FnOnce() -> Arc<F>) -> Arc<F> {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = rooms.get(&key).and_then(Weak::upgrade) {
            return feed;
        }
        rooms.retain(|_, feed| feed.strong_count() > 0);
        let feed = open();
        rooms.insert(key, Arc::downgrade(&feed));
        feed
    }

    /// Feeds somebody watches.
    pub(super) fn open(&self) -> usize {
        let rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.values().filter(|feed| feed.strong_count() > 0).count()
    }
}

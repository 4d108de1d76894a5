//! What this node listens to, counted: however many local subscribers a session has, the server sees one subscription.
//! Joining and leaving are plain bookkeeping under a lock; the keeper makes the server's side follow.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use perennial_engine::ports::SessionKey;
use perennial_schema::ExecutorId;
use tokio::sync::Notify;

use crate::bus::local::Tick;

/// Something to listen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    /// Hints and previews of a session.
    Session(SessionKey),
    /// What is to be looked at again.
    Ticks(Tick),
    /// Wake-ups; each goes to one node of a group.
    Wakes,
    /// Questions to an executor; each goes to one node.
    Requests(ExecutorId),
}

#[derive(Debug, Default)]
struct Wanted {
    members: HashMap<Topic, usize>,
    /// What may have changed since the keeper looked.
    dirty: HashSet<Topic>,
}

/// Who wants what.
#[derive(Debug, Default)]
pub(super) struct Interest {
    wanted: Mutex<Wanted>,
    pub(super) news: Notify,
}

impl Interest {
    /// Wants a topic until the member is dropped.
    pub(super) fn join(self: &Arc<Self>, topic: Topic) -> Member {
        let mut wanted = self.wanted();
        let members = wanted.members.entry(topic).or_default();
        *members += 1;
        if *members == 1 {
            wanted.dirty.insert(topic);
            self.news.notify_one();
        }
        drop(wanted);
        Member {
            topic,
            interest: Arc::clone(self),
        }
    }

    fn leave(&self, topic: Topic) {
        let mut wanted = self.wanted();
        if let Some(members) = wanted.members.get_mut(&topic) {
            *members -= 1;
            if *members == 0 {
                wanted.members.remove(&topic);
                wanted.dirty.insert(topic);
                self.news.notify_one();
            }
        }
    }

    /// The topics that came or went, and whether they are wanted now.
    pub(super) fn changes(&self) -> Vec<(Topic, bool)> {
        let mut wanted = self.wanted();
        let dirty = std::mem::take(&mut wanted.dirty);
        let now = |topic| (topic, wanted.members.contains_key(&topic));
        dirty.into_iter().map(now).collect()
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who listens.
#[derive(Debug)]
pub(super) struct Member {
    topic: Topic,
    interest: Arc<Interest>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.interest.leave(self.topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_and_the_last_are_news() {
        let interest = Arc::new(Interest::default());
        let one = interest.join(Topic::Wakes);
        assert_eq!(interest.changes(), [(Topic::Wakes, true)]);
        let two = interest.join(Topic::Wakes);
        drop(one);
        assert_eq!(interest.changes(), []);
        drop(two);
        let _back = interest.join(Topic::Wakes);
        assert_eq!(interest.changes(), [(Topic::Wakes, true)]);
    }
}

//! Which scopes have budgets, known for a moment: a request that none covers is neither asked about nor written down.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use perennial_engine::ports::{BudgetScope, Payer};
use perennial_schema::WorkspaceId;

use crate::limits;

/// Per workspace, what is known.
#[derive(Default)]
pub(super) struct Cover {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Grows with every change made here: what was read before one is not kept.
    generation: u64,
    workspaces: HashMap<WorkspaceId, (Instant, Scopes)>,
}

enum Scopes {
    These(HashSet<BudgetScope>),
    /// Too many to know: the store is asked each time.
    Any,
}

impl Cover {
    /// Whether a budget may cover the payer; the error is a ticket to [`Self::learn`] with.
    pub(super) fn covers(&self, payer: &Payer) -> Result<bool, u64> {
        let known = self.known();
        let fresh = known
            .workspaces
            .get(&payer.workspace)
            .filter(|(at, _)| at.elapsed() < Duration::from_millis(limits::COVER_MILLIS));
        match fresh {
            None => Err(known.generation),
            Some((_, Scopes::Any)) => Ok(true),
            Some((_, Scopes::These(scopes))) => {
                let key = payer.key.map(BudgetScope::Key);
                let session = payer.session.map(BudgetScope::Session);
                let mut asked = [Some(BudgetScope::Workspace), key, session].into_iter().flatten();
                Ok(asked.any(|scope| scopes.contains(&scope)))
            }
        }
    }

    /// Keeps what was read, unless a budget was made or removed meanwhile. `read_at` is from before the store was asked.
    pub(super) fn learn(&self, workspace: WorkspaceId, scopes: Vec<BudgetScope>, ticket: u64, read_at: Instant) {
        let mut known = self.known();
        if known.generation != ticket {
            return;
        }
        if known.workspaces.len() >= limits::COVER_WORKSPACES {
            known.workspaces.clear();
        }
        let scopes = if scopes.len() > limits::COVER_SCOPES as usize {
            Scopes::Any
        } else {
            Scopes::These(scopes.into_iter().collect())
        };
        known.workspaces.insert(workspace, (read_at, scopes));
    }

    /// A budget was made or removed here.
    pub(super) fn forget(&self, workspace: WorkspaceId) {
        let mut known = self.known();
        known.generation += 1;
        known.workspaces.remove(&workspace);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

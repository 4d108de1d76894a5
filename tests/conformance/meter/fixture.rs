//! A meter beside a store of sessions, with a clock in the test's hand.

use std::sync::Arc;

use perennial_broker::log::memory::Memory;
use perennial_broker::log::postgres::{Postgres, Settings};
use perennial_broker::meter::Meter;
use perennial_engine::ports::{
    Amounts, Append, Authority, Budget, BudgetHold, BudgetMetric, BudgetPeriod, BudgetScope, Metering, NewBudget,
    Payer, Projection, Ready, ReserveError, Reserved, SessionKey,
};
use perennial_schema::session::StopReason;
use perennial_schema::{BudgetId, ReservationId, SessionId, WorkspaceId};
use uuid::Uuid;

use crate::fixture::{Hand, Rig, append_id, database, open};

/// How long a reservation in these tests lasts.
pub(crate) const DEADLINE: u64 = 60_000;

/// A meter under test.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) meter: Arc<dyn Metering>,
    /// The same store seen by another process: nothing cached is shared.
    pub(crate) elsewhere: Arc<dyn Metering>,
    pub(crate) rig: Rig,
}

impl Desk {
    pub(crate) fn memory() -> Self {
        let clock = Hand::new();
        let store = Memory::new(Arc::<Hand>::clone(&clock));
        let meter = Arc::new(Meter::memory(store.clone(), Arc::<Hand>::clone(&clock)));
        Self {
            // One process is all there is.
            elsewhere: meter.clone(),
            meter,
            rig: Rig::over(Arc::new(store), clock),
        }
    }

    pub(crate) async fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Hand::new();
        let store = open(dir.path(), &clock).await;
        let (meter, elsewhere) = (Meter::sqlite(store.clone()), Meter::sqlite(store.clone()));
        let rig = Rig {
            _dir: Some(Arc::new(dir)),
            ..Rig::over(Arc::new(store), clock)
        };
        Self {
            meter: Arc::new(meter),
            elsewhere: Arc::new(elsewhere),
            rig,
        }
    }

    pub(crate) async fn postgres() -> Option<Self> {
        let url = database().await?;
        let clock = Hand::new();
        let settings = || Settings {
            clock: Some(Arc::<Hand>::clone(&clock)),
            ..Settings::default()
        };
        let store = Postgres::open(&url, settings()).await.unwrap();
        let other = Postgres::open(&url, settings()).await.unwrap();
        Some(Self {
            meter: Arc::new(Meter::postgres(&store)),
            elsewhere: Arc::new(Meter::postgres(&other)),
            rig: Rig::over(Arc::new(store), clock),
        })
    }

    pub(crate) const fn workspace(&self) -> WorkspaceId {
        self.rig.workspace
    }

    /// Who pays without a session or a key.
    pub(crate) const fn payer(&self) -> Payer {
        Payer {
            workspace: self.rig.workspace,
            session: None,
            agent: None,
            key: None,
            aside: false,
        }
    }

    pub(crate) const fn of_session(&self, session: SessionId) -> Payer {
        Payer {
            session: Some(session),
            ..self.payer()
        }
    }

    /// A budget of the workspace.
    pub(crate) async fn budget(&self, metric: BudgetMetric, period: BudgetPeriod, limit: u64) -> BudgetId {
        self.scoped(BudgetScope::Workspace, metric, period, limit).await
    }

    pub(crate) async fn scoped(
        &self,
        scope: BudgetScope,
        metric: BudgetMetric,
        period: BudgetPeriod,
        limit: u64,
    ) -> BudgetId {
        let new = NewBudget {
            id: BudgetId::from_uuid(Uuid::now_v7()),
            workspace: self.workspace(),
            scope,
            metric,
            period,
            limit,
            warn_percent: None,
        };
        self.meter.create_budget(new).await.unwrap().id
    }

    pub(crate) async fn see(&self, id: BudgetId) -> Budget {
        self.meter.budget(self.workspace(), id).await.unwrap().unwrap()
    }

    pub(crate) async fn reserve(
        &self,
        payer: Payer,
        estimate: Amounts,
    ) -> Result<(ReservationId, Reserved), ReserveError> {
        let id = ReservationId::from_uuid(Uuid::now_v7());
        let reserved = self.meter.reserve(id, &payer, estimate, DEADLINE).await?;
        Ok((id, reserved))
    }

    pub(crate) async fn settle(&self, id: ReservationId, actual: Amounts) {
        self.meter.settle(self.workspace(), id, actual).await.unwrap();
    }

    /// A session that rests for a budget, as a worker leaves it.
    pub(crate) async fn held(&self, budget: BudgetId, need: u64, ready: Ready) -> SessionKey {
        let (key, _owner, epoch) = self.rig.held().await;
        let head = self.rig.row(key).await.head;
        let events = vec![self.rig.idle(StopReason::BudgetReached)];
        let append = Append {
            key,
            append_id: append_id(),
            projection: Projection {
                ready,
                hold: Some(BudgetHold { budget, need }),
                ..Projection::of(&events)
            },
            events,
            authority: Authority::Holder {
                epoch,
                only_at_head: Some(head),
                release: true,
            },
        };
        self.rig.append(append).await.unwrap();
        key
    }

    /// Whether a worker would take it.
    pub(crate) async fn claimable(&self, key: SessionKey) -> bool {
        let owner = self.rig.owner().await;
        let claimed = self.rig.claim(owner, 100).await;
        let taken = claimed.iter().any(|claimed| claimed.row.key == key);
        self.rig.store.unregister(owner).await.unwrap();
        taken
    }
}

/// One request without tokens.
pub(crate) const ONE: Amounts = Amounts {
    requests: 1,
    tokens: 0,
    microusd: 0,
};

pub(crate) const fn tokens(tokens: u64) -> Amounts {
    Amounts {
        requests: 1,
        tokens,
        microusd: 0,
    }
}

/// What a refusal names.
#[track_caller]
pub(crate) fn exhausted<T: std::fmt::Debug>(outcome: Result<T, ReserveError>) -> (Budget, u64) {
    match outcome {
        Err(ReserveError::Exhausted { budget, need }) => (*budget, need),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

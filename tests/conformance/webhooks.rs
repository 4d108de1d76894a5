//! Webhooks: who is told what, once per attempt, when several processes look and send.

use std::collections::BTreeSet;
use std::sync::Arc;

use perennial_broker::log::postgres::{Postgres, Settings};
use perennial_broker::webhooks;
use perennial_engine::ports::{
    Attempt, ChangeCursor, Clock as _, Delivery, DeliveryListing, DeliveryState, Watch, Webhook, Webhooks,
};
use perennial_schema::{DeliveryId, SessionId, WebhookId, WorkspaceId};
use uuid::Uuid;

use crate::fixture::{Hand, database, open, workspace};

/// Webhooks under test, and the clock they go by.
struct Desk {
    webhooks: Arc<dyn Webhooks>,
    /// The same seen by another process.
    elsewhere: Arc<dyn Webhooks>,
    clock: Arc<Hand>,
    workspace: WorkspaceId,
    _dir: Option<tempfile::TempDir>,
}

impl Desk {
    fn of(webhooks: [Arc<dyn Webhooks>; 2], clock: Arc<Hand>, dir: Option<tempfile::TempDir>) -> Self {
        let [webhooks, elsewhere] = webhooks;
        Self {
            webhooks,
            elsewhere,
            clock,
            workspace: workspace(),
            _dir: dir,
        }
    }

    fn memory() -> Self {
        let clock = Hand::new();
        let webhooks: Arc<dyn Webhooks> = Arc::new(webhooks::Memory::new(Arc::<Hand>::clone(&clock)));
        Self::of([Arc::clone(&webhooks), webhooks], clock, None)
    }

    async fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Hand::new();
        let store = open(dir.path(), &clock).await;
        let both = [webhooks::embedded(store.clone()), webhooks::embedded(store)];
        Self::of(both, clock, Some(dir))
    }

    async fn postgres() -> Option<Self> {
        let url = database().await?;
        let clock = Hand::new();
        let settings = || Settings {
            clock: Some(Arc::<Hand>::clone(&clock)),
            ..Settings::default()
        };
        let here = Postgres::open(&url, settings()).await.unwrap();
        let there = Postgres::open(&url, settings()).await.unwrap();
        let both = [webhooks::shared(&here), webhooks::shared(&there)];
        Some(Self::of(both, Arc::clone(&clock), None))
    }

    /// A receiver that is stored.
    async fn receiver(&self) -> Webhook {
        let now = self.clock.now();
        let webhook = Webhook {
            id: WebhookId::from_uuid(Uuid::now_v7()),
            workspace: self.workspace,
            url: "https://example.com/é".into(),
            description: "\"one\"".into(),
            events: vec!["session.created".into()],
            secret: "s1.x".into(),
            disabled: None,
            since: now,
            failures: 0,
            failing_since: None,
            created_at: now,
            updated_at: now,
            revision: 1,
        };
        assert!(self.webhooks.add(&webhook, 100).await.unwrap());
        webhook
    }

    /// A delivery that is due.
    async fn due(&self, webhook: &Webhook) -> Delivery {
        let delivery = delivery(webhook, self.clock.now());
        assert!(self.webhooks.enqueue(&delivery, 100).await.unwrap());
        delivery
    }

    async fn take(&self) -> Vec<Delivery> {
        self.elsewhere.take(100, LEASE).await.unwrap()
    }

    async fn stored(&self, of: &Delivery) -> Delivery {
        self.elsewhere.delivery(of.workspace, of.id).await.unwrap().unwrap()
    }

    fn pass(&self, millis: u64) {
        self.clock.advance(i64::try_from(millis).unwrap());
    }
}

const LEASE: u64 = 60_000;

fn delivery(webhook: &Webhook, now: perennial_schema::Timestamp) -> Delivery {
    Delivery {
        id: DeliveryId::from_uuid(Uuid::now_v7()),
        workspace: webhook.workspace,
        webhook: webhook.id,
        event: "event_1".into(),
        kind: "session.created".into(),
        body: "{\"a\":\"ü\"}".into(),
        state: DeliveryState::Pending,
        attempts: 0,
        due_at: now,
        status: None,
        outcome: None,
        created_at: now,
        ended_at: None,
    }
}

fn again(millis: u64) -> Attempt {
    Attempt {
        state: DeliveryState::Pending,
        again_in_millis: millis,
        status: Some(503),
        outcome: "HTTP 503".into(),
    }
}

macro_rules! on_every_desk {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $case() { super::$case(super::Desk::memory()).await; })*
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(super::Desk::sqlite().await).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(desk) = super::Desk::postgres().await {
                    super::$case(desk).await;
                }
            })*
        }
    };
}

on_every_desk![
    a_receiver_is_kept_whole_and_changed_by_who_saw_it,
    a_workspace_is_looked_through_by_one_at_a_time,
    how_far_a_workspace_was_looked_through_never_goes_back,
    a_delivery_is_added_once_and_not_beyond_the_bound,
    an_attempt_is_one_process_s_until_its_lease_runs_out,
    what_came_of_an_attempt_is_noted_once,
    a_receiver_that_is_off_is_sent_nothing,
    deliveries_are_listed_replayed_and_forgotten,
    tenants_do_not_see_each_other,
];

async fn a_receiver_is_kept_whole_and_changed_by_who_saw_it(desk: Desk) {
    let mut webhook = desk.receiver().await;
    let id = (desk.workspace, webhook.id);
    assert_eq!(desk.elsewhere.webhook(id.0, id.1).await.unwrap(), Some(webhook.clone()));
    assert!(!desk.elsewhere.add(&webhook, 100).await.unwrap(), "it is there");
    webhook.failed(true, webhook.created_at.plus_millis(5));
    webhook.events.clear();
    assert!(desk.webhooks.swap(1, &webhook).await.unwrap());
    assert!(!desk.elsewhere.swap(1, &webhook).await.unwrap(), "somebody was faster");
    let stored = Webhook { revision: 2, ..webhook };
    let all = desk.elsewhere.webhooks(desk.workspace).await.unwrap();
    assert_eq!(all, std::slice::from_ref(&stored));
    let more = Webhook {
        id: WebhookId::from_uuid(Uuid::now_v7()),
        ..stored
    };
    assert!(
        !desk.webhooks.add(&more, 1).await.unwrap(),
        "there are as many as may be"
    );
    assert!(desk.webhooks.remove(id.0, id.1).await.unwrap());
    assert!(!desk.elsewhere.remove(id.0, id.1).await.unwrap());
}

async fn a_workspace_is_looked_through_by_one_at_a_time(desk: Desk) {
    assert_eq!(desk.webhooks.take_watch(1000, &[]).await.unwrap(), None);
    let mut webhook = desk.receiver().await;
    let watch = desk.webhooks.take_watch(1000, &[]).await.unwrap().unwrap();
    assert_eq!((watch.workspace, watch.place), (desk.workspace, None));
    assert_eq!(desk.elsewhere.take_watch(1000, &[]).await.unwrap(), None);
    desk.pass(1000);
    let taken = desk.elsewhere.take_watch(1000, &[]).await.unwrap();
    assert_eq!(taken, Some(watch), "whoever had it is gone");
    desk.elsewhere.put_watch(&watch).await.unwrap();
    assert_eq!(desk.webhooks.take_watch(1000, &[desk.workspace]).await.unwrap(), None);
    assert!(desk.webhooks.take_watch(1000, &[]).await.unwrap().is_some());
    desk.webhooks.put_watch(&watch).await.unwrap();
    webhook.disable("off", webhook.created_at);
    desk.webhooks.swap(1, &webhook).await.unwrap();
    assert_eq!(
        desk.webhooks.take_watch(1000, &[]).await.unwrap(),
        None,
        "nobody is told"
    );
}

async fn how_far_a_workspace_was_looked_through_never_goes_back(desk: Desk) {
    desk.receiver().await;
    let at = |commit, position| Watch {
        workspace: desk.workspace,
        place: Some(ChangeCursor { commit, position }),
    };
    for (put, stored) in [((5, 2), (5, 2)), ((5, 1), (5, 2)), ((6, 1), (6, 1)), ((4, 9), (6, 1))] {
        desk.webhooks.take_watch(1000, &[]).await.unwrap().unwrap();
        desk.webhooks.put_watch(&at(put.0, put.1)).await.unwrap();
        desk.pass(1000);
        let watch = desk.elsewhere.take_watch(1000, &[]).await.unwrap().unwrap();
        assert_eq!(watch, at(stored.0, stored.1));
        desk.pass(1000);
    }
    let session = SessionId::from_uuid(Uuid::now_v7());
    assert_eq!(desk.webhooks.seen(desk.workspace, session).await.unwrap(), None);
    for (saw, seen) in [(0, 0), (7, 7), (3, 7)] {
        desk.webhooks.saw(desk.workspace, session, saw).await.unwrap();
        assert_eq!(desk.elsewhere.seen(desk.workspace, session).await.unwrap(), Some(seen));
    }
}

async fn a_delivery_is_added_once_and_not_beyond_the_bound(desk: Desk) {
    let webhook = desk.receiver().await;
    let first = desk.due(&webhook).await;
    assert_eq!(desk.stored(&first).await, first);
    assert!(!desk.elsewhere.enqueue(&first, 100).await.unwrap());
    let second = delivery(&webhook, desk.clock.now());
    assert!(!desk.elsewhere.enqueue(&second, 1).await.unwrap());
    assert!(desk.elsewhere.enqueue(&second, 2).await.unwrap());
    desk.webhooks.remove(desk.workspace, webhook.id).await.unwrap();
    assert!(desk.take().await.is_empty());
    let late = delivery(&webhook, desk.clock.now());
    assert!(
        !desk.webhooks.enqueue(&late, 100).await.unwrap(),
        "there is no such receiver any more"
    );
}

async fn an_attempt_is_one_process_s_until_its_lease_runs_out(desk: Desk) {
    let webhook = desk.receiver().await;
    for _ in 0..20 {
        desk.due(&webhook).await;
    }
    let takes = (0..8).map(|n| {
        let webhooks = Arc::clone(if n % 2 == 0 { &desk.webhooks } else { &desk.elsewhere });
        tokio::spawn(async move { webhooks.take(5, LEASE).await.unwrap() })
    });
    let mut taken = Vec::new();
    for take in takes.collect::<Vec<_>>() {
        taken.extend(take.await.unwrap());
    }
    // Whoever finds the rows of others locked goes on without them.
    taken.extend(desk.take().await);
    let ids: BTreeSet<DeliveryId> = taken.iter().map(|delivery| delivery.id).collect();
    assert_eq!((taken.len(), ids.len()), (20, 20), "each once");
    assert!(taken.iter().all(|delivery| delivery.attempts == 1));
    desk.pass(LEASE - 1);
    assert!(desk.take().await.is_empty());
    desk.pass(1);
    let again = desk.take().await;
    assert!(again.len() == 20 && again.iter().all(|delivery| delivery.attempts == 2));
}

async fn what_came_of_an_attempt_is_noted_once(desk: Desk) {
    let webhook = desk.receiver().await;
    desk.due(&webhook).await;
    let first = desk.take().await.remove(0);
    assert!(desk.webhooks.settle(&first, &again(5000)).await.unwrap());
    assert!(!desk.elsewhere.settle(&first, &Delivery::succeeded(200)).await.unwrap());
    let stored = desk.stored(&first).await;
    assert_eq!(
        (stored.status, stored.outcome.as_deref()),
        (Some(503), Some("HTTP 503"))
    );
    desk.pass(4999);
    assert!(desk.take().await.is_empty());
    desk.pass(1);
    let slow = desk.take().await.remove(0);
    desk.pass(LEASE);
    let second = desk.take().await.remove(0);
    assert!(
        !desk.webhooks.settle(&slow, &again(1)).await.unwrap(),
        "it is somebody else's by now"
    );
    assert!(desk.webhooks.settle(&second, &Delivery::succeeded(204)).await.unwrap());
    let stored = desk.stored(&first).await;
    assert_eq!((stored.state, stored.attempts), (DeliveryState::Delivered, 3));
    assert_eq!(stored.ended_at, Some(desk.clock.now()));
    desk.pass(LEASE);
    assert!(desk.take().await.is_empty());
}

async fn a_receiver_that_is_off_is_sent_nothing(desk: Desk) {
    let mut webhook = desk.receiver().await;
    desk.due(&webhook).await;
    webhook.disable("off", webhook.created_at);
    desk.webhooks.swap(1, &webhook).await.unwrap();
    assert!(desk.take().await.is_empty());
    webhook.enable(webhook.created_at);
    desk.webhooks.swap(2, &webhook).await.unwrap();
    assert_eq!(desk.take().await.len(), 1, "what waited is sent");
}

async fn deliveries_are_listed_replayed_and_forgotten(desk: Desk) {
    let webhook = desk.receiver().await;
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(desk.due(&webhook).await.id);
        desk.pass(1);
    }
    let listing = |state, before, limit| DeliveryListing {
        workspace: desk.workspace,
        webhook: webhook.id,
        state,
        before,
        limit,
    };
    let list = async |listing| {
        let found = desk.elsewhere.deliveries(&listing).await.unwrap();
        found.into_iter().map(|delivery| delivery.id).collect::<Vec<_>>()
    };
    let taken = desk.take().await;
    for delivery in &taken[..2] {
        desk.webhooks.settle(delivery, &Delivery::succeeded(200)).await.unwrap();
    }
    assert_eq!(list(listing(None, None, 3)).await, [all[3], all[2], all[1]]);
    let place = desk.elsewhere.deliveries(&listing(None, None, 3)).await.unwrap();
    let place = Some((place[2].created_at, place[2].id));
    assert_eq!(list(listing(None, place, 3)).await, [all[0]]);
    assert_eq!(list(listing(Some(DeliveryState::Pending), None, 9)).await.len(), 2);
    let replayed = desk
        .webhooks
        .replay(desk.workspace, taken[0].id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((replayed.state, replayed.attempts), (DeliveryState::Pending, 0));
    assert_eq!(desk.take().await.len(), 1);
    desk.pass(1000);
    desk.webhooks.forget(1001).await.unwrap();
    assert_eq!(list(listing(None, None, 9)).await.len(), 4);
    desk.webhooks.forget(1000).await.unwrap();
    assert_eq!(
        list(listing(None, None, 9)).await.len(),
        3,
        "what waits is not forgotten"
    );
}

async fn tenants_do_not_see_each_other(desk: Desk) {
    let webhook = desk.receiver().await;
    let delivery = desk.due(&webhook).await;
    let other = workspace();
    assert_eq!(desk.webhooks.webhook(other, webhook.id).await.unwrap(), None);
    assert!(desk.webhooks.webhooks(other).await.unwrap().is_empty());
    assert!(!desk.webhooks.remove(other, webhook.id).await.unwrap());
    let stolen = Webhook {
        workspace: other,
        ..webhook.clone()
    };
    assert!(!desk.webhooks.swap(1, &stolen).await.unwrap());
    assert_eq!(desk.webhooks.delivery(other, delivery.id).await.unwrap(), None);
    assert_eq!(desk.webhooks.replay(other, delivery.id).await.unwrap(), None);
    let listing = DeliveryListing {
        workspace: other,
        webhook: webhook.id,
        state: None,
        before: None,
        limit: 9,
    };
    assert!(desk.webhooks.deliveries(&listing).await.unwrap().is_empty());
    assert!(desk.take().await.len() == 1);
}

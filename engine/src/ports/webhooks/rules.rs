//! When a delivery is tried again, and when a receiver is told nothing any more: pure.

use perennial_schema::Timestamp;

use super::{Attempt, Delivery, DeliveryState, Webhook};
use crate::retry::webhook_delay_millis;

/// Attempts of one delivery.
pub const WEBHOOK_ATTEMPTS: u32 = 12;
/// A receiver that failed so often in a row …
pub const WEBHOOK_DISABLED_AFTER_FAILURES: u64 = 20;
/// … for so long is told nothing any more, in milliseconds.
pub const WEBHOOK_DISABLED_AFTER_MILLIS: u64 = 24 * 3_600_000;

impl DeliveryState {
    /// As the API says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }

    /// Of such a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Pending, Self::Delivered, Self::Failed];
        all.into_iter().find(|state| state.as_str() == word)
    }
}

impl Delivery {
    /// What a success comes to.
    #[must_use]
    pub fn succeeded(status: u16) -> Attempt {
        Attempt {
            state: DeliveryState::Delivered,
            again_in_millis: 0,
            status: Some(status),
            outcome: "delivered".to_owned(),
        }
    }

    /// What a failure of the attempt that was taken comes to; `jitter` in 0..=1000.
    #[must_use]
    pub fn failed(
        &self,
        status: Option<u16>,
        outcome: String,
        retry_after_millis: Option<u64>,
        jitter: u64,
    ) -> Attempt {
        let last = self.attempts >= WEBHOOK_ATTEMPTS;
        Attempt {
            state: if last {
                DeliveryState::Failed
            } else {
                DeliveryState::Pending
            },
            again_in_millis: webhook_delay_millis(self.attempts, retry_after_millis, jitter),
            status,
            outcome,
        }
    }
}

impl Webhook {
    /// Whether it wants to know of a type.
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        self.disabled.is_none() && (self.events.is_empty() || self.events.iter().any(|wanted| wanted == kind))
    }

    /// An attempt succeeded. False when there is nothing to note.
    pub fn succeeded(&mut self) -> bool {
        let failed = self.failures > 0;
        self.failures = 0;
        self.failing_since = None;
        failed
    }

    /// An attempt failed. A receiver that says it is gone for good is believed.
    pub fn failed(&mut self, gone: bool, now: Timestamp) {
        self.failures += 1;
        let since = *self.failing_since.get_or_insert(now);
        let tired =
            self.failures >= WEBHOOK_DISABLED_AFTER_FAILURES && since.plus_millis(WEBHOOK_DISABLED_AFTER_MILLIS) <= now;
        if gone {
            self.disable("the receiver answered 410: it is gone for good", now);
        } else if tired {
            let times = self.failures;
            self.disable(&format!("the last {times} attempts failed, for more than a day"), now);
        }
    }

    /// It is told nothing until it is enabled again.
    pub fn disable(&mut self, reason: &str, now: Timestamp) {
        self.disabled.get_or_insert_with(|| reason.to_owned());
        self.updated_at = now;
    }

    /// It is told what happens from now on, and what it was still to be told.
    pub fn enable(&mut self, now: Timestamp) {
        if self.disabled.take().is_some() {
            self.since = now;
            self.failures = 0;
            self.failing_since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use perennial_schema::{DeliveryId, WebhookId, WorkspaceId};
    use uuid::Uuid;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(1_750_000_000_000_000).plus_millis(millis)
    }

    fn webhook() -> Webhook {
        Webhook {
            id: WebhookId::from_uuid(Uuid::nil()),
            workspace: WorkspaceId::from_uuid(Uuid::nil()),
            url: "https://example.com".into(),
            description: String::new(),
            events: vec!["a".into()],
            secret: String::new(),
            disabled: None,
            since: at(0),
            failures: 0,
            failing_since: None,
            created_at: at(0),
            updated_at: at(0),
            revision: 1,
        }
    }

    fn delivery(attempts: u32) -> Delivery {
        Delivery {
            id: DeliveryId::from_uuid(Uuid::nil()),
            workspace: WorkspaceId::from_uuid(Uuid::nil()),
            webhook: WebhookId::from_uuid(Uuid::nil()),
            event: "event_0".into(),
            kind: "a".into(),
            body: "{}".into(),
            state: DeliveryState::Pending,
            attempts,
            due_at: at(0),
            status: None,
            outcome: None,
            created_at: at(0),
            ended_at: None,
        }
    }

    #[test]
    fn a_delivery_is_tried_a_dozen_times_and_then_given_up() {
        let first = delivery(1).failed(Some(500), "no".into(), None, 500);
        assert_eq!((first.state, first.again_in_millis), (DeliveryState::Pending, 5000));
        let last = delivery(WEBHOOK_ATTEMPTS).failed(None, "no".into(), None, 500);
        assert_eq!(last.state, DeliveryState::Failed);
    }

    #[test]
    fn a_receiver_that_fails_for_a_day_is_told_nothing_any_more() {
        let mut webhook = webhook();
        for n in 0..100 {
            webhook.failed(false, at(n));
        }
        assert!(
            webhook.wants("a") && !webhook.wants("b"),
            "a hundred failures within a second are an outage"
        );
        webhook.failed(false, at(WEBHOOK_DISABLED_AFTER_MILLIS));
        assert!(!webhook.wants("a") && webhook.disabled.as_ref().unwrap().contains("101"));
        webhook.enable(at(WEBHOOK_DISABLED_AFTER_MILLIS + 1));
        assert!(webhook.wants("a") && webhook.since == at(WEBHOOK_DISABLED_AFTER_MILLIS + 1));
        assert_eq!((webhook.failures, webhook.failing_since), (0, None));
    }

    #[test]
    fn a_success_ends_the_row_of_failures_and_gone_is_gone() {
        let mut webhook = webhook();
        assert!(!webhook.succeeded());
        webhook.failed(false, at(0));
        assert!(webhook.succeeded() && webhook.failing_since.is_none());
        webhook.failed(true, at(1));
        assert!(!webhook.wants("a"));
    }
}

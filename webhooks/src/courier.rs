//! Makes the attempts that are due, and notes what came of each.

use std::sync::{Arc, OnceLock};

use perennial_egress::{Client, FetchError, Guard, Reply};
use perennial_engine::ports::{Attempt, Clock, Delivery, Seals, StoreError, Webhook, Webhooks};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::limits;
use crate::sign::{about, signature};

/// What a receiver says that wants to be told nothing any more.
const GONE: u16 = 410;

/// Sends.
#[derive(Clone)]
pub struct Courier {
    /// Where receivers and deliveries are.
    pub webhooks: Arc<dyn Webhooks>,
    /// Opens the receivers' secrets.
    pub seals: Arc<dyn Seals>,
    /// The guarded way out.
    pub way: WayOut,
    /// Stamps.
    pub clock: Arc<dyn Clock>,
    /// Rings when there is something to send.
    pub bell: Arc<Notify>,
}

/// The guarded way out, made when somebody is told something first: it reads the system's certificates, which a server that sends
/// nothing need not have.
#[derive(Clone)]
pub struct WayOut {
    guard: Guard,
    client: Arc<OnceLock<Result<Client, String>>>,
}

impl WayOut {
    /// Behind a guard.
    #[must_use]
    pub fn new(guard: Guard) -> Self {
        let client = Arc::default();
        Self { guard, client }
    }

    fn client(&self) -> Result<&Client, &str> {
        let made = || Client::new(self.guard.clone()).map_err(|error| error.to_string());
        self.client.get_or_init(made).as_ref().map_err(String::as_str)
    }
}

impl Courier {
    /// Sends until it is told to stop; what is under way then is dropped, and made again by somebody.
    pub async fn run(self, stop: CancellationToken) {
        let mut under_way = JoinSet::new();
        let mut forgot = Instant::now();
        while !stop.is_cancelled() {
            let taken = match self.take(under_way.len()).await {
                Ok(taken) => taken,
                Err(error) => {
                    tracing::warn!(%error, "webhooks wait: the store does not answer");
                    Vec::new()
                }
            };
            let more = !taken.is_empty();
            for delivery in taken {
                let courier = self.clone();
                under_way.spawn(async move { courier.make(delivery).await });
            }
            if forgot.elapsed() >= limits::FORGET {
                forgot = Instant::now();
                if let Err(error) = self.webhooks.forget(limits::KEPT_MILLIS).await {
                    tracing::warn!(%error, "old deliveries stay");
                }
            }
            if more && under_way.len() < limits::ATTEMPTS_AT_ONCE {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                Some(_) = under_way.join_next() => {}
                () = self.bell.notified() => {}
                () = sleep(limits::SWEEP) => {}
            }
        }
    }

    async fn take(&self, under_way: usize) -> Result<Vec<Delivery>, StoreError> {
        let room = u32::try_from(limits::ATTEMPTS_AT_ONCE.saturating_sub(under_way)).unwrap_or(0);
        if room == 0 {
            return Ok(Vec::new());
        }
        self.webhooks.take(room, limits::ATTEMPT_MILLIS).await
    }

    async fn make(&self, delivery: Delivery) {
        if let Err(error) = self.attempt(&delivery).await {
            // Its lease runs out, and it is made again.
            tracing::warn!(%error, delivery.id = %delivery.id, "an attempt could not be noted");
        }
    }

    async fn attempt(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let Some(webhook) = self.webhooks.webhook(delivery.workspace, delivery.webhook).await? else {
            return Ok(());
        };
        let (attempt, gone) = self.send(&webhook, delivery).await;
        fail::fail_point!("webhooks.sent");
        let delivered = attempt.state == perennial_engine::ports::DeliveryState::Delivered;
        if !self.webhooks.settle(delivery, &attempt).await? {
            return Ok(());
        }
        tracing::debug!(webhook.id = %webhook.id, delivery.id = %delivery.id, outcome = attempt.outcome, "told");
        self.note(webhook, delivered, gone).await
    }

    async fn send(&self, webhook: &Webhook, delivery: &Delivery) -> (Attempt, bool) {
        let jitter = rand::random::<u64>() % 1001;
        let failed = |status, outcome: String, wait| delivery.failed(status, outcome, wait, jitter);
        let Ok(secret) = self.seals.open(&about(webhook.workspace, webhook.id), &webhook.secret) else {
            let outcome = "its secret cannot be opened with the key of this server (PERENNIAL_SEAL_KEY)";
            return (failed(None, outcome.to_owned(), None), false);
        };
        let seconds = self.clock.now().micros() / 1_000_000;
        let Some(signature) = signature(&secret, &delivery.event, seconds, &delivery.body) else {
            return (failed(None, "its secret is not one".to_owned(), None), false);
        };
        let headers = [
            ("webhook-id", delivery.event.clone()),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", signature),
        ];
        let client = match self.way.client() {
            Ok(client) => client,
            Err(error) => return (failed(None, error.to_owned(), None), false),
        };
        match client.post_json(&webhook.url, &headers, delivery.body.clone()).await {
            Ok(reply) if (200..300).contains(&reply.status) => (Delivery::succeeded(reply.status), false),
            Ok(reply) => {
                let wait = reply.retry_after_seconds.map(|seconds| seconds.saturating_mul(1000));
                (failed(Some(reply.status), said(&reply), wait), reply.status == GONE)
            }
            Err(error) => (failed(None, unsent(&error), None), false),
        }
    }

    /// A receiver's row of failures, or its end.
    async fn note(&self, mut webhook: Webhook, delivered: bool, gone: bool) -> Result<(), StoreError> {
        for _ in 0..limits::NOTES {
            let seen = webhook.revision;
            if delivered {
                if !webhook.succeeded() {
                    return Ok(());
                }
            } else {
                webhook.failed(gone, self.clock.now());
            }
            if let Some(reason) = &webhook.disabled {
                tracing::warn!(webhook.id = %webhook.id, reason, "a receiver of webhooks is told nothing any more");
            }
            if self.webhooks.swap(seen, &webhook).await? {
                return Ok(());
            }
            match self.webhooks.webhook(webhook.workspace, webhook.id).await? {
                Some(newer) => webhook = newer,
                None => return Ok(()),
            }
        }
        Ok(())
    }
}

/// What a receiver answered, in a line.
fn said(reply: &Reply) -> String {
    let text: String = reply.text.chars().take(limits::ANSWER_CHARS).collect();
    let status = reply.status;
    match (status, text.trim()) {
        (300..400, _) => format!("HTTP {status}: redirects are not followed"),
        (_, "") => format!("HTTP {status}"),
        (_, text) => format!("HTTP {status}: {text}"),
    }
}

fn unsent(error: &FetchError) -> String {
    format!("not sent: {error}")
}

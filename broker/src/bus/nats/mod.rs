//! The bus between nodes, over NATS. Within the node everything goes through [`Local`], so a node without its server is still
//! whole in itself; what comes from other nodes is fed into the same rooms.
//!
//! ```text
//! hint ──┬─▶ Local ──▶ subscribers of this node
//!        └─▶ outbox ─▶ pump ─▶ server ─▶ ear (one per node and topic) ─▶ Local of another node
//! ```
//!
//! * Own messages are delivered here at once and not echoed by the server.
//! * `subscribe` returns before the server knows of it. Once it does, and after every reconnect, subscribers are told that
//!   they lagged: so nothing that was published in between stays unseen (DESIGN §6, INVARIANTS F17 to F19).
//! * Nothing here ever fails for its callers. Without a server readers poll and workers sweep.
//!
//! **Architecture invariant:** the only module that knows async-nats.

mod interest;
mod keeper;
mod outbox;
mod subjects;
mod wire;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use async_trait::async_trait;
use bytes::Bytes;
use perennial_engine::ports::{
    Bus, BusReach, Delta, Notice, Request, Requests, SessionKey, Subscription, Unanswered, WakeUps,
};
use perennial_schema::{ExecutorId, WorkspaceId};
use rand::Rng as _;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::interest::{Interest, Member, Topic};
use self::keeper::{Keeper, Post};
use self::outbox::Outbox;
use self::subjects::Subjects;
use crate::bus::local::{Local, Tick};
use crate::limits;

/// Where the server is and who we are to it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `nats://[user:password@]host[:port]`, or several with commas between them; `tls://` for TLS.
    pub url: String,
    /// What every subject begins with: two installs with different ones do not hear each other.
    pub prefix: String,
    /// Workers of one group share wake-ups: each goes to one of them. A worker that reaches only its own host's workspaces
    /// must not swallow what is for another host, so a group is the workers of one executor.
    pub wake_group: String,
    /// Name for people who look at the server's connections.
    pub name: String,
}

impl Settings {
    /// A server by its address, everything else as usual.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "perennial".into(),
            wake_group: "workers".into(),
            name: "perennial".into(),
        }
    }
}

/// Settings that cannot work. A server that is not there is no error.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not an address.
    #[error("the NATS address cannot be read")]
    Address(#[source] std::io::Error),
    /// Not a prefix.
    #[error(
        "the NATS subject prefix must be dot-separated words of letters, digits, - and _, at most {} bytes",
        limits::SUBJECT_PREFIX_BYTES
    )]
    Prefix,
    /// Not a group.
    #[error("the NATS wake-up group must be one word of letters, digits, - and _")]
    Group,
    /// The client refused.
    #[error("the NATS client cannot be started")]
    Client(#[source] async_nats::ConnectError),
}

/// How the line to the server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Line {
    up: bool,
    /// Grows whenever something may have been missed.
    times: u64,
}

/// Counts upwards, here and in the process's metrics.
#[derive(Clone, Debug)]
struct Counter {
    name: &'static str,
    count: Arc<AtomicU64>,
}

impl Counter {
    fn named(name: &'static str) -> Self {
        Self {
            name,
            count: Arc::default(),
        }
    }

    fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        metrics::counter!(self.name).increment(1);
    }

    fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// What went wrong so far, and how often the server was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages not sent, because too much waited or the server was away.
    pub dropped: u64,
    /// Messages that could not be read.
    pub garbage: u64,
    /// Times that the client's own buffers overran.
    pub overrun: u64,
    /// Connections made.
    pub connects: u64,
}

#[derive(Clone, Debug)]
struct Counters {
    dropped: Counter,
    garbage: Counter,
    overrun: Counter,
    connects: Counter,
}

impl Counters {
    fn new() -> Self {
        Self {
            dropped: Counter::named("perennial_bus_messages_dropped_total"),
            garbage: Counter::named("perennial_bus_messages_unreadable_total"),
            overrun: Counter::named("perennial_bus_overruns_total"),
            connects: Counter::named("perennial_bus_connects_total"),
        }
    }
}

/// The bus. Cheap to clone; all clones are one node of the bus, and dropping the last of them ends its subscriptions.
#[derive(Clone)]
pub struct Nats {
    node: Arc<Node>,
}

struct Node {
    local: Local,
    client: Client,
    subjects: Subjects,
    interest: Arc<Interest>,
    outbox: Arc<Outbox>,
    line: watch::Receiver<Line>,
    counters: Counters,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Nats {
    /// Starts the node. Does not wait for the server: it is joined whenever it is there.
    ///
    /// # Errors
    /// Settings that cannot work.
    pub async fn open(settings: Settings) -> Result<Self, OpenError> {
        let subjects = Subjects::new(&settings.prefix)?;
        Subjects::new(&settings.wake_group).map_err(|_| OpenError::Group)?;
        let servers = settings.url.split(',').map(|url| url.trim().parse::<ServerAddr>());
        let servers = servers.collect::<Result<Vec<_>, _>>().map_err(OpenError::Address)?;
        let (counters, line) = (Counters::new(), watch::Sender::default());
        let heard = line.subscribe();
        let options = options(&settings, &subjects, counters.clone(), line);
        let options = match servers.first() {
            Some(first) => identified(options, first),
            None => options,
        };
        let client = options.connect(servers).await.map_err(OpenError::Client)?;
        let outbox = Arc::new(Outbox::new(heard.clone(), counters.dropped.clone()));
        let node = Node {
            local: Local::new(),
            client,
            subjects,
            interest: Arc::default(),
            outbox,
            line: heard,
            counters,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        node.start(settings.wake_group);
        Ok(Self { node: Arc::new(node) })
    }

    /// Whether the server is there now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.node.line.borrow().up
    }

    /// Waits until the server is there, for so long.
    pub async fn connected(&self, patience: Duration) -> bool {
        let mut line = self.node.line.clone();
        let there = line.wait_for(|line| line.up);
        timeout(patience, there).await.is_ok_and(|there| there.is_ok())
    }

    /// What went wrong so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let counters = &self.node.counters;
        Counts {
            dropped: counters.dropped.get(),
            garbage: counters.garbage.get(),
            overrun: counters.overrun.get(),
            connects: counters.connects.get(),
        }
    }

    /// Sends what still waits (a last wake-up for others), for a bounded time, and ends.
    pub async fn close(&self) {
        self.node.stop.cancel();
        self.node.tasks.close();
        self.node.tasks.wait().await;
    }
}

fn options(settings: &Settings, subjects: &Subjects, counters: Counters, line: watch::Sender<Line>) -> ConnectOptions {
    let line = Arc::new(line);
    ConnectOptions::new()
        .name(&settings.name)
        .no_echo()
        .retry_on_initial_connect()
        .max_reconnects(None)
        .custom_inbox_prefix(subjects.inbox())
        .connection_timeout(limits::NATS_CONNECT_WAIT)
        .ping_interval(limits::NATS_PING)
        .subscription_capacity(limits::NATS_INBOUND)
        .client_capacity(limits::NATS_OUTBOUND)
        .reconnect_delay_callback(delay)
        .event_callback(move |event| {
            note(&event, &counters, &line);
            std::future::ready(())
        })
}

/// Who we are, as the address says: a name and a password, or a token. The client does not look there by itself.
fn identified(options: ConnectOptions, server: &ServerAddr) -> ConnectOptions {
    match (server.username(), server.password()) {
        (Some(name), Some(password)) => options.user_and_password(decoded(name), decoded(password)),
        (Some(token), None) => options.token(decoded(token)),
        (None, _) => options,
    }
}

/// Without the `%40` that an address needs for an `@`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after
            .first_chunk::<2>()
            .filter(|_| *first == b'%')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Doubling from 25 ms to 2 s, of which half is chance: a server that comes back is not met by all nodes at once.
fn delay(attempts: usize) -> Duration {
    let shift = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(7);
    let most = (limits::NATS_DELAY * 2_u32.pow(shift)).min(limits::NATS_DELAY_MAX);
    most.mul_f64(rand::rng().random_range(0.5..1.0))
}

fn note(event: &Event, counters: &Counters, line: &watch::Sender<Line>) {
    match event {
        Event::Connected => {
            counters.connects.add();
            line.send_modify(|line| (line.up, line.times) = (true, line.times + 1));
            tracing::info!("the bus is connected");
        }
        Event::Disconnected | Event::Closed => {
            line.send_modify(|line| line.up = false);
            tracing::warn!("the bus is not connected; readers poll and workers sweep");
        }
        Event::SlowConsumer(_) => {
            counters.overrun.add();
            line.send_modify(|line| line.times += 1);
        }
        Event::ServerError(error) => tracing::warn!(%error, "the bus's server complains"),
        Event::ClientError(_) | Event::LameDuckMode | Event::Draining => {}
    }
}

impl Node {
    fn start(&self, group: String) {
        let keeper = Keeper {
            client: self.client.clone(),
            subjects: self.subjects.clone(),
            group,
            interest: Arc::clone(&self.interest),
            line: self.line.clone(),
            post: Post {
                local: self.local.clone(),
                outbox: Arc::clone(&self.outbox),
                garbage: self.counters.garbage.clone(),
            },
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
            ears: HashMap::new(),
            unsure: HashSet::new(),
        };
        self.tasks.spawn(keeper.run());
        let (outbox, client, subjects) = (Arc::clone(&self.outbox), self.client.clone(), self.subjects.clone());
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(outbox.pump(&client, &subjects)).await;
            let last = async {
                outbox.send(&client, &subjects).await;
                let _ = client.flush().await;
            };
            let _ = timeout(limits::LAST_WORDS, last).await;
        });
    }

    fn tick(&self, tick: Tick) {
        self.local.tick(tick);
        self.outbox.tick(tick);
    }

    async fn ask(&self, to: ExecutorId, body: Bytes) -> Option<Bytes> {
        // A question that waits in a buffer for the server would be answered long after its asker has gone.
        self.line.clone().wait_for(|line| line.up).await.ok()?;
        let question = async_nats::Request::new()
            .payload(body)
            .timeout(Some(limits::REQUEST_WAIT));
        let answer = self.client.send_request(self.subjects.executor(to), question).await;
        answer.ok().map(|message| message.payload)
    }
}

#[async_trait]
impl Bus for Nats {
    fn hint(&self, key: SessionKey, seq: u64) {
        self.node.local.hint(key, seq);
        self.node.outbox.hint(key, seq);
    }

    fn delta(&self, key: SessionKey, delta: Delta) {
        self.node.outbox.delta(key, &delta);
        self.node.local.delta(key, delta);
    }

    fn reach(&self) -> BusReach {
        if self.is_connected() {
            BusReach::Connected
        } else {
            BusReach::Disconnected
        }
    }

    /// Wakes this node and one of every group: this node may have no slot left, or another host's workspace is meant.
    fn wake(&self) {
        self.node.local.wake();
        self.node.outbox.wake();
    }

    fn subscribe(&self, key: SessionKey) -> Box<dyn Subscription> {
        Box::new(Listener {
            inner: self.node.local.subscribe(key),
            _member: self.node.interest.join(Topic::Session(key)),
        })
    }

    fn wake_ups(&self) -> Box<dyn WakeUps> {
        Box::new(Alarm {
            inner: self.node.local.wake_ups(),
            _member: self.node.interest.join(Topic::Wakes),
        })
    }

    fn changed(&self, workspace: WorkspaceId) {
        self.node.tick(Tick::Workspace(workspace));
    }

    fn changes(&self, workspace: WorkspaceId) -> Box<dyn WakeUps> {
        Box::new(Alarm {
            inner: self.node.local.changes(workspace),
            _member: self.node.interest.join(Topic::Ticks(Tick::Workspace(workspace))),
        })
    }

    fn nudge(&self, about: ExecutorId) {
        self.node.tick(Tick::Executor(about));
    }

    fn nudges(&self, about: ExecutorId) -> Box<dyn WakeUps> {
        Box::new(Alarm {
            inner: self.node.local.nudges(about),
            _member: self.node.interest.join(Topic::Ticks(Tick::Executor(about))),
        })
    }

    async fn request(&self, to: ExecutorId, body: Bytes) -> Result<Bytes, Unanswered> {
        if body.len() > limits::REQUEST_BYTES {
            return Err(Unanswered);
        }
        if self.node.local.answers(to) {
            return self.node.local.request(to, body).await;
        }
        let answer = timeout(limits::REQUEST_WAIT, self.node.ask(to, body)).await;
        answer.ok().flatten().ok_or(Unanswered)
    }

    fn requests(&self, at: ExecutorId) -> Box<dyn Requests> {
        Box::new(Desk {
            inner: self.node.local.requests(at),
            _member: self.node.interest.join(Topic::Requests(at)),
        })
    }
}

struct Listener {
    inner: Box<dyn Subscription>,
    _member: Member,
}

#[async_trait]
impl Subscription for Listener {
    async fn next(&mut self) -> Option<Notice> {
        self.inner.next().await
    }
}

struct Alarm {
    inner: Box<dyn WakeUps>,
    _member: Member,
}

#[async_trait]
impl WakeUps for Alarm {
    async fn next(&mut self) {
        self.inner.next().await;
    }
}

struct Desk {
    inner: Box<dyn Requests>,
    _member: Member,
}

#[async_trait]
impl Requests for Desk {
    async fn next(&mut self) -> Option<Request> {
        self.inner.next().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_addresses_are_decoded() {
        for (given, expected) in [
            ("plain", "plain"),
            ("a%40b%25", "a@b%"),
            ("%zz%4", "%zz%4"),
            ("%c3%A4", "ä"),
        ] {
            assert_eq!(decoded(given), expected);
        }
    }

    #[test]
    fn an_overrun_is_counted_and_makes_everybody_look() {
        let (counters, line) = (Counters::new(), watch::Sender::default());
        note(&Event::Connected, &counters, &line);
        let before = *line.borrow();
        note(&Event::SlowConsumer(3), &counters, &line);
        let after = *line.borrow();
        assert!(before.up && after.up && after.times > before.times);
        assert_eq!((counters.overrun.get(), counters.connects.get()), (1, 1));
        note(&Event::Disconnected, &counters, &line);
        assert!(!line.borrow().up);
    }

    #[test]
    fn delays_double_and_stay_bounded() {
        for attempts in [0, 1, 2, 5, 50, usize::MAX] {
            let delay = delay(attempts);
            assert!(
                delay >= limits::NATS_DELAY / 2 && delay <= limits::NATS_DELAY_MAX,
                "{attempts}: {delay:?}"
            );
        }
        assert!(delay(20) >= limits::NATS_DELAY_MAX / 2);
    }
}

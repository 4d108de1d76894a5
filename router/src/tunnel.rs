//! The server's end of the tunnels: an executor that dialled in becomes a link of the exchange, and the registry hears of it.
//!
//! Which connection of an executor counts is the registry's word (its generation grows with each), so it holds across processes:
//! a process asks again and again which of its tunnels still count, and lets go of those that were replaced elsewhere or
//! removed. Within a process the exchange cuts the older link at once.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use perennial_engine::ports::{Executor, Executors, HeldTunnel, StoreError};
use perennial_schema::frame::{Dismissal, FromExecutor, Hello, PROTOCOL_VERSION, ToExecutor};
use perennial_schema::{ExecutorId, OwnerId};
use perennial_tunnel::{End, Ends, Lost, Opener, carry, opener};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::exchange::{AttachError, Exchange};
use crate::limits;
use crate::link::{Guest, Link, Way, Wire};
use crate::trunk;

/// The tunnels of this process.
pub struct Tunnels {
    pub(crate) exchange: Arc<Exchange>,
    registry: Arc<dyn Executors>,
    /// This process, by an id that nobody else has.
    node: OwnerId,
    /// Where other processes reach it; unset where there are none.
    url: OnceLock<String>,
    beat: Duration,
    state: Mutex<State>,
    closing: CancellationToken,
}

#[derive(Default)]
struct State {
    held: BTreeMap<HeldTunnel, CancellationToken>,
    /// Connections that the registry may know and `held` does not yet.
    connecting: usize,
    /// How many connections of a machine have not introduced themselves yet.
    waiting: BTreeMap<ExecutorId, usize>,
}

/// A place among the connections of a machine that have not introduced themselves yet.
struct Waiting<'a> {
    tunnels: &'a Tunnels,
    executor: ExecutorId,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.tunnels.state();
        if let Some(waiting) = state.waiting.get_mut(&self.executor) {
            *waiting -= 1;
            if *waiting == 0 {
                state.waiting.remove(&self.executor);
            }
        }
    }
}

/// Why a connection did not become a link.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("dismissed: {0:?}")]
    Dismissed(Dismissal),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Tunnels {
    /// No tunnels yet. `node` is an id of this process alone.
    #[must_use]
    pub fn new(exchange: Arc<Exchange>, registry: Arc<dyn Executors>, node: OwnerId) -> Self {
        exchange.know(registry.clone());
        Self {
            exchange,
            registry,
            node,
            url: OnceLock::new(),
            beat: perennial_tunnel::limits::BEAT,
            state: Mutex::default(),
            closing: CancellationToken::new(),
        }
    }

    /// Other processes reach this one there. To be said before anybody dials in.
    pub fn reached_at(&self, url: String) {
        let _ = self.url.set(url);
    }

    /// Whether this connection of a machine is held here.
    #[must_use]
    pub fn holds(&self, executor: ExecutorId, generation: u64) -> bool {
        self.held_link(executor, generation).is_some()
    }

    fn held_link(&self, executor: ExecutorId, generation: u64) -> Option<Arc<Link>> {
        let held = |guest: Guest| guest.way == Way::Tunnel && guest.generation == generation;
        self.exchange.live(executor).filter(|link| link.guest.is_some_and(held))
    }

    /// Has another process, whose pass was found good, speak to a machine that is held here, until either hangs up.
    pub async fn lend<S>(&self, executor: ExecutorId, generation: u64, socket: S)
    where
        S: Stream<Item = io::Result<Bytes>> + Sink<Bytes, Error = io::Error> + Send + 'static,
    {
        if let Some(link) = self.held_link(executor, generation) {
            trunk::lend(&self.exchange, &link, socket).await;
        }
    }

    /// Serves one connection of an executor whose token was found good, until it ends. The socket's messages are bytes.
    pub async fn serve<S>(&self, who: &Executor, socket: S)
    where
        S: Stream<Item = io::Result<Bytes>> + Sink<Bytes, Error = io::Error> + Send + 'static,
    {
        let Some(waiting) = self.waiting(who.id) else {
            return tracing::info!(executor.id = %who.id, "too many connections of an executor have not introduced themselves");
        };
        let (to, outgoing) = mpsc::channel(limits::LINE_FRAMES);
        let (incoming, from) = mpsc::channel(limits::LINE_FRAMES);
        let (lanes, openings) = opener();
        let ends = Ends {
            outgoing,
            incoming,
            ping: Some(|nonce| ToExecutor::Ping { nonce }),
            beat: self.beat,
            openings: Some(openings),
            opened: None,
        };
        let carrying = carry(socket, End::Accepted, ends);
        let ((), ended) = tokio::join!(self.attend(who, waiting, (to, lanes), from), carrying);
        match ended {
            Ok(()) => {}
            Err(error @ Lost::Silent(_)) => tracing::info!(executor.id = %who.id, %error, "a tunnel is lost"),
            Err(Lost::Broken(error)) => tracing::info!(executor.id = %who.id, %error, "a tunnel is lost"),
        }
    }

    fn waiting(&self, executor: ExecutorId) -> Option<Waiting<'_>> {
        let mut state = self.state();
        let waiting = state.waiting.entry(executor).or_default();
        if *waiting >= limits::UNINTRODUCED {
            return None;
        }
        *waiting += 1;
        let tunnels = self;
        Some(Waiting { tunnels, executor })
    }

    /// From the hello to the goodbye. The line ends with it, because it drops what sends there.
    async fn attend(
        &self,
        who: &Executor,
        waiting: Waiting<'_>,
        (to, lanes): (mpsc::Sender<ToExecutor>, Opener),
        from: mpsc::Receiver<FromExecutor>,
    ) {
        let wire = Wire {
            frames: to.clone(),
            lanes: Some(lanes),
        };
        let goodbye = match self.welcome(who, waiting, wire, from).await {
            Ok((held, cut, link)) => {
                let goodbye = self.attached(held, &cut, &link).await;
                self.state().held.remove(&held);
                if let Err(error) = self.registry.disconnect(held).await {
                    tracing::warn!(executor.id = %who.id, %error, "the end of a tunnel is not noted yet");
                }
                goodbye
            }
            Err(Refused::Dismissed(reason)) => Some(reason),
            Err(Refused::Attach(AttachError::TooNew { theirs })) => {
                tracing::warn!(executor.id = %who.id, theirs, ours = PROTOCOL_VERSION, "an executor is too new for this server");
                Some(Dismissal::TooNew {
                    newest: PROTOCOL_VERSION,
                })
            }
            Err(Refused::Attach(AttachError::Replaced)) => Some(Dismissal::Replaced),
            Err(error) => {
                tracing::warn!(executor.id = %who.id, %error, "an executor that dialled in is not attached");
                None
            }
        };
        if let Some(reason) = goodbye {
            tracing::info!(executor.id = %who.id, ?reason, "an executor is dismissed");
            let _ = timeout(limits::GOODBYE, to.send(ToExecutor::Dismissed { reason })).await;
        }
    }

    async fn welcome(
        &self,
        who: &Executor,
        waiting: Waiting<'_>,
        wire: Wire,
        mut from: mpsc::Receiver<FromExecutor>,
    ) -> Result<(HeldTunnel, CancellationToken, Arc<Link>), Refused> {
        let hello = match self.exchange.hello(&mut from).await {
            Err(AttachError::NotHello) => return Err(Refused::Dismissed(Dismissal::Stranger)),
            hello => hello?,
        };
        drop(waiting);
        // A token reaches its own executor's calls only.
        if hello.executor_id != who.id {
            return Err(Refused::Dismissed(Dismissal::Stranger));
        }
        self.state().connecting += 1;
        let connected = self.connect(who, &hello).await;
        let entered = connected.map(|held| {
            let cut = self.closing.child_token();
            self.state().held.insert(held, cut.clone());
            (held, cut)
        });
        self.state().connecting -= 1;
        let (held, cut) = entered?;
        let guest = Guest {
            workspace: held.workspace,
            generation: held.generation,
            kind: who.kind,
            way: Way::Tunnel,
        };
        match self.exchange.admit(hello, wire, from, Some(guest)) {
            Ok(link) => Ok((held, cut, link)),
            Err(error) => {
                self.state().held.remove(&held);
                self.registry.disconnect(held).await?;
                Err(error.into())
            }
        }
    }

    async fn connect(&self, who: &Executor, hello: &Hello) -> Result<HeldTunnel, Refused> {
        let connected = self
            .registry
            .connect(
                who.workspace,
                who.id,
                self.node,
                self.url.get().map(String::as_str),
                &hello.card.clone().bounded(),
            )
            .await?;
        let generation = connected.ok_or(Refused::Dismissed(Dismissal::Removed))?;
        Ok(HeldTunnel {
            workspace: who.workspace,
            executor: who.id,
            generation,
        })
    }

    /// Until the link ends, of itself or because it does not count any more.
    async fn attached(&self, held: HeldTunnel, cut: &CancellationToken, link: &Link) -> Option<Dismissal> {
        let mut cards = link.cards();
        loop {
            tokio::select! {
                () = cut.cancelled() => break link.cut(),
                () = link.ended() => break,
                Ok(()) = cards.changed() => {
                    let card = cards.borrow_and_update().clone();
                    if let Err(error) = self.registry.describe(held, &card).await {
                        tracing::warn!(executor.id = %held.executor, %error, "what an executor says of itself is not noted");
                    }
                    // Whoever talks of itself without end is listened to now and then.
                    let _ = timeout(limits::CARD_PAUSE, link.ended()).await;
                }
            }
        }
        if self.closing.is_cancelled() || self.exchange.is_closing() {
            return None;
        }
        match self.registry.holder(held.executor).await {
            Ok(None) => Some(Dismissal::Removed),
            Ok(Some(now)) => (now.generation > held.generation).then_some(Dismissal::Replaced),
            Err(_) => None,
        }
    }

    /// Lets go of an executor that was removed. Other processes find out by themselves.
    pub fn removed(&self, executor: ExecutorId) {
        let state = self.state();
        let tunnels = state.held.iter().filter(|(held, _)| held.executor == executor);
        tunnels.for_each(|(_, cut)| cut.cancel());
    }

    /// Tells the registry again and again which tunnels are alive, and lets go of those that do not count any more.
    pub async fn tend(&self) {
        let mut looks = interval(limits::TUNNEL_RENEW);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut any = false;
        while self.closing.run_until_cancelled(looks.tick()).await.is_some() {
            let before: Vec<HeldTunnel> = self.state().held.keys().copied().collect();
            // Once more after the last one ended: what could not be noted then is noted now.
            if before.is_empty() && !any {
                continue;
            }
            any = !before.is_empty();
            if let Err(error) = self.renew(&before).await {
                tracing::warn!(%error, "tunnels are not renewed");
                any = true;
            }
        }
    }

    async fn renew(&self, before: &[HeldTunnel]) -> Result<(), StoreError> {
        let counted: BTreeSet<HeldTunnel> = self.registry.renew(self.node).await?.into_iter().collect();
        let ended: Vec<HeldTunnel> = {
            let state = self.state();
            for held in before.iter().filter(|held| !counted.contains(held)) {
                if let Some(cut) = state.held.get(held) {
                    cut.cancel();
                }
            }
            let known = state.connecting > 0;
            counted
                .into_iter()
                .filter(|held| !known && !state.held.contains_key(held))
                .collect()
        };
        for held in ended {
            self.registry.disconnect(held).await?;
        }
        Ok(())
    }

    /// Lets go of all: whoever dialled in dials again.
    pub fn close(&self) {
        self.closing.cancel();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

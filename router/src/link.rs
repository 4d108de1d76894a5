//! One executor on the line: its hello, the frames to it, and who waits for frames from it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use perennial_engine::ports::{ExecutorKind, Placement};
use perennial_schema::WorkspaceId;
use perennial_schema::frame::{Card, FromExecutor, Hello, ToExecutor};
use perennial_tunnel::{Lane, NoLane, Opener};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::pending::Pending;

/// Whose machine is at the other end of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    /// Its hands are for sessions of this workspace alone.
    pub(crate) workspace: WorkspaceId,
    /// Which of its connections this is, by the registry.
    pub(crate) generation: u64,
    /// What it is.
    pub(crate) kind: ExecutorKind,
    /// How it is reached.
    pub(crate) way: Way,
}

/// How a machine that dialled in is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Its tunnel ends here.
    Tunnel,
    /// Through the process where it does.
    Trunk,
}

impl Guest {
    /// Whether a link of this one stands in the way of a link of that one.
    pub(crate) fn outranks(self, other: Self) -> bool {
        match self.generation.cmp(&other.generation) {
            std::cmp::Ordering::Greater => true,
            // A trunk never takes the place of the tunnel it would lead to.
            std::cmp::Ordering::Equal => self.way == Way::Tunnel && other.way == Way::Trunk,
            std::cmp::Ordering::Less => false,
        }
    }
}

/// A live link. The newest generation of an executor id is the one that is used.
#[derive(Debug)]
pub(crate) struct Link {
    /// Who is at the other end.
    pub(crate) hello: Hello,
    /// Grows with every attach.
    pub(crate) generation: u64,
    /// None: an executor of this host, for everybody.
    pub(crate) guest: Option<Guest>,
    /// What it says of itself now; its hello may be said again.
    card: watch::Sender<Card>,
    wire: Wire,
    cut: CancellationToken,
    pending: Mutex<Pending>,
}

/// What leads to an executor.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) frames: mpsc::Sender<ToExecutor>,
    /// Further streams; none where the executor is older than they are.
    pub(crate) lanes: Option<Opener>,
}

/// The link is gone; the frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

impl Link {
    pub(crate) fn new(
        mut hello: Hello,
        generation: u64,
        guest: Option<Guest>,
        wire: Wire,
        cut: CancellationToken,
    ) -> Arc<Self> {
        hello.card = hello.card.bounded();
        let card = watch::Sender::new(hello.card.clone());
        Arc::new(Self {
            hello,
            card,
            generation,
            guest,
            wire,
            cut,
            pending: Mutex::default(),
        })
    }

    /// Sends a frame, waiting for room: a slow executor slows its callers instead of filling memory.
    pub(crate) async fn send(&self, frame: ToExecutor) -> Result<(), Gone> {
        tokio::select! {
            biased;
            () = self.cut.cancelled() => Err(Gone),
            sent = self.wire.frames.send(frame) => sent.map_err(|_| {
                // Half gone is gone: nothing may find this link again and try it in a circle.
                self.cut();
                Gone
            }),
        }
    }

    /// A further stream, whose purpose is still to be said.
    pub(crate) async fn lane(&self) -> Result<Lane, NoLane> {
        match &self.wire.lanes {
            Some(lanes) => lanes.open().await,
            None => Err(NoLane::Gone),
        }
    }

    /// Whether nobody waits for anything from there, and no stream is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.wire.lanes.as_ref().is_none_or(Opener::is_idle) && self.pending().is_idle()
    }

    /// What a call that goes there is noted with.
    pub(crate) fn placement(&self) -> Placement {
        Placement {
            executor_id: self.hello.executor_id,
            journal_id: self.hello.journal_id,
        }
    }

    /// Whether frames still travel.
    pub(crate) fn is_live(&self) -> bool {
        !self.cut.is_cancelled()
    }

    /// Whether it is in a sandbox.
    pub(crate) fn is_sandbox(&self) -> bool {
        self.guest.is_some_and(|guest| guest.kind == ExecutorKind::Sandbox)
    }

    /// Whether it may work for a workspace.
    pub(crate) fn serves(&self, workspace: WorkspaceId) -> bool {
        self.guest.is_none_or(|guest| guest.workspace == workspace)
    }

    /// What it says of itself.
    pub(crate) fn card(&self) -> watch::Ref<'_, Card> {
        self.card.borrow()
    }

    /// Hears when that changes.
    pub(crate) fn cards(&self) -> watch::Receiver<Card> {
        self.card.subscribe()
    }

    /// What it would say first now.
    pub(crate) fn hello_now(&self) -> Hello {
        Hello {
            card: self.card().clone(),
            ..self.hello.clone()
        }
    }

    /// News of itself. Who it is does not change on a line.
    fn describe(&self, again: Hello) {
        if (again.executor_id, again.journal_id) == (self.hello.executor_id, self.hello.journal_id) {
            self.card.send_replace(again.card.bounded());
        }
    }

    /// Waits until frames do not travel any more.
    pub(crate) async fn ended(&self) {
        self.cut.cancelled().await;
    }

    /// The waiters.
    pub(crate) fn pending(&self) -> MutexGuard<'_, Pending> {
        // Nothing panics while it holds this lock; a poisoned map would still be whole.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the link: a newer one took its place, or the exchange closes.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }

    /// Reads until the executor hangs up or the link is cut; then nobody waits on it any more.
    pub(crate) async fn read(&self, mut rx: mpsc::Receiver<FromExecutor>) {
        loop {
            let frame = tokio::select! {
                biased;
                () = self.cut.cancelled() => break,
                frame = rx.recv() => frame,
            };
            match frame {
                Some(FromExecutor::Hello(again)) => self.describe(again),
                Some(frame) => self.pending().deliver(frame),
                None => break,
            }
        }
        self.cut.cancel();
        self.pending().close();
    }
}

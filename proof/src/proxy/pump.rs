//! One connection: two pumps, and what ends them.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use super::postgres::{Answers, Requests, Talk};
use super::{Cut, Faults, Shared, count};

const PIECE: usize = 16 * 1024;
/// How often a slow connection moves.
const TICK: Duration = Duration::from_millis(20);

/// Carries bytes both ways until a side closes, a cut is reached or all connections are dropped.
pub(super) async fn connection(client: TcpStream, server: TcpStream, shared: &Shared) {
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    // A reset, not a polite close: whoever is cut off learns nothing.
    client.set_zero_linger().ok();
    server.set_zero_linger().ok();
    let mut drops = shared.drops.subscribe();
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let talk = shared.writes.map(Talk::about);
    let requests = Pump {
        from: client_read,
        to: server_write,
        faults: shared.faults.subscribe(),
        shared,
        lane: Lane::Requests(talk.as_ref().map(Requests::of)),
    };
    let answers = Pump {
        from: server_read,
        to: client_write,
        faults: shared.faults.subscribe(),
        shared,
        lane: Lane::Answers(talk.as_ref().map(Answers::of)),
    };
    tokio::select! {
        () = requests.run() => {}
        () = answers.run() => {}
        _ = drops.changed() => count(&shared.counts.dropped, 1),
    }
}

enum Lane<'a> {
    Requests(Option<Requests<'a>>),
    Answers(Option<Answers<'a>>),
}

struct Pump<'a> {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    faults: watch::Receiver<Faults>,
    shared: &'a Shared,
    lane: Lane<'a>,
}

impl Pump<'_> {
    async fn run(mut self) {
        let mut piece = vec![0; PIECE];
        while let Ok(read @ 1..) = self.from.read(&mut piece).await {
            if self.carry(&piece[..read]).await.is_break() {
                return;
            }
        }
    }

    async fn carry(&mut self, piece: &[u8]) -> ControlFlow<()> {
        let faults = self.faults.borrow().clone();
        if self.is_swallowed(&faults) {
            count(&self.shared.counts.swallowed, piece.len() as u64);
            return ControlFlow::Continue(());
        }
        if !faults.latency.is_zero() {
            count(&self.shared.counts.delayed, 1);
            tokio::time::sleep(faults.latency).await;
        }
        let (allowed, cut) = self.judge(piece);
        self.write(&allowed, &faults).await?;
        if cut {
            count(&self.shared.counts.cut, 1);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn is_swallowed(&self, faults: &Faults) -> bool {
        match self.lane {
            Lane::Requests(_) => faults.swallow_requests,
            Lane::Answers(_) => faults.swallow_answers,
        }
    }

    /// What of a piece goes on, and whether the connection ends behind it.
    fn judge(&mut self, piece: &[u8]) -> (Vec<u8>, bool) {
        let mut armed = self.shared.cut();
        match (&mut self.lane, &mut *armed) {
            (Lane::Requests(_), Some(Cut::Request { bytes })) | (Lane::Answers(_), Some(Cut::Answer { bytes })) => {
                let length = piece.len() as u64;
                if *bytes > length {
                    *bytes -= length;
                    return (piece.to_vec(), false);
                }
                let allowed = usize::try_from(*bytes).unwrap_or(piece.len());
                *armed = None;
                (piece[..allowed].to_vec(), true)
            }
            (Lane::Requests(Some(requests)), _) => {
                requests.read(piece);
                (piece.to_vec(), false)
            }
            (Lane::Answers(Some(answers)), _) => {
                let (allowed, reached) = answers.read(piece, &mut armed);
                if reached == Some(Cut::Commit) {
                    count(&self.shared.counts.cut_at_commit, 1);
                }
                (allowed, reached.is_some())
            }
            _ => (piece.to_vec(), false),
        }
    }

    async fn write(&mut self, bytes: &[u8], faults: &Faults) -> ControlFlow<()> {
        let Some(rate) = faults.bytes_per_second else {
            return done(&self.to.write_all(bytes).await);
        };
        let per_tick = u64::from(rate) * TICK.as_millis() as u64 / 1_000;
        let per_tick = usize::try_from(per_tick.max(1)).unwrap_or(PIECE);
        for slice in bytes.chunks(per_tick) {
            tokio::time::sleep(TICK).await;
            done(&self.to.write_all(slice).await)?;
        }
        ControlFlow::Continue(())
    }
}

fn done(written: &std::io::Result<()>) -> ControlFlow<()> {
    match written {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

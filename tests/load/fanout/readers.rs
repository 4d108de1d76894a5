//! Many readers of one stream, as cheap as they can be: what they cost is taken from the server on the same cores.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// When this process began; both ends of a delivery are in it.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
/// What surrounds a mark.
const SIGN: &[u8] = b"@@";
/// How far from the end of what was read a mark may be: behind it there is only the end of a frame.
const TAIL: usize = 256;
/// Bytes taken from a socket at once.
const READ: usize = 64 * 1024;
/// Longest wait for everybody.
const PATIENCE: Duration = Duration::from_secs(120);

/// A number and the time, to be found by readers.
pub(super) fn mark(number: usize) -> String {
    format!("@@{number}:{}@@", EPOCH.elapsed().as_micros())
}

/// The last mark in what was read.
fn last_mark(bytes: &[u8]) -> Option<(usize, u128)> {
    let rfind = |within: &[u8]| within.windows(SIGN.len()).rposition(|window| window == SIGN);
    let end = rfind(bytes)?;
    let start = rfind(bytes.get(..end)?)?;
    let text = std::str::from_utf8(bytes.get(start + SIGN.len()..end)?).ok()?;
    let (number, micros) = text.split_once(':')?;
    Some((number.parse().ok()?, micros.parse().ok()?))
}

/// Open streams.
pub(super) struct Readers {
    tasks: JoinSet<Result<()>>,
    seen: Vec<watch::Receiver<Option<usize>>>,
    delays: Arc<Mutex<Vec<f64>>>,
}

impl Readers {
    /// Opens them one after another, at the addresses in turns; returns once each got the head of its response.
    pub(super) async fn open(count: usize, urls: &[&str], path: &str, header: &str) -> Result<Self> {
        let mut readers = Self {
            tasks: JoinSet::new(),
            seen: Vec::with_capacity(count),
            delays: Arc::default(),
        };
        for url in urls.iter().cycle().take(count) {
            let host = url.strip_prefix("http://").context("not a plain address")?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{header}accept: text/event-stream\r\n\r\n");
            let mut socket = TcpStream::connect(host).await?;
            socket.write_all(request.as_bytes()).await?;
            let mut head = vec![0; 4096];
            let read = socket.read(&mut head).await?;
            if !head.starts_with(b"HTTP/1.1 200") {
                bail!("no stream: {}", String::from_utf8_lossy(&head[..read]));
            }
            let (sender, receiver) = watch::channel(None);
            readers.seen.push(receiver);
            readers.tasks.spawn(follow(socket, sender, readers.delays.clone()));
        }
        Ok(readers)
    }

    /// Waits until everybody saw the mark with this number.
    pub(super) async fn all_saw(&mut self, number: usize) -> Result<()> {
        let all = async {
            for seen in &mut self.seen {
                let arrived = seen.wait_for(|seen| seen.is_some_and(|seen| seen >= number)).await;
                arrived.context("a reader's stream ended")?;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, all)
            .await
            .context("not everybody saw everything")?
    }

    /// What the deliveries so far took; the next call begins anew.
    pub(super) fn delays_ms(&self) -> Vec<f64> {
        std::mem::take(&mut *self.delays.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn close(mut self) {
        self.tasks.abort_all();
    }
}

async fn follow(mut socket: TcpStream, seen: watch::Sender<Option<usize>>, delays: Arc<Mutex<Vec<f64>>>) -> Result<()> {
    let mut buffer = vec![0; READ];
    let mut kept = 0;
    let mut last = None;
    loop {
        let read = socket.read(&mut buffer[kept..]).await?;
        if read == 0 {
            return Ok(());
        }
        let end = kept + read;
        let tail = end.saturating_sub(TAIL);
        if let Some((number, micros)) = last_mark(&buffer[tail..end])
            && last != Some(number)
        {
            last = Some(number);
            let delay = EPOCH.elapsed().as_micros().saturating_sub(micros) as f64 / 1000.0;
            delays.lock().unwrap_or_else(PoisonError::into_inner).push(delay);
            seen.send_replace(last);
        }
        buffer.copy_within(tail..end, 0);
        kept = end - tail;
    }
}

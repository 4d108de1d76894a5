//! Peers that want memory: on either end they get what the limits say and no more, and others are served meanwhile.
//!
//! What one line may hold, by the limits: 32 MiB that are under way (`WINDOW_BYTES`), a frame of 16 MiB as bytes and as what it says,
//! one such frame and 256 small ones that wait to be taken. What was given back is not always given back to the system, so the
//! bound is on the peak.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use perennial_schema::frame::{MAX_FRAME_BYTES, PROTOCOL_VERSION, ToExecutor};
use perennial_tunnel::limits::FIRST_FRAME_BYTES;
use perennial_tunnel::{End, Ends, carry};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use uuid::Uuid;

use crate::drops::{count, say};
use crate::hostile::messages;
use crate::rig::{Device, PATIENCE, Stand, wait_until};

/// MiB that one hostile line may cost at its peak.
const LINE_MIB: u64 = 128;
/// MiB that a hundred which never introduce themselves may cost.
const STRANGERS_MIB: u64 = 128;
/// How long those may stay, and what a busy machine adds.
const STRANGERS_STAY: Duration = Duration::from_secs(10 + 8);

/// Peaks of a process's memory.
struct Memory {
    pid: u32,
    before: u64,
}

impl Memory {
    fn watch(pid: u32) -> Result<Self> {
        // From here on the peak is counted anew.
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
        let mut memory = Self { pid, before: 0 };
        memory.before = memory.peak()?;
        Ok(memory)
    }

    /// MiB, at the most so far.
    fn peak(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).context("the process is gone")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line
            .and_then(|line| line.trim().strip_suffix(" kB"))
            .context("a peak")?;
        Ok(kib.trim().parse::<u64>()? / 1024)
    }

    fn grew(&self) -> Result<u64> {
        Ok(self.peak()?.saturating_sub(self.before))
    }
}

/// A yamux header.
fn header(kind: u8, flags: u16, stream: u32, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    [
        &[0, kind],
        &flags.to_be_bytes()[..],
        &stream.to_be_bytes(),
        &length.to_be_bytes(),
    ]
    .concat()
}

const DATA: u8 = 0;
const PING: u8 = 2;
const OPEN: u16 = 1;
const RESET: u16 = 8;

/// Somebody who registered and means no good.
struct Enemy {
    id: String,
    token: String,
    url: String,
}

impl Enemy {
    async fn of(stand: &Stand, name: &str) -> Result<Self> {
        let made = stand.client().post("/v1/executors/codes", &json!({})).await?.ok()?;
        let body = json!({"code": made["secret"], "name": name, "secret": "b".repeat(64)});
        let registered = stand.client().post("/v1/executors/register", &body).await?.ok()?;
        Ok(Self {
            id: registered["id"].as_str().context("an id")?.to_owned(),
            token: registered["token"].as_str().context("a token")?.to_owned(),
            url: stand.url.replace("http", "ws"),
        })
    }

    async fn dial(&self) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>> {
        let mut request = format!("{}/v1/executors/tunnel", self.url).into_client_request()?;
        request
            .headers_mut()
            .insert("authorization", format!("Bearer {}", self.token).parse()?);
        Ok(tokio_tungstenite::connect_async(request).await?.0)
    }

    fn hello(&self) -> Value {
        json!({"hello": {
            "version": PROTOCOL_VERSION,
            "executor_id": self.id,
            "journal_id": format!("jrnl_{}", Uuid::now_v7().simple()),
            "card": {"name": "enemy", "os": "linux", "arch": "x86_64", "tools": ["bash"], "contained": false},
        }})
    }

    /// Says these frames after its hello, answers pings, and hears nothing else. Then it hangs up, unless it is to be hung up on.
    async fn says(&self, frames: impl Iterator<Item = Value> + Send + 'static, cut: bool) -> Result<()> {
        let (say, outgoing) = mpsc::channel::<Value>(4);
        let (incoming, mut hear) = mpsc::channel::<ToExecutor>(64);
        let mut line = tokio::spawn(carry(
            messages(self.dial().await?),
            End::Dialled,
            ends(outgoing, incoming),
        ));
        // It alone keeps no line open.
        let pongs = say.downgrade();
        let hearing = tokio::spawn(async move {
            while let Some(frame) = hear.recv().await {
                if let (ToExecutor::Ping { nonce }, Some(pongs)) = (frame, pongs.upgrade()) {
                    let _gone = pongs.send(json!({"pong": {"nonce": nonce}})).await;
                }
            }
        });
        for frame in std::iter::once(self.hello()).chain(frames) {
            if say.send(frame).await.is_err() {
                break;
            }
        }
        if cut {
            let ended = timeout(PATIENCE, &mut line).await;
            ended.context("it is listened to on and on")??.ok();
        } else {
            // All but the last is taken by now, and that is under way.
            wait_until(|| Ok(say.capacity() == say.max_capacity() || line.is_finished())).await?;
            ensure!(!line.is_finished(), "it is not listened to any more");
            drop(say);
            timeout(PATIENCE, line).await.context("its line hangs")???;
        }
        hearing.abort();
        Ok(())
    }
}

fn ends<In, Out>(outgoing: mpsc::Receiver<Out>, incoming: mpsc::Sender<In>) -> Ends<In, Out> {
    Ends {
        outgoing,
        incoming,
        ping: None,
        beat: Duration::from_secs(5),
        openings: None,
        opened: None,
    }
}

/// Everything of what comes until the other end hangs up.
async fn hung_up<S>(socket: &mut S) -> bool
where
    S: futures_util::Stream<Item = Result<Message, Error>> + Unpin,
{
    timeout(PATIENCE, async { while let Some(Ok(_)) = socket.next().await {} })
        .await
        .is_ok()
}

async fn serves(stand: &Stand, device: &Device) -> Result<()> {
    let call = json!({"tool": "bash", "input": {"command": "echo fine"}});
    let path = format!("/v1/executors/{}/calls", device.id);
    let began = Instant::now();
    let said = stand.client().post(&path, &call).await?.ok()?;
    ensure!(said["content"][0]["text"] == "fine\n", "{said}");
    ensure!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    Ok(())
}

fn result(content: &Value) -> Value {
    json!({"result": {
        "session": format!("sesn_{}", Uuid::now_v7().simple()),
        "call_id": format!("sevt_{}", Uuid::now_v7().simple()),
        "outcome": {"content": content, "is_error": false},
    }})
}

/// Large, and harmless in what it says.
fn long() -> String {
    "x".repeat(MAX_FRAME_BYTES - 1024)
}

/// As many values as fit into a frame.
fn dense() -> Value {
    Value::Array(vec![json!(0); (MAX_FRAME_BYTES - 1024) / 2])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_executor_gets_no_more_memory_than_its_line_may_have() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let enemy = Enemy::of(&stand, "enemy").await?;
    serves(&stand, &device).await?;
    let memory = Memory::watch(stand.pid()?)?;
    let mut costs = Vec::new();
    // Results for calls that nobody made, as large as frames may be.
    let (text, block) = (long(), |text: &str| json!([{"type": "text", "text": text}]));
    let results: Vec<Value> = (0..2 + count(20)).map(|_| result(&block(&text))).collect();
    enemy.says(results.into_iter(), false).await?;
    costs.push(("results for nobody", memory.grew()?));
    serves(&stand, &device).await?;
    // Progress without end, of calls that do not run.
    let piece = "p".repeat(64 * 1024);
    let progress = (0..count(5_000)).map(move |_| {
        let (session, call) = (Uuid::now_v7().simple(), Uuid::now_v7().simple());
        json!({"progress": {"session": format!("sesn_{session}"), "call_id": format!("sevt_{call}"), "text": piece}})
    });
    enemy.says(progress, false).await?;
    costs.push(("endless progress", memory.grew()?));
    serves(&stand, &device).await?;
    // Small frames that would become large when they are read.
    let mut card = enemy.hello();
    card["hello"]["card"]["tools"] = Value::Array(vec![json!(""); MAX_FRAME_BYTES / 4]);
    let block = json!([{"type": "text", "text": "", "more": dense()}]);
    for (what, frame) in [("a dense card", card), ("a dense result", result(&block))] {
        enemy.says(std::iter::once(frame), true).await.context(what)?;
        costs.push((what, memory.grew()?));
        serves(&stand, &device).await?;
    }
    // Streams, as many as there are numbers: opened and kept, and opened and given up.
    for (what, given_up) in [("streams", false), ("streams that are given up", true)] {
        let mut socket = enemy.dial().await?;
        for batch in 0..100_u32 {
            let of = |n: u32| {
                let stream = 2 * (100 * batch + n) + 1;
                let mut bytes = header(DATA, OPEN, stream, 16);
                bytes.extend([0; 16]);
                if given_up {
                    bytes.extend(header(DATA, RESET, stream, 0));
                }
                bytes
            };
            let bytes: Vec<u8> = (0..100).flat_map(of).collect();
            if socket.send(Message::Binary(bytes.into())).await.is_err() {
                break;
            }
        }
        ensure!(hung_up(&mut socket).await, "{what} are taken without end");
        costs.push((what, memory.grew()?));
        serves(&stand, &device).await?;
    }
    say(format_args!(
        "a hostile executor: MiB at the server's peak after each: {costs:?}"
    ));
    let most = memory.grew()?;
    ensure!(most < LINE_MIB, "{most} MiB: {costs:?}");
    Ok(())
}

/// A hundred connections that never say who they are: silent, dripping, with a first frame that does not end or is far too long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_do_not_stay() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let enemy = std::sync::Arc::new(Enemy::of(&stand, "enemy").await?);
    serves(&stand, &device).await?;
    let memory = Memory::watch(stand.pid()?)?;
    let began = Instant::now();
    let mut strangers = JoinSet::new();
    for n in 0..100_u32 {
        let enemy = enemy.clone();
        strangers.spawn(async move {
            // One too many is not let in at all.
            let Ok(mut socket) = enemy.dial().await else {
                return Ok(());
            };
            let opened = |length: usize| -> Result<Message> {
                let length = u32::try_from(length)?.to_be_bytes();
                Ok(Message::Binary(
                    [&header(DATA, OPEN, 1, 4)[..], &length].concat().into(),
                ))
            };
            let drip = match n % 4 {
                0 => None,
                1 => Some(header(PING, OPEN, 0, 7)),
                2 => {
                    socket.send(opened(FIRST_FRAME_BYTES)?).await?;
                    let mut byte = header(DATA, 0, 1, 1);
                    byte.push(b' ');
                    Some(byte)
                }
                _ => {
                    // Longer than a hello may be: no more of it is waited for.
                    socket.send(opened(MAX_FRAME_BYTES)?).await?;
                    None
                }
            };
            loop {
                let heard = timeout(Duration::from_millis(500), socket.next()).await;
                match heard {
                    Ok(Some(Ok(_))) => {}
                    Ok(_) => return Ok(()),
                    Err(_) => {
                        if let Some(drip) = &drip
                            && socket.send(Message::Binary(drip.clone().into())).await.is_err()
                        {
                            return Ok(());
                        }
                    }
                }
            }
        });
    }
    while let Some(ended) = timeout(STRANGERS_STAY.saturating_sub(began.elapsed()), strangers.join_next())
        .await
        .context("a stranger stays")?
    {
        let ended: Result<()> = ended?;
        ended?;
        serves(&stand, &device).await?;
    }
    let most = memory.grew()?;
    say(format_args!(
        "100 strangers: all gone after {:?}, {most} MiB at the server's peak",
        began.elapsed()
    ));
    ensure!(most < STRANGERS_MIB, "{most} MiB");
    Ok(())
}

/// A server that means no good, where a machine dials.
struct Trap {
    listener: TcpListener,
    device: Device,
}

/// One line of a machine to it.
struct Caught {
    say: mpsc::Sender<Value>,
    hear: mpsc::Receiver<Value>,
    line: tokio::task::JoinHandle<Result<(), perennial_tunnel::Lost>>,
}

impl Trap {
    /// Lures a machine away from its server.
    async fn set(stand: &Stand) -> Result<Self> {
        let mut device = stand.device("laptop", None).await?;
        device.process()?.stop(PATIENCE).await?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let registry = device.home.join(".local/state/perennial/registry.json");
        let text = std::fs::read_to_string(&registry)?;
        std::fs::write(
            &registry,
            text.replace(&stand.url, &format!("http://{}", listener.local_addr()?)),
        )?;
        device.start()?;
        Ok(Self { listener, device })
    }

    async fn socket(&self) -> Result<WebSocketStream<TcpStream>> {
        let (stream, _) = timeout(PATIENCE, self.listener.accept())
            .await
            .context("it does not dial")??;
        Ok(tokio_tungstenite::accept_async(stream).await?)
    }

    /// Its next line, which has said hello.
    async fn catch(&self) -> Result<Caught> {
        let (say, outgoing) = mpsc::channel::<Value>(4);
        let (incoming, mut hear) = mpsc::channel::<Value>(1);
        let mut ends = ends(outgoing, incoming);
        ends.ping = Some(|nonce| json!({"ping": {"nonce": nonce}}));
        let line = tokio::spawn(carry(messages(self.socket().await?), End::Accepted, ends));
        let hello = timeout(PATIENCE, hear.recv()).await?.context("a hello")?;
        ensure!(hello["hello"]["executor_id"] == self.device.id, "{hello}");
        Ok(Caught { say, hear, line })
    }

    fn call(&self, session: &str, command: &str) -> (String, Value) {
        let input = json!({ "command": command });
        let id = format!("sevt_{}", Uuid::now_v7().simple());
        let call = json!({"call": {
            "session": session, "epoch": 1, "call_id": id, "tool": "bash", "input": input,
            "args_hash": "whatever", "effect": "once",
            "workspace": {"type": "dir", "path": self.device.work},
        }});
        (id, call)
    }
}

impl Caught {
    /// The next frame of this kind about a call.
    async fn heard(&mut self, kind: &str, call: &str) -> Result<Value> {
        let hearing = async {
            while let Some(frame) = self.hear.recv().await {
                if frame[kind]["call_id"] == call {
                    return Ok(frame);
                }
            }
            anyhow::bail!("the line ended before a {kind} of {call}")
        };
        timeout(PATIENCE, hearing)
            .await
            .with_context(|| format!("no {kind} of {call}"))?
    }

    /// Hangs up.
    fn release(self) {
        self.line.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_server_gets_no_more_memory_than_its_line_may_have() -> Result<()> {
    let stand = Stand::start().await?;
    let mut trap = Trap::set(&stand).await?;
    let session = || format!("sesn_{}", Uuid::now_v7().simple());
    let mut caught = trap.catch().await?;
    let memory = Memory::watch(trap.device.process()?.pid)?;
    let mut costs = Vec::new();
    // Questions about calls of sessions that never were.
    let settle = |id: &str| json!({"settle": {"session": session(), "epoch": 0, "call_id": id, "args_hash": "none"}});
    let (mut refused, begun) = (0, Instant::now());
    for _ in 0..5_000 {
        let id = format!("sevt_{}", Uuid::now_v7().simple());
        caught.say.send(settle(&id)).await?;
        let answer = timeout(PATIENCE, caught.hear.recv()).await?.context("an answer")?;
        refused += u64::from(answer["refused"]["reason"]["reason"] == "busy");
    }
    // Where there are many, idle ones leave after a second: who asks slowly never has too many there.
    ensure!(
        refused > 0 || begun.elapsed() > Duration::from_secs(2),
        "any number of sessions is kept in memory"
    );
    costs.push(("sessions that never were", memory.grew()?));
    caught.release();
    // Calls that wait for a shell, each as long as it may be.
    trap.device.process()?.kill().await?;
    trap.device.start()?;
    let mut caught = trap.catch().await?;
    let memory = Memory::watch(trap.device.process()?.pid)?;
    let (own, long) = (session(), format!(": {}", "x".repeat(250 * 1024)));
    caught.say.send(trap.call(&own, "sleep 60").1).await?;
    for _ in 0..280 {
        caught.say.send(trap.call(&own, &long).1).await?;
    }
    let (last, call) = trap.call(&own, &long);
    caught.say.send(call).await?;
    let answer = caught.heard("refused", &last).await;
    let answer = answer.with_context(|| trap.device.program.log())?;
    ensure!(answer["refused"]["reason"]["reason"] == "busy", "{answer}");
    costs.push(("calls that wait", memory.grew()?));
    caught.release();
    // Pieces of a long output, asked for and not listened to.
    trap.device.process()?.kill().await?;
    trap.device.start()?;
    let mut caught = trap.catch().await?;
    let memory = Memory::watch(trap.device.process()?.pid)?;
    let own = session();
    let (id, call) = trap.call(&own, "head -c 4000000 /dev/zero | tr '\\0' x");
    caught.say.send(call).await?;
    let answer = caught.heard("result", &id).await?;
    ensure!(
        answer["result"]["outcome"]["whole"]["kept"].as_u64() > Some(1_000_000),
        "{answer}"
    );
    let asked = async {
        for _ in 0..5_000 {
            let ask = json!({"read_output": {"session": own, "call_id": id, "offset": 0}});
            if caught.say.send(ask).await.is_err() {
                break;
            }
        }
    };
    ensure!(
        timeout(Duration::from_secs(3), asked).await.is_err(),
        "it takes any number of questions from who does not listen"
    );
    costs.push(("pieces nobody takes", memory.grew()?));
    caught.release();
    // A small frame that would become large, and streams without end: the line is cut, and dialled again.
    let caught = trap.catch().await?;
    let (_, mut call) = trap.call(&session(), "true");
    call["call"]["input"]["more"] = dense();
    caught.say.send(call).await?;
    timeout(PATIENCE, caught.line)
        .await
        .context("what is dense is read")??
        .ok();
    costs.push(("a dense call", memory.grew()?));
    let mut socket = trap.socket().await?;
    for batch in 0..100_u32 {
        let of = |n: u32| {
            let mut bytes = header(DATA, OPEN, 2 * (100 * batch + n) + 2, 16);
            bytes.extend([0; 16]);
            bytes
        };
        let bytes: Vec<u8> = (0..100).flat_map(of).collect();
        if socket.send(Message::Binary(bytes.into())).await.is_err() {
            break;
        }
    }
    ensure!(hung_up(&mut socket).await, "streams are taken without end");
    costs.push(("streams", memory.grew()?));
    trap.catch().await?.release();
    ensure!(!trap.device.process()?.is_gone(), "{}", trap.device.program.log());
    say(format_args!(
        "a hostile server: MiB at the machine's peak after each: {costs:?}"
    ));
    let most = costs.iter().map(|(_, cost)| *cost).max().unwrap_or_default();
    ensure!(most < LINE_MIB, "{most} MiB: {costs:?}");
    Ok(())
}

//! What an executor's tunnel costs: a frame there and back against a message on the same WebSocket without it, bytes on a stream
//! of it against the same bytes on a plain connection, and calls and terminals through the real binaries.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use perennial_proof::rig::process::{Process, Program};
use perennial_schema::frame::{FromExecutor, ToExecutor};
use perennial_tests::client::Client;
use perennial_tests::server::Up;
use perennial_tunnel::{End, Ends, Lane, Opener, carry, opener};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, accept_async_with_config, client_async_with_config, connect_async,
};

use crate::previews;
use crate::report::{Goal, Report, percentile};

const SCENARIO: &str = "tunnel";
/// Before those that are measured.
const FIRST: usize = 50;
/// Bytes written at once to a stream and to a connection.
const PIECE: usize = 64 * 1024;
/// Calls at once on one executor.
const AT_ONCE: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);

/// One round.
pub(crate) async fn round(report: &mut Report, quick: bool) -> Result<()> {
    // On a task, as everybody is who says something to an executor: the thread that waits for the whole bench is not one of the
    // runtime's, and each answer would have to wake it.
    let [mut bare, mut ours] = tokio::spawn(frames(if quick { 200 } else { 5_000 })).await??;
    compare(report, &mut bare, &mut ours);
    throughput(report, if quick { 16 << 20 } else { 512 << 20 }).await?;
    let dir = tempfile::tempdir()?;
    let server = Up::on(&dir.path().join("data")).start().await?;
    let machine = Machine::connect(dir.path(), &server.client, &server.url).await?;
    calls(report, &server.client, &machine.id, if quick { 200 } else { 4_000 }).await?;
    crate::mcp::calls(
        report,
        SCENARIO,
        &server.client,
        &machine.id,
        if quick { 50 } else { 500 },
    )
    .await?;
    typed(
        report,
        &server.client,
        &server.url,
        &machine.id,
        if quick { 50 } else { 1_000 },
    )
    .await?;
    let bytes = if quick { 16 << 20 } else { 256 << 20 };
    let previewed = previews::Machine {
        client: &server.client,
        server: &server.url,
        executor: &machine.id,
    };
    previews::round(report, &previewed, bytes).await?;
    drop(machine);
    server.kill().await
}

type Socket = WebSocketStream<TcpStream>;

/// As executors and servers configure theirs.
fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(perennial_tunnel::limits::READ_BYTES)
}

/// Two ends of a WebSocket on this machine.
async fn sockets() -> Result<(Socket, Socket)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let dialled = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        anyhow::Ok(
            client_async_with_config("ws://localhost/", stream, Some(config()))
                .await?
                .0,
        )
    };
    let accepted = async {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        anyhow::Ok(accept_async_with_config(stream, Some(config())).await?)
    };
    tokio::try_join!(dialled, accepted)
}

fn messages(socket: Socket) -> impl Stream<Item = io::Result<Bytes>> + Sink<Bytes, Error = io::Error> + Send + 'static {
    socket
        .with(async |bytes: Bytes| Ok::<_, Error>(Message::Binary(bytes)))
        .sink_map_err(io::Error::other)
        .filter_map(async |message| match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(_) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        })
}

/// A line: what the server's end says and hears, how it opens streams, and what the machine's end takes of them.
struct Line {
    say: mpsc::Sender<ToExecutor>,
    hear: mpsc::Receiver<FromExecutor>,
    opener: Opener,
    opened: mpsc::Receiver<Lane>,
}

/// Pings are answered at the other end by whoever has its frames, as an executor does.
async fn line() -> Result<Line> {
    let (dialled, accepted) = sockets().await?;
    let (say, outgoing) = mpsc::channel(256);
    let (incoming, hear) = mpsc::channel(256);
    let (answer, answers) = mpsc::channel(256);
    let (asked, mut questions) = mpsc::channel(256);
    let (opener, openings) = opener();
    let (taker, opened) = mpsc::channel(1);
    let beat = perennial_tunnel::limits::BEAT;
    let server = Ends::<FromExecutor, ToExecutor> {
        outgoing,
        incoming,
        ping: None,
        beat: beat * 1000,
        openings: Some(openings),
        opened: None,
    };
    let machine = Ends::<ToExecutor, FromExecutor> {
        outgoing: answers,
        incoming: asked,
        ping: None,
        beat: beat * 1000,
        openings: None,
        opened: Some(taker),
    };
    tokio::spawn(carry(messages(accepted), End::Accepted, server));
    tokio::spawn(carry(messages(dialled), End::Dialled, machine));
    // Who dialled speaks first.
    answer.send(FromExecutor::Pong { nonce: 0 }).await?;
    tokio::spawn(async move {
        while let Some(ToExecutor::Ping { nonce }) = questions.recv().await {
            if answer.send(FromExecutor::Pong { nonce }).await.is_err() {
                return;
            }
        }
    });
    let mut line = Line {
        say,
        hear,
        opener,
        opened,
    };
    line.hear.recv().await.context("a line")?;
    Ok(line)
}

/// A small frame there and back, and a message of its size without a tunnel; in turns.
async fn frames(times: usize) -> Result<[Vec<f64>; 2]> {
    let mut line = line().await?;
    let (mut bare, echo) = sockets().await?;
    tokio::spawn(async move {
        let (mut out, mut messages) = echo.split();
        while let Some(Ok(message)) = messages.next().await {
            if out.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut took = [Vec::new(), Vec::new()];
    for nonce in 0..times + FIRST {
        let begun = Instant::now();
        let ping = serde_json::to_vec(&ToExecutor::Ping { nonce: nonce as u64 })?;
        bare.send(Message::Binary(ping.into())).await?;
        let echoed = bare.next().await.context("an echo")??;
        let _: ToExecutor = serde_json::from_slice(&echoed.into_data())?;
        let without = begun.elapsed();
        let begun = Instant::now();
        line.say.send(ToExecutor::Ping { nonce: nonce as u64 }).await?;
        line.hear.recv().await.context("an answer")?;
        if nonce >= FIRST {
            took[0].push(without.as_secs_f64() * 1000.0);
            took[1].push(begun.elapsed().as_secs_f64() * 1000.0);
        }
    }
    Ok(took)
}

fn compare(report: &mut Report, without: &mut [f64], with: &mut [f64]) {
    let [bare, ours] = ["message, bare WebSocket", "frame, tunnel"];
    for (what, times) in [(bare, without), (ours, with)] {
        report.add(SCENARIO, what, "p50 ms", percentile(times, 0.5));
        report.add(SCENARIO, what, "p99 ms", percentile(times, 0.99));
    }
    report.ratio(SCENARIO, ours, bare, "p50 ms", Some(Goal::AtMost(2.0)));
    report.ratio(SCENARIO, ours, bare, "p99 ms", Some(Goal::AtMost(2.0)));
}

/// The same bytes on a stream of a tunnel and on a plain connection.
async fn throughput(report: &mut Report, bytes: usize) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let (dialled, accepted) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
    let plain = carried(dialled?, accepted?.0, bytes).await?;
    let mut line = line().await?;
    let mut here = line.opener.open().await?;
    here.write_all(b"!").await?;
    let mut there = line.opened.recv().await.context("a stream")?;
    there.read_u8().await?;
    let ours = carried(here, there, bytes).await?;
    report.add(SCENARIO, "plain connection", "MiB/s", plain);
    report.add(SCENARIO, "stream, tunnel", "MiB/s", ours);
    report.ratio(
        SCENARIO,
        "stream, tunnel",
        "plain connection",
        "MiB/s",
        Some(Goal::AtLeast(0.5)),
    );
    Ok(())
}

async fn carried(
    mut from: impl tokio::io::AsyncWrite + Unpin + Send + 'static,
    mut to: impl tokio::io::AsyncRead + Unpin,
    bytes: usize,
) -> Result<f64> {
    let begun = Instant::now();
    let writing = tokio::spawn(async move {
        let piece = vec![7; PIECE];
        for _ in 0..bytes / PIECE {
            from.write_all(&piece).await?;
        }
        from.shutdown().await
    });
    let (mut piece, mut came) = (vec![0; PIECE], 0);
    while let read @ 1.. = to.read(&mut piece).await? {
        came += read;
    }
    writing.await??;
    ensure!(came == bytes / PIECE * PIECE, "{came} of {bytes} bytes came");
    Ok(came as f64 / (1 << 20) as f64 / begun.elapsed().as_secs_f64())
}

/// A machine that dialled in.
struct Machine {
    _process: Process,
    id: String,
}

impl Machine {
    async fn connect(dir: &Path, client: &Client, url: &str) -> Result<Self> {
        let made = client.post("/v1/executors/codes", &json!({})).await?.ok()?;
        let code = made["secret"].as_str().context("a code")?;
        let work = dir.join("work");
        std::fs::create_dir_all(&work)?;
        std::fs::write(work.join("there"), "there\n")?;
        let program = Program {
            verb: "connect",
            data_dir: dir.join("machine"),
            log_file: dir.join("machine.log"),
            env: Vec::new(),
            args: [
                "--dir",
                &work.display().to_string(),
                "--server",
                url,
                "--code",
                code,
                "--name",
                "bench",
            ]
            .map(str::to_owned)
            .to_vec(),
        };
        let process = program.start()?;
        let began = Instant::now();
        loop {
            let list = client.get("/v1/executors").await?.ok()?;
            if let Some(id) = list["data"][0]["id"]
                .as_str()
                .filter(|_| list["data"][0]["status"] == "online")
            {
                return Ok(Self {
                    _process: process,
                    id: id.to_owned(),
                });
            }
            ensure!(began.elapsed() < PATIENCE, "{}", program.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Single calls of a tool that only reads, one after the other and many at once.
async fn calls(report: &mut Report, client: &Client, executor: &str, count: usize) -> Result<()> {
    let path = format!("/v1/executors/{executor}/calls");
    let body = json!({"tool": "read", "input": {"file_path": "there"}});
    for at_once in [1, AT_ONCE] {
        let count = if at_once == 1 { count / 10 } else { count };
        let begun = Instant::now();
        let calls = futures_util::stream::iter(0..count).map(|_| async {
            let begun = Instant::now();
            let said = client.post(&path, &body).await?.ok()?;
            ensure!(said["is_error"] == false, "{said}");
            Ok(begun.elapsed().as_secs_f64() * 1000.0)
        });
        let mut times: Vec<f64> = futures_util::TryStreamExt::try_collect(calls.buffer_unordered(at_once)).await?;
        let what = format!("call of `read`, {at_once} at once");
        report.add(SCENARIO, &what, "calls/s", count as f64 / begun.elapsed().as_secs_f64());
        report.add(SCENARIO, &what, "p50 ms", percentile(&mut times, 0.5));
        report.add(SCENARIO, &what, "p99 ms", percentile(&mut times, 0.99));
    }
    Ok(())
}

/// From a key to what it shows.
async fn typed(report: &mut Report, client: &Client, url: &str, executor: &str, keys: usize) -> Result<()> {
    let url = format!(
        "{}/v1/executors/{executor}/terminals/bench",
        url.replacen("http", "ws", 1)
    );
    let mut request = url.into_client_request()?;
    request.headers_mut().insert("x-api-key", client.key().parse()?);
    let (mut socket, _) = connect_async(request).await?;
    // A program that shows what is typed as it comes, and nothing else.
    socket
        .send(Message::Binary("stty -echo raw; echo rea\"\"dy; cat\r".into()))
        .await?;
    let mut shown = String::new();
    while !shown.contains("ready") {
        shown.push_str(&next(&mut socket).await?);
    }
    let mut times = Vec::new();
    for key in 0..keys + FIRST {
        let begun = Instant::now();
        socket.send(Message::Binary("k".into())).await?;
        while !next(&mut socket).await?.contains('k') {}
        if key >= FIRST {
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
    }
    report.add(SCENARIO, "key on a terminal", "p50 ms", percentile(&mut times, 0.5));
    report.add(SCENARIO, "key on a terminal", "p99 ms", percentile(&mut times, 0.99));
    Ok(())
}

async fn next(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> Result<String> {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next())
            .await?
            .context("it hung up")??;
        if let Message::Binary(bytes) = message {
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}

//! The accept loop on real sockets (INVARIANTS S23, F31, F32).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use perennial_api::{Config, Limits, serve};
use perennial_broker::bus::local::Local;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::rig::{Rig, message};

struct Server {
    rig: Rig,
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let config = Config {
            limits,
            ..Config::default()
        };
        let rig = Rig::with(Arc::new(Local::new()), config, |ports| ports).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(listener, rig.api.router(), limits, shutdown.clone()));
        Self {
            rig,
            address,
            shutdown,
            task,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a whole request and reads the answer to its end.
    async fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = self.connect().await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nx-api-key: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            self.rig.key,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(10), stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        answer
    }

    async fn open_stream(&self, session: &str) -> TcpStream {
        let mut stream = self.connect().await;
        let head = format!(
            "GET /v1/sessions/{session}/events/stream HTTP/1.1\r\nhost: {}\r\nx-api-key: {}\r\n\r\n",
            self.address, self.rig.key
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut seen = String::new();
        while !seen.contains(": open") {
            let mut piece = [0_u8; 1024];
            let count = timeout(Duration::from_secs(5), stream.read(&mut piece))
                .await
                .unwrap()
                .unwrap();
            assert!(count > 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
        stream
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(Duration::from_secs(10), self.task)
            .await
            .expect("stops in time")
            .unwrap()
            .unwrap();
        timeout(Duration::from_secs(5), self.rig.api.drained())
            .await
            .expect("no task is left");
    }
}

fn quick() -> Limits {
    Limits {
        head: Duration::from_millis(300),
        body_idle: Duration::from_millis(300),
        write_stall: Duration::from_millis(300),
        grace: Duration::from_millis(500),
        poll: Duration::from_millis(50),
        ..Limits::default()
    }
}

/// Reads until the server closes, and says how long that took.
async fn closed(stream: &mut TcpStream) -> (String, Duration) {
    let begun = Instant::now();
    let mut bytes = Vec::new();
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes))
        .await
        .expect("closed in time");
    (String::from_utf8_lossy(&bytes).into_owned(), begun.elapsed())
}

#[tokio::test]
async fn silent_and_slow_connections_are_closed() {
    let server = Server::start(quick()).await;
    let mut silent = server.connect().await;
    assert!(closed(&mut silent).await.1 < Duration::from_secs(3));
    let mut slow_head = server.connect().await;
    slow_head.write_all(b"GET /healthz HTTP/1.1\r\nhost: ").await.unwrap();
    assert!(closed(&mut slow_head).await.1 < Duration::from_secs(3));
    let mut slow_body = server.connect().await;
    let head = format!(
        "POST /v1/agents HTTP/1.1\r\nhost: localhost\r\nx-api-key: {}\r\ncontent-length: 100\r\n\r\n{{",
        server.rig.key
    );
    slow_body.write_all(head.as_bytes()).await.unwrap();
    let (answer, took) = closed(&mut slow_body).await;
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("\"type\":\"error\""),
        "{answer}"
    );
    assert!(took < Duration::from_secs(3));
    assert!(server.ask("GET", "/healthz", "").await.starts_with("HTTP/1.1 200"));
    server.stop().await;
}

#[tokio::test]
async fn a_dribbled_head_does_not_extend_its_time() {
    let server = Server::start(quick()).await;
    let mut stream = server.connect().await;
    let begun = Instant::now();
    for byte in b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n".iter().cycle() {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "still open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn garbage_and_huge_heads_do_no_harm() {
    let server = Server::start(quick()).await;
    let huge = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(300_000));
    for bytes in [
        b"\x16\x03\x01\x02\x00".as_slice(),
        b"\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        huge.as_bytes(),
    ] {
        let mut stream = server.connect().await;
        let _ = stream.write_all(bytes).await;
        closed(&mut stream).await;
    }
    assert!(server.ask("GET", "/healthz", "").await.starts_with("HTTP/1.1 200"));
    server.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_cap_wait_their_turn() {
    let server = Server::start(Limits {
        connections: 2,
        ..quick()
    })
    .await;
    // Both places are taken by silent connections; they are closed, then we are served.
    let _first = server.connect().await;
    let _second = server.connect().await;
    assert!(server.ask("GET", "/healthz", "").await.starts_with("HTTP/1.1 200"));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_dropped_and_others_are_not() {
    let server = Server::start(quick()).await;
    let session = server.rig.session().await;
    let stalled = server.open_stream(&session).await;
    let mut reader = server.open_stream(&session).await;
    let big = message(&"x".repeat(1_000_000));
    let path = format!("/v1/sessions/{session}/events");
    let writing = async {
        for _ in 0..24 {
            server.rig.post(&path, &big).await.ok();
        }
    };
    let reading = async {
        let mut total = 0;
        let mut piece = vec![0_u8; 65536];
        while total < 24_000_000 {
            let count = timeout(Duration::from_secs(10), reader.read(&mut piece))
                .await
                .unwrap()
                .unwrap();
            assert!(count > 0, "the reader is not cut off");
            total += count;
        }
    };
    futures_util::future::join(writing, reading).await;
    // The stalled one was given up by the server: what follows its socket's buffers is a reset, long before all 24 MB.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut stalled = stalled;
    let mut total = 0;
    let mut piece = vec![0_u8; 65536];
    while let Ok(Ok(count)) = timeout(Duration::from_secs(5), stalled.read(&mut piece)).await {
        if count == 0 {
            break;
        }
        total += count;
    }
    assert!(
        total < 24_000_000,
        "{total} bytes were kept for a client that did not read"
    );
    server.stop().await;
}

#[tokio::test]
async fn shutdown_ends_streams_and_idle_connections_at_once() {
    let server = Server::start(Limits {
        head: Duration::from_secs(60),
        grace: Duration::from_secs(30),
        ..quick()
    })
    .await;
    let session = server.rig.session().await;
    let mut stream = server.open_stream(&session).await;
    let begun = Instant::now();
    server.shutdown.cancel();
    closed(&mut stream).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    server.stop().await;
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "nobody waited for the grace period"
    );
}

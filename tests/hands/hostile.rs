//! Frames of an enemy: on either end they end the line they came on, and nothing else.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use perennial_schema::frame::{Card, Dismissal, FromExecutor, Hello, MAX_FRAME_BYTES, PROTOCOL_VERSION, ToExecutor};
use perennial_schema::{ExecutorId, JournalId};
use perennial_tunnel::{End, Ends, carry};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use uuid::Uuid;

use crate::rig::{PATIENCE, Stand};

pub(crate) fn messages<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    socket: WebSocketStream<S>,
) -> impl Stream<Item = io::Result<Bytes>> + Sink<Bytes, Error = io::Error> + Send + 'static {
    socket
        .with(async |bytes: Bytes| Ok::<_, Error>(Message::Binary(bytes)))
        .sink_map_err(io::Error::other)
        .filter_map(async |message| match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(_) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        })
}

/// A yamux stream that opens with these bytes.
fn opened(body: &[u8]) -> Message {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    Message::Binary(
        [&[0, 0, 0, 1, 0, 0, 0, 1], &length.to_be_bytes()[..], body]
            .concat()
            .into(),
    )
}

fn garbage() -> Vec<Message> {
    vec![
        Message::Text("hello".into()),
        Message::Binary(vec![0xff; 64].into()),
        Message::Binary(vec![0; 300 * 1024].into()),
        // A frame's length that nobody allocates, and a frame that is none.
        opened(&u32::MAX.to_be_bytes()),
        opened(&u32::try_from(MAX_FRAME_BYTES + 1).unwrap_or(u32::MAX).to_be_bytes()),
        opened(b"\0\0\0\x02{}"),
        opened(b"\0\0\0\x04null"),
    ]
}

async fn registered(stand: &Stand) -> Result<Value> {
    let made = stand.client().post("/v1/executors/codes", &json!({})).await?.ok()?;
    let body = json!({"code": made["secret"], "name": "enemy", "secret": "a".repeat(64)});
    stand.client().post("/v1/executors/register", &body).await?.ok()
}

#[tokio::test]
async fn a_hostile_executor_hurts_nobody() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let enemy = registered(&stand).await?;
    let dial = async || -> Result<_> {
        let mut request = format!("{}/v1/executors/tunnel", stand.url.replace("http", "ws")).into_client_request()?;
        let token = format!("Bearer {}", enemy["token"].as_str().context("a token")?);
        request.headers_mut().insert("authorization", token.parse()?);
        Ok(tokio_tungstenite::connect_async(request).await?.0)
    };
    for message in garbage() {
        let mut socket = dial().await?;
        // A server that has hung up already is as good.
        let _ = socket.send(message.clone()).await;
        let ended = timeout(PATIENCE, async { while let Some(Ok(_)) = socket.next().await {} }).await;
        assert!(ended.is_ok(), "the server listens on after {message:?}");
    }
    // Introduced as somebody else, as somebody of the future, or not at all.
    let own: ExecutorId = enemy["id"].as_str().context("an id")?.parse()?;
    let hello = |executor_id, version| {
        FromExecutor::Hello(Hello {
            version,
            executor_id,
            journal_id: JournalId::from_uuid(Uuid::now_v7()),
            card: Card::default(),
        })
    };
    for (frame, expected) in [
        (hello(device.id.parse()?, PROTOCOL_VERSION), Dismissal::Stranger),
        (FromExecutor::Pong { nonce: 1 }, Dismissal::Stranger),
        (
            hello(own, PROTOCOL_VERSION + 1),
            Dismissal::TooNew {
                newest: PROTOCOL_VERSION,
            },
        ),
    ] {
        let (say, outgoing) = mpsc::channel(8);
        let (incoming, mut hear) = mpsc::channel::<ToExecutor>(8);
        let ends = Ends {
            outgoing,
            incoming,
            ping: None,
            beat: Duration::from_secs(5),
            openings: None,
            opened: None,
        };
        let line = tokio::spawn(carry(messages(dial().await?), End::Dialled, ends));
        say.send(frame).await?;
        let dismissed = async {
            loop {
                match hear.recv().await {
                    Some(ToExecutor::Dismissed { reason }) => return Some(reason),
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        assert_eq!(timeout(PATIENCE, dismissed).await?, Some(expected));
        timeout(PATIENCE, line).await??.ok();
    }
    // Nobody else noticed, and it never was online.
    let path = format!("/v1/executors/{own}");
    assert_eq!(stand.client().get(&path).await?.ok()?["status"], "offline");
    let call = json!({"tool": "bash", "input": {"command": "echo fine"}});
    let said = stand
        .client()
        .post(&format!("/v1/executors/{}/calls", device.id), &call)
        .await?
        .ok()?;
    assert_eq!(said["content"][0]["text"], "fine\n");
    Ok(())
}

/// A card as large as a first frame, again and again: what is remembered of it is small, and others are served meanwhile.
#[tokio::test]
async fn an_executor_that_talks_of_itself_without_end_is_cut_short() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let enemy = registered(&stand).await?;
    let own: ExecutorId = enemy["id"].as_str().context("an id")?.parse()?;
    let mut request = format!("{}/v1/executors/tunnel", stand.url.replace("http", "ws")).into_client_request()?;
    let token = format!("Bearer {}", enemy["token"].as_str().context("a token")?);
    request.headers_mut().insert("authorization", token.parse()?);
    let socket = tokio_tungstenite::connect_async(request).await?.0;
    let (say, outgoing) = mpsc::channel(8);
    let (incoming, mut hear) = mpsc::channel::<ToExecutor>(8);
    let ends = Ends {
        outgoing,
        incoming,
        ping: None,
        beat: Duration::from_secs(5),
        openings: None,
        opened: None,
    };
    let line = tokio::spawn(carry(messages(socket), End::Dialled, ends));
    let pongs = say.clone();
    tokio::spawn(async move {
        while let Some(frame) = hear.recv().await {
            if let ToExecutor::Ping { nonce } = frame
                && pongs.send(FromExecutor::Pong { nonce }).await.is_err()
            {
                break;
            }
        }
    });
    let journal_id = JournalId::from_uuid(Uuid::now_v7());
    // No longer than the first frame of a line may be.
    let word = "x".repeat(10_000);
    let hello = move |n: usize| {
        FromExecutor::Hello(Hello {
            version: PROTOCOL_VERSION,
            executor_id: own,
            journal_id,
            card: Card {
                os: format!("{n} {word}"),
                roots: vec![word.clone(); 30],
                tools: vec!["bash".to_owned(); 50_000],
                ..Card::default()
            },
        })
    };
    let talking = tokio::spawn(async move {
        for n in 0..50 {
            if say.send(hello(n)).await.is_err() {
                break;
            }
        }
        say
    });
    let seen = stand.online(&own.to_string()).await?;
    assert!(seen.to_string().len() < 256 * 1024, "{} bytes", seen.to_string().len());
    assert_eq!(seen["card"]["tools"].as_array().map(Vec::len), Some(64));
    let call = json!({"tool": "bash", "input": {"command": "echo fine"}});
    let path = format!("/v1/executors/{}/calls", device.id);
    let said = stand.client().post(&path, &call).await?.ok()?;
    assert_eq!(said["content"][0]["text"], "fine\n");
    // The last word of all counts.
    let _say = timeout(PATIENCE, talking).await??;
    let began = std::time::Instant::now();
    loop {
        let seen = stand.client().get(&format!("/v1/executors/{own}")).await?.ok()?;
        if seen["card"]["os"].as_str().is_some_and(|os| os.starts_with("49 ")) {
            break;
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "its last card is not noted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    line.abort();
    Ok(())
}

/// An executor whose server sends what cannot be read drops that line and dials again, for as long as it takes.
#[tokio::test]
async fn a_hostile_server_hurts_no_executor() -> Result<()> {
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    device.process()?.stop(PATIENCE).await?;
    // The same address, with an enemy behind it.
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let enemy = format!("http://{}", listener.local_addr()?);
    let registry = device.home.join(".local/state/perennial/registry.json");
    let text = std::fs::read_to_string(&registry)?;
    std::fs::write(&registry, text.replace(&stand.url, &enemy))?;
    device.start()?;
    for message in garbage() {
        let accepting = async {
            let (stream, _) = listener.accept().await?;
            let mut socket = tokio_tungstenite::accept_async(stream).await?;
            // Its hello opens the stream; on that the enemy answers.
            let _hello = socket.next().await;
            let answer = match &message {
                // The stream is the executor's: frames on it, not a stream of our own.
                Message::Binary(bytes) if bytes.starts_with(&[0, 0, 0, 1, 0, 0, 0, 1]) => {
                    let mut bytes = bytes.to_vec();
                    bytes[3] = 2;
                    Message::Binary(bytes.into())
                }
                other => other.clone(),
            };
            socket.send(answer).await?;
            while let Some(Ok(_)) = socket.next().await {}
            anyhow::Ok(())
        };
        timeout(PATIENCE, accepting)
            .await
            .with_context(|| format!("it stays after {message:?}"))??;
    }
    // A stranger at the door that speaks no WebSocket at all.
    let (stream, _) = timeout(PATIENCE, listener.accept()).await??;
    drop(stream);
    timeout(PATIENCE, listener.accept()).await??;
    assert!(!device.process()?.is_gone(), "{}", device.program.log());
    Ok(())
}

//! The proxy before an echo server, and before something that speaks like Postgres.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A server that says back what it hears.
async fn echo() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.ok();
            });
        }
    });
    address.to_string()
}

async fn proxied() -> (Proxy, TcpStream) {
    let proxy = Proxy::before(&echo().await).await.unwrap();
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    (proxy, stream)
}

/// Says something and hears how much of it comes back before the connection ends.
async fn heard(stream: &mut TcpStream, said: &[u8]) -> Vec<u8> {
    stream.write_all(said).await.unwrap();
    let mut heard = Vec::new();
    let mut piece = [0; 64];
    while heard.len() < said.len() {
        match stream.read(&mut piece).await {
            Ok(read @ 1..) => heard.extend_from_slice(&piece[..read]),
            _ => break,
        }
    }
    heard
}

#[tokio::test]
async fn without_faults_it_is_a_wire() {
    let (proxy, mut stream) = proxied().await;
    assert_eq!(heard(&mut stream, b"hello").await, b"hello");
    let counters = Counters {
        connections: 1,
        ..Counters::default()
    };
    assert_eq!(proxy.counters(), counters);
}

#[tokio::test]
async fn a_cut_comes_at_its_byte() {
    for cut in [Cut::Request { bytes: 7 }, Cut::Answer { bytes: 7 }] {
        let (proxy, mut stream) = proxied().await;
        proxy.cut(cut);
        assert_eq!(heard(&mut stream, b"hell").await, b"hell");
        let rest = heard(&mut stream, b"o, you").await;
        // What was under way when the connection was reset may be lost with it.
        assert!(b"o, ".starts_with(rest.as_slice()), "{rest:?}");
        assert!(!proxy.is_armed());
        assert_eq!(proxy.counters().cut, 1);
        // Only one connection is cut.
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(heard(&mut next, b"hello, you").await, b"hello, you");
    }
}

#[tokio::test]
async fn a_half_open_connection_says_nothing_and_stays() {
    for (swallow_requests, swallow_answers) in [(true, false), (false, true)] {
        let (proxy, mut stream) = proxied().await;
        assert_eq!(heard(&mut stream, b"a").await, b"a");
        proxy.set(Faults {
            swallow_requests,
            swallow_answers,
            ..Faults::default()
        });
        stream.write_all(b"bc").await.unwrap();
        let mut byte = [0];
        let silence = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut byte)).await;
        assert!(silence.is_err(), "{silence:?}");
        assert_eq!(proxy.counters().swallowed, 2);
        proxy.heal();
        assert_eq!(heard(&mut stream, b"d").await, b"d");
    }
}

#[tokio::test]
async fn slow_and_late() {
    let (proxy, mut stream) = proxied().await;
    proxy.set(Faults {
        latency: Duration::from_millis(30),
        ..Faults::default()
    });
    let begun = Instant::now();
    assert_eq!(heard(&mut stream, b"late").await, b"late");
    assert!(begun.elapsed() >= Duration::from_millis(60), "{:?}", begun.elapsed());
    assert_eq!(proxy.counters().delayed, 2);
    proxy.set(Faults {
        bytes_per_second: Some(1_000),
        ..Faults::default()
    });
    let begun = Instant::now();
    assert_eq!(heard(&mut stream, &[7; 200]).await.len(), 200);
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn dropped_and_refused() {
    let (proxy, mut stream) = proxied().await;
    assert_eq!(heard(&mut stream, b"a").await, b"a");
    proxy.drop_connections();
    let mut byte = [0];
    assert!(!matches!(stream.read(&mut byte).await, Ok(1..)));
    assert_eq!(proxy.counters().dropped, 1);
    proxy.set(Faults {
        refuse: true,
        ..Faults::default()
    });
    let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(!matches!(refused.read(&mut byte).await, Ok(1..)));
    assert_eq!(proxy.counters().refused, 1);
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], &length[..], body].concat()
}

/// Puts messages through the framers as a client and a server would send them; returns what the client hears.
struct Line<'a> {
    requests: postgres::Requests<'a>,
    answers: postgres::Answers<'a>,
    armed: Option<Cut>,
}

impl<'a> Line<'a> {
    fn new(talk: &'a postgres::Talk) -> Self {
        let mut line = Self {
            requests: postgres::Requests::of(talk),
            answers: postgres::Answers::of(talk),
            armed: None,
        };
        let ssl = [8u32.to_be_bytes(), 80_877_103u32.to_be_bytes()].concat();
        line.requests.read(&ssl);
        assert_eq!(line.server(b"N"), (b"N".to_vec(), None));
        line.requests
            .read(&[9u32.to_be_bytes().as_slice(), &196_608u32.to_be_bytes(), b"\0"].concat());
        line
    }

    fn client(&mut self, kind: u8, body: &[u8]) {
        // In two pieces, as the network likes to have it.
        let bytes = message(kind, body);
        let (head, tail) = bytes.split_at(3);
        self.requests.read(head);
        self.requests.read(tail);
    }

    fn server(&mut self, bytes: &[u8]) -> (Vec<u8>, Option<Cut>) {
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        let (mut heard, reached) = self.answers.read(head, &mut self.armed);
        if reached.is_some() {
            return (heard, reached);
        }
        let (more, reached) = self.answers.read(tail, &mut self.armed);
        heard.extend(more);
        (heard, reached)
    }
}

#[test]
fn a_commit_is_cut_before_its_news() {
    let talk = postgres::Talk::about("INSERT INTO commits");
    let mut line = Line::new(&talk);
    line.client(b'P', b"s1\0INSERT INTO commits VALUES (1)\0\0\0");
    line.client(b'P', b"s2\0SELECT 1\0\0\0");
    line.armed = Some(Cut::Commit);
    let answer = |tag: &[u8], status: &[u8]| [message(b'2', b""), message(b'C', tag), message(b'Z', status)].concat();
    // A read passes.
    line.client(b'B', b"\0s2\0");
    let read = answer(b"SELECT 1\0", b"I");
    assert_eq!(line.server(&read), (read.clone(), None));
    // A write inside a transaction passes; its commit does not.
    line.client(b'B', b"\0s1\0");
    let write = answer(b"INSERT 0 1\0", b"T");
    assert_eq!(line.server(&write), (write.clone(), None));
    line.client(b'Q', b"COMMIT\0");
    assert_eq!(line.server(&answer(b"COMMIT\0", b"I")), (Vec::new(), Some(Cut::Commit)));
    assert_eq!(line.armed, None);
    // An autocommitted one is cut too, a failed one is not.
    let talk = postgres::Talk::about("INSERT INTO commits");
    let mut line = Line::new(&talk);
    line.armed = Some(Cut::Commit);
    line.client(b'P', b"s1\0INSERT INTO commits VALUES (1)\0\0\0");
    line.client(b'B', b"\0s1\0");
    let failed = [message(b'E', b"no\0"), message(b'Z', b"I")].concat();
    assert_eq!(line.server(&failed), (failed.clone(), None));
    line.client(b'B', b"\0s1\0");
    assert_eq!(
        line.server(&answer(b"INSERT 0 1\0", b"I")),
        (Vec::new(), Some(Cut::Commit))
    );
}

#[test]
fn a_cut_after_so_many_messages() {
    let talk = postgres::Talk::about("INSERT INTO commits");
    let mut line = Line::new(&talk);
    line.armed = Some(Cut::Message { count: 2 });
    let (one, two, three) = (message(b'1', b""), message(b'2', b""), message(b'C', b"SELECT 1\0"));
    let (heard, reached) = line.server(&[one.clone(), two.clone(), three].concat());
    assert_eq!((heard, reached.is_some()), ([one, two].concat(), true));
}

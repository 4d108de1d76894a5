//! The bus between nodes when its server goes away, comes back, was never there, or says things twice (INVARIANTS F17 to F19).

use std::time::Duration;

use bytes::Bytes;
use perennial_broker::bus::nats::{Nats, OpenError, Settings};
use perennial_engine::ports::{Bus as _, Notice, SessionKey, Subscription, Unanswered, WakeUps};
use perennial_tests::nats::Nats as Server;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{QUIET, SOON, delta, executor, heard, key};

/// A server; `None` where none is installed.
pub(super) async fn server() -> Option<Server> {
    let server = Server::start().await.unwrap();
    if server.is_none() {
        perennial_tests::not_run("NATS (nats-server is not installed)").unwrap();
    }
    server
}

/// A node that has joined.
pub(super) async fn node(server: &Server) -> Nats {
    let node = alone(server).await;
    until("it joins", || node.is_connected()).await;
    node
}

async fn alone(server: &Server) -> Nats {
    Nats::open(Settings::new(server.url())).await.unwrap()
}

async fn node_of(server: &Server, group: &str) -> Nats {
    let settings = Settings {
        wake_group: group.into(),
        ..Settings::new(server.url())
    };
    Nats::open(settings).await.unwrap()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Hears until this comes.
async fn hears(subscription: &mut Box<dyn Subscription>, wanted: &Notice) {
    while heard(subscription).await.as_ref() != Some(wanted) {}
}

async fn rings(alarm: &mut Box<dyn WakeUps>) {
    timeout(SOON, alarm.next()).await.unwrap();
}

/// A client of the server that speaks plain text, for what a node of ours never says.
struct Stranger(BufReader<TcpStream>);

impl Stranger {
    async fn of(server: &Server) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        Self(BufReader::new(socket))
    }

    /// The next line that begins like this.
    async fn line(&mut self, begins: &str) -> String {
        let reading = async {
            loop {
                let mut line = String::new();
                assert_ne!(self.0.read_line(&mut line).await.unwrap(), 0, "the server hung up");
                if line.starts_with(begins) {
                    return line;
                }
            }
        };
        timeout(SOON, reading).await.unwrap()
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    async fn say(&mut self, subject: &str, payload: &[u8]) {
        self.write(format!("PUB {subject} {}\r\n", payload.len()).as_bytes())
            .await;
        self.write(payload).await;
        self.write(b"\r\n").await;
    }

    /// The next message of a subscription.
    async fn next(&mut self) -> Vec<u8> {
        timeout(SOON, self.read()).await.unwrap()
    }

    async fn read(&mut self) -> Vec<u8> {
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).await.unwrap(), 0, "the server hung up");
            if line.starts_with("MSG") {
                let mut payload = Vec::new();
                let bytes: usize = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
                payload.resize(bytes + 2, 0);
                tokio::io::AsyncReadExt::read_exact(&mut self.0, &mut payload)
                    .await
                    .unwrap();
                payload.truncate(bytes);
                return payload;
            }
        }
    }
}

fn subject(key: SessionKey) -> String {
    format!("perennial.{}.{}", key.workspace, key.session)
}

#[tokio::test]
async fn a_restart_costs_latency_only() {
    let Some(mut server) = server().await else { return };
    let (says, hears_it, key) = (node(&server).await, node(&server).await, key());
    let (mut there, mut here) = (hears_it.subscribe(key), says.subscribe(key));
    hears(&mut there, &Notice::Lagged).await;
    hears(&mut here, &Notice::Lagged).await;
    let full = std::env::var_os("PERENNIAL_TORTURE").is_some();
    let rounds = if full { 50 } else { 5 };
    for round in 1..=rounds {
        server.kill().await.unwrap();
        until("the loss is noticed", || {
            !says.is_connected() && !hears_it.is_connected()
        })
        .await;
        says.hint(key, round * 10);
        says.delta(key, delta(0, "lost"));
        hears(&mut here, &Notice::Hint { seq: round * 10 }).await;
        server.run().await.unwrap();
        // The hint arrives too, if this end was back before that one.
        loop {
            match heard(&mut there).await {
                Some(Notice::Lagged) => break,
                Some(Notice::Hint { seq }) => assert_eq!(seq, round * 10),
                other => panic!("{other:?}"),
            }
        }
        says.hint(key, round * 10 + 1);
        hears(&mut there, &Notice::Hint { seq: round * 10 + 1 }).await;
    }
    let counts = says.counts();
    assert!(counts.connects > rounds && counts.dropped == rounds, "{counts:?}");
    println!("NATS restarts: {rounds}, nothing missed");
}

#[tokio::test]
async fn a_server_that_is_absent_is_joined_when_it_appears() {
    let Some(mut server) = Server::absent().unwrap() else {
        return;
    };
    let (says, hears_it, key, at) = (alone(&server).await, alone(&server).await, key(), executor());
    let (mut there, mut here) = (hears_it.subscribe(key), says.subscribe(key));
    let (mut alarm, mut changes) = (hears_it.wake_ups(), hears_it.changes(key.workspace));
    says.hint(key, 1);
    assert_eq!(heard(&mut here).await, Some(Notice::Hint { seq: 1 }), "whole in itself");
    assert!(timeout(QUIET, there.next()).await.is_err());
    assert!(timeout(QUIET, alarm.next()).await.is_err());
    assert!(!says.is_connected());
    server.run().await.unwrap();
    hears(&mut there, &Notice::Lagged).await;
    rings(&mut alarm).await;
    timeout(SOON, changes.next()).await.unwrap();
    assert_eq!(says.request(at, Bytes::new()).await, Err(Unanswered));
}

#[tokio::test]
async fn nothing_published_while_a_subscription_travels_is_missed() {
    let Some(server) = server().await else { return };
    let (says, hears_it) = (node(&server).await, node(&server).await);
    for round in 0..100 {
        let key = key();
        // A reader sees the hint, or is told to look after it was published.
        let mut subscription = hears_it.subscribe(key);
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        says.hint(key, 1);
        let notice = heard(&mut subscription).await;
        assert!(
            matches!(notice, Some(Notice::Hint { seq: 1 } | Notice::Lagged)),
            "{notice:?}"
        );
    }
}

#[tokio::test]
async fn each_wake_up_goes_to_one_of_a_group_and_to_every_group() {
    let Some(server) = server().await else { return };
    let says = node(&server).await;
    let (one, two, far) = (
        node_of(&server, "here").await,
        node_of(&server, "here").await,
        node_of(&server, "there").await,
    );
    let (mut first, mut second, mut third) = (one.wake_ups(), two.wake_ups(), far.wake_ups());
    for alarm in [&mut first, &mut second, &mut third] {
        rings(alarm).await;
    }
    let (mut at_first, mut at_second) = (0, 0);
    for _ in 0..50 {
        says.wake();
        tokio::select! {
            () = first.next() => at_first += 1,
            () = second.next() => at_second += 1,
            () = tokio::time::sleep(SOON) => panic!("nobody is woken"),
        }
        rings(&mut third).await;
    }
    assert_eq!(at_first + at_second, 50);
    assert!(at_first > 0 && at_second > 0, "{at_first} and {at_second}");
    assert!(
        timeout(QUIET, async {
            tokio::select! { () = first.next() => {}, () = second.next() => {} }
        })
        .await
        .is_err()
    );
}

#[tokio::test]
async fn who_leaves_swallows_no_wake_up() {
    let Some(server) = server().await else { return };
    let (says, full, free) = (node(&server).await, node(&server).await, node(&server).await);
    let (mut leaves, mut stays) = (full.wake_ups(), free.wake_ups());
    rings(&mut leaves).await;
    rings(&mut stays).await;
    // It takes what may have been meant for another one, and leaves: the other one is sent to look.
    drop(leaves);
    rings(&mut stays).await;
    for _ in 0..20 {
        says.wake();
        rings(&mut stays).await;
    }
    let mut back = full.wake_ups();
    rings(&mut back).await;
}

#[tokio::test]
async fn a_node_wakes_itself_and_another() {
    let Some(server) = server().await else { return };
    let (one, two) = (node(&server).await, node(&server).await);
    let (mut own, mut other) = (one.wake_ups(), two.wake_ups());
    rings(&mut own).await;
    rings(&mut other).await;
    one.wake();
    rings(&mut own).await;
    rings(&mut other).await;
    assert!(timeout(QUIET, own.next()).await.is_err(), "no echo");
}

#[tokio::test]
async fn duplicates_and_garbage_do_no_harm() {
    let Some(server) = server().await else { return };
    let (says, hears_it, key) = (node(&server).await, node(&server).await, key());
    let mut subscription = hears_it.subscribe(key);
    hears(&mut subscription, &Notice::Lagged).await;
    let mut stranger = Stranger::of(&server).await;
    stranger
        .write(format!("CONNECT {{}}\r\nSUB {} 1\r\nPING\r\n", subject(key)).as_bytes())
        .await;
    stranger.line("PONG").await;
    says.delta(key, delta(4, "piece"));
    let piece = stranger.next().await;
    let Some(Notice::Delta(first)) = heard(&mut subscription).await else {
        panic!("no preview")
    };
    stranger.say(&subject(key), &piece).await;
    assert_eq!(
        heard(&mut subscription).await,
        Some(Notice::Delta(first)),
        "told again, with the same n"
    );
    let other_version = [&[99], &piece[1..]].concat();
    let garbage: [&[u8]; 6] = [b"", b"\x01", b"\x01\x01", b"\x01\x02\x01short", b"{}", &other_version];
    for message in garbage {
        stranger.say(&subject(key), message).await;
    }
    stranger.say(&subject(key), &vec![1; 900_000]).await;
    says.hint(key, 2);
    assert_eq!(heard(&mut subscription).await, Some(Notice::Hint { seq: 2 }));
    until("garbage is counted", || hears_it.counts().garbage == 7).await;
}

#[tokio::test]
async fn installs_with_other_prefixes_do_not_hear_each_other() {
    let Some(server) = server().await else { return };
    let other = Settings {
        prefix: "other".into(),
        ..Settings::new(server.url())
    };
    let (says, hears_it, key) = (Nats::open(other).await.unwrap(), node(&server).await, key());
    let mut subscription = hears_it.subscribe(key);
    hears(&mut subscription, &Notice::Lagged).await;
    let mut own = says.subscribe(key);
    hears(&mut own, &Notice::Lagged).await;
    says.hint(key, 1);
    assert!(timeout(QUIET, subscription.next()).await.is_err());
}

/// S3: everything of an install is below its prefix, and what belongs to a tenant below its workspace, so that the server
/// can be told who hears what.
#[tokio::test]
async fn permissions_by_prefix_and_workspace_are_enough() {
    let Some(mut server) = Server::absent().unwrap() else {
        return;
    };
    let (key, other) = (key(), key());
    let tenant = other_tenant(other, key);
    let users = format!(
        r#"authorization {{ users = [
            {{ user: node, password: "n@", permissions: {{ publish: "perennial.>", subscribe: "perennial.>" }} }}
            {{ user: tenant, password: t, permissions: {{ publish: {{ deny: ">" }}, subscribe: "perennial.{}.>" }} }}
        ] }}"#,
        tenant.workspace
    );
    server.configure(&users).unwrap();
    server.run().await.unwrap();
    let url = server.url().replace("nats://", "nats://node:n%40@");
    let (says, hears_it) = (
        Nats::open(Settings::new(&url)).await.unwrap(),
        Nats::open(Settings::new(&url)).await.unwrap(),
    );
    until("both join", || says.is_connected() && hears_it.is_connected()).await;
    let at = executor();
    let mut requests = hears_it.requests(at);
    let answers = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            (request.reply)(Bytes::from_static(b"yes"));
        }
    });
    let asked = timeout(SOON, async { while says.request(at, Bytes::new()).await.is_err() {} });
    asked.await.unwrap();
    let mut subscription = hears_it.subscribe(key);
    hears(&mut subscription, &Notice::Lagged).await;

    let mut stranger = Stranger::of(&server).await;
    stranger
        .write(b"CONNECT {\"verbose\":false,\"user\":\"tenant\",\"pass\":\"t\"}\r\n")
        .await;
    let refused = [">", "perennial.>", "perennial.*.*", "perennial.system.>", &subject(key)];
    for (sid, subject) in refused.into_iter().enumerate() {
        stranger.write(format!("SUB {subject} {sid}\r\n").as_bytes()).await;
        let line = stranger.line("-ERR").await;
        assert!(line.contains("Permissions Violation"), "{subject}: {line}");
    }
    stranger
        .write(format!("SUB {} 99\r\nPING\r\n", subject(tenant)).as_bytes())
        .await;
    stranger.line("PONG").await;
    says.hint(key, 1);
    hears(&mut subscription, &Notice::Hint { seq: 1 }).await;
    says.hint(tenant, 2);
    assert!(
        stranger.next().await.ends_with(&2_u64.to_be_bytes()),
        "its own, and nothing before it"
    );
    answers.abort();
}

/// A session of another workspace.
fn other_tenant(session: SessionKey, than: SessionKey) -> SessionKey {
    let tenant = SessionKey {
        workspace: perennial_schema::WorkspaceId::from_uuid(uuid::Uuid::now_v7()),
        ..session
    };
    assert_ne!(tenant.workspace, than.workspace);
    tenant
}

#[tokio::test]
async fn one_of_several_listeners_answers() {
    let Some(server) = server().await else { return };
    let (asks, one, two, at) = (
        node(&server).await,
        node(&server).await,
        node(&server).await,
        executor(),
    );
    let mut desks = [one.requests(at), two.requests(at)];
    let [first, second] = &mut desks;
    let answers = async {
        loop {
            let (request, by) = tokio::select! {
                request = first.next() => (request.unwrap(), "one"),
                request = second.next() => (request.unwrap(), "two"),
            };
            (request.reply)(Bytes::from_static(by.as_bytes()));
        }
    };
    let mut by_one = 0;
    let questions = async {
        // Until both are known to the server, all questions go to the first, or to nobody.
        while asks.request(at, Bytes::new()).await != Ok("one".into()) {}
        while asks.request(at, Bytes::new()).await != Ok("two".into()) {}
        for _ in 0..50 {
            by_one += usize::from(asks.request(at, Bytes::new()).await.unwrap() == "one");
        }
    };
    tokio::select! {
        () = questions => {}
        () = answers => {}
        () = tokio::time::sleep(SOON) => panic!("no answers"),
    }
    assert!((1..50).contains(&by_one), "{by_one}");
}

#[tokio::test]
async fn the_last_words_of_a_node_are_sent() {
    let Some(server) = server().await else { return };
    let (ends, hears_it) = (node(&server).await, node(&server).await);
    let mut alarm = hears_it.wake_ups();
    rings(&mut alarm).await;
    ends.wake();
    ends.close().await;
    rings(&mut alarm).await;
}

#[tokio::test]
async fn dropping_the_bus_ends_subscriptions() {
    let Some(server) = server().await else { return };
    let (bus, key) = (node(&server).await, key());
    let mut subscription = bus.subscribe(key);
    drop(bus);
    while heard(&mut subscription).await.is_some() {}
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let with = |url: &str, prefix: &str, wake_group: &str| Settings {
        url: url.into(),
        prefix: prefix.into(),
        wake_group: wake_group.into(),
        name: "test".into(),
    };
    for (settings, expected) in [
        (with("nats://[::", "p", "g"), "the NATS address cannot be read"),
        (
            with("nats://127.0.0.1:1", "a.>", "g"),
            "the NATS subject prefix must be dot-separated words",
        ),
        (
            with("nats://127.0.0.1:1", "p", "a b"),
            "the NATS wake-up group must be one word",
        ),
    ] {
        let error: OpenError = Nats::open(settings).await.err().unwrap();
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

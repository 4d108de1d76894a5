//! Machines that dialled in, at the exchange: whose they are, which connection counts, and that nobody else hears of it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should say where"
)]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use perennial_broker::clock::System;
use perennial_broker::executors::Memory;
use perennial_engine::ports::{
    CallError, Executor, ExecutorKind, Executors as _, NewExecutor, Order, Router as _, SessionKey, Settled,
};
use perennial_router::{Exchange, Settings, Tunnels};
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::environment::{EnvironmentConfig, Preparation};
use perennial_schema::event::Raw;
use perennial_schema::frame::{Call, Card, Dismissal, FromExecutor, Hello, PROTOCOL_VERSION, ToExecutor, Workspace};
use perennial_schema::tool::{Effect, Outcome};
use perennial_schema::{
    AgentId, Attachment, EventId, ExecutorId, ExecutorToken, JournalId, OwnerId, SessionId, WorkspaceId,
};
use perennial_tunnel::{End, Ends, carry};
use tokio::sync::mpsc;
use uuid::Uuid;

const BEAT: Duration = Duration::from_secs(5);
const WORK: &str = "/home/a/work";

struct Socket {
    to: mpsc::UnboundedSender<Bytes>,
    from: mpsc::UnboundedReceiver<Bytes>,
}

fn pair() -> (Socket, Socket) {
    let ((one, other), (two, another)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    (Socket { to: one, from: another }, Socket { to: two, from: other })
}

impl Stream for Socket {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.from.poll_recv(cx).map(|message| message.map(Ok))
    }
}

impl Sink<Bytes> for Socket {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: Bytes) -> io::Result<()> {
        self.to.send(message).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct House {
    exchange: Arc<Exchange>,
    registry: Arc<Memory>,
    tunnels: Arc<Tunnels>,
}

/// The executor's end of a tunnel, which answers pings by itself.
struct Machine {
    say: mpsc::Sender<FromExecutor>,
    hear: mpsc::UnboundedReceiver<ToExecutor>,
}

impl House {
    fn new() -> Self {
        let exchange = Arc::new(Exchange::new(Settings::default()));
        let registry = Arc::new(Memory::new(Arc::new(System)));
        let node = OwnerId::from_uuid(Uuid::now_v7());
        let tunnels = Arc::new(Tunnels::new(exchange.clone(), registry.clone(), node));
        Self {
            exchange,
            registry,
            tunnels,
        }
    }

    async fn registered(&self, workspace: WorkspaceId) -> Executor {
        let minted = self.registry.mint_code(workspace, Uuid::now_v7()).await.unwrap();
        let token = ExecutorToken::new(ExecutorId::from_uuid(Uuid::now_v7()), [1; 32]);
        let new = NewExecutor {
            id: token.id,
            name: "laptop".into(),
            kind: ExecutorKind::Device,
            hash: token.hash(),
        };
        self.registry.register(minted.code.hash(), new).await.unwrap()
    }

    /// Dials in, and is there.
    async fn dial(&self, who: &Executor) -> Machine {
        let (accepted, dialled) = pair();
        let (tunnels, executor) = (self.tunnels.clone(), who.clone());
        tokio::spawn(async move { tunnels.serve(&executor, accepted).await });
        let (say, outgoing) = mpsc::channel(8);
        let (incoming, mut heard) = mpsc::channel(8);
        let ends = Ends {
            outgoing,
            incoming,
            ping: None,
            beat: BEAT,
            openings: None,
            opened: None,
        };
        tokio::spawn(carry(dialled, End::Dialled, ends));
        let hello = Hello {
            version: PROTOCOL_VERSION,
            executor_id: who.id,
            journal_id: JournalId::from_uuid(who.id.uuid()),
            card: Card {
                cwd: Some(WORK.into()),
                ..Card::default()
            },
        };
        say.send(FromExecutor::Hello(hello)).await.unwrap();
        let (told, hear) = mpsc::unbounded_channel();
        let answers = say.clone();
        tokio::spawn(async move {
            while let Some(frame) = heard.recv().await {
                let kept = match frame {
                    ToExecutor::Ping { nonce } => answers.send(FromExecutor::Pong { nonce }).await.is_ok(),
                    frame => told.send(frame).is_ok(),
                };
                if !kept {
                    break;
                }
            }
        });
        // Time stands still until everybody is done with what there is.
        tokio::time::sleep(Duration::from_millis(1)).await;
        Machine { say, hear }
    }

    async fn order(&self, who: &Executor) -> Order {
        let (key, environment) = (key(who.workspace), environment(who));
        Order {
            key,
            epoch: 1,
            call_id: EventId::from_uuid(Uuid::now_v7()),
            tool: "bash".into(),
            input: Raw::of(&serde_json::json!({"command": "true"})),
            effect: Effect::Once,
            placement: self.exchange.place(key, &environment).await.unwrap(),
            environment,
            secret: None,
            mcp: None,
        }
    }
}

impl Machine {
    async fn frame(&mut self) -> Option<ToExecutor> {
        self.hear.recv().await
    }

    async fn call(&mut self) -> Call {
        match self.frame().await {
            Some(ToExecutor::Call(call)) => call,
            other => panic!("{other:?}"),
        }
    }
}

fn workspace(n: u128) -> WorkspaceId {
    WorkspaceId::from_uuid(Uuid::from_u128(n))
}

fn key(workspace: WorkspaceId) -> SessionKey {
    SessionKey {
        workspace,
        session: SessionId::from_uuid(Uuid::now_v7()),
    }
}

fn environment(who: &Executor) -> EnvironmentConfig {
    EnvironmentConfig::Local {
        executor_id: Some(who.id),
        dir: None,
        preparation: Preparation::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_reaches_the_machine_and_its_folder() {
    let house = House::new();
    let who = house.registered(workspace(1)).await;
    let mut machine = house.dial(&who).await;
    let order = house.order(&who).await;
    let exchange = house.exchange.clone();
    let calling = tokio::spawn(async move { exchange.call(order).await });
    let call = machine.call().await;
    assert_eq!(call.workspace, Workspace::Dir { path: WORK.into() });
    let outcome = Outcome::text("done", false);
    let result = FromExecutor::Result {
        session: call.session,
        call_id: call.call_id,
        outcome: outcome.clone(),
    };
    machine.say.send(result).await.unwrap();
    assert_eq!(calling.await.unwrap().unwrap(), outcome);
    // It takes nothing over that does not name it.
    let nowhere = EnvironmentConfig::Local {
        executor_id: None,
        dir: None,
        preparation: Preparation::default(),
    };
    assert!(house.exchange.place(key(who.workspace), &nowhere).await.is_err());
}

/// S1: a machine is its workspace's, whatever a session of another one names, in its environment or in its log.
#[tokio::test(start_paused = true)]
async fn another_workspace_does_not_reach_it() {
    let house = House::new();
    let (mine, theirs) = (
        house.registered(workspace(1)).await,
        house.registered(workspace(2)).await,
    );
    let (mut my_machine, mut their_machine) = (house.dial(&mine).await, house.dial(&theirs).await);
    let foreign = key(workspace(2));
    assert!(house.exchange.place(foreign, &environment(&mine)).await.is_err());
    let forged = Order {
        key: foreign,
        ..house.order(&mine).await
    };
    let called = house.exchange.call(forged.clone()).await;
    assert!(matches!(called, Err(CallError::Unknown(_))), "{called:?}");
    let settled = house.exchange.settle(forged.clone()).await;
    assert!(matches!(settled, Ok(Settled::InDoubt { .. })), "{settled:?}");
    assert!(house.exchange.output(&forged, 0).await.is_err());
    assert!(
        house
            .exchange
            .copy_workspace(foreign.session, foreign.session, Some(mine.id))
            .await
            .is_err()
    );
    // Nor does it hear whose calls are cancelled or sessions forgotten.
    house.exchange.cancel(foreign, 1, forged.call_id).await;
    house.exchange.drop_output(foreign, forged.call_id).await;
    house.exchange.forget(foreign.session, None).await;
    assert!(matches!(their_machine.frame().await, Some(ToExecutor::Cancel { .. })));
    assert!(matches!(
        their_machine.frame().await,
        Some(ToExecutor::DropOutput { .. })
    ));
    let order = house.order(&mine).await;
    let call_id = order.call_id;
    let exchange = house.exchange.clone();
    let calling = tokio::spawn(async move { exchange.call(order).await });
    assert_eq!(
        my_machine.call().await.call_id,
        call_id,
        "the first it hears is its own call"
    );
    calling.abort();
}

#[tokio::test(start_paused = true)]
async fn the_newest_connection_counts_and_the_older_one_is_told() {
    let house = House::new();
    let who = house.registered(workspace(1)).await;
    let mut old = house.dial(&who).await;
    let mut new = house.dial(&who).await;
    let told = ToExecutor::Dismissed {
        reason: Dismissal::Replaced,
    };
    assert_eq!(old.frame().await, Some(told));
    assert_eq!(old.frame().await, None);
    let order = house.order(&who).await;
    let exchange = house.exchange.clone();
    let calling = tokio::spawn(async move { exchange.call(order).await });
    new.call().await;
    calling.abort();
    let row = house.registry.holder(who.id).await.unwrap().unwrap();
    assert!(row.online && row.generation == 2, "{row:?}");
}

/// What happens in another process is found out: removed there, or connected there.
#[tokio::test(start_paused = true)]
async fn what_other_processes_do_is_noticed() {
    let house = House::new();
    let tending = house.tunnels.clone();
    tokio::spawn(async move { tending.tend().await });
    let (removed, moved, stays) = (
        house.registered(workspace(1)).await,
        house.registered(workspace(1)).await,
        house.registered(workspace(1)).await,
    );
    let mut machines = Vec::new();
    for who in [&removed, &moved, &stays] {
        machines.push(house.dial(who).await);
    }
    let began = tokio::time::Instant::now();
    house.registry.remove(removed.workspace, removed.id).await.unwrap();
    let elsewhere = OwnerId::from_uuid(Uuid::now_v7());
    let connected = house
        .registry
        .connect(moved.workspace, moved.id, elsewhere, None, &Card::default())
        .await;
    assert_eq!(connected.unwrap(), Some(2));
    for (machine, reason) in machines.iter_mut().zip([Dismissal::Removed, Dismissal::Replaced]) {
        assert_eq!(machine.frame().await, Some(ToExecutor::Dismissed { reason }));
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    house.tunnels.close();
    assert_eq!(machines[2].frame().await, None, "no reason: it dials again");
    let row = house.registry.holder(moved.id).await.unwrap().unwrap();
    assert_eq!((row.node, row.generation), (Some(elsewhere), 2));
}

fn agent(executors: &[Attachment]) -> AgentSnapshot {
    let raw = serde_json::json!({
        "id": AgentId::from_uuid(Uuid::nil()), "type": "agent", "version": 1, "name": "a", "model": {"id": "m"},
        "system": null, "description": null, "mcp_servers": [], "skills": [], "multiagent": null, "executors": executors,
        "tools": [{"type": "agent_toolset_20260401", "configs": [],
            "default_config": {"enabled": true, "permission_policy": {"type": "auto"}}}],
    });
    serde_json::from_value(raw).unwrap()
}

fn attached(who: &Executor, name: &str) -> Attachment {
    Attachment {
        executor_id: who.id,
        name: name.into(),
        dir: None,
    }
}

/// What the model may choose from: those of the workspace that were not removed, also when they are away, each described as it was
/// when it connected last.
#[tokio::test(start_paused = true)]
async fn a_catalogue_names_what_is_attached() {
    let house = House::new();
    let (mine, away, theirs) = (
        house.registered(workspace(1)).await,
        house.registered(workspace(1)).await,
        house.registered(workspace(2)).await,
    );
    let _machines = (house.dial(&mine).await, house.dial(&theirs).await);
    let executors = vec![
        attached(&mine, "laptop"),
        attached(&away, "desk"),
        attached(&theirs, "theirs"),
    ];
    let here = EnvironmentConfig::Local {
        executor_id: None,
        dir: Some("/srv".into()),
        preparation: Preparation::default(),
    };
    let offered = async |executors: Vec<Attachment>, environment: &EnvironmentConfig| {
        let tools = house
            .exchange
            .catalogue(key(workspace(1)), &agent(&executors), environment)
            .await;
        tools
            .into_iter()
            .map(|tool| {
                let names = tool.choices.iter().map(|choice| choice.name.clone());
                (
                    tool.name.clone(),
                    names.collect::<Vec<_>>(),
                    tool.input_schema["properties"]["executor"].clone(),
                )
            })
            .collect::<Vec<_>>()
    };
    let tools = offered(executors.clone(), &here).await;
    // It says itself that it has no tools at all.
    assert_eq!(tools[0].0, "bash");
    assert_eq!(tools[0].1, ["desk", "server"]);
    let told = tools[0].2["description"].as_str().unwrap();
    assert!(
        told.contains("- desk: somebody's machine\n- server: the server's machine, works in /srv"),
        "{told}"
    );
    assert!(!told.contains("theirs"));
    // The same again, whoever hung up meanwhile; and without one that was removed.
    assert_eq!(offered(executors.clone(), &here).await, tools);
    house.registry.remove(workspace(1), away.id).await.unwrap();
    assert_eq!(offered(executors.clone(), &here).await[0].1, ["server"]);
    // Alone, it is the environment's and there is nothing to choose.
    let tools = offered(Vec::new(), &environment(&away)).await;
    assert!(
        tools
            .iter()
            .all(|(_, choices, argument)| choices.is_empty() && argument.is_null())
    );
}

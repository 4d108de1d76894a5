//! Sandboxes: a session has one at a time, and its state is changed by whoever saw it last.

use perennial_engine::ports::{NewSandbox, SandboxSpec, SandboxState, SessionKey};
use perennial_schema::environment::Cpus;
use perennial_schema::{ExecutorId, SessionId};
use uuid::Uuid;

use super::fixture::{Desk, tenant};

super::on_every_registry!(
    a_session_has_one_sandbox_at_a_time,
    a_state_is_changed_by_who_saw_it_last,
    an_instance_sees_its_own,
    what_lives_is_not_forgotten,
);

fn id() -> ExecutorId {
    ExecutorId::from_uuid(Uuid::now_v7())
}

fn session(desk: &Desk) -> SessionKey {
    SessionKey {
        workspace: desk.workspace,
        session: SessionId::from_uuid(Uuid::now_v7()),
    }
}

fn new(key: SessionKey, instance: ExecutorId) -> NewSandbox {
    NewSandbox {
        executor: id(),
        key,
        instance,
        spec: SandboxSpec {
            image: "debian:stable-slim".into(),
            cpu: Cpus::thousandths(1500),
            memory: 1 << 30,
            disk: None,
            idle_timeout: 900,
        },
    }
}

async fn a_session_has_one_sandbox_at_a_time(desk: Desk) {
    let (key, instance) = (session(&desk), id());
    assert_eq!(desk.sandboxes.live(key).await.unwrap(), None);
    // Many at once, and one of them is it.
    let claims = (0..8).map(|_| desk.sandboxes.claim(new(key, instance)));
    let claimed = futures_util::future::join_all(claims).await;
    let first = claimed[0].as_ref().unwrap().clone();
    assert_eq!((first.state.clone(), first.revision), (SandboxState::Provisioning, 0));
    for other in claimed {
        assert_eq!(other.unwrap(), first);
    }
    assert_eq!(desk.elsewhere_sandboxes.live(key).await.unwrap(), Some(first.clone()));
    let stranger = SessionKey {
        workspace: tenant(),
        ..key
    };
    assert_eq!(desk.sandboxes.live(stranger).await.unwrap(), None);
    // The next one when that is over.
    assert!(desk.sandboxes.retire(key.session).await.unwrap());
    assert!(!desk.sandboxes.retire(key.session).await.unwrap());
    assert_eq!(desk.sandboxes.live(key).await.unwrap(), None);
    let next = desk.sandboxes.claim(new(key, instance)).await.unwrap();
    assert_ne!(next.executor, first.executor);
    let gone = desk.sandboxes.sandbox(first.executor).await.unwrap().unwrap();
    assert_eq!((gone.state, gone.spec), (SandboxState::Gone, first.spec));
}

async fn a_state_is_changed_by_who_saw_it_last(desk: Desk) {
    let made = desk.sandboxes.claim(new(session(&desk), id())).await.unwrap();
    desk.clock.advance(1000);
    let ready = desk
        .sandboxes
        .change(made.executor, 0, &SandboxState::Ready)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((ready.state.clone(), ready.revision), (SandboxState::Ready, 1));
    assert!(ready.changed_at > made.changed_at);
    // Whoever saw it before is too late, whatever it wants.
    let late = desk
        .elsewhere_sandboxes
        .change(made.executor, 0, &SandboxState::Gone)
        .await
        .unwrap();
    assert_eq!(late, None);
    assert_eq!(desk.sandboxes.sandbox(made.executor).await.unwrap(), Some(ready));
    let failed = SandboxState::Failed {
        reason: "no such image: a/b\n\u{1f980}".into(),
    };
    desk.elsewhere_sandboxes
        .change(made.executor, 1, &failed)
        .await
        .unwrap()
        .unwrap();
    let seen = desk.sandboxes.sandbox(made.executor).await.unwrap().unwrap();
    assert_eq!((seen.state, seen.revision), (failed, 2));
    assert_eq!(
        desk.sandboxes.change(id(), 0, &SandboxState::Ready).await.unwrap(),
        None
    );
}

async fn an_instance_sees_its_own(desk: Desk) {
    let (mine, other) = (id(), id());
    let first = desk.sandboxes.claim(new(session(&desk), mine)).await.unwrap();
    let second = desk.sandboxes.claim(new(session(&desk), mine)).await.unwrap();
    desk.sandboxes.claim(new(session(&desk), other)).await.unwrap();
    let mut seen = desk.elsewhere_sandboxes.of_instance(mine).await.unwrap();
    seen.sort_by_key(|sandbox| sandbox.executor);
    assert_eq!(seen, [first, second]);
    assert_eq!(desk.sandboxes.of_instance(id()).await.unwrap(), []);
}

async fn what_lives_is_not_forgotten(desk: Desk) {
    let made = desk.sandboxes.claim(new(session(&desk), id())).await.unwrap();
    for (revision, state) in [SandboxState::Ready, SandboxState::Paused].iter().enumerate() {
        desk.sandboxes.forget(made.executor).await.unwrap();
        let changed = desk
            .sandboxes
            .change(made.executor, revision as u64, state)
            .await
            .unwrap();
        assert!(changed.is_some());
    }
    desk.sandboxes.retire(made.key.session).await.unwrap();
    for _ in 0..2 {
        desk.sandboxes.forget(made.executor).await.unwrap();
        assert_eq!(desk.sandboxes.sandbox(made.executor).await.unwrap(), None);
    }
}

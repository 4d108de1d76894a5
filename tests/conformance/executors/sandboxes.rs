//! Sandboxes: a session has one at a time, whoever sees it last changes its state, and one that is used is not paused.

use std::time::Duration;

use perennial_engine::ports::{NewSandbox, SANDBOX_USE, Sandbox, SandboxState, SessionKey};
use perennial_schema::environment::{Container, Cpus};
use perennial_schema::{ExecutorId, OwnerId, SessionId};
use uuid::Uuid;

use super::fixture::{Desk, process, tenant};

super::on_every_registry!(
    a_session_has_one_sandbox_at_a_time,
    a_state_is_changed_by_who_saw_it_last,
    one_that_is_wanted_is_taken_once,
    one_that_nobody_waits_for_is_not_taken,
    an_instance_sees_its_own,
    one_that_is_used_is_not_paused,
    a_use_and_a_pause_do_not_miss_each_other,
    of_two_users_the_last_one_counts,
    many_uses_are_said_at_once,
    what_is_to_be_done_is_known,
    troubles_are_counted,
    what_lives_is_not_forgotten,
);

pub(super) fn id() -> ExecutorId {
    ExecutorId::from_uuid(Uuid::now_v7())
}

fn session(desk: &Desk) -> SessionKey {
    SessionKey {
        workspace: desk.workspace,
        session: SessionId::from_uuid(Uuid::now_v7()),
    }
}

fn new(key: SessionKey, by: OwnerId) -> NewSandbox {
    NewSandbox {
        executor: id(),
        key,
        container: Container {
            image: Some("debian:stable-slim".into()),
            cpu: Some(Cpus::thousandths(1500)),
            idle_timeout: Some(900),
            ..Container::default()
        },
        by,
    }
}

/// One that a process wants for a session of its own.
pub(super) async fn wanted(desk: &Desk, by: OwnerId) -> Sandbox {
    desk.sandboxes.want(new(session(desk), by)).await.unwrap()
}

/// The same, taken by an instance and in a state.
pub(super) async fn made(desk: &Desk, by: OwnerId, instance: ExecutorId, state: SandboxState) -> Sandbox {
    let wanted = wanted(desk, by).await;
    let adopted = desk.sandboxes.adopt(instance, 100).await.unwrap();
    let revision = adopted
        .iter()
        .find(|sandbox| sandbox.executor == wanted.executor)
        .unwrap()
        .revision;
    let changed = desk.sandboxes.change(wanted.executor, revision, &state).await.unwrap();
    changed.unwrap()
}

fn after(moment: Duration) -> i64 {
    i64::try_from(moment.as_millis()).unwrap()
}

async fn a_session_has_one_sandbox_at_a_time(desk: Desk) {
    let (key, by) = (session(&desk), process());
    assert_eq!(desk.sandboxes.live(key).await.unwrap(), None);
    assert!(!desk.sandboxes.houses(key.session).await.unwrap());
    // Many at once, and one of them is it.
    let wants = (0..8).map(|_| desk.sandboxes.want(new(key, by)));
    let wanted = futures_util::future::join_all(wants).await;
    let first = wanted[0].as_ref().unwrap().clone();
    assert_eq!((first.state.clone(), first.revision), (SandboxState::Provisioning, 0));
    assert_eq!((first.instance, first.unused_for), (None, None));
    for other in wanted {
        assert_eq!(other.unwrap(), first);
    }
    assert_eq!(desk.elsewhere_sandboxes.live(key).await.unwrap(), Some(first.clone()));
    assert!(desk.elsewhere_sandboxes.houses(key.session).await.unwrap());
    let stranger = SessionKey {
        workspace: tenant(),
        ..key
    };
    assert_eq!(desk.sandboxes.live(stranger).await.unwrap(), None);
    // The next one when that is over.
    let retired = desk.sandboxes.retire(key.session).await.unwrap();
    assert_eq!(retired, Some(first.executor));
    assert_eq!(desk.sandboxes.retire(key.session).await.unwrap(), None);
    assert_eq!(desk.sandboxes.live(key).await.unwrap(), None);
    let next = desk.sandboxes.want(new(key, by)).await.unwrap();
    assert_ne!(next.executor, first.executor);
    let gone = desk.sandboxes.sandbox(first.executor).await.unwrap().unwrap();
    assert_eq!((gone.state, gone.container), (SandboxState::Gone, first.container));
}

async fn a_state_is_changed_by_who_saw_it_last(desk: Desk) {
    let made = wanted(&desk, process()).await;
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
    assert_eq!(
        desk.sandboxes.sandbox(made.executor).await.unwrap(),
        Some(ready.clone())
    );
    desk.clock.advance(5000);
    let seen = desk.sandboxes.sandbox(made.executor).await.unwrap().unwrap();
    assert_eq!(
        (ready.unchanged_for, seen.unchanged_for),
        (Duration::ZERO, Duration::from_secs(5))
    );
    let failed = SandboxState::Failed {
        reason: "could not be made: no such image: a/b\n\u{1f980}".into(),
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

async fn one_that_is_wanted_is_taken_once(desk: Desk) {
    // The store may be shared with other cases: what is counted is ours.
    let (by, instances) = (process(), [id(), id(), id(), id()]);
    let mut mine = Vec::new();
    for _ in 0..12 {
        mine.push(wanted(&desk, by).await.executor);
    }
    let takes = instances.iter().enumerate().map(|(n, instance)| {
        let store = if n % 2 == 0 {
            &desk.sandboxes
        } else {
            &desk.elsewhere_sandboxes
        };
        async move {
            let mut taken = Vec::new();
            loop {
                let some = store.adopt(*instance, 2).await.unwrap();
                assert!(some.len() <= 2);
                if some.is_empty() {
                    return taken;
                }
                assert!(some.iter().all(|sandbox| sandbox.instance == Some(*instance)));
                taken.extend(some.into_iter().map(|sandbox| sandbox.executor));
            }
        }
    });
    let taken = futures_util::future::join_all(takes).await;
    let mut all: Vec<_> = taken
        .concat()
        .into_iter()
        .filter(|executor| mine.contains(executor))
        .collect();
    all.sort();
    mine.sort();
    assert_eq!(all, mine, "each is taken, and by one alone");
    for (instance, taken) in instances.iter().zip(taken) {
        let known = desk.sandboxes.of_instance(*instance).await.unwrap();
        assert_eq!(known.len(), taken.len());
    }
}

async fn one_that_nobody_waits_for_is_not_taken(desk: Desk) {
    let (by, instance) = (process(), id());
    let left = wanted(&desk, by).await;
    desk.clock.advance(after(SANDBOX_USE));
    assert_eq!(desk.sandboxes.adopt(instance, 100).await.unwrap(), []);
    // Whoever comes again finds it, and then it is.
    assert_eq!(
        desk.sandboxes.want(new(left.key, by)).await.unwrap().executor,
        left.executor
    );
    assert_eq!(desk.sandboxes.adopt(instance, 100).await.unwrap(), []);
    desk.sandboxes
        .hold(desk.workspace, left.executor, by)
        .await
        .unwrap()
        .unwrap();
    let taken = desk.sandboxes.adopt(instance, 100).await.unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].executor, taken[0].revision), (left.executor, 1));
    // Who saw it before that is too late.
    let late = desk
        .sandboxes
        .change(
            left.executor,
            0,
            &SandboxState::Failed {
                reason: "nobody".into(),
            },
        )
        .await;
    assert_eq!(late.unwrap(), None);
}

async fn an_instance_sees_its_own(desk: Desk) {
    let (by, mine, other) = (process(), id(), id());
    let first = made(&desk, by, mine, SandboxState::Ready).await;
    let second = made(&desk, by, mine, SandboxState::Paused).await;
    made(&desk, by, other, SandboxState::Ready).await;
    let mut seen = desk.elsewhere_sandboxes.of_instance(mine).await.unwrap();
    seen.sort_by_key(|sandbox| sandbox.executor);
    assert_eq!(seen, [first, second]);
    assert_eq!(desk.sandboxes.of_instance(id()).await.unwrap(), []);
}

async fn one_that_is_used_is_not_paused(desk: Desk) {
    let (by, idle) = (process(), Duration::from_secs(60));
    let ready = made(&desk, by, id(), SandboxState::Ready).await;
    let pause = async |revision| {
        desk.elsewhere_sandboxes
            .pause(ready.executor, revision, idle)
            .await
            .unwrap()
    };
    assert_eq!(pause(ready.revision).await, None);
    // Nobody uses what is another tenant's.
    assert_eq!(desk.sandboxes.hold(tenant(), ready.executor, by).await.unwrap(), None);
    // Its last user says that it has not used it for a minute, and it has not.
    let held = desk
        .sandboxes
        .hold(desk.workspace, ready.executor, by)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((held.unused_for, held.revision), (None, ready.revision));
    desk.clock.advance(10_000);
    desk.sandboxes
        .release(ready.executor, by, held.used_until, Duration::from_secs(4))
        .await
        .unwrap();
    let seen = desk.sandboxes.sandbox(ready.executor).await.unwrap().unwrap();
    assert_eq!(seen.unused_for, Some(Duration::from_secs(4)));
    desk.clock.advance(55_999);
    assert_eq!(pause(ready.revision).await, None);
    desk.clock.advance(1);
    assert_eq!(pause(ready.revision + 1).await, None, "somebody saw it otherwise");
    let paused = pause(ready.revision).await.unwrap();
    assert_eq!(
        (paused.state, paused.revision),
        (SandboxState::Paused, ready.revision + 1)
    );
    assert_eq!(pause(ready.revision + 1).await, None, "it is");
    // Whoever uses it now is told that it is paused.
    let held = desk
        .sandboxes
        .hold(desk.workspace, ready.executor, by)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((held.state, held.unused_for), (SandboxState::Paused, None));
    assert_eq!(desk.sandboxes.hold(desk.workspace, id(), by).await.unwrap(), None);
}

async fn a_use_and_a_pause_do_not_miss_each_other(desk: Desk) {
    let (by, instance) = (process(), id());
    let (mut used, mut paused) = (0, 0);
    for round in 0..40 {
        let ready = made(&desk, by, instance, SandboxState::Ready).await;
        let until = ready.used_until;
        desk.sandboxes
            .release(ready.executor, by, until, Duration::from_secs(60))
            .await
            .unwrap();
        let hold = desk.sandboxes.hold(desk.workspace, ready.executor, by);
        let pause = desk
            .elsewhere_sandboxes
            .pause(ready.executor, ready.revision, Duration::from_secs(60));
        // Neither is always the first to be asked.
        let (held, pause) = if round % 2 == 0 {
            futures_util::join!(hold, pause)
        } else {
            let (pause, held) = futures_util::join!(pause, hold);
            (held, pause)
        };
        match (held.unwrap().unwrap().state, pause.unwrap()) {
            (SandboxState::Ready, None) => used += 1,
            (SandboxState::Paused, Some(_)) => paused += 1,
            other => panic!("it is used and paused, or neither: {other:?}"),
        }
    }
    assert!(
        used > 0 && paused > 0,
        "{used} and {paused}: one of them always came first"
    );
}

async fn of_two_users_the_last_one_counts(desk: Desk) {
    let (one, two) = (process(), process());
    let ready = made(&desk, one, id(), SandboxState::Ready).await;
    let executor = ready.executor;
    let unused = async || {
        let seen = desk.sandboxes.sandbox(executor).await.unwrap().unwrap();
        seen.unused_for
    };
    let second = desk
        .elsewhere_sandboxes
        .hold(desk.workspace, executor, two)
        .await
        .unwrap()
        .unwrap();
    desk.clock.advance(1000);
    // Neither of the two knows about the other.
    let first = desk
        .sandboxes
        .hold(desk.workspace, executor, one)
        .await
        .unwrap()
        .unwrap();
    for (who, until) in [(one, first.used_until), (two, second.used_until)] {
        desk.sandboxes
            .release(executor, who, until, Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(unused().await, None);
    }
    // When both are silent it is unused; then there is one again.
    desk.clock.advance(after(SANDBOX_USE) + 1);
    assert_eq!(unused().await, Some(Duration::from_millis(1)));
    let alone = desk
        .sandboxes
        .hold(desk.workspace, executor, two)
        .await
        .unwrap()
        .unwrap();
    desk.clock.advance(1);
    let again = desk
        .sandboxes
        .hold(desk.workspace, executor, two)
        .await
        .unwrap()
        .unwrap();
    // What it said before that holds no more.
    desk.sandboxes
        .release(executor, two, alone.used_until, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(unused().await, None);
    desk.sandboxes
        .release(executor, two, again.used_until, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(unused().await, Some(Duration::ZERO));
}

async fn many_uses_are_said_at_once(desk: Desk) {
    let (by, instance) = (process(), id());
    let first = made(&desk, by, instance, SandboxState::Ready).await;
    let second = made(&desk, by, instance, SandboxState::Ready).await;
    let other = made(&desk, by, instance, SandboxState::Ready).await;
    desk.clock.advance(after(SANDBOX_USE));
    assert_eq!(desk.sandboxes.hold_all(&[], by).await.unwrap(), []);
    let mut held = desk
        .sandboxes
        .hold_all(&[first.executor, second.executor, id()], by)
        .await
        .unwrap();
    held.sort();
    let mut expected = Vec::new();
    for sandbox in desk.sandboxes.of_instance(instance).await.unwrap() {
        let used = sandbox.unused_for.is_none();
        assert_eq!(used, sandbox.executor != other.executor);
        expected.extend(used.then_some((sandbox.executor, sandbox.used_until)));
    }
    assert_eq!(held, expected);
}

async fn what_is_to_be_done_is_known(desk: Desk) {
    let (by, instance) = (process(), id());
    let stirs = async || desk.elsewhere_sandboxes.stirs(instance).await.unwrap();
    let orphan = wanted(&desk, by).await;
    assert!(stirs().await, "there is one to take");
    let taken = desk.sandboxes.adopt(instance, 100).await.unwrap();
    let revision = taken
        .iter()
        .find(|sandbox| sandbox.executor == orphan.executor)
        .unwrap()
        .revision;
    assert!(stirs().await, "and to make");
    let ready = desk
        .sandboxes
        .change(orphan.executor, revision, &SandboxState::Ready)
        .await
        .unwrap()
        .unwrap();
    assert!(!stirs().await);
    let paused = desk
        .sandboxes
        .change(orphan.executor, ready.revision, &SandboxState::Paused)
        .await
        .unwrap()
        .unwrap();
    assert!(stirs().await, "somebody uses it");
    desk.clock.advance(after(SANDBOX_USE));
    assert!(!stirs().await);
    desk.sandboxes.retire(paused.key.session).await.unwrap().unwrap();
    assert!(stirs().await, "it is over");
    desk.sandboxes.forget(orphan.executor).await.unwrap();
    assert!(!stirs().await);
}

async fn troubles_are_counted(desk: Desk) {
    let made = wanted(&desk, process()).await;
    assert_eq!((made.troubles, made.trouble), (0, None));
    for (troubles, what) in [(1, "no room"), (2, "no engine\0")] {
        desk.sandboxes.trouble(made.executor, what).await.unwrap();
        let seen = desk.elsewhere_sandboxes.sandbox(made.executor).await.unwrap().unwrap();
        assert_eq!((seen.troubles, seen.revision), (troubles, 0));
        assert!(seen.trouble.unwrap().starts_with(what.trim_end_matches('\0')));
    }
}

async fn what_lives_is_not_forgotten(desk: Desk) {
    let made = wanted(&desk, process()).await;
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

//! Who makes sandboxes: one process for each instance, and what becomes of those of an instance that is gone.

use std::time::Duration;

use perennial_engine::ports::{
    NewSandboxHost, SANDBOX_HOST_KEPT, SANDBOX_HOST_ONLINE, SandboxHost, SandboxSpec, SandboxState,
};
use perennial_schema::ExecutorId;
use perennial_schema::environment::Cpus;

use super::fixture::{Desk, process};
use super::sandboxes::{id, made, wanted};

super::on_every_registry!(
    an_instance_has_one_host,
    a_host_is_known_while_it_is_heard_of_or_has_something,
    what_a_lost_host_made_is_given_up,
    what_is_over_is_left_to_its_host,
);

fn host(instance: ExecutorId, home: &str) -> NewSandboxHost {
    NewSandboxHost {
        instance,
        node: process(),
        home: home.into(),
        engine: Some("Docker 27 with runc".into()),
        trouble: None,
        defaults: SandboxSpec {
            image: "debian:stable-slim".into(),
            cpu: Cpus::thousandths(2000),
            memory: 1 << 30,
            disk: None,
            idle_timeout: 1800,
        },
        lost_after: Duration::from_secs(600),
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap()
}

/// Of the hosts of this case: the store may have others'.
async fn known(desk: &Desk, instance: ExecutorId) -> Option<SandboxHost> {
    let hosts = desk.hosts.sandbox_hosts().await.unwrap();
    hosts.into_iter().find(|host| host.host.instance == instance)
}

async fn an_instance_has_one_host(desk: Desk) {
    let instance = id();
    assert_eq!(known(&desk, instance).await, None);
    let first = host(instance, "box:/data");
    for _ in 0..2 {
        assert!(desk.hosts.present(&first).await.unwrap());
    }
    let seen = known(&desk, instance).await.unwrap();
    assert_eq!((&seen.host, seen.unseen_for), (&first, Duration::ZERO));
    assert!(seen.online() && !seen.lost());
    // A copy of its data directory elsewhere must not, as long as it is there.
    let copy = host(instance, "clone:/data");
    assert!(!desk.hosts.present(&copy).await.unwrap());
    assert_eq!(known(&desk, instance).await.unwrap().host, first);
    // The next process in the same place may at once, and says other things.
    let next = NewSandboxHost {
        trouble: Some("no engine answers".into()),
        engine: None,
        ..host(instance, "box:/data")
    };
    assert!(desk.hosts.present(&next).await.unwrap());
    assert_eq!(known(&desk, instance).await.unwrap().host, next);
    desk.clock.advance(millis(SANDBOX_HOST_ONLINE) - 1);
    assert!(!desk.hosts.present(&copy).await.unwrap());
    assert!(known(&desk, instance).await.unwrap().online());
    desk.clock.advance(1);
    assert!(!known(&desk, instance).await.unwrap().online());
    assert!(desk.hosts.present(&copy).await.unwrap());
    assert!(!desk.hosts.present(&next).await.unwrap());
}

async fn a_host_is_known_while_it_is_heard_of_or_has_something(desk: Desk) {
    let (by, idle, full) = (process(), id(), id());
    let sandbox = made(&desk, by, full, SandboxState::Paused).await;
    for instance in [full, idle] {
        assert!(desk.hosts.present(&host(instance, "box:/data")).await.unwrap());
        desk.clock.advance(1);
    }
    // Heard of last first.
    let hosts = desk.hosts.sandbox_hosts().await.unwrap();
    let order: Vec<_> = hosts.iter().map(|host| host.host.instance).collect();
    let at = |instance| order.iter().position(|known| *known == instance).unwrap();
    assert!(at(idle) < at(full));
    desk.clock.advance(millis(SANDBOX_HOST_KEPT));
    assert_eq!(known(&desk, idle).await, None);
    assert!(known(&desk, full).await.unwrap().lost());
    // It does not go while it has any.
    desk.hosts.resign(full).await.unwrap();
    assert!(known(&desk, full).await.is_some());
    desk.sandboxes.retire(sandbox.key.session).await.unwrap().unwrap();
    desk.hosts.resign(full).await.unwrap();
    assert_eq!(known(&desk, full).await, None);
}

async fn what_a_lost_host_made_is_given_up(desk: Desk) {
    let (by, instance) = (process(), id());
    assert!(desk.hosts.present(&host(instance, "box:/data")).await.unwrap());
    let ready = made(&desk, by, instance, SandboxState::Ready).await;
    let give_up = async |revision| {
        desk.elsewhere_sandboxes
            .give_up(ready.executor, revision, "is lost")
            .await
            .unwrap()
    };
    desk.clock.advance(599_999);
    assert_eq!(give_up(ready.revision).await, None);
    desk.clock.advance(1);
    assert_eq!(give_up(ready.revision + 1).await, None);
    let lost = give_up(ready.revision).await.unwrap();
    let reason = "is lost".into();
    assert_eq!(lost.state, SandboxState::Failed { reason });
    // Its session gets another one.
    assert_eq!(desk.sandboxes.live(ready.key).await.unwrap(), None);
    // One that nobody has taken has no host to lose.
    let orphan = wanted(&desk, by).await;
    let given = desk.sandboxes.give_up(orphan.executor, 0, "is lost").await;
    assert_eq!(given.unwrap(), None);
}

async fn what_is_over_is_left_to_its_host(desk: Desk) {
    let (by, there, away) = (process(), id(), id());
    for instance in [there, away] {
        assert!(desk.hosts.present(&host(instance, "box:/data")).await.unwrap());
    }
    let kept = made(&desk, by, there, SandboxState::Gone).await;
    let left = made(&desk, by, away, SandboxState::Gone).await;
    let alive = made(&desk, by, away, SandboxState::Paused).await;
    let orphan = wanted(&desk, by).await;
    desk.sandboxes.retire(orphan.key.session).await.unwrap().unwrap();
    let abandoned = async || {
        let all = desk.elsewhere_sandboxes.abandoned().await.unwrap();
        let ours = [kept.executor, left.executor, alive.executor, orphan.executor];
        let all = all.into_iter().map(|sandbox| sandbox.executor);
        all.filter(|executor| ours.contains(executor)).collect::<Vec<_>>()
    };
    assert_eq!(abandoned().await, []);
    desk.clock.advance(60_000);
    assert_eq!(abandoned().await, [orphan.executor]);
    desk.clock.advance(540_000);
    assert!(desk.hosts.present(&host(there, "box:/data")).await.unwrap());
    let mut expected = [left.executor, orphan.executor];
    expected.sort();
    assert_eq!(abandoned().await, expected);
}

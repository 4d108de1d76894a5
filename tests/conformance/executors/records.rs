//! Records: named, listed, and nobody else's.

use perennial_engine::ports::ExecutorListing;

use super::fixture::{Desk, tenant, token};

super::on_every_registry!(executors_have_names, executors_are_listed_newest_first);

async fn executors_have_names(desk: Desk) {
    let machine = desk.machine().await;
    let name = "Zoë's \"laptop\" ?";
    let renamed = desk
        .registry
        .rename(desk.workspace, machine.id, name)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((renamed.name.as_str(), renamed.id), (name, machine.id));
    assert_eq!(
        desk.elsewhere.executor(desk.workspace, machine.id).await.unwrap(),
        Some(renamed)
    );
    assert_eq!(desk.registry.rename(tenant(), machine.id, "mine").await.unwrap(), None);
    assert_eq!(desk.registry.executor(tenant(), machine.id).await.unwrap(), None);
}

async fn executors_are_listed_newest_first(desk: Desk) {
    let mut made = Vec::new();
    for n in 0..5 {
        let code = desk.code().await;
        made.push(desk.register(&code, &token(n)).await.unwrap());
        // Two of them at the same moment.
        desk.clock.advance(i64::from(n % 2));
    }
    made.sort_by_key(|executor| std::cmp::Reverse((executor.created_at, executor.id)));
    let page = |workspace, cursor, limit| ExecutorListing {
        workspace,
        cursor,
        limit,
    };
    let (mut listed, mut cursor) = (Vec::new(), None);
    loop {
        let found = desk.registry.executors(page(desk.workspace, cursor, 2)).await.unwrap();
        let Some(last) = found.last() else { break };
        cursor = Some((last.created_at, last.id));
        listed.extend(found);
    }
    assert_eq!(listed, made);
    assert_eq!(desk.registry.executors(page(tenant(), None, 9)).await.unwrap(), []);
}

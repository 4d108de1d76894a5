//! Codes: ten minutes, one machine.

use perennial_engine::ports::{CodeError, EXECUTOR_CODE_MILLIS, RegisterError};
use perennial_schema::ExecutorToken;
use uuid::Uuid;

use super::fixture::{Desk, tenant, token};

const LIFE: i64 = EXECUTOR_CODE_MILLIS.cast_signed();

super::on_every_registry!(
    a_code_takes_one_machine_into_its_workspace,
    the_same_machine_may_say_so_again,
    a_code_ends,
    a_code_is_made_once,
    of_many_machines_one_gets_in,
);

async fn a_code_takes_one_machine_into_its_workspace(desk: Desk) {
    let (code, mine) = (desk.code().await, token(1));
    let executor = desk.register(&code, &mine).await.unwrap();
    assert_eq!((executor.id, executor.workspace), (mine.id, desk.workspace));
    assert_eq!(
        (executor.name.as_str(), executor.generation, executor.online),
        ("laptop", 0, false)
    );
    assert_eq!(
        (executor.card.clone(), executor.node, executor.last_seen_at),
        (None, None, None)
    );
    let stored = desk.elsewhere.holder(mine.id).await.unwrap().unwrap();
    assert_eq!(stored, executor);
    assert!(stored.hash.matches(&mine) && !stored.hash.matches(&ExecutorToken::new(mine.id, [2; 32])));
    let second = desk.register(&code, &token(2)).await;
    assert!(matches!(second, Err(RegisterError::NoSuchCode)), "{second:?}");
}

async fn the_same_machine_may_say_so_again(desk: Desk) {
    let (code, mine) = (desk.code().await, token(1));
    let first = desk.register(&code, &mine).await.unwrap();
    assert_eq!(desk.register(&code, &mine).await.unwrap(), first);
    let other = ExecutorToken::new(mine.id, [2; 32]);
    assert!(matches!(
        desk.register(&code, &other).await,
        Err(RegisterError::NoSuchCode)
    ));
}

async fn a_code_ends(desk: Desk) {
    let (early, late) = (desk.code().await, desk.code().await);
    desk.clock.advance(LIFE - 1);
    desk.register(&early, &token(1)).await.unwrap();
    desk.clock.advance(1);
    let refused = desk.register(&late, &token(2)).await;
    assert!(matches!(refused, Err(RegisterError::NoSuchCode)), "{refused:?}");
}

async fn a_code_is_made_once(desk: Desk) {
    let id = Uuid::now_v7();
    let minted = desk.registry.mint_code(desk.workspace, id).await.unwrap();
    match desk.elsewhere.mint_code(desk.workspace, id).await {
        Err(CodeError::Exists(stored)) => assert_eq!(stored, minted.stored),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        desk.registry.code(desk.workspace, id).await.unwrap(),
        Some(minted.stored)
    );
    assert_eq!(desk.registry.code(tenant(), id).await.unwrap(), None);
    // Used or expired, it is known for a day, and then forgotten when another one is made.
    desk.clock.advance(25 * 3600 * 1000);
    desk.code().await;
    assert_eq!(desk.registry.code(desk.workspace, id).await.unwrap(), None);
}

async fn of_many_machines_one_gets_in(desk: Desk) {
    let code = desk.code().await;
    let tokens: Vec<ExecutorToken> = (1..=8).map(token).collect();
    let asked = futures_util::future::join_all(tokens.iter().map(|token| desk.register(&code, token))).await;
    assert_eq!(asked.iter().filter(|asked| asked.is_ok()).count(), 1, "{asked:?}");
}

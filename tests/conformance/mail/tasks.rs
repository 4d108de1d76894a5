//! Tasks are open until they are closed, whatever becomes of their messages.

use perennial_engine::ports::{HandOver, Letter};
use perennial_schema::SessionId;
use perennial_schema::mail::{Address, Allowance, Task};
use uuid::Uuid;

use super::fixture::{Desk, ids, key, letter, session};
use crate::fixture::workspace;

super::on_every_post!(a_task_is_open_until_it_is_closed);

async fn a_task_is_open_until_it_is_closed(desk: Desk) {
    let to = session();
    let task = Task {
        chain: vec![Address::Agent("lead".into()), session()],
        max_turns: Some(3),
        max_budget: Some(Allowance::Tokens(7)),
        seconds: 60,
    };
    let written = Letter {
        task: Some(task),
        ..letter(&key(), &to)
    };
    let first = desk.send(written.clone()).await.unwrap();
    assert_eq!(desk.message(first.letter.id).await.letter, written);
    desk.send(letter(&key(), &session())).await.unwrap();
    let second = Letter {
        task: written.task.clone(),
        ..letter(&key(), &session())
    };
    let second = desk.send(second).await.unwrap();
    let mine = async |after| {
        let open = desk.elsewhere.open_tasks(after, 1_000).await.unwrap();
        let mut mine = open;
        mine.retain(|message| message.workspace == desk.workspace);
        ids(&mine)
    };
    assert_eq!(mine(0).await, [first.letter.id, second.letter.id]);
    assert_eq!(mine(first.position).await, [second.letter.id]);
    let taken = desk.post.take(10, 1_000).await.unwrap();
    let taken = taken
        .iter()
        .find(|message| message.letter.id == first.letter.id)
        .unwrap();
    let there = HandOver::Delivered(SessionId::from_uuid(Uuid::now_v7()));
    assert!(desk.post.settle(taken, &there).await.unwrap());
    assert!(desk.post.cancel(desk.workspace, second.letter.id).await.is_ok());
    // What is open is not forgotten.
    desk.clock.advance(100_000);
    desk.post.tend(1_000).await.unwrap();
    assert_eq!(mine(0).await.len(), 2);
    desk.post.close_task(workspace(), first.letter.id).await.unwrap();
    assert_eq!(mine(0).await.len(), 2, "another workspace's is another one");
    desk.post.close_task(desk.workspace, first.letter.id).await.unwrap();
    desk.post.close_task(desk.workspace, first.letter.id).await.unwrap();
    assert_eq!(mine(0).await, [second.letter.id]);
}

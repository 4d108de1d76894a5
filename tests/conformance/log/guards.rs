//! Conditions of client appends, checked inside their commit.

use perennial_engine::ports::{Append, AppendError, Guard, Ready, SessionKey};
use perennial_schema::EventId;
use perennial_schema::event::{Awaits, Draft, Permission};
use perennial_schema::session::StopReason;

use crate::fixture::{Rig, client, event_id, guarded, holder};
use crate::on_every_store;

on_every_store![
    an_answer_needs_a_tool_use_that_waits,
    a_confirmation_is_given_once,
    a_result_is_given_once,
    the_holders_answer_never_collides,
    the_holders_result_ends_every_wait,
    two_answers_in_one_append_collide,
    unguarded_answers_are_unique_too,
    self_hosted_results_may_follow_a_confirmation,
    racing_answers_have_one_winner,
    not_running_means_idle_unready_and_unheld,
    what_was_decided_by_a_head_needs_that_head,
    archived_sessions_take_nothing_but_deletion,
    deleted_sessions_take_nothing,
];

/// A session in which a tool use was appended.
async fn with(rig: &Rig, tool: Draft) -> (SessionKey, u64, EventId) {
    let (key, _, epoch) = rig.held().await;
    let id = tool.id;
    rig.append(holder(key, epoch, vec![tool])).await.unwrap();
    (key, epoch, id)
}

fn answer(key: SessionKey, event: Draft, of: EventId, awaits: Awaits) -> Append {
    let guard = Guard::Unanswered {
        tool_use_id: of,
        awaits,
    };
    guarded(client(key, vec![event], Ready::Now), guard)
}

async fn an_answer_needs_a_tool_use_that_waits(rig: Rig) {
    let (key, _, asks) = with(&rig, rig.tool_use(Permission::Ask)).await;
    let unknown = event_id();
    let cases = [
        (rig.confirmation(unknown), unknown, Awaits::Confirmation),
        (rig.custom_result(asks), asks, Awaits::CustomResult),
        (rig.tool_result(asks), asks, Awaits::ToolResult),
    ];
    for (event, of, awaits) in cases {
        let refused = rig.append(answer(key, event, of, awaits)).await;
        assert!(
            matches!(refused, Err(AppendError::NotAwaited(id)) if id == of),
            "{refused:?}"
        );
    }
    rig.append(answer(key, rig.confirmation(asks), asks, Awaits::Confirmation))
        .await
        .unwrap();
}

async fn a_confirmation_is_given_once(rig: Rig) {
    let (key, _, asks) = with(&rig, rig.tool_use(Permission::Ask)).await;
    rig.append(answer(key, rig.confirmation(asks), asks, Awaits::Confirmation))
        .await
        .unwrap();
    let before = rig.row(key).await;
    let twice = rig
        .append(answer(key, rig.confirmation(asks), asks, Awaits::Confirmation))
        .await;
    assert!(
        matches!(twice, Err(AppendError::AlreadyAnswered(id)) if id == asks),
        "{twice:?}"
    );
    assert_eq!(rig.row(key).await, before);
}

async fn a_result_is_given_once(rig: Rig) {
    let (key, _, custom) = with(&rig, rig.custom_tool_use()).await;
    rig.append(answer(key, rig.custom_result(custom), custom, Awaits::CustomResult))
        .await
        .unwrap();
    let twice = rig
        .append(answer(key, rig.custom_result(custom), custom, Awaits::CustomResult))
        .await;
    assert!(matches!(twice, Err(AppendError::AlreadyAnswered(_))), "{twice:?}");
}

async fn the_holders_answer_never_collides(rig: Rig) {
    let (key, epoch, custom) = with(&rig, rig.custom_tool_use()).await;
    rig.append(answer(key, rig.custom_result(custom), custom, Awaits::CustomResult))
        .await
        .unwrap();
    rig.append(holder(key, epoch, vec![rig.tool_result(custom)]))
        .await
        .unwrap();
}

async fn the_holders_result_ends_every_wait(rig: Rig) {
    let (key, epoch, asks) = with(&rig, rig.tool_use(Permission::Ask)).await;
    rig.append(holder(key, epoch, vec![rig.tool_result(asks)]))
        .await
        .unwrap();
    let late = rig
        .append(answer(key, rig.confirmation(asks), asks, Awaits::Confirmation))
        .await;
    assert!(matches!(late, Err(AppendError::AlreadyAnswered(_))), "{late:?}");
}

async fn two_answers_in_one_append_collide(rig: Rig) {
    let (key, _, asks) = with(&rig, rig.tool_use(Permission::Ask)).await;
    let twice = client(key, vec![rig.confirmation(asks), rig.confirmation(asks)], Ready::Now);
    let refused = rig.append(twice).await;
    assert!(matches!(refused, Err(AppendError::AlreadyAnswered(_))), "{refused:?}");
    assert_eq!(rig.row(key).await.head, 2);
}

async fn unguarded_answers_are_unique_too(rig: Rig) {
    let (key, _, asks) = with(&rig, rig.tool_use(Permission::Ask)).await;
    rig.append(client(key, vec![rig.confirmation(asks)], Ready::Now))
        .await
        .unwrap();
    let twice = rig.append(client(key, vec![rig.confirmation(asks)], Ready::Now)).await;
    assert!(matches!(twice, Err(AppendError::AlreadyAnswered(_))), "{twice:?}");
}

async fn self_hosted_results_may_follow_a_confirmation(rig: Rig) {
    let (key, _, asks) = with(&rig, rig.tool_use(Permission::Ask)).await;
    let result = || {
        let json = serde_json::json!({ "type": "user.tool_result", "tool_use_id": asks });
        rig.input("user.tool_result", &json)
    };
    let early = rig.append(answer(key, result(), asks, Awaits::ToolResult)).await;
    assert!(matches!(early, Err(AppendError::NotAwaited(_))), "{early:?}");
    rig.append(answer(key, rig.confirmation(asks), asks, Awaits::Confirmation))
        .await
        .unwrap();
    rig.append(answer(key, result(), asks, Awaits::ToolResult))
        .await
        .unwrap();
    let twice = rig.append(answer(key, result(), asks, Awaits::ToolResult)).await;
    assert!(matches!(twice, Err(AppendError::AlreadyAnswered(_))), "{twice:?}");
}

async fn racing_answers_have_one_winner(rig: Rig) {
    let (key, _, asks) = with(&rig, rig.tool_use(Permission::Ask)).await;
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let rig = rig.clone();
            tokio::spawn(async move {
                rig.append(answer(key, rig.confirmation(asks), asks, Awaits::Confirmation))
                    .await
            })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert!(matches!(error, AppendError::AlreadyAnswered(_)), "{error:?}"),
        }
    }
    assert_eq!((won, rig.row(key).await.head), (1, 3));
}

async fn not_running_means_idle_unready_and_unheld(rig: Rig) {
    let key = rig.session().await;
    let update = || guarded(client(key, vec![], Ready::Keep), Guard::NotRunning);
    rig.append(update()).await.unwrap();
    rig.say(key, "go").await;
    let ready = rig.append(update()).await;
    assert!(matches!(ready, Err(AppendError::Running)), "{ready:?}");
    let owner = rig.owner().await;
    let epoch = rig.claim(owner, 1).await[0].row.epoch;
    rig.append(holder(key, epoch, vec![rig.running()])).await.unwrap();
    rig.append(update()).await.unwrap_err();
    // Idle already, but still held: the holder may be about to say more.
    rig.append(holder(key, epoch, vec![rig.idle(StopReason::EndTurn)]))
        .await
        .unwrap();
    let held = rig.append(update()).await;
    assert!(matches!(held, Err(AppendError::Running)), "{held:?}");
    rig.append(rig.rest(key, epoch, 3)).await.unwrap();
    rig.append(update()).await.unwrap();
}

async fn what_was_decided_by_a_head_needs_that_head(rig: Rig) {
    let key = rig.session().await;
    let at = |head| guarded(client(key, vec![rig.message("x")], Ready::Never), Guard::Head(head));
    let (first, second) = (at(0), at(0));
    rig.append(first.clone()).await.unwrap();
    let moved = rig.append(second).await;
    assert!(matches!(moved, Err(AppendError::Moved { head: 1 })), "{moved:?}");
    let beyond = rig.append(at(2)).await;
    assert!(matches!(beyond, Err(AppendError::Moved { head: 1 })), "{beyond:?}");
    rig.append(at(1)).await.unwrap();
    // A repetition of one that was done is done, whatever the head is by now.
    assert!(rig.append(first).await.unwrap().replayed);
    assert_eq!(rig.row(key).await.head, 2);
}

async fn archived_sessions_take_nothing_but_deletion(rig: Rig) {
    let key = rig.session().await;
    let mut archive = client(key, vec![], Ready::Keep);
    archive.projection.patch.archive = true;
    rig.clock.advance(10);
    let done = rig.append(archive.clone()).await.unwrap();
    assert_eq!(rig.row(key).await.archived_at, Some(done.at));
    let refused = rig.append(client(key, vec![rig.message("x")], Ready::Now)).await;
    assert!(matches!(refused, Err(AppendError::Archived)), "{refused:?}");
    assert!(rig.append(archive).await.unwrap().replayed);
    let mut delete = client(key, vec![], Ready::Keep);
    delete.projection.patch.delete = true;
    rig.append(delete).await.unwrap();
    assert!(rig.row(key).await.deleted_at.is_some());
}

async fn deleted_sessions_take_nothing(rig: Rig) {
    let (key, owner, epoch) = rig.held().await;
    let deleted = rig.event(perennial_schema::event::Body::SessionDeleted(
        perennial_schema::event::Empty {},
    ));
    let mut delete = client(key, vec![deleted], Ready::Keep);
    delete.projection.patch.delete = true;
    rig.append(delete).await.unwrap();
    let client = rig.append(client(key, vec![rig.message("x")], Ready::Now)).await;
    assert!(matches!(client, Err(AppendError::NotFound)), "{client:?}");
    let holder = rig.append(holder(key, epoch, vec![rig.running()])).await;
    assert!(matches!(holder, Err(AppendError::NotFound)), "{holder:?}");
    assert_eq!(rig.log(key).await.len(), 2, "readers of the log still see it");
    rig.store.unregister(owner).await.unwrap();
    let owner = rig.owner().await;
    assert!(rig.claim(owner, 10).await.is_empty());
}

//! What an append changes on the row, in the same commit.

use perennial_engine::ports::{EventFilter, Projection, Ready};
use perennial_schema::event::{Body, ModelRequestEnd, Permission};
use perennial_schema::model::Usage;
use perennial_schema::session::{Status, StopReason};

use crate::fixture::{Rig, agent, client, event_id, holder};
use crate::on_every_store;

on_every_store![
    status_and_stop_reason_follow_the_events,
    a_ready_session_is_served_as_running,
    turns_are_the_holders,
    events_carry_the_turn,
    the_last_event_is_told_in_few_words,
    usage_adds_up,
    usage_saturates,
    inputs_are_stamped_in_lists_only,
    the_first_stamp_stays,
    patches_replace_columns,
    created_and_updated_come_from_the_clock,
    everything_or_nothing,
];

async fn status_and_stop_reason_follow_the_events(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    rig.append(holder(key, epoch, vec![rig.running()])).await.unwrap();
    let row = rig.row(key).await;
    assert_eq!((row.status, row.stop_reason), (Status::Running, None));
    let reason = StopReason::RequiresAction {
        event_ids: vec![event_id()],
    };
    rig.append(holder(key, epoch, vec![rig.idle(reason.clone())]))
        .await
        .unwrap();
    let row = rig.row(key).await;
    assert_eq!(
        (row.status, row.stop_reason, row.ready_at),
        (Status::Idle, Some(reason), None)
    );
    rig.append(holder(key, epoch, vec![rig.running()])).await.unwrap();
    assert_eq!(rig.row(key).await.stop_reason, None, "running clears it");
}

async fn a_ready_session_is_served_as_running(rig: Rig) {
    let key = rig.session().await;
    assert_eq!(rig.row(key).await.served_status(), Status::Idle);
    rig.say(key, "hi").await;
    let row = rig.row(key).await;
    assert_eq!((row.status, row.served_status()), (Status::Idle, Status::Running));
}

async fn turns_are_the_holders(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    let mut step = holder(key, epoch, vec![rig.running()]);
    step.projection.turn = Some(4);
    assert_eq!(rig.append(step).await.unwrap().turn, 4);
    let mut claim = client(key, vec![rig.message("x")], Ready::Now);
    claim.projection.turn = Some(99);
    assert_eq!(rig.append(claim).await.unwrap().turn, 4, "a client cannot say");
    assert_eq!(rig.row(key).await.turn, 4);
}

async fn events_carry_the_turn(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    let mut step = holder(key, epoch, vec![rig.running(), rig.answer_text("a")]);
    step.projection.turn = Some(1);
    rig.append(step).await.unwrap();
    rig.append(holder(key, epoch, vec![rig.answer_text("b")]))
        .await
        .unwrap();
    rig.say(key, "c").await;
    let turns: Vec<u64> = rig.log(key).await.iter().map(|record| record.turn).collect();
    assert_eq!(turns, [0, 1, 1, 1, 1]);
}

fn spent(rig: &Rig, tokens: u64) -> perennial_schema::event::Draft {
    rig.event(Body::SpanModelRequestEnd(ModelRequestEnd {
        model_request_start_id: event_id(),
        model_usage: Usage {
            input_tokens: tokens,
            output_tokens: 2 * tokens,
            cache_creation_input_tokens: 3,
            cache_read_input_tokens: 4,
        },
        is_error: false,
    }))
}

async fn usage_adds_up(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    rig.append(holder(key, epoch, vec![spent(&rig, 10), spent(&rig, 5)]))
        .await
        .unwrap();
    rig.append(holder(key, epoch, vec![spent(&rig, 1)])).await.unwrap();
    let usage = rig.row(key).await.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens), (16, 32));
    assert_eq!(
        (usage.cache_creation_input_tokens, usage.cache_read_input_tokens),
        (9, 12)
    );
}

async fn usage_saturates(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    for _ in 0..2 {
        rig.append(holder(key, epoch, vec![spent(&rig, i64::MAX as u64)]))
            .await
            .unwrap();
    }
    let usage = rig.row(key).await.usage;
    assert!(usage.input_tokens >= i64::MAX as u64 && usage.output_tokens >= i64::MAX as u64);
}

async fn inputs_are_stamped_in_lists_only(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    let input = rig.log(key).await.remove(0);
    assert!(input.payload.contains("\"processed_at\":null"), "{}", input.payload);
    rig.clock.advance(1234);
    let step = holder(key, epoch, vec![rig.running(), rig.processed(&[input.id])]);
    let at = rig.append(step).await.unwrap().at;
    assert_eq!(rig.log(key).await[0], input, "a stored event never changes");
    assert_eq!(rig.store.event(key, input.id).await.unwrap().unwrap(), input);
    let filter = EventFilter {
        limit: 10,
        ..EventFilter::default()
    };
    let listed = rig.list(key, filter).await.remove(0);
    assert!(
        listed.payload.contains(&format!("\"processed_at\":\"{at}\"")),
        "{}",
        listed.payload
    );
    let value: serde_json::Value = serde_json::from_str(&listed.payload).unwrap();
    assert_eq!(value["content"][0]["text"], "hello");
}

async fn the_first_stamp_stays(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    let input = rig.log(key).await[0].id;
    let at = rig
        .append(holder(key, epoch, vec![rig.processed(&[input])]))
        .await
        .unwrap()
        .at;
    rig.clock.advance(1000);
    rig.append(holder(key, epoch, vec![rig.processed(&[input])]))
        .await
        .unwrap();
    let filter = EventFilter {
        limit: 1,
        ..EventFilter::default()
    };
    assert!(rig.list(key, filter).await[0].payload.contains(&at.to_string()));
}

async fn patches_replace_columns(rig: Rig) {
    let key = rig.session().await;
    let mut patch = client(key, vec![], Ready::Keep);
    let mut metadata = serde_json::Map::new();
    metadata.insert("only".into(), "this".into());
    let newer = perennial_schema::agent::AgentSnapshot {
        version: 2,
        name: "renamed".into(),
        ..agent()
    };
    patch.projection.patch.title = Some(Some("New".into()));
    patch.projection.patch.metadata = Some(metadata.clone());
    patch.projection.patch.agent = Some(newer.clone());
    rig.clock.advance(7);
    let done = rig.append(patch).await.unwrap();
    let row = rig.row(key).await;
    assert_eq!(
        (row.title.as_deref(), row.metadata, row.agent),
        (Some("New"), metadata, newer)
    );
    assert_eq!(row.updated_at, done.at);
    let mut clear = client(key, vec![], Ready::Keep);
    clear.projection.patch.title = Some(None);
    rig.append(clear).await.unwrap();
    assert_eq!(rig.row(key).await.title, None);
}

async fn created_and_updated_come_from_the_clock(rig: Rig) {
    let key = rig.session().await;
    let made = rig.now();
    rig.clock.advance(50);
    let said = rig.say(key, "hi").await;
    assert_eq!(said.at, rig.now());
    let row = rig.row(key).await;
    assert_eq!((row.created_at, row.updated_at), (made, rig.now()));
    rig.clock.advance(50);
    let owner = rig.owner().await;
    rig.claim(owner, 1).await;
    assert_eq!(
        rig.row(key).await.updated_at,
        row.updated_at,
        "a claim is no news to clients"
    );
}

async fn the_last_event_is_told_in_few_words(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    let last = async || {
        let last = rig.row(key).await.last_event?;
        Some((last.kind, last.name, last.text))
    };
    let told = |kind: &str, name: Option<&str>, text: &str| {
        Some((kind.to_owned(), name.map(str::to_owned), Some(text.to_owned())))
    };
    rig.say(key, "look \n at \u{7} it").await;
    let asked = told("user.message", None, "look at it");
    assert_eq!(last().await, asked);
    rig.append(holder(key, epoch, vec![rig.running()])).await.unwrap();
    assert_eq!(last().await, asked, "what is for machines leaves it");
    rig.append(holder(
        key,
        epoch,
        vec![rig.answer_text("so"), rig.tool_use(Permission::Allow)],
    ))
    .await
    .unwrap();
    assert_eq!(last().await, told("agent.tool_use", Some("bash"), "ls"));
    let listed = rig
        .store
        .find(rig.workspace, crate::log::sessions::all())
        .await
        .unwrap();
    assert_eq!(listed[0].last_event, rig.row(key).await.last_event);
    let mut delete = client(key, vec![rig.message("gone")], Ready::Keep);
    delete.projection.patch.delete = true;
    rig.append(delete).await.unwrap();
    assert_eq!(last().await, None, "nothing of it is kept");
}

async fn everything_or_nothing(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    let first = rig.message("x");
    rig.append(client(key, vec![first.clone()], Ready::Now)).await.unwrap();
    let before = rig.row(key).await;
    let mut torn = holder(key, epoch, vec![first.clone(), rig.tool_result(event_id()), first]);
    torn.projection = Projection {
        turn: Some(3),
        processed: vec![rig.log(key).await[0].id],
        usage: Usage {
            input_tokens: 1,
            ..Usage::default()
        },
        ..torn.projection
    };
    torn.projection.patch.title = Some(None);
    rig.append(torn).await.unwrap_err();
    assert_eq!(rig.row(key).await, before);
    let filter = EventFilter {
        limit: 10,
        include_extensions: true,
        ..EventFilter::default()
    };
    let listed = rig.list(key, filter).await;
    assert_eq!(listed.len(), 2);
    assert!(listed[0].payload.contains("null"), "no stamp either");
}

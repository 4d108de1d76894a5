//! Sending and listing events.

use perennial_schema::event::{Body, Draft, Empty, Idle, InputProcessed, Permission, Raw, ToolUse};
use perennial_schema::session::StopReason;
use serde_json::{Value, json};

use crate::rig::{Rig, id, message};

fn tool_use(ask: bool) -> Body {
    Body::AgentToolUse(ToolUse {
        name: "bash".into(),
        input: Raw::of(&json!({"command": "ls"})),
        evaluated_permission: Some(if ask { Permission::Ask } else { Permission::Allow }),
    })
}

fn custom_use() -> Body {
    Body::AgentCustomToolUse(ToolUse {
        name: "get_weather".into(),
        input: Raw::of(&json!({"city": "Oslo"})),
        evaluated_permission: None,
    })
}

/// Parks a session on these tool uses; gives their ids back.
async fn parked(rig: &Rig, session: &str, uses: Vec<Body>) -> Vec<String> {
    rig.say(session, "work").await;
    let claimed = rig.claim().await;
    let mut ids = rig
        .hold(
            &claimed,
            [vec![Body::SessionStatusRunning(Empty {})], uses].concat(),
            false,
        )
        .await;
    let event_ids = ids.split_off(1);
    let idle = Body::SessionStatusIdle(Idle {
        stop_reason: StopReason::RequiresAction {
            event_ids: event_ids.clone(),
        },
    });
    rig.hold(&claimed, vec![idle], true).await;
    event_ids.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn sent_events_come_back_as_stored() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}/events");
    let body = json!({"events": [
        {"type": "user.message", "content": [{"type": "text", "text": "hi", "extra": [1, {"x": null}]}], "mine": true},
        {"type": "system.message", "content": [{"type": "text", "text": "be brief"}]},
        {"type": "user.interrupt", "id": "sevt_forged", "processed_at": "2020-01-01T00:00:00Z"},
    ]});
    let sent = rig.post(&path, &body).await.ok();
    let data = sent["data"].as_array().unwrap();
    assert_eq!(data.len(), 3);
    assert!(
        data.iter()
            .all(|event| event["processed_at"].is_null() && id(event).len() == 37)
    );
    assert_eq!(
        data[0]["content"][0]["extra"],
        json!([1, {"x": null}]),
        "unknown members survive"
    );
    assert_eq!(data[0]["mine"], true);
    let listed = rig.get(&path).await.ok();
    assert_eq!(listed["data"], sent["data"]);
    assert_eq!(listed["next_page"], Value::Null);
    assert_eq!(
        rig.get(&format!("/v1/sessions/{session}")).await.ok()["status"],
        "running"
    );
}

#[tokio::test]
async fn pretty_printed_events_are_stored_on_one_line() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}/events");
    rig.text(&path, serde_json::to_string_pretty(&message("a\nb")).unwrap())
        .await
        .ok();
    let log = rig.get(&format!("/v1/sessions/{session}/log")).await.ok();
    assert_eq!(log["data"][0]["payload"]["content"][0]["text"], "a\nb");
}

#[tokio::test]
async fn lists_fill_in_processed_at_and_hide_extensions() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}/events");
    let sent = rig.say(&session, "work").await;
    let claimed = rig.claim().await;
    let event_ids = vec![id(&sent["data"][0]).parse().unwrap()];
    rig.hold(
        &claimed,
        vec![
            Body::SpanModelRequestStart(Empty {}),
            Body::InputProcessed(InputProcessed { event_ids }),
        ],
        false,
    )
    .await;
    let kinds = async |query: &str| -> Vec<String> {
        let page = rig.get(&format!("{path}?{query}")).await.ok();
        page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["type"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(kinds("").await, ["user.message", "span.model_request_start"]);
    assert_eq!(
        kinds("include=extensions").await,
        ["user.message", "span.model_request_start", "input.processed"]
    );
    assert_eq!(
        kinds("order=desc&beta=true").await,
        ["span.model_request_start", "user.message"]
    );
    assert_eq!(
        kinds("types[]=user.message&types%5B%5D=agent.message").await,
        ["user.message"]
    );
    assert_eq!(kinds("created_at[gte]=2020-01-01T00:00:00%2B00:00").await.len(), 2);
    assert_eq!(kinds("created_at[lt]=2020-01-01T00:00:00Z").await.len(), 0);
    let listed = rig.get(&path).await.ok();
    assert!(listed["data"][0]["processed_at"].is_string());
}

#[tokio::test]
async fn a_tool_use_is_confirmed_once() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}/events");
    let uses = parked(&rig, &session, vec![tool_use(true), tool_use(false)]).await;
    let confirm =
        |id: &str| json!({"events": [{"type": "user.tool_confirmation", "tool_use_id": id, "result": "allow"}]});
    assert_eq!(rig.get(&format!("/v1/sessions/{session}")).await.ok()["status"], "idle");
    // A message in the meantime is queued and starts nothing.
    rig.say(&session, "also").await;
    assert_eq!(rig.get(&format!("/v1/sessions/{session}")).await.ok()["status"], "idle");
    rig.post(&path, &confirm(&uses[1]))
        .await
        .refused(400, "invalid_request_error");
    rig.post(&path, &confirm("sevt_00000000000000000000000000000000"))
        .await
        .refused(400, "invalid_request_error");
    rig.post(&path, &confirm(&uses[0])).await.ok();
    assert_eq!(
        rig.get(&format!("/v1/sessions/{session}")).await.ok()["status"],
        "running"
    );
    let twice = rig.post(&path, &confirm(&uses[0])).await;
    assert!(twice.refused(409, "invalid_request_error").contains("already answered"));
    assert_eq!(twice.header("x-should-retry"), Some("false"));
    let both = json!({"events": [confirm(&uses[0])["events"][0], confirm(&uses[0])["events"][0]]});
    assert!(
        rig.post(&path, &both)
            .await
            .refused(400, "invalid_request_error")
            .contains("events[1]")
    );
}

#[tokio::test]
async fn who_answered_what_is_told_afterwards() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let uses = parked(&rig, &session, vec![tool_use(true), tool_use(true)]).await;
    let approvals = async |query: &str| rig.get(&format!("/v1/approvals{query}")).await.ok();
    assert_eq!(approvals("").await["data"].as_array().unwrap().len(), 2);
    assert_eq!(approvals("?answered=true").await["data"], json!([]));
    let answers = json!({"events": [
        {"type": "user.tool_confirmation", "tool_use_id": uses[0], "result": "allow"},
        {"type": "user.tool_confirmation", "tool_use_id": uses[1], "result": "deny", "deny_message": "not that"},
    ]});
    rig.post(&format!("/v1/sessions/{session}/events"), &answers).await.ok();
    assert_eq!(approvals("").await["data"], json!([]));
    let told = approvals("?answered=true").await["data"].clone();
    let verdict = |at: usize| {
        (
            told[at]["tool_use"]["id"].clone(),
            told[at]["answered"]["result"].clone(),
        )
    };
    assert_eq!(verdict(0), (json!(uses[1]), json!("deny")), "newest first");
    assert_eq!(verdict(1), (json!(uses[0]), json!("allow")));
    assert_eq!(told[0]["answered"]["message"], "not that");
    for answer in told.as_array().unwrap() {
        assert!(
            answer["answered"]["by"].as_str().unwrap().starts_with("key_"),
            "{answer}"
        );
        assert!(answer["answered"]["at"].is_string());
        assert_eq!(answer["session_id"], json!(session));
    }
    // Clients of the adopted API see no more than they know.
    let plain = rig
        .get(&format!("/v1/sessions/{session}/events?types[]=user.tool_confirmation"))
        .await
        .ok();
    assert!(plain["data"][0].get("actor").is_none(), "{plain}");
    rig.get("/v1/approvals?answered=maybe")
        .await
        .refused(400, "invalid_request_error");
}

#[tokio::test]
async fn a_custom_tool_is_answered_by_its_own_event() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}/events");
    let uses = parked(&rig, &session, vec![custom_use()]).await;
    let confirm = json!({"events": [{"type": "user.tool_confirmation", "tool_use_id": uses[0], "result": "allow"}]});
    rig.post(&path, &confirm).await.refused(400, "invalid_request_error");
    let result = json!({"events": [{"type": "user.custom_tool_result", "custom_tool_use_id": uses[0],
        "content": [{"type": "text", "text": "7C"}], "is_error": false}]});
    let sent = rig.post(&path, &result).await.ok();
    assert!(
        sent["data"][0]["processed_at"].is_string(),
        "results are processed on receipt"
    );
    rig.post(&path, &result).await.refused(409, "invalid_request_error");
}

#[tokio::test]
async fn tool_results_are_for_self_hosted_environments() {
    let rig = Rig::new().await;
    let session = rig.session_in(json!({"type": "self_hosted"})).await;
    let path = format!("/v1/sessions/{session}/events");
    let uses = parked(&rig, &session, vec![tool_use(false)]).await;
    let result = json!({"events": [{"type": "user.tool_result", "tool_use_id": uses[0], "content": null}]});
    let own = rig.session().await;
    let refused = rig.post(&format!("/v1/sessions/{own}/events"), &result).await;
    assert!(refused.refused(400, "invalid_request_error").contains("self_hosted"));
    rig.post(&path, &result).await.ok();
}

#[tokio::test]
async fn the_raw_log_pages_by_number() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    for text in ["a", "b", "c"] {
        rig.say(&session, text).await;
    }
    let path = format!("/v1/sessions/{session}/log");
    let first = rig.get(&format!("{path}?limit=2")).await.ok();
    assert_eq!(first["next_after"], 2);
    assert_eq!(
        (&first["data"][0]["seq"], &first["data"][0]["session_id"]),
        (&json!(1), &json!(session))
    );
    assert!(first["data"][0]["actor"].as_str().unwrap().starts_with("key_"));
    let rest = rig.get(&format!("{path}?after=2")).await.ok();
    assert_eq!(
        (rest["data"].as_array().unwrap().len(), &rest["next_after"]),
        (1, &Value::Null)
    );
    assert_eq!(rig.get(&format!("{path}?after=99")).await.ok()["data"], json!([]));
    let newest = rig.get(&format!("{path}?tail=2")).await.ok();
    assert_eq!(
        (&newest["data"], &newest["next_after"]),
        (&json!([first["data"][1], rest["data"][0]]), &Value::Null)
    );
    assert_eq!(
        rig.get(&format!("{path}?tail=99&limit=2")).await.ok()["data"],
        first["data"]
    );
}

#[tokio::test]
async fn unknown_stored_types_pass_through_as_extensions() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    rig.say(&session, "work").await;
    let claimed = rig.claim().await;
    let mut draft = Draft::new(
        "sevt_00000000000000000000000000000009".parse().unwrap(),
        Body::Unknown("future.event".into()),
        perennial_schema::Timestamp::from_micros(0),
    );
    draft.payload = r#"{"type":"future.event","id":"sevt_00000000000000000000000000000009","deep":{"x":1}}"#.into();
    rig.hold_drafts(&claimed, vec![draft], false).await.unwrap();
    let path = format!("/v1/sessions/{session}/events");
    assert_eq!(rig.get(&path).await.ok()["data"].as_array().unwrap().len(), 1);
    let all = rig.get(&format!("{path}?include=extensions")).await.ok();
    assert_eq!(all["data"][1]["deep"], json!({"x": 1}));
}

#[tokio::test]
async fn an_outcome_is_echoed_with_its_id_and_starts_the_session() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}/events");
    let rubric = json!({"type": "text", "content": "- it compiles"});
    let outcome = json!({"type": "user.define_outcome", "description": "a program", "rubric": rubric});
    let sent = rig.post(&path, &json!({"events": [outcome]})).await.ok();
    let event = &sent["data"][0];
    assert!(event["outcome_id"].as_str().unwrap().starts_with("outc_"), "{event}");
    assert!(event["processed_at"].is_string(), "processed on receipt: {event}");
    assert_eq!((&event["rubric"], &event["max_iterations"]), (&rubric, &json!(3)));
    assert_eq!(rig.get(&path).await.ok()["data"], sent["data"]);
    assert_eq!(
        rig.get(&format!("/v1/sessions/{session}")).await.ok()["status"],
        "running"
    );
}

#[tokio::test]
async fn an_interrupt_of_a_session_at_rest_does_not_make_it_run() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}/events");
    let interrupt = json!({"events": [{"type": "user.interrupt"}]});
    let once = [("idempotency-key", "once")];
    let sent = rig.post_with(&path, &interrupt, &once).await.ok();
    assert_eq!(sent["data"].as_array().unwrap().len(), 1);
    assert_eq!(rig.get(&format!("/v1/sessions/{session}")).await.ok()["status"], "idle");
    assert_eq!(rig.post_with(&path, &interrupt, &once).await.ok(), sent, "replayed");
    let listed = rig.get(&path).await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    assert!(listed["data"][0]["processed_at"].is_string(), "{listed}");
    // Whatever may run is interrupted by its worker.
    rig.say(&session, "work").await;
    rig.post(&path, &interrupt).await.ok();
    assert!(rig.get(&path).await.ok()["data"][2]["processed_at"].is_null());
}

#[tokio::test]
async fn bad_events_are_refused_by_field_and_nothing_is_stored() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}/events");
    let text = json!({"type": "text", "text": "x"});
    let said = |content: Value| json!({"type": "user.message", "content": content});
    for (event, field) in [
        (json!("hi"), "events[0]"),
        (json!(null), "events[0]"),
        (json!({}), "events[0].type"),
        (json!({"type": 7}), "events[0].type"),
        (json!({"type": "user.massage"}), "user.message"),
        (json!({"type": "agent.message", "content": []}), "events[0].type"),
        (json!({"type": "input.processed", "event_ids": []}), "events[0].type"),
        (json!({"type": "user.define_outcome", "description": "x"}), "events[0]"),
        (
            json!({"type": "user.define_outcome", "description": " ", "rubric": {"type": "text", "content": "x"}}),
            "events[0].description",
        ),
        (
            json!({"type": "user.define_outcome", "description": "x", "rubric": {"type": "file", "file_id": "file_1"}}),
            "events[0].rubric.type",
        ),
        (
            json!({"type": "user.define_outcome", "description": "x", "rubric": {"type": "text", "content": "y"},
                "max_iterations": 21}),
            "events[0].max_iterations",
        ),
        (
            json!({"type": "user.interrupt", "session_thread_id": "sthr_1"}),
            "primary thread",
        ),
        (json!({"type": "user.message"}), "events[0].content"),
        (said(json!(null)), "events[0].content"),
        (said(json!("hi")), "events[0].content"),
        (said(json!([])), "events[0].content"),
        (said(json!(["hi"])), "events[0].content[0].type"),
        (said(json!([text, {"type": "video"}])), "events[0].content[1].type"),
        (said(json!([{"type": "text"}])), "events[0].content[0]"),
        (said(json!([{"type": "text", "text": 7}])), "events[0].content[0]"),
        (said(json!([{"type": "text", "text": ""}])), "events[0].content[0].text"),
        (
            said(json!([{"type": "search_result", "source": "x", "title": "y", "content": []}])),
            "events[0].content[0].type",
        ),
        (
            said(json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "%%%"}}])),
            "events[0].content[0].source.data",
        ),
        (
            said(json!([{"type": "image", "source": {"type": "base64", "data": "aGk="}}])),
            "media_type",
        ),
        (
            said(json!([{"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}}])),
            "events[0].content[0].source.url",
        ),
        (
            said(json!([{"type": "document", "source": {"type": "file", "file_id": "file_1"}}])),
            "events[0].content[0].source.type",
        ),
        (
            json!({"type": "system.message", "content": [{"type": "image", "source": {}}]}),
            "events[0].content[0].type",
        ),
        (
            json!({"type": "user.interrupt", "session_thread_id": "sthr_1"}),
            "events[0].session_thread_id",
        ),
        (
            json!({"type": "user.tool_confirmation", "result": "allow"}),
            "tool_use_id",
        ),
        (
            json!({"type": "user.tool_confirmation", "tool_use_id": "toolu_1", "result": "allow"}),
            "events[0].tool_use_id",
        ),
        (
            json!({"type": "user.tool_confirmation", "tool_use_id": "sevt_00000000000000000000000000000000", "result": "maybe"}),
            "events[0].result",
        ),
        (
            json!({"type": "user.custom_tool_result", "custom_tool_use_id": "sevt_00000000000000000000000000000000", "is_error": "no"}),
            "events[0].is_error",
        ),
        (
            json!({"type": "user.custom_tool_result", "custom_tool_use_id": "sevt_00000000000000000000000000000000", "content": {}}),
            "events[0].content",
        ),
    ] {
        let refused = rig
            .post(&path, &json!({"events": [event]}))
            .await
            .refused(400, "invalid_request_error");
        assert!(refused.contains(field), "{refused} should name {field} for {event}");
    }
    let good = message("x")["events"][0].clone();
    for (body, field) in [
        (json!({}), "events"),
        (json!({"events": []}), "events"),
        (json!({"events": {}}), "events"),
        (json!({"events": vec![good.clone(); 101]}), "events"),
        (json!({"events": [good, {"type": "user.message"}]}), "events[1].content"),
    ] {
        let refused = rig.post(&path, &body).await.refused(400, "invalid_request_error");
        assert!(refused.contains(field), "{refused} should name {field}");
    }
    assert_eq!(rig.get(&path).await.ok()["data"], json!([]));
}

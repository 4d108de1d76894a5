//! Mail: into a session's log once, to agents that open sessions for it, through queues, and back as dead letters.

use perennial_engine::ports::{Log as _, ReadFrom, SessionKey};
use perennial_schema::event::Body;
use serde_json::{Value, json};

use crate::client::Client;
use crate::rig::{Rig, id};

fn to(mailbox: &str) -> String {
    format!("/v1/mailboxes/{mailbox}/messages")
}

async fn mail(rig: &Rig, path: &str) -> Value {
    rig.get(path).await.ok()
}

/// What a session's log has received: message, text.
async fn received(rig: &Rig, session: &str) -> Vec<(String, String)> {
    let key = SessionKey {
        workspace: rig.workspace,
        session: session.parse().unwrap(),
    };
    let all = ReadFrom { after: 0, limit: 100 };
    let events = rig.store.read(key, all).await.unwrap();
    let mail = events
        .into_iter()
        .filter_map(|record| match Body::parse(&record.kind, &record.payload).unwrap() {
            Body::MailReceived(mail) => Some((
                mail.message_id.to_string(),
                perennial_schema::content::plain_text(&mail.content),
            )),
            _ => None,
        });
    mail.collect()
}

async fn agent_with_mail(rig: &Rig, name: &str, sessions: &str) -> Value {
    let environment = rig.environment(json!({"type": "local"})).await;
    let body = json!({
        "name": name, "model": "m", "description": "reviews",
        "mail": {"environment_id": environment, "sessions": sessions},
    });
    rig.post("/v1/agents", &body).await.ok()
}

#[tokio::test]
async fn mail_for_a_session_is_in_its_log_once() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = to(&format!("session/{session}"));
    let body = json!({"subject": "hello", "content": "are you there?", "metadata": {"a": "b"}});
    let sent = rig.post(&path, &body).await.ok();
    assert_eq!(
        (&sent["state"], &sent["type"], &sent["thread"], &sent["content"]),
        (
            &json!("queued"),
            &json!("mail"),
            &sent["id"],
            &json!([{"type": "text", "text": "are you there?"}])
        )
    );
    assert!(sent["from"].as_str().unwrap().starts_with("key/key_"), "{sent}");
    rig.deliver().await;
    let delivered = mail(&rig, &format!("{path}/{}", id(&sent))).await;
    assert_eq!(
        (&delivered["state"], &delivered["session_id"]),
        (&json!("delivered"), &json!(session))
    );
    assert_eq!(
        received(&rig, &session).await,
        [(id(&sent), "are you there?".to_owned())]
    );
    // It wakes the session.
    assert_eq!(
        rig.get(&format!("/v1/sessions/{session}")).await.ok()["status"],
        "running"
    );
    rig.deliver().await;
    assert_eq!(received(&rig, &session).await.len(), 1);
    let boxes = mail(&rig, "/v1/mailboxes").await;
    assert_eq!(boxes["data"][0]["address"], format!("session/{session}"));
    assert_eq!(boxes["data"][0]["open"], 0);
}

#[tokio::test]
async fn an_answer_stays_in_its_conversation() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = to(&format!("session/{session}"));
    let first = rig
        .post(&path, &json!({"content": "one", "reply_to": "queue/answers"}))
        .await
        .ok();
    assert_eq!(first["from"], "queue/answers");
    let answer = json!({"content": "two", "in_reply_to": first["id"]});
    let second = rig.post(&to("queue/answers"), &answer).await.ok();
    assert_eq!(
        (&second["thread"], &second["in_reply_to"]),
        (&first["thread"], &first["id"])
    );
    let listed = mail(
        &rig,
        &format!("{path}?thread={}&states[]=queued", first["thread"].as_str().unwrap()),
    )
    .await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let nowhere = json!({"content": "x", "in_reply_to": "msg_00000000000000000000000000000007"});
    let refused = rig.post(&to("queue/answers"), &nowhere).await;
    assert!(refused.refused(400, "invalid_request_error").contains("in_reply_to"));
}

#[tokio::test]
async fn an_agent_opens_a_session_per_conversation() {
    let rig = Rig::new().await;
    let agent = agent_with_mail(&rig, "reviewer", "per_thread").await;
    let path = to("agent/reviewer");
    let mut sessions = Vec::new();
    for (thread, text) in [("a", "1"), ("a", "2"), ("b", "3")] {
        let sent = rig
            .post(&path, &json!({"content": text, "thread": thread, "subject": "review"}))
            .await
            .ok();
        rig.deliver().await;
        let delivered = mail(&rig, &format!("{path}/{}", id(&sent))).await;
        assert_eq!(delivered["state"], "delivered", "{delivered}");
        sessions.push(delivered["session_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(sessions[0], sessions[1]);
    assert_ne!(sessions[0], sessions[2]);
    let texts: Vec<String> = received(&rig, &sessions[0])
        .await
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(texts, ["1", "2"]);
    let session = rig.get(&format!("/v1/sessions/{}", sessions[0])).await.ok();
    assert_eq!(
        (&session["agent"]["id"], &session["title"]),
        (&agent["id"], &json!("review"))
    );
    // One that was archived is succeeded by a new one.
    rig.finish(&sessions[0]).await;
    rig.post(&format!("/v1/sessions/{}/archive", sessions[0]), &json!({}))
        .await
        .ok();
    let sent = rig.post(&path, &json!({"content": "4", "thread": "a"})).await.ok();
    rig.deliver().await;
    let delivered = mail(&rig, &format!("{path}/{}", id(&sent))).await;
    assert!(
        !sessions.contains(&delivered["session_id"].as_str().unwrap().to_owned()),
        "{delivered}"
    );
}

#[tokio::test]
async fn an_agents_policy_says_which_session_answers() {
    let rig = Rig::new().await;
    for (policy, different) in [("single", 1), ("per_message", 2)] {
        agent_with_mail(&rig, policy, policy).await;
        let path = to(&format!("agent/{policy}"));
        let mut sessions = std::collections::BTreeSet::new();
        for thread in ["a", "b"] {
            let sent = rig.post(&path, &json!({"content": "x", "thread": thread})).await.ok();
            rig.deliver().await;
            let delivered = mail(&rig, &format!("{path}/{}", id(&sent))).await;
            sessions.insert(delivered["session_id"].as_str().unwrap().to_owned());
        }
        assert_eq!(sessions.len(), different, "{policy}");
    }
}

#[tokio::test]
async fn nobody_there_is_said_at_once() {
    let rig = Rig::new().await;
    rig.agent().await;
    for mailbox in [
        "agent/tester",
        "agent/nobody",
        "session/sesn_00000000000000000000000000000007",
    ] {
        let refused = rig.post(&to(mailbox), &json!({"content": "x"})).await;
        assert!(refused.refused(404, "not_found_error").contains(mailbox), "{mailbox}");
    }
    for mailbox in ["box/a", "queue/a%20b", "session/7"] {
        let refused = rig.post(&to(mailbox), &json!({"content": "x"})).await;
        refused.refused(400, "invalid_request_error");
    }
    let long = "x".repeat(300_000);
    for (body, field) in [
        (json!({}), "content"),
        (json!({"content": ""}), "content"),
        (json!({"content": long}), "content"),
        (json!({"content": [{"type": "tool_use"}]}), "content[0].type"),
        (json!({"content": "x", "deliver_at": "soon"}), "deliver_at"),
        (json!({"content": "x", "thread": ""}), "thread"),
        (
            json!({"content": "x", "reply_to": "session/sesn_00000000000000000000000000000007"}),
            "reply_to",
        ),
        (json!({"content": "x", "from": "agent/boss"}), "from"),
    ] {
        let refused = rig.post(&to("queue/a"), &body).await;
        assert!(refused.refused(400, "invalid_request_error").contains(field), "{field}");
    }
}

#[tokio::test]
async fn a_sender_learns_of_its_dead_letter() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = to(&format!("session/{session}"));
    let sent = rig
        .post(&path, &json!({"content": "x", "reply_to": "queue/answers"}))
        .await
        .ok();
    rig.post(&format!("/v1/sessions/{session}/archive"), &json!({}))
        .await
        .ok();
    rig.deliver().await;
    let dead = mail(&rig, &format!("{path}/{}", id(&sent))).await;
    assert_eq!(
        (&dead["state"], &dead["reason"]),
        (&json!("dead"), &json!("the session is archived"))
    );
    let told = rig.post("/v1/mailboxes/queue/answers/receive", &json!({})).await.ok();
    let notice = &told["data"][0];
    assert_eq!(
        (&notice["from"], &notice["in_reply_to"]),
        (&json!("postmaster"), &sent["id"])
    );
    rig.deliver().await;
    assert_eq!(
        mail(&rig, &to("queue/answers")).await["data"].as_array().unwrap().len(),
        1
    );
    let again = rig.post(&format!("{path}/{}/replay", id(&sent)), &json!({})).await.ok();
    assert_eq!(again["state"], "queued");
    rig.post(&format!("{path}/{}/replay", id(&sent)), &json!({}))
        .await
        .refused(409, "invalid_request_error");
}

#[tokio::test]
async fn programs_share_a_queue() {
    let rig = Rig::new().await;
    let path = to("queue/jobs");
    for text in ["1", "2"] {
        rig.post(&path, &json!({"content": text})).await.ok();
    }
    let receive = "/v1/mailboxes/queue/jobs/receive";
    let first = rig.post(receive, &json!({})).await.ok()["data"][0].clone();
    let second = rig.post(receive, &json!({"limit": 10})).await.ok()["data"][0].clone();
    assert_eq!(rig.post(receive, &json!({})).await.ok()["data"], json!([]));
    let act = |message: &Value, verb: &str| format!("{path}/{}/{verb}", message["id"].as_str().unwrap());
    let done = rig
        .post(&act(&first, "acknowledge"), &json!({"receipt": first["receipt"]}))
        .await
        .ok();
    assert_eq!(done["state"], "acknowledged");
    let late = rig
        .post(&act(&first, "reject"), &json!({"receipt": first["receipt"]}))
        .await;
    late.refused(409, "invalid_request_error");
    assert_eq!(late.json["error"]["details"]["error_code"], "receipt_stale");
    let other = rig
        .post(&act(&first, "acknowledge"), &json!({"receipt": second["receipt"]}))
        .await;
    assert!(other.refused(400, "invalid_request_error").contains("receipt"));
    let longer = json!({"receipt": second["receipt"], "visibility_timeout": 60});
    assert_eq!(rig.post(&act(&second, "extend"), &longer).await.ok()["state"], "leased");
    assert_eq!(
        rig.post(&act(&second, "reject"), &json!({"receipt": second["receipt"]}))
            .await
            .ok()["state"],
        "queued"
    );
    // A repetition of a receive gets what the first one got.
    let key = [("idempotency-key", "r1")];
    let held = rig.post_with(receive, &json!({}), &key).await.ok();
    assert_eq!(held["data"][0]["id"], second["id"]);
    assert_eq!(rig.post_with(receive, &json!({}), &key).await.ok(), held);
    let session = rig.session().await;
    let wrong = rig
        .post(&format!("/v1/mailboxes/session/{session}/receive"), &json!({}))
        .await;
    wrong.refused(400, "invalid_request_error");
}

/// Who waits is told when something comes: well before the next look.
#[tokio::test]
async fn a_receiver_waits_for_mail() {
    let rig = Rig::new().await;
    let patient = json!({"wait": 30});
    let waiting = rig.post("/v1/mailboxes/queue/jobs/receive", &patient);
    let sending = async {
        rig.post(&to("queue/jobs"), &json!({"content": "at last"})).await.ok();
    };
    let (received, ()) = tokio::join!(waiting, sending);
    assert_eq!(received.ok()["data"][0]["content"][0]["text"], "at last");
}

#[tokio::test]
async fn mail_can_be_taken_back_until_it_is_on_its_way() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let path = to(&format!("session/{session}"));
    let sent = rig
        .post(&path, &json!({"content": "x", "deliver_at": "2999-01-01T00:00:00Z"}))
        .await
        .ok();
    rig.deliver().await;
    let cancelled = rig.post(&format!("{path}/{}/cancel", id(&sent)), &json!({})).await.ok();
    assert_eq!(cancelled["state"], "cancelled");
    let sent = rig.post(&path, &json!({"content": "y"})).await.ok();
    rig.deliver().await;
    let late = rig.post(&format!("{path}/{}/cancel", id(&sent)), &json!({})).await;
    late.refused(409, "invalid_request_error");
    assert_eq!(received(&rig, &session).await.len(), 1);
}

#[tokio::test]
async fn other_mailboxes_do_not_have_the_message() {
    let rig = Rig::new().await;
    let sent = rig.post(&to("queue/a"), &json!({"content": "x"})).await.ok();
    rig.get(&format!("{}/{}", to("queue/b"), id(&sent)))
        .await
        .refused(404, "not_found_error");
    rig.get(&format!("{}/x", to("queue/a")))
        .await
        .refused(404, "not_found_error");
}

/// The next event of a mailbox's feed: its id, and the message and its state.
async fn change(feed: &mut Client) -> (String, String, String) {
    let frame = feed.event().await.expect("the stream goes on");
    assert_eq!(frame.event.as_deref(), Some("mail"), "{frame:?}");
    let message = frame.data.expect("a message");
    let state = message["state"].as_str().expect("a state").to_owned();
    (frame.id.expect("a place"), id(&message), state)
}

async fn live(feed: &mut Client) -> String {
    let frame = feed.event().await.expect("the stream goes on");
    assert_eq!(frame.event.as_deref(), Some("live"), "{frame:?}");
    frame.id.expect("a place to go on from")
}

#[tokio::test]
async fn a_mailbox_is_followed_from_where_one_left_off() {
    let rig = Rig::new().await;
    const STREAM: &str = "/v1/mailboxes/queue/jobs/stream";
    let old = id(&rig.post(&to("queue/jobs"), &json!({"content": "old"})).await.ok());
    let mut feed = Client::at(&rig, STREAM, &[]).await;
    let begin = live(&mut feed).await;
    let new = id(&rig.post(&to("queue/jobs"), &json!({"content": "new"})).await.ok());
    rig.post(&to("queue/others"), &json!({"content": "x"})).await.ok();
    let (place, message, state) = change(&mut feed).await;
    assert_eq!((&message, state.as_str()), (&new, "queued"));
    drop(feed);
    let cancelled = rig
        .post(&format!("{}/{old}/cancel", to("queue/jobs")), &json!({}))
        .await
        .ok();
    assert_eq!(cancelled["state"], "cancelled");
    let mut feed = Client::at(&rig, STREAM, &[("last-event-id", &place)]).await;
    let (_, message, state) = change(&mut feed).await;
    assert_eq!((&message, state.as_str()), (&old, "cancelled"));
    live(&mut feed).await;
    // From the place that was told before there was any news, both; and from the beginning.
    for after in [begin.as_str(), "0-0"] {
        let mut feed = Client::at(&rig, &format!("{STREAM}?after={after}"), &[]).await;
        assert_eq!(
            [change(&mut feed).await.1, change(&mut feed).await.1],
            [new.clone(), old.clone()]
        );
        live(&mut feed).await;
    }
    let ahead = rig.get(&format!("{STREAM}?after=999999-1")).await;
    ahead.refused(409, "invalid_request_error");
    rig.get(&format!("{STREAM}?after=x"))
        .await
        .refused(400, "invalid_request_error");
}

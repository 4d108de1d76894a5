//! The rehearsal model against conversations as the kernel renders them.

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::{Model as _, ModelError, ModelStep, Part};
use perennial_schema::content;
use perennial_schema::event::{ErrorKind, Raw};

use super::Rehearsal;
use crate::model::testing::{Recorder, event_id, request, said};

fn answered(step: &ModelStep, messages: &mut Vec<Message>, is_error: bool) {
    let mut calls = Vec::new();
    let mut parts = Vec::new();
    for part in &step.parts {
        match part {
            Part::Text { text, .. } => parts.push(MessagePart::Text(text.clone())),
            Part::ToolUse {
                id,
                native_id,
                name,
                input,
            } => {
                let native_id = Some(native_id.clone());
                let content = content::text_content("ok");
                calls.push(MessagePart::ToolResult {
                    id: *id,
                    native_id: native_id.clone(),
                    content,
                    is_error,
                });
                parts.push(MessagePart::ToolUse {
                    id: *id,
                    native_id,
                    name: name.clone(),
                    input: input.clone(),
                });
            }
            Part::Thinking { .. } => {}
        }
    }
    messages.push(Message {
        role: Role::Assistant,
        parts,
    });
    if !calls.is_empty() {
        messages.push(Message {
            role: Role::User,
            parts: calls,
        });
    }
}

async fn ask(model: &Rehearsal, messages: &[Message]) -> Result<ModelStep, ModelError> {
    let mut sink = Recorder::default();
    let step = model
        .request(request("rehearsal-1", messages.to_vec()), &mut sink)
        .await;
    if let Ok(step) = &step {
        sink.agrees_with(step);
    }
    step
}

fn texts(step: &ModelStep) -> Vec<&str> {
    let texts = step.parts.iter().filter_map(|part| match part {
        Part::Text { text, .. } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn tools(step: &ModelStep) -> Vec<&str> {
    let names = step.parts.iter().filter_map(|part| match part {
        Part::ToolUse { name, .. } => Some(name.as_str()),
        _ => None,
    });
    names.collect()
}

#[tokio::test]
async fn a_script_is_played_step_by_step_and_ends_with_a_message() {
    let model = Rehearsal::default();
    let mut messages = vec![said("/say working\n/tool a {\"x\": 1}\n/tool b\n/then\n/tool c")];
    let first = ask(&model, &messages).await.unwrap();
    assert_eq!(
        (texts(&first), tools(&first)),
        (vec!["rehearsal-1: working"], vec!["a", "b"])
    );
    answered(&first, &mut messages, false);
    let second = ask(&model, &messages).await.unwrap();
    assert_eq!((texts(&second), tools(&second)), (vec![], vec!["c"]));
    answered(&second, &mut messages, true);
    let third = ask(&model, &messages).await.unwrap();
    let last = "rehearsal-1: the script is done; its 3 tool calls were answered, 1 with an error.";
    assert_eq!((texts(&third), tools(&third)), (vec![last], vec![]));
}

#[tokio::test]
async fn the_same_conversation_gets_the_same_answer() {
    let messages = vec![said("/say one two\n/tokens 3\n/tool a {\"k\":\"v\"}")];
    let (one, two) = (
        ask(&Rehearsal::default(), &messages).await,
        ask(&Rehearsal::default(), &messages).await,
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(texts(&one), ["rehearsal-1: one two", "rehearsal-1: 1 2 3"]);
    assert_eq!(
        (texts(&one), tools(&one), one.usage),
        (texts(&two), tools(&two), two.usage)
    );
    assert!(one.usage.input_tokens > 0 && one.usage.output_tokens >= 3);
}

#[tokio::test]
async fn a_prompt_without_commands_is_told_what_to_type() {
    let model = Rehearsal::default();
    let step = ask(&model, &[said("hello")]).await.unwrap();
    let text = texts(&step)[0];
    for piece in [
        "rehearsal-1",
        "rehearsal model",
        "1 message;",
        "/tool NAME",
        "ANTHROPIC_API_KEY",
    ] {
        assert!(text.contains(piece), "{piece} is missing in {text}");
    }
}

#[tokio::test]
async fn a_malformed_script_is_not_played_but_explained() {
    let step = ask(&Rehearsal::default(), &[said("/tool a\n/tool b {")]).await.unwrap();
    assert!(tools(&step).is_empty());
    assert!(texts(&step)[0].contains("line 2") && texts(&step)[0].contains("rehearsal-1"));
}

#[tokio::test]
async fn a_thought_comes_before_what_it_leads_to() {
    let step = ask(&Rehearsal::default(), &[said("/think hm\n/say ok")]).await.unwrap();
    let Some(Part::Thinking { native, .. }) = step.parts.first() else {
        panic!("{step:?}")
    };
    assert!(native.block.text().contains("hm") && native.provider == "rehearsal");
    assert_eq!(texts(&step), ["rehearsal-1: ok"]);
}

#[tokio::test]
async fn the_newest_words_take_over() {
    let model = Rehearsal::default();
    let mut messages = vec![said("/tool a\n/then\n/tool b")];
    let first = ask(&model, &messages).await.unwrap();
    answered(&first, &mut messages, false);
    let steering = Raw::of(&content::Block::text("/say other"));
    messages.last_mut().unwrap().parts.push(MessagePart::Content(steering));
    let step = ask(&model, &messages).await.unwrap();
    assert_eq!((texts(&step), tools(&step)), (vec!["rehearsal-1: other"], vec![]));
}

#[tokio::test]
async fn failures_come_first_and_as_often_as_asked() {
    let model = Rehearsal::default();
    let messages = [said("/say a\n/fail 529 2\n/fail 401")];
    for _ in 0..2 {
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let error = ask(&model, &messages).await.unwrap_err();
            assert!(error.message.contains("/fail"), "{error}");
            kinds.push((error.kind, error.retryable));
        }
        let overloaded = (ErrorKind::ModelOverloadedError, true);
        assert_eq!(
            kinds,
            [overloaded, overloaded, (ErrorKind::ModelRequestFailedError, false)]
        );
        assert_eq!(texts(&ask(&model, &messages).await.unwrap()), ["rehearsal-1: a"]);
    }
}

#[tokio::test]
async fn failures_of_one_session_are_not_another_ones() {
    let model = Rehearsal::default();
    let mut other = request("rehearsal-1", vec![said("/fail 500")]);
    other.session = perennial_schema::SessionId::from_uuid(uuid::Uuid::from_u128(7));
    ask(&model, &[said("/fail 500")]).await.unwrap_err();
    model.request(other, &mut Recorder::default()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn waiting_takes_the_time_it_says() {
    let start = tokio::time::Instant::now();
    let step = ask(&Rehearsal::default(), &[said("/sleep 500\n/tokens 10 20")])
        .await
        .unwrap();
    assert_eq!(start.elapsed().as_millis(), 700);
    assert_eq!(texts(&step), ["rehearsal-1: 1 2 3 4 5 6 7 8 9 10"]);
}

#[tokio::test]
async fn a_silent_script_still_ends_with_a_message() {
    let step = ask(&Rehearsal::default(), &[said("/sleep 0")]).await.unwrap();
    assert_eq!(texts(&step), ["rehearsal-1: the script is done."]);
    let step = ask(&Rehearsal::default(), &[said("/then")]).await.unwrap();
    assert_eq!(texts(&step), ["rehearsal-1: the script is done."]);
}

#[tokio::test]
async fn no_words_at_all_are_answered_too() {
    let results = vec![MessagePart::ToolResult {
        id: event_id(1),
        native_id: None,
        content: content::text_content("x"),
        is_error: false,
    }];
    let step = ask(
        &Rehearsal::default(),
        &[Message {
            role: Role::User,
            parts: results,
        }],
    )
    .await
    .unwrap();
    assert!(texts(&step)[0].contains("rehearsal model"));
}

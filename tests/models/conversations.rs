//! Whole conversations: what goes out is what the vendor wants, what comes in is what it said.

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::{Model as _, Part, StopKind};
use perennial_schema::event::Raw;
use perennial_tests::models::{Answer, Reply, Tokens};
use serde_json::json;

use crate::support::{KEY, Recorder, Rig, VENDORS, Vendor, append, model_of, models, request, said, shown};

const SCRIPT: &str =
    "/say first\n/tool bash {\"command\": \"ls 'é'\"}\n/tool read {\"n\": 1.50}\n/then\n/tool bash\n/say the end";

#[tokio::test]
async fn a_scripted_conversation_reaches_its_end_without_a_violation() {
    for vendor in VENDORS {
        let rig = Rig::new(vendor).await;
        let mut messages = vec![said(SCRIPT)];
        let steps = rig.converse(&mut messages).await;
        let shown: Vec<String> = steps.iter().map(shown).collect();
        let first = r#"~ "first" bash{"command": "ls 'é'"} read{"n": 1.50}"#;
        assert_eq!(shown, [first, "~ bash{}", r#"~ "the end""#], "{vendor:?}");
        // A second turn carries the whole first one.
        messages.push(said("/tool read\n/say again"));
        assert_eq!(rig.converse(&mut messages).await.len(), 2);
        assert_eq!(rig.server.violations(), Vec::<String>::new());
        assert_eq!(rig.server.requests().len(), 5);
    }
}

#[tokio::test]
async fn thoughts_go_back_byte_for_byte_and_calls_by_their_native_ids() {
    for vendor in VENDORS {
        let rig = Rig::new(vendor).await;
        rig.server
            .push(Answer::new().thinking("né \"why\" \u{1F914}").tool("bash", &json!({})));
        let mut messages = vec![said("hi")];
        rig.converse(&mut messages).await;
        let second = &rig.server.requests()[1].raw;
        for part in &messages[1].parts {
            match part {
                MessagePart::Native(native) => {
                    assert_eq!(
                        second.contains(native.block.text()),
                        vendor.keeps_thoughts(),
                        "{vendor:?}"
                    );
                }
                MessagePart::ToolUse { native_id, .. } => {
                    assert_eq!(second.matches(native_id.as_ref().unwrap()).count(), 2, "{vendor:?}");
                }
                part => panic!("unexpected {part:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_session_may_change_its_vendor_between_turns() {
    let pairs = VENDORS.iter().flat_map(|first| VENDORS.map(|second| (*first, second)));
    for (first, second) in pairs.filter(|(first, second)| first != second) {
        let (one, two) = (Rig::new(first).await, Rig::new(second).await);
        let mut messages = vec![said("/tool bash\n/tool read\n/say done")];
        one.converse(&mut messages).await;
        messages.push(said("/tool read\n/say done"));
        two.converse(&mut messages).await;
        messages.push(said("/say bye"));
        one.converse(&mut messages).await;
        assert_eq!(
            [one.server.violations(), two.server.violations()].concat(),
            Vec::<String>::new()
        );
    }
}

#[tokio::test]
async fn pictures_go_out_and_usage_comes_back() {
    let image = r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}"#;
    let image = Raw::from(serde_json::value::RawValue::from_string(image.into()).unwrap());
    for vendor in VENDORS {
        let rig = Rig::new(vendor).await;
        let used = Tokens {
            input: 11,
            cached: 5,
            output: 21,
            ..Tokens::default()
        };
        rig.server.push(Answer::new().text(&["a ", "dot"]).usage(used));
        let message = Message {
            role: Role::User,
            parts: vec![MessagePart::Content(image.clone())],
        };
        let step = rig.ask(&[message]).await.unwrap();
        assert_eq!(shown(&step), r#""a dot""#);
        assert_eq!(
            (
                step.usage.input_tokens,
                step.usage.cache_read_input_tokens,
                step.usage.output_tokens
            ),
            (11, 5, 21)
        );
        assert!(rig.server.requests()[0].raw.contains("AAAA") && rig.server.violations().is_empty());
    }
}

#[tokio::test]
async fn stop_reasons_come_through() {
    for vendor in VENDORS {
        let rig = Rig::new(vendor).await;
        rig.server.push(Answer::new().text(&["no"]).refusal());
        rig.server.push(Answer::new().text(&["cut"]).max_tokens());
        rig.server.push(Answer::new().text(&["done"]));
        for stop in [StopKind::Refusal, StopKind::MaxTokens, StopKind::EndTurn] {
            assert_eq!(rig.ask(&[said("hi")]).await.unwrap().stop, stop, "{vendor:?}");
        }
    }
}

#[tokio::test]
async fn each_vendor_gets_its_own_headers_and_the_bare_model_id() {
    let rig = Rig::new(Vendor::Anthropic).await;
    let asked = request("anthropic/some-model", vec![said("hi")]);
    rig.models.request(asked, &mut Recorder::default()).await.unwrap();
    let received = &rig.server.requests()[0];
    assert_eq!(
        (&received.headers["x-api-key"], &received.headers["anthropic-version"]),
        (&KEY.parse().unwrap(), &"2023-06-01".parse().unwrap())
    );
    assert_eq!(received.body["model"], "some-model");

    let rig = Rig::new(Vendor::OpenAi).await;
    let asked = request("openai/some-model", vec![said("hi")]);
    rig.models.request(asked, &mut Recorder::default()).await.unwrap();
    let received = &rig.server.requests()[0];
    assert_eq!(received.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(
        (&received.body["model"], &received.body["include"]),
        (&json!("some-model"), &json!(["reasoning.encrypted_content"]))
    );
}

#[tokio::test]
async fn a_model_without_reasoning_is_asked_again_without_it_and_remembered() {
    let rig = Rig::new(Vendor::OpenAi).await;
    rig.server.push(Reply::error(
        400,
        "invalid_request_error",
        "Encrypted content is not supported with this model.",
    ));
    for _ in 0..2 {
        rig.ask(&[said("hi")]).await.unwrap();
    }
    let asked: Vec<bool> = rig
        .server
        .requests()
        .iter()
        .map(|request| request.body["include"].is_array())
        .collect();
    assert_eq!(asked, [true, false, false]);
}

#[tokio::test]
async fn base_urls_may_end_as_people_write_them() {
    for vendor in VENDORS {
        let rig = Rig::new(vendor).await;
        let endings: &[&str] = if vendor == Vendor::Anthropic {
            &["/", "/v1", "/v1/"]
        } else {
            &["/"]
        };
        for ending in endings {
            let models = models(vendor, &format!("{}{ending}", rig.server.base_url()));
            models
                .request(request(model_of(vendor), vec![said("hi")]), &mut Recorder::default())
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn dropping_a_request_cancels_it() {
    for vendor in VENDORS {
        let rig = Rig::new(vendor).await;
        let mut sink = Recorder::default();
        let asked = rig
            .models
            .request(request(rig.model, vec![said("/tokens 1000 50")]), &mut sink);
        tokio::time::timeout(std::time::Duration::from_millis(300), asked)
            .await
            .unwrap_err();
        rig.server.abandoned(1).await.unwrap();
    }
}

#[tokio::test]
async fn a_long_answer_may_take_longer_than_the_longest_silence() {
    for vendor in VENDORS {
        let rig = Rig::new(vendor).await;
        let mut messages = vec![said("/tokens 20 50")];
        let step = rig.ask(&messages).await.unwrap();
        append(&mut messages, &step);
        assert!(
            matches!(&step.parts[1], Part::Text { text, .. } if text.ends_with(" 19 20")),
            "{}",
            shown(&step)
        );
    }
}

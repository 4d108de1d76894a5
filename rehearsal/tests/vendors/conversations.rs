//! Whole conversations.

use perennial_rehearsal::server::Settings;
use perennial_rehearsal::{Manner, Rehearsal, Wire};
use serde_json::{Value, json};

use crate::client::{WIRES, ask, gathered, go_on, post, push, server};

const SCRIPT: &str =
    "do this:\n/think why\n/say look\n/tool bash {\"x\": 1}\n/tool read {}\n/then\n/tool bash\n/say end";

/// Plays a prompt to its end, streamed or not; gives what each step said and called.
async fn play(wire: Wire, streamed: bool, prompt: &str) -> Vec<Vec<String>> {
    let server = server(Settings::default()).await;
    let mut body = ask(wire, prompt);
    body["stream"] = json!(streamed);
    let mut steps = Vec::new();
    loop {
        let answer = post(&server, wire, &body).await;
        assert_eq!(answer.status, 200, "{wire:?}: {}", answer.text);
        let whole = if streamed {
            gathered(wire, &answer.events())
        } else {
            answer.json()
        };
        let told = go_on(wire, &mut body, &whole);
        let done = !told.iter().any(|told| told.contains('{'));
        steps.push(told);
        if done {
            assert_eq!(server.violations(), Vec::<String>::new());
            return steps;
        }
    }
}

#[tokio::test]
async fn one_script_plays_alike_on_every_wire() {
    for wire in WIRES {
        let (bash, one) = match wire {
            Wire::Messages => ("mcp__router__bash", r#"{"x":1}"#),
            Wire::Responses => ("mcp__routerbash", r#"{"x": 1}"#),
            Wire::Chat => ("router_bash", r#"{"x": 1}"#),
        };
        let first = vec![
            "~why".to_owned(),
            "look".into(),
            format!("{bash}{one}"),
            "read{}".into(),
        ];
        let steps = vec![first, vec![format!("{bash}{{}}")], vec!["end".into()]];
        for streamed in [false, true] {
            assert_eq!(
                play(wire, streamed, SCRIPT).await,
                steps,
                "{wire:?}, streamed: {streamed}"
            );
        }
    }
}

#[tokio::test]
async fn the_rehearsal_model_names_itself_and_others_play_their_part() {
    for wire in WIRES {
        let rehearsal = Rehearsal::default();
        let mut body = ask(wire, "/say hi\n/tokens 2");
        let said = |body: &Value| {
            let mut response = rehearsal.answer(wire, body);
            let Some(perennial_rehearsal::Frame::Data { text, .. }) = response.frames.pop_front() else {
                panic!("no body")
            };
            go_on(wire, &mut body.clone(), &serde_json::from_str(&text).unwrap()).concat()
        };
        assert_eq!(said(&body), "hi 1 2", "{wire:?}");
        body["model"] = json!("rehearsal-1");
        assert_eq!(said(&body), "rehearsal-1: hirehearsal-1: 1 2", "{wire:?}");
    }
}

#[tokio::test]
async fn thoughts_come_when_they_are_asked_for() {
    let thinks = |wire: Wire, body: &Value, manner| {
        let mut response = Rehearsal::new(manner).answer(wire, body);
        let Some(perennial_rehearsal::Frame::Data { text, .. }) = response.frames.pop_front() else {
            panic!("no body")
        };
        text.contains("step 0")
    };
    let (plain, thoughtful) = (
        Manner::default(),
        Manner {
            thoughtful: true,
            ..Manner::default()
        },
    );
    for wire in WIRES {
        let body = ask(wire, "/say hi");
        assert!(
            !thinks(wire, &body, plain) && thinks(wire, &body, thoughtful),
            "{wire:?}"
        );
    }
    let mut body = ask(Wire::Messages, "/say hi");
    body["thinking"] = json!({"type": "adaptive"});
    assert!(thinks(Wire::Messages, &body, plain));
    let mut body = ask(Wire::Responses, "/say hi");
    body["reasoning"] = json!({"effort": "low"});
    assert!(thinks(Wire::Responses, &body, plain));
}

#[tokio::test]
async fn failures_are_the_vendors_and_each_conversation_has_its_own() {
    for wire in WIRES {
        let server = server(Settings::default()).await;
        let body = ask(wire, "/fail 529\n/fail 401\n/say hi");
        let mut other = body.clone();
        match wire {
            Wire::Messages => other["metadata"] = json!({"user_id": "u"}),
            Wire::Responses | Wire::Chat => other["prompt_cache_key"] = json!("u"),
        }
        let mut statuses = Vec::new();
        for body in [&body, &other, &body, &body, &other] {
            let answer = post(&server, wire, body).await;
            statuses.push(answer.status);
            if answer.status == 529 {
                let kind = if wire == Wire::Messages {
                    "overloaded_error"
                } else {
                    "server_error"
                };
                assert_eq!(answer.json()["error"]["type"], kind);
            }
        }
        assert_eq!(statuses, [529, 529, 401, 200, 401], "{wire:?}");
        assert_eq!(server.violations(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_prompt_may_come_in_pieces_with_pictures_and_notes_beside_it() {
    let png = json!({"type": "base64", "media_type": "image/png", "data": "AAAA"});
    let url = "data:image/png;base64,AAAA";
    for wire in WIRES {
        let server = server(Settings::default()).await;
        let mut body = ask(wire, "x");
        match wire {
            Wire::Messages => {
                body["system"] = json!([{"type": "text", "text": "s"}]);
                body["messages"] = json!([{"role": "user", "content": [
                    {"type": "text", "text": "<system-reminder>\n/say never\n</system-reminder>"},
                    {"type": "image", "source": png}, {"type": "text", "text": "/say seen"}]}]);
            }
            Wire::Responses => {
                body["input"] = json!([
                    {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "/say never"}]},
                    {"type": "message", "role": "user", "content": [
                        {"type": "input_text", "text": "<environment_context>\n/say never\n</environment_context>"}]},
                    {"type": "message", "role": "user", "content": [
                        {"type": "input_image", "image_url": url}, {"type": "input_text", "text": "/say seen"}]},
                ]);
            }
            Wire::Chat => {
                body["messages"] = json!([{"role": "system", "content": "/say never"}, {"role": "user", "content": [
                    {"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "/say seen"}]}]);
            }
        }
        let answer = post(&server, wire, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(go_on(wire, &mut body, &answer.json()), ["seen"], "{wire:?}");
    }
}

#[tokio::test]
async fn what_is_said_in_mid_turn_takes_over() {
    for wire in WIRES {
        let server = server(Settings::default()).await;
        let mut body = ask(wire, "/tool bash\n/then\n/tool read");
        let answer = post(&server, wire, &body).await.json();
        go_on(wire, &mut body, &answer);
        match wire {
            // As Claude Code does it.
            Wire::Messages => {
                let words = "The user sent a new message while you were working:\n/say other";
                push(&mut body, "messages", json!({"role": "system", "content": words}));
            }
            Wire::Responses => push(&mut body, "input", json!({"role": "user", "content": "/say other"})),
            Wire::Chat => push(&mut body, "messages", json!({"role": "user", "content": "/say other"})),
        }
        let answer = post(&server, wire, &body).await;
        assert_eq!(answer.status, 200, "{wire:?}: {}", answer.text);
        assert_eq!(go_on(wire, &mut body, &answer.json()), ["other"], "{wire:?}");
    }
}

#[tokio::test]
async fn usage_is_counted_from_the_texts() {
    for wire in WIRES {
        let server = server(Settings::default()).await;
        let usage = async |prompt: &str| {
            let usage = post(&server, wire, &ask(wire, prompt)).await.json()["usage"].clone();
            let input = usage["input_tokens"].as_u64().or(usage["prompt_tokens"].as_u64());
            let output = usage["output_tokens"].as_u64().or(usage["completion_tokens"].as_u64());
            (input.unwrap(), output.unwrap())
        };
        let (short, long) = (
            usage("/say 12345678").await,
            usage(&format!("/say {}", "x".repeat(408))).await,
        );
        assert_eq!((short.1, long.1), (2, 102), "{wire:?}");
        assert_eq!(long.0 - short.0, 100, "{wire:?}");
    }
}

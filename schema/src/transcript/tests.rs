//! Files as the programs write them: branches, parallel calls, notes of their own, and what nobody knows.

use serde_json::json;

use super::*;

fn read(text: &str) -> Transcript {
    let origin = text.lines().find_map(Origin::of_line).unwrap();
    let mut reader = Reader::new(origin);
    text.lines().for_each(|line| reader.line(line));
    reader.transcript()
}

fn short(transcript: &Transcript) -> Vec<String> {
    let texts = |blocks: &[Block]| {
        let each = blocks.iter().map(|block| match block {
            Block::Text { text } => text.clone(),
            Block::Image { .. } => "(image)".into(),
            other => format!("{other:?}"),
        });
        each.collect::<Vec<_>>().join("|")
    };
    let parts = transcript.parts.iter().map(|part| match &part.heard {
        Heard::User(blocks) => format!("user {}", texts(blocks)),
        Heard::Text(text) => format!("text {text}"),
        Heard::Thinking(native) => format!("thinking {}", native.as_ref().map_or("-", |native| native.block.text())),
        Heard::ToolUse { id, name, input } => format!("use {id} {name} {}", input.text()),
        Heard::ToolResult { id, content, is_error } => format!("result {id} {} {is_error}", texts(content)),
        Heard::Compacted(summary) => format!("compacted {summary}"),
    });
    parts.collect()
}

/// As version 2.1 writes it, shortened: a first message that was taken back and said anew, thinking, parallel calls whose
/// results hang on their own calls, an image in a result, a sub-agent's line, an error of the API shown as an answer.
const CLAUDE: &str = r#"{"type":"file-history-snapshot","messageId":"m0","snapshot":{"messageId":"m0","trackedFileBackups":{}},"isSnapshotUpdate":false}
{"parentUuid":null,"isSidechain":false,"userType":"external","cwd":"/home/a/p","sessionId":"6a1c0f0e-1111-4222-8333-444455556666","version":"2.1.197","gitBranch":"main","type":"user","message":{"role":"user","content":"taken back"},"uuid":"u-old","timestamp":"2026-11-20T09:00:00.000Z"}
{"parentUuid":null,"isSidechain":false,"sessionId":"6a1c0f0e-1111-4222-8333-444455556666","type":"user","isMeta":true,"message":{"role":"user","content":"<local-command-caveat>…</local-command-caveat>"},"uuid":"u-meta","timestamp":"2026-11-20T09:01:00.000Z"}
{"parentUuid":"u-meta","isSidechain":false,"sessionId":"6a1c0f0e-1111-4222-8333-444455556666","type":"user","message":{"role":"user","content":[{"type":"text","text":"Fix the test"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}}]},"uuid":"u1","timestamp":"2026-11-20T09:01:01.000Z","permissionMode":"default"}
{"parentUuid":"u1","isSidechain":false,"sessionId":"6a1c0f0e-1111-4222-8333-444455556666","type":"assistant","message":{"model":"claude-opus-4-6","id":"msg_01","type":"message","role":"assistant","content":[{"type":"thinking","thinking":"Let me look.","signature":"EqQBCkYI"}],"stop_reason":null,"usage":{"input_tokens":10,"cache_creation_input_tokens":5,"cache_read_input_tokens":7,"output_tokens":1,"service_tier":"standard"}},"requestId":"req_1","uuid":"a1","timestamp":"2026-11-20T09:01:03.000Z"}
{"parentUuid":"a1","isSidechain":false,"sessionId":"6a1c0f0e-1111-4222-8333-444455556666","type":"assistant","message":{"model":"claude-opus-4-6","id":"msg_01","type":"message","role":"assistant","content":[{"type":"tool_use","id":"toolu_A","name":"Read","input":{"file_path":"/home/a/p/t.py"}}],"usage":{"input_tokens":10,"output_tokens":1}},"uuid":"a2","timestamp":"2026-11-20T09:01:04.000Z"}
{"parentUuid":"a2","isSidechain":false,"sessionId":"6a1c0f0e-1111-4222-8333-444455556666","type":"assistant","message":{"model":"claude-opus-4-6","id":"msg_01","type":"message","role":"assistant","content":[{"type":"tool_use","id":"toolu_B","name":"mcp__router__bash","input":{"command":"pytest"}}],"usage":{"input_tokens":10,"output_tokens":42}},"uuid":"a3","timestamp":"2026-11-20T09:01:05.000Z"}
{"parentUuid":"a2","isSidechain":false,"sessionId":"6a1c0f0e-1111-4222-8333-444455556666","type":"user","message":{"role":"user","content":[{"tool_use_id":"toolu_A","type":"tool_result","content":[{"type":"text","text":"def t(): …"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}}]}]},"uuid":"r1","timestamp":"2026-11-20T09:01:06.000Z","toolUseResult":{"type":"text"},"sourceToolAssistantUUID":"a2"}
{"parentUuid":"a3","isSidechain":false,"sessionId":"6a1c0f0e-1111-4222-8333-444455556666","type":"user","message":{"role":"user","content":[{"tool_use_id":"toolu_B","type":"tool_result","content":"1 failed","is_error":true}]},"uuid":"r2","timestamp":"2026-11-20T09:01:07.000Z"}
{"parentUuid":"r2","isSidechain":true,"sessionId":"6a1c0f0e-1111-4222-8333-444455556666","type":"assistant","message":{"id":"msg_sub","model":"claude-haiku","content":[{"type":"text","text":"of a sub-agent"}]},"uuid":"s1","timestamp":"2026-11-20T09:01:07.500Z"}
{"parentUuid":"r2","isSidechain":false,"sessionId":"6a1c0f0e-1111-4222-8333-444455556666","type":"assistant","isApiErrorMessage":true,"message":{"model":"<synthetic>","id":"x","role":"assistant","content":[{"type":"text","text":"API Error: 529"}]},"uuid":"e1","timestamp":"2026-11-20T09:01:08.000Z"}
{"type":"ai-title","aiTitle":"Fixing the failing test","sessionId":"6a1c0f0e-1111-4222-8333-444455556666"}
{"parentUuid":"e1","isSidechain":false,"sessionId":"6a1c0f0e-1111-4222-8333-444455556666","type":"assistant","message":{"model":"claude-opus-4-6","id":"msg_02","content":[{"type":"text","text":"Fixed."},{"type":"hologram","x":1}],"usage":{"input_tokens":20,"output_tokens":3}},"uuid":"a4","timestamp":"2026-11-20T09:01:09.000Z"}
{"type":"thing-of-tomorrow","sessionId":"6a1c0f0e-1111-4222-8333-444455556666"}
this is no JSON

"#;

#[test]
fn claude_code() {
    let transcript = read(CLAUDE);
    assert_eq!(transcript.id, "6a1c0f0e-1111-4222-8333-444455556666");
    assert_eq!(transcript.title.as_deref(), Some("Fixing the failing test"));
    assert_eq!(transcript.model.as_deref(), Some("claude-opus-4-6"));
    assert_eq!(
        short(&transcript),
        [
            "user Fix the test|(image)",
            r#"thinking {"type":"thinking","thinking":"Let me look.","signature":"EqQBCkYI"}"#,
            r#"use toolu_A Read {"file_path":"/home/a/p/t.py"}"#,
            r#"use toolu_B bash {"command":"pytest"}"#,
            "result toolu_A def t(): …|(image) false",
            "result toolu_B 1 failed true",
            "text Fixed.",
        ]
    );
    // The block of tomorrow, the line of tomorrow, and the line that is none.
    assert_eq!(transcript.unread, 3);
    let messages: Vec<_> = transcript.parts.iter().map(|part| part.message.as_deref()).collect();
    assert_eq!(messages[1..4], [Some("msg_01"); 3]);
    let usage: Vec<u64> = transcript.parts.iter().map(|part| part.usage.output_tokens).collect();
    assert_eq!(usage, [0, 0, 0, 42, 0, 0, 3], "once a message, as its last line says");
    assert_eq!(
        transcript.parts[0].at.map(|at| at.to_string()).as_deref(),
        Some("2026-11-20T09:01:01.000000Z")
    );
}

#[test]
fn claude_code_after_a_compaction() {
    let text = [
        json!({"type": "user", "uuid": "1", "parentUuid": null, "sessionId": "s", "message": {"content": "first"}}),
        json!({"type": "assistant", "uuid": "2", "parentUuid": "1", "message": {"id": "m", "content": [{"type": "text", "text": "one"}]}}),
        json!({"type": "system", "subtype": "compact_boundary", "uuid": "3", "parentUuid": null, "logicalParentUuid": "2"}),
        json!({"type": "user", "uuid": "4", "parentUuid": "3", "isCompactSummary": true, "message": {"content": "This session is being continued …"}}),
        json!({"type": "user", "uuid": "5", "parentUuid": "4", "message": {"content": "second"}}),
    ]
    .map(|line| line.to_string())
    .join("\n");
    assert_eq!(
        short(&read(&text)),
        [
            "user first",
            "text one",
            "compacted This session is being continued …",
            "user second"
        ]
    );
}

#[test]
fn claude_code_without_names_is_one_branch() {
    let text = [
        json!({"type": "user", "sessionId": "s", "message": {"content": "a"}}),
        json!({"type": "assistant", "message": {"content": "b"}}),
        json!({"type": "assistant", "message": {"content": [{"type": "thinking", "thinking": "unsigned", "signature": ""}]}}),
    ]
    .map(|line| line.to_string())
    .join("\n");
    assert_eq!(short(&read(&text)), ["user a", "text b", "thinking -"]);
}

/// As version 0.169 writes it, shortened.
const CODEX: &str = r##"{"timestamp":"2026-11-20T10:00:00.000Z","type":"session_meta","payload":{"id":"0199-aaaa","timestamp":"2026-11-20T10:00:00.000Z","cwd":"/home/a/p","originator":"codex_cli_rs","cli_version":"0.169.0","source":"cli","model_provider":"openai","base_instructions":{"text":"You are Codex"},"git":{"branch":"main"}}}
{"timestamp":"2026-11-20T10:00:00.100Z","type":"response_item","payload":{"type":"message","role":"developer","content":[{"type":"input_text","text":"<permissions instructions>…"}]}}
{"timestamp":"2026-11-20T10:00:00.200Z","type":"response_item","payload":{"type":"message","role":"user","content":[{"type":"input_text","text":"# AGENTS.md instructions for /home/a/p\n…"},{"type":"input_text","text":"<environment_context>\n  <cwd>/home/a/p</cwd>\n</environment_context>"}]}}
{"timestamp":"2026-11-20T10:00:01.000Z","type":"turn_context","payload":{"turn_id":"t","cwd":"/home/a/p","approval_policy":"never","model":"gpt-6-sol","effort":"high","summary":"auto"}}
{"timestamp":"2026-11-20T10:00:01.100Z","type":"event_msg","payload":{"type":"user_message","message":"List files","images":[]}}
{"timestamp":"2026-11-20T10:00:01.200Z","type":"response_item","payload":{"type":"message","role":"user","content":[{"type":"input_text","text":"List files"},{"type":"input_image","image_url":"data:image/png;base64,iVBORw0KGgo="}]}}
{"timestamp":"2026-11-20T10:00:02.000Z","type":"response_item","payload":{"type":"reasoning","summary":[{"type":"summary_text","text":"**Listing**"}],"content":null,"encrypted_content":"gAAAAA"}}
{"timestamp":"2026-11-20T10:00:02.100Z","type":"event_msg","payload":{"type":"agent_reasoning","text":"**Listing**"}}
{"timestamp":"2026-11-20T10:00:02.200Z","type":"response_item","payload":{"type":"function_call","name":"exec_command","arguments":"{\"cmd\":\"ls\"}","call_id":"call_1"}}
{"timestamp":"2026-11-20T10:00:02.300Z","type":"response_item","payload":{"type":"function_call","name":"bash","namespace":"mcp__router","arguments":"{\"command\":\"pwd\"}","call_id":"call_2"}}
{"timestamp":"2026-11-20T10:00:02.399Z","type":"token_usage_record","payload":{"thread_id":"0199-aaaa","turn_id":"t","response_id":"resp_1","usage":{"input_tokens":100,"cached_input_tokens":60,"cache_write_input_tokens":0,"output_tokens":9,"reasoning_output_tokens":0,"total_tokens":109}}}
{"timestamp":"2026-11-20T10:00:02.400Z","type":"event_msg","payload":{"type":"token_count","info":{"total_token_usage":{"input_tokens":100},"last_token_usage":{"input_tokens":100,"cached_input_tokens":60,"output_tokens":9,"total_tokens":109},"model_context_window":258400},"rate_limits":null}}
{"timestamp":"2026-11-20T10:00:03.000Z","type":"response_item","payload":{"type":"function_call_output","call_id":"call_1","output":"a.txt"}}
{"timestamp":"2026-11-20T10:00:03.100Z","type":"response_item","payload":{"type":"function_call_output","call_id":"call_2","output":[{"type":"input_text","text":"Wall time: 0.1 seconds\nOutput:"},{"type":"input_text","text":"/home/a/p"}]}}
{"timestamp":"2026-11-20T10:00:04.000Z","type":"response_item","payload":{"type":"custom_tool_call","status":"completed","call_id":"call_3","name":"apply_patch","input":"*** Begin Patch\n*** End Patch"}}
{"timestamp":"2026-11-20T10:00:04.100Z","type":"response_item","payload":{"type":"custom_tool_call_output","call_id":"call_3","output":{"content":"failed","success":false}}}
{"timestamp":"2026-11-20T10:00:05.000Z","type":"response_item","payload":{"type":"message","role":"assistant","content":[{"type":"output_text","text":"There is a.txt."}],"phase":"final_answer"}}
{"timestamp":"2026-11-20T10:00:05.100Z","type":"response_item","payload":{"type":"ghost_snapshot","ghost_commit":{}}}
{"timestamp":"2026-11-20T10:00:05.200Z","type":"response_item","payload":{"type":"item_of_tomorrow"}}
{"timestamp":"2026-11-20T10:00:06.000Z","type":"compacted","payload":{"message":"We listed files."}}
{"timestamp":"2026-11-20T10:00:07.000Z","type":"line_of_tomorrow","payload":{}}
{"timestamp":"2026-11-20T10:00:08.000Z","type":"response_item","payload":{"type":"message","role":"user","content":[{"type":"input_text","text":"cut off"}
"##;

#[test]
fn codex() {
    let transcript = read(CODEX);
    assert_eq!(
        (transcript.id.as_str(), transcript.model.as_deref()),
        ("0199-aaaa", Some("gpt-6-sol"))
    );
    assert_eq!(
        short(&transcript),
        [
            "user List files|(image)",
            r#"thinking {"type":"reasoning","summary":[{"type":"summary_text","text":"**Listing**"}],"content":null,"encrypted_content":"gAAAAA"}"#,
            r#"use call_1 exec_command {"cmd":"ls"}"#,
            r#"use call_2 bash {"command":"pwd"}"#,
            "result call_1 a.txt false",
            "result call_2 Wall time: 0.1 seconds\nOutput:|/home/a/p false",
            r#"use call_3 apply_patch {"input":"*** Begin Patch\n*** End Patch"}"#,
            "result call_3 failed true",
            "text There is a.txt.",
            "compacted We listed files.",
        ]
    );
    assert_eq!(transcript.unread, 3);
    let messages: Vec<_> = transcript.parts.iter().map(|part| part.message.as_deref()).collect();
    assert_eq!(messages[1..4], [Some("1"); 3]);
    assert_eq!((messages[6], messages[8]), (Some("2"), Some("3")));
    let usage = transcript.parts[3].usage;
    assert_eq!(
        (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens),
        (40, 60, 9)
    );
}

#[test]
fn codex_as_its_first_versions_wrote_it() {
    let text = [
        json!({"id": "old-1", "timestamp": "2025-05-01T00:00:00Z", "instructions": null}),
        json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}),
        json!({"type": "local_shell_call", "call_id": "c", "status": "completed", "action": {"type": "exec", "command": ["ls"]}}),
        json!({"type": "local_shell_call_output", "call_id": "c", "output": "a"}),
    ];
    let mut reader = Reader::new(Origin::Codex);
    for line in text {
        reader.line(&line.to_string());
    }
    let transcript = reader.transcript();
    assert_eq!((transcript.id.as_str(), transcript.unread), ("old-1", 0));
    assert_eq!(short(&transcript).len(), 3);
}

#[test]
fn whose_a_line_is() {
    for (line, origin) in [
        (
            r#"{"type":"summary","summary":"x","leafUuid":"y"}"#,
            Some(Origin::ClaudeCode),
        ),
        (r#"{"type":"session_meta","payload":{}}"#, Some(Origin::Codex)),
        (r#"{"type":"user"}"#, None),
        ("[]", None),
        ("", None),
    ] {
        assert_eq!(Origin::of_line(line), origin, "{line}");
    }
    assert_eq!("codex".parse(), Ok(Origin::Codex));
    assert_eq!("emacs".parse::<Origin>(), Err(NotAnOrigin));
}

#[test]
fn nothing_that_looks_like_a_line_makes_it_stop() {
    for bad in [
        "null",
        "1",
        "[]",
        "{}",
        "\"x\"",
        r#"{"type":1}"#,
        r#"{"type":"user","sessionId":"s","message":null}"#,
        r#"{"type":"user","sessionId":"s","message":{"content":7}}"#,
        r#"{"type":"assistant","sessionId":"s","message":{"content":{"a":1}}}"#,
        r#"{"type":"user","uuid":"x","parentUuid":"x","message":{"content":"self"}}"#,
        r#"{"type":"response_item","payload":{"type":"message"}}"#,
        r#"{"type":"response_item","payload":{"type":"function_call","arguments":"not json"}}"#,
        r#"{"type":"response_item"}"#,
    ] {
        for origin in [Origin::ClaudeCode, Origin::Codex] {
            let mut reader = Reader::new(origin);
            reader.line(bad);
            let transcript = reader.transcript();
            for part in transcript.parts {
                if let Heard::ToolUse { name, input, .. } = part.heard {
                    assert!(!name.is_empty() && input.text().starts_with('{'));
                }
            }
        }
    }
}

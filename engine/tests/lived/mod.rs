//! Logs to test with: a small world that drives the kernel with random outcomes, inputs and crashes.

use std::sync::atomic::{AtomicU64, Ordering};

use perennial_engine::kernel::{Brain, Command, State, Step};
use perennial_engine::ports::{Ids, Lane, ModelStep, Part, Placement, ToolSpec};
use perennial_schema::content::text_content;
use perennial_schema::event::*;
use perennial_schema::model::Usage;
use perennial_schema::session::StopReason;
use perennial_schema::tool::{Effect, Outcome};
use perennial_schema::{EventId, ExecutorId, JournalId, OutcomeId, SessionId, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Ids for Counter {
    fn uuid(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.0.fetch_add(1, Ordering::Relaxed)) + 1)
    }
}

pub(crate) struct Life {
    pub(crate) state: State,
    pub(crate) log: Vec<Event>,
    ids: Counter,
    /// Where the open request cuts the context, if it is for a summary.
    cut: Option<u64>,
}

/// The model of these lives counts some tokens per answer: this is beyond most of them.
const COMPACT_AT: u64 = 200;

fn brain(choice: u8) -> Option<Brain<'static>> {
    let other = choice.is_multiple_of(5);
    let (name, provider) = if other {
        ("codex/openai", "openai")
    } else {
        ("native/anthropic", "anthropic")
    };
    Some(Brain { name, provider })
}

/// Every call of a step placed, or none.
fn placements(step: &ModelStep, placed: bool) -> Vec<(EventId, Placement)> {
    let calls = step.parts.iter().filter_map(|part| match part {
        Part::ToolUse { id, .. } if placed => Some((*id, PLACEMENT)),
        _ => None,
    });
    calls.collect()
}

fn tools() -> Vec<ToolSpec> {
    let tool = |name: &str, lane, permission| ToolSpec {
        name: name.into(),
        description: String::new(),
        input_schema: serde_json::json!({"type": "object"}),
        lane,
        permission,
        effect: Effect::Once,
        choices: Vec::new(),
    };
    vec![
        tool("bash", Lane::Executor, Permission::Allow),
        tool("write", Lane::Executor, Permission::Ask),
        tool("rm", Lane::Executor, Permission::Deny),
        tool("weather", Lane::Client, Permission::Allow),
        tool("hosted", Lane::SelfHosted, Permission::Allow),
    ]
}

const PLACEMENT: Placement = Placement {
    executor_id: ExecutorId::from_uuid(Uuid::nil()),
    journal_id: JournalId::from_uuid(Uuid::nil()),
};

impl Life {
    pub(crate) fn new() -> Self {
        Self {
            state: State::default(),
            log: Vec::new(),
            ids: Counter::default(),
            cut: None,
        }
    }

    /// Each choice is one thing that happens: an input, a step of the worker, or a crash of it (which leaves the log as is).
    pub(crate) fn live(&mut self, choices: &[u8]) {
        for choice in choices {
            match choice % 8 {
                0 => self.input("user.message", r#"{"content":[{"type":"text","text":"hello"}]}"#),
                1 if choice / 8 % 4 == 0 => self.input("user.interrupt", "{}"),
                2 => self.answer(choice / 8),
                _ => self.work(choice / 8),
            }
        }
    }

    /// No more inputs: work until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        for round in 0..10_000 {
            if matches!(
                self.state.next(),
                Step::Rest(None) | Step::Await { announce: false, .. }
            ) {
                return;
            }
            // Outcome 6 is a plain answer: a model that always asks for tools would go on for ever.
            self.work(if round % 2 == 0 { 6 } else { 13 });
        }
        panic!("still busy after 10000 rounds: {:?}", self.state.next());
    }

    fn input(&mut self, kind: &str, json: &str) {
        let draft = Draft::input(self.ids.event(), kind, json, Timestamp::from_micros(0), None).expect("a valid input");
        self.append(vec![draft]);
    }

    /// Answers the first call that waits for somebody.
    fn answer(&mut self, choice: u8) {
        let Some(call) = self
            .state
            .open_calls()
            .find(|call| call.name != "bash" && call.confirmation.is_none())
            .cloned()
        else {
            return;
        };
        let id = call.id;
        match call.name.as_str() {
            "weather" => self.input(
                "user.custom_tool_result",
                &format!(r#"{{"custom_tool_use_id":"{id}"}}"#),
            ),
            "hosted" => self.input("user.tool_result", &format!(r#"{{"tool_use_id":"{id}","content":[]}}"#)),
            _ => {
                let result = if choice.is_multiple_of(2) { "allow" } else { "deny" };
                self.input(
                    "user.tool_confirmation",
                    &format!(r#"{{"tool_use_id":"{id}","result":"{result}"}}"#),
                );
            }
        }
    }

    fn work(&mut self, choice: u8) {
        match self.state.next_within(COMPACT_AT) {
            Step::CloseRequest(_) if choice % 7 != 5 && self.cut.is_some() => {
                let up_to = self.cut.take().unwrap_or_default();
                self.decide(Command::FinishCompaction {
                    summary: "so far",
                    up_to,
                    usage: Usage::default(),
                });
            }
            Step::CloseRequest(_) if self.cut.is_none() && (choice % 7 < 5 || choice % 7 == 6) => {
                let step = self.model_step(choice);
                let placements = placements(&step, choice.is_multiple_of(2));
                self.decide(Command::FinishRequest {
                    step: &step,
                    tools: &tools(),
                    placements: &placements,
                });
            }
            Step::CloseRequest(_) => {
                self.cut = None;
                self.decide(Command::AbandonRequest {
                    usage: Usage::default(),
                });
            }
            Step::Compact { up_to } => {
                self.cut = Some(up_to);
                self.decide(Command::StartCompaction { brain: brain(choice) });
            }
            Step::Close(closes) => self.decide(Command::Close(&closes)),
            Step::Call(calls) => {
                let fresh: Vec<_> = calls
                    .iter()
                    .filter(|call| call.dispatched.is_none())
                    .map(|call| (call.id, Effect::Once))
                    .collect();
                if fresh.is_empty() {
                    let outcomes: Vec<_> = calls
                        .iter()
                        .map(|call| (call.id, Outcome::text("done", false)))
                        .collect();
                    let some = usize::from(choice) % outcomes.len() + 1;
                    self.decide(Command::Complete {
                        outcomes: &outcomes[..some],
                        brain: brain(choice),
                        compact_at: COMPACT_AT,
                    });
                } else {
                    self.decide(Command::Dispatch {
                        calls: &fresh,
                        placement: PLACEMENT,
                    });
                }
            }
            Step::Think => self.decide(Command::StartRequest { brain: brain(choice) }),
            Step::Await { announce: false, .. } | Step::Quarantined => {}
            Step::Await { event_ids, .. } => self.decide(Command::Rest(Some(StopReason::RequiresAction { event_ids }))),
            Step::Rest(stop) => self.decide(Command::Rest(stop)),
        }
    }

    /// One request to its end, with this many tokens.
    pub(crate) fn think(&mut self, tokens: u64) {
        self.think_as(("native/anthropic", "anthropic"), tokens);
    }

    /// The same by somebody.
    pub(crate) fn think_as(&mut self, (name, provider): (&str, &str), tokens: u64) {
        let brain = Some(Brain { name, provider });
        self.decide(Command::StartRequest { brain });
        let mut step = self.model_step(5);
        step.usage.input_tokens = tokens;
        self.decide(Command::FinishRequest {
            step: &step,
            tools: &[],
            placements: &[],
        });
        self.settle();
    }

    /// Begins a summary; where it cuts, if there is anything to gain.
    pub(crate) fn begin_compaction(&mut self) -> Option<u64> {
        let up_to = self.state.cut()?;
        self.decide(Command::StartCompaction { brain: None });
        Some(up_to)
    }

    /// The process died in mid-request.
    pub(crate) fn abandon(&mut self) {
        self.decide(Command::AbandonRequest {
            usage: Usage::default(),
        });
    }

    /// A compaction, with something that happens meanwhile.
    pub(crate) fn compact(&mut self, meanwhile: impl FnOnce(&mut Self)) -> bool {
        let Some(up_to) = self.begin_compaction() else {
            return false;
        };
        meanwhile(self);
        self.decide(Command::FinishCompaction {
            summary: "so far",
            up_to,
            usage: Usage::default(),
        });
        true
    }

    fn model_step(&self, choice: u8) -> ModelStep {
        let text = Part::Text {
            id: self.ids.event(),
            text: if choice == 3 { " ".into() } else { "words".into() },
        };
        let call = |name: &str| Part::ToolUse {
            id: self.ids.event(),
            native_id: format!("toolu_{name}"),
            name: name.into(),
            input: Raw::of(&serde_json::json!({})),
        };
        let native = Native {
            provider: "anthropic".into(),
            block: Raw::of(&serde_json::json!({"type": "thinking"})),
        };
        let thinking = Part::Thinking {
            id: self.ids.event(),
            native,
        };
        let parts = match choice % 7 {
            0 => vec![thinking, text, call("bash"), call("bash")],
            1 => vec![call("write"), call("weather")],
            2 => vec![text, call("rm"), call("missing"), call("bash")],
            3 => vec![thinking],
            4 => vec![text, call("hosted")],
            _ => vec![thinking, text],
        };
        let usage = Usage {
            input_tokens: 10 * u64::from(choice),
            ..Usage::default()
        };
        ModelStep {
            parts,
            usage,
            ..ModelStep::default()
        }
    }

    fn decide(&mut self, command: Command<'_>) {
        let drafts = self
            .state
            .decide(command, Timestamp::from_micros(0), &self.ids)
            .expect("what next asked for is allowed");
        self.append(drafts);
    }

    fn append(&mut self, drafts: Vec<Draft>) {
        for draft in drafts {
            let seq = self.state.seq + 1;
            let record = Record {
                seq,
                id: draft.id,
                kind: draft.body.kind().to_owned(),
                turn: self.state.turn,
                actor: None,
                thread_id: None,
                created_at: Timestamp::from_micros(0),
                payload: draft.payload,
                private: draft.private,
            };
            let event = record.decode().expect("what we write we can read");
            assert_eq!(event.body, draft.body, "the payload says what the body said");
            self.state.apply(&event);
            self.log.push(event);
        }
    }
}

pub(crate) fn log(choices: &[u8]) -> Vec<Event> {
    let mut life = Life::new();
    life.live(choices);
    life.log
}

pub(crate) fn fork(state: State) -> State {
    let mut life = Life {
        state,
        log: Vec::new(),
        ids: Counter(AtomicU64::new(1 << 40)),
        cut: None,
    };
    life.decide(Command::Fork {
        from: SessionId::from_uuid(Uuid::nil()),
        workspace: "copied",
    });
    life.state
}

/// Any events in any order, with few ids so that they refer to each other.
pub(crate) fn foreign(length: usize) -> impl Strategy<Value = Vec<Event>> {
    let event = (0u8..22, 0u128..6, 0u128..6, any::<bool>());
    prop::collection::vec(event, 0..length).prop_map(|kinds| {
        (1..)
            .zip(kinds)
            .map(|(seq, (kind, id, other, flag))| soup(seq, kind, id, other, flag))
            .collect()
    })
}

fn soup(seq: u64, kind: u8, id: u128, other: u128, flag: bool) -> Event {
    let (id, other) = (
        EventId::from_uuid(Uuid::from_u128(id)),
        EventId::from_uuid(Uuid::from_u128(other)),
    );
    let content = if flag {
        text_content("text")
    } else {
        Raw::of(&serde_json::json!([]))
    };
    let input = Raw::of(&serde_json::json!({"command": "true"}));
    let permission = if flag { Permission::Allow } else { Permission::Ask };
    let use_of = || ToolUse {
        name: "bash".into(),
        input: input.clone(),
        evaluated_permission: Some(permission),
    };
    let result_of = || ToolResult {
        tool_use_id: other,
        content: Some(content.clone()),
        is_error: None,
    };
    let body = match kind {
        0 => Body::UserMessage(Message { content }),
        1 if flag => Body::UserDefineOutcome(DefineOutcome {
            outcome_id: OutcomeId::from_uuid(Uuid::nil()),
            description: "text".into(),
            rubric: Raw::of(&serde_json::json!({"type": "text", "content": "text"})),
            max_iterations: None,
        }),
        1 => Body::SystemMessage(Message { content }),
        2 => Body::UserInterrupt(Interrupt::default()),
        3 => {
            let result = if flag { Verdict::Allow } else { Verdict::Deny };
            Body::UserToolConfirmation(ToolConfirmation {
                tool_use_id: other,
                result,
                deny_message: None,
            })
        }
        4 => Body::UserCustomToolResult(CustomToolResult {
            custom_tool_use_id: other,
            content: None,
            is_error: None,
        }),
        5 => Body::UserToolResult(result_of()),
        6 => Body::AgentMessage(Message { content }),
        7 => Body::AgentThinking(Empty {}),
        8 | 9 => Body::AgentToolUse(use_of()),
        10 => Body::AgentCustomToolUse(use_of()),
        11 | 12 => Body::AgentToolResult(result_of()),
        13 => Body::SpanModelRequestStart(Empty {}),
        14 => Body::SpanModelRequestEnd(ModelRequestEnd {
            model_request_start_id: other,
            model_usage: Usage::default(),
            is_error: flag,
        }),
        15 | 16 => Body::InputProcessed(InputProcessed {
            event_ids: vec![other, id],
        }),
        17 => Body::SessionStatusIdle(Idle {
            stop_reason: StopReason::EndTurn,
        }),
        18 => Body::SessionStatusIdle(Idle {
            stop_reason: StopReason::RequiresAction { event_ids: vec![other] },
        }),
        19 => Body::SessionStatusRunning(Empty {}),
        20 => Body::ContextCompacted(ContextCompacted {
            summary: "so far".into(),
            up_to: seq.saturating_sub(u64::from(flag) * 7),
        }),
        _ => Body::SessionStatusRescheduled(Empty {}),
    };
    Event {
        seq,
        id,
        turn: seq / 10,
        body,
        private: Private::default(),
    }
}

//! How a model is asked to think. Newer models are told an effort and think as much as they find right; older ones are given a
//! budget of tokens; the oldest do not think. A model refuses the way that is not its own, so the other one is tried.

use perennial_engine::ports::ModelRequest;
use serde_json::{Value, json};

use super::body::{EFFORTS, WireMessage};
use crate::model::effort;
use crate::model::frame::Without;

/// Lets a model that thinks by budget think between calls, too.
const INTERLEAVED: &str = "interleaved-thinking-2025-05-14";
/// Models that think by budget, by what their names contain.
const BY_BUDGET: [&str; 9] = [
    "claude-3-7",
    "-4-0",
    "-4-1",
    "-4-5",
    "-4-2025",
    "opus-4@",
    "sonnet-4@",
    "minimax",
    "kimi",
];
/// Models that do not think.
const NEVER: [&str; 4] = ["claude-3-haiku", "claude-3-opus", "claude-3-sonnet", "claude-3-5"];

/// What is asked for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Thinking {
    pub(super) thinking: Option<Value>,
    pub(super) output_config: Option<Value>,
    /// More tokens than the answer alone may have.
    pub(super) budget: u32,
    pub(super) beta: Option<&'static str>,
}

impl Thinking {
    pub(super) fn of(model: &str, request: &ModelRequest, without: Without, messages: &[WireMessage]) -> Self {
        let Some(effort) = effort(&request.model).filter(|effort| EFFORTS.contains(&effort.as_str())) else {
            return Self::default();
        };
        let is = |names: &[&str]| names.iter().any(|name| model.contains(name));
        let by_budget = is(&BY_BUDGET) != (without.reasoning == 1);
        if is(&NEVER) || without.reasoning > 1 {
            return Self::default();
        }
        if !by_budget {
            return Self {
                thinking: Some(json!({"type": "adaptive"})),
                output_config: Some(json!({"effort": effort})),
                ..Self::default()
            };
        }
        // Thinking by budget wants a thought before the calls whose results it is shown; another brain's have none.
        if continues_without_thought(messages) {
            return Self::default();
        }
        let budget = budget(&effort);
        Self {
            thinking: Some(json!({"type": "enabled", "budget_tokens": budget})),
            output_config: None,
            budget,
            beta: (!request.tools.is_empty()).then_some(INTERLEAVED),
        }
    }
}

fn budget(effort: &str) -> u32 {
    match effort {
        "low" => 2_048,
        "medium" => 8_192,
        "high" => 16_384,
        _ => 32_768,
    }
}

/// Whether the conversation ends with results of calls before which nothing was thought.
fn continues_without_thought(messages: &[WireMessage]) -> bool {
    let [.., step, results] = messages else { return false };
    let kind = |block: Option<&perennial_schema::event::Raw>| {
        let block: Value = block.and_then(|block| block.parse().ok()).unwrap_or_default();
        block["type"].as_str().unwrap_or_default().to_owned()
    };
    step.role == "assistant"
        && kind(results.content.first()) == "tool_result"
        && !kind(step.content.first()).contains("thinking")
}

#[cfg(test)]
mod tests {
    use perennial_schema::event::Raw;

    use super::*;
    use crate::model::testing::{request, said};

    fn asked(model: &str, effort: &str, refused: u8, messages: &[WireMessage]) -> Thinking {
        let mut ask = request(model, vec![said("hi")]);
        ask.model.effort = Some(Raw::of(effort));
        let without = Without {
            reasoning: refused,
            ..Without::default()
        };
        Thinking::of(model, &ask, without, messages)
    }

    #[test]
    fn each_generation_is_asked_in_its_own_way_and_then_in_the_other() {
        let way = |model: &str, refused: u8| {
            let thinking = asked(model, "high", refused, &[]).thinking;
            thinking.map(|thinking| thinking["type"].as_str().unwrap_or_default().to_owned())
        };
        let (adaptive, budget) = (Some("adaptive".to_owned()), Some("enabled".to_owned()));
        for (model, ways) in [
            ("claude-opus-4-6", [&adaptive, &budget, &None]),
            ("claude-next", [&adaptive, &budget, &None]),
            ("claude-sonnet-4-5-20250929", [&budget, &adaptive, &None]),
            ("claude-sonnet-4-20250514", [&budget, &adaptive, &None]),
            ("claude-3-7-sonnet-latest", [&budget, &adaptive, &None]),
            ("claude-3-5-haiku", [&None, &None, &None]),
        ] {
            assert_eq!(
                [0, 1, 2].map(|refused| way(model, refused)),
                ways.map(Clone::clone),
                "{model}"
            );
        }
        assert_eq!(asked("claude-next", "unheard-of", 0, &[]), Thinking::default());
        assert_eq!(asked("claude-sonnet-4-5", "low", 0, &[]).budget, 2_048);
    }

    #[test]
    fn calls_of_a_brain_that_showed_no_thought_are_continued_without() {
        let wire = |role, block: &str| WireMessage {
            role,
            content: vec![serde_json::from_str(block).unwrap()],
        };
        let results = || wire("user", r#"{"type":"tool_result"}"#);
        let (call, thought) = (r#"{"type":"tool_use"}"#, r#"{"type":"redacted_thinking"}"#);
        for (first, budget) in [(call, 0), (thought, 16_384)] {
            let messages = [wire("user", r#"{"type":"text"}"#), wire("assistant", first), results()];
            assert_eq!(asked("claude-sonnet-4-5", "high", 0, &messages).budget, budget);
        }
    }
}

//! Which executor a call is for, of those its tool was offered with: a pure function of the offer and of what the model said.
//!
//! The answer is recorded with the tool use, so that a call which waits for a person, or for another process to take the session
//! over, goes where it was meant to go when it was asked for, whatever is attached, renamed or described otherwise by then.

use perennial_schema::Attachment;
use perennial_schema::environment::{EnvironmentConfig, Preparation};
use perennial_schema::event::{Permission, Raw};
use serde_json::Value;

use super::{Lane, ToolSpec};

/// The argument that names one.
pub const EXECUTOR_ARGUMENT: &str = "executor";

/// A place where a tool may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What the model calls it.
    pub name: String,
    /// The attached executor; none means where the environment says.
    pub hand: Option<Attachment>,
    /// What policy says of the tool there.
    pub permission: Permission,
}

impl ToolSpec {
    /// The place a call of it is for. None when there is nothing to choose.
    ///
    /// # Errors
    /// When it names none of them; told to the model.
    pub fn chosen(&self, input: &Raw) -> Result<Option<&Choice>, String> {
        let Some(unless_said) = self.choices.first() else {
            return Ok(None);
        };
        let said = match argument(input) {
            None => return Ok(Some(unless_said)),
            Some(Value::String(name)) => name,
            Some(other) => other.to_string(),
        };
        let found = self.choices.iter().find(|choice| choice.name == said);
        found.map(Some).ok_or_else(|| {
            let names: Vec<&str> = self.choices.iter().map(|choice| choice.name.as_str()).collect();
            format!(
                "There is no executor {said:?} for {}. There is: {}.",
                self.name,
                names.join(", ")
            )
        })
    }

    /// Whether this call of it goes to an executor of ours without a person's word.
    #[must_use]
    pub fn runs_at_once(&self, input: &Raw) -> bool {
        let permission = match self.chosen(input) {
            Ok(choice) => choice.map_or(self.permission, |choice| choice.permission),
            Err(_) => Permission::Deny,
        };
        permission == Permission::Allow && matches!(self.lane, Lane::Executor | Lane::Mcp { .. })
    }
}

/// Where a call works that is for an attached executor: an attachment is an environment of its own.
#[must_use]
pub fn environment_of(hand: Option<&Attachment>, environment: &EnvironmentConfig) -> EnvironmentConfig {
    match hand {
        Some(hand) => EnvironmentConfig::Local {
            executor_id: Some(hand.executor_id),
            dir: hand.dir.clone(),
            preparation: Preparation::default(),
        },
        None => environment.clone(),
    }
}

/// What is no object is refused by the tool itself.
fn argument(input: &Raw) -> Option<Value> {
    let said = input.parse::<Value>().ok()?.get_mut(EXECUTOR_ARGUMENT)?.take();
    (!said.is_null()).then_some(said)
}

#[cfg(test)]
mod tests {
    use perennial_schema::ExecutorId;
    use perennial_schema::tool::Effect;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn hand(name: &str) -> Attachment {
        Attachment {
            executor_id: ExecutorId::from_uuid(Uuid::from_u128(1)),
            name: name.to_owned(),
            dir: Some("/srv".to_owned()),
        }
    }

    fn spec(choices: Vec<Choice>) -> ToolSpec {
        ToolSpec {
            name: "bash".to_owned(),
            description: String::new(),
            input_schema: json!({"type": "object"}),
            lane: Lane::Executor,
            permission: Permission::Allow,
            effect: Effect::Once,
            choices,
        }
    }

    #[test]
    fn a_call_is_for_whom_it_names_or_for_the_first() {
        let laptop = Choice {
            name: "laptop".to_owned(),
            hand: Some(hand("laptop")),
            permission: Permission::Ask,
        };
        let sandbox = Choice {
            name: "sandbox".to_owned(),
            hand: None,
            permission: Permission::Allow,
        };
        let both = spec(vec![laptop, sandbox]);
        for (input, chosen, at_once) in [
            (r#"{}"#, Some("laptop"), false),
            (r#"{"command":"ls"}"#, Some("laptop"), false),
            (r#"{"executor":null}"#, Some("laptop"), false),
            (r#"{"executor":"laptop"}"#, Some("laptop"), false),
            (r#"{"executor":"sandbox","command":"ls"}"#, Some("sandbox"), true),
            (r#"{"executor":"Laptop"}"#, None, false),
            (r#"{"executor":""}"#, None, false),
            (r#"{"executor":7}"#, None, false),
            (r#"{"executor":["laptop"]}"#, None, false),
            (r#"{"executor":"sandbox","executor":"laptop"}"#, Some("laptop"), false),
            (r#"[]"#, Some("laptop"), false),
        ] {
            let input: Raw = serde_json::from_str(input).unwrap();
            let found = both
                .chosen(&input)
                .map(|choice| choice.map(|choice| choice.name.as_str()));
            match chosen {
                Some(name) => assert_eq!(found, Ok(Some(name)), "{input:?}"),
                None => assert!(found.unwrap_err().ends_with("laptop, sandbox."), "{input:?}"),
            }
            assert_eq!(both.runs_at_once(&input), at_once, "{input:?}");
        }
    }

    #[test]
    fn where_there_is_nothing_to_choose_the_argument_means_nothing() {
        let input: Raw = serde_json::from_str(r#"{"executor":"anything"}"#).unwrap();
        assert_eq!(spec(Vec::new()).chosen(&input), Ok(None));
        assert!(spec(Vec::new()).runs_at_once(&input));
    }

    #[test]
    fn an_attachment_is_an_environment_of_its_own() {
        let own = EnvironmentConfig::SelfHosted;
        assert_eq!(environment_of(None, &own), own);
        assert_eq!(
            environment_of(Some(&hand("x")), &own),
            EnvironmentConfig::Local {
                executor_id: Some(ExecutorId::from_uuid(Uuid::from_u128(1))),
                dir: Some("/srv".to_owned()),
                preparation: Preparation::default(),
            }
        );
    }
}

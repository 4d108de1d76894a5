//! `render`: the conversation a model sees. Valid for a provider by construction, on every prefix of every log (I6): roles
//! alternate, the user speaks first, and each tool use has exactly one result in the message that follows.

use perennial_schema::event::Raw;

use super::message::{Message, MessagePart, Role};
use super::state::{Call, Entry, ModelTurn, Speaker, State, StepPart};

/// Stands in for a result that no log holds (imported or foreign logs only: our own repair by appended events).
const NO_RESULT: &str = "No result was recorded for this tool call.";

impl State {
    /// The messages, in order. A last step whose calls are still open is withheld: it is shown when its results are in.
    #[must_use]
    pub fn render(&self) -> Vec<Message> {
        self.render_first(self.entries.len())
    }

    /// The first so many entries.
    pub(super) fn render_first(&self, count: usize) -> Vec<Message> {
        let mut messages = Messages(Vec::with_capacity(count + 1));
        let last = self.entries.len().saturating_sub(1);
        for (index, entry) in self.entries.iter().take(count).enumerate() {
            match entry {
                Entry::Summary { text } => {
                    let text = format!("Summary of the conversation so far:\n\n{text}");
                    messages.push(Role::User, MessagePart::Text(text));
                }
                Entry::Input { content, from, .. } => messages.input(content, from),
                Entry::Step(step) if index == last && step.is_open() => {}
                Entry::Step(step) => messages.step(step),
            }
        }
        messages.0
    }
}

impl ModelTurn {
    fn calls(&self) -> impl Iterator<Item = &Call> {
        self.parts.iter().filter_map(|part| match part {
            StepPart::Call(call) => Some(call.as_ref()),
            _ => None,
        })
    }

    fn is_open(&self) -> bool {
        !self.closed || self.calls().any(|call| call.result.is_none())
    }
}

struct Messages(Vec<Message>);

impl Messages {
    /// Adds a part to the last message if the role is the same; nobody speaks before the user.
    fn push(&mut self, role: Role, part: MessagePart) {
        match self.0.last_mut() {
            Some(message) if message.role == role => message.parts.push(part),
            None if role == Role::Assistant => {
                let opening = MessagePart::Text("(The beginning of this conversation is not available.)".into());
                self.0.push(Message {
                    role: Role::User,
                    parts: vec![opening],
                });
                self.0.push(Message {
                    role,
                    parts: vec![part],
                });
            }
            _ => self.0.push(Message {
                role,
                parts: vec![part],
            }),
        }
    }

    fn input(&mut self, content: &Raw, from: &Speaker) {
        match from {
            Speaker::User => {}
            Speaker::System => {
                self.push(
                    Role::User,
                    MessagePart::Text("The operator of this session says:".into()),
                );
            }
            Speaker::Outcome => {
                self.push(
                    Role::User,
                    MessagePart::Text("Work until this outcome is reached:".into()),
                );
            }
            Speaker::Mail { id, from, subject } => {
                let subject = subject
                    .as_ref()
                    .map(|subject| format!(", subject: {subject}"))
                    .unwrap_or_default();
                let heading = format!("Message {id} from {from}{subject} (content is untrusted):");
                self.push(Role::User, MessagePart::Text(heading));
            }
        }
        let blocks: Vec<Raw> = content.parse().unwrap_or_default();
        if blocks.is_empty() {
            self.push(Role::User, MessagePart::Text("(empty message)".into()));
        }
        for block in blocks {
            self.push(Role::User, MessagePart::Content(block));
        }
    }

    fn step(&mut self, step: &ModelTurn) {
        // A step of thinking alone is not a message any provider takes.
        if step
            .parts
            .iter()
            .all(|part| matches!(part, StepPart::Thinking(_)) || is_blank(part))
        {
            return;
        }
        for part in &step.parts {
            match part {
                StepPart::Thinking(Some(native)) => self.push(Role::Assistant, MessagePart::Native(native.clone())),
                StepPart::Thinking(None) => {}
                text if is_blank(text) => {}
                StepPart::Text(content) => self.push(Role::Assistant, MessagePart::Text(text_of(content))),
                StepPart::Call(call) => self.push(
                    Role::Assistant,
                    MessagePart::ToolUse {
                        id: call.id,
                        native_id: call.native_id.clone(),
                        name: call.name.clone(),
                        input: call.input.clone(),
                    },
                ),
            }
        }
        for call in step.calls() {
            self.push(Role::User, result_of(call));
        }
    }
}

fn text_of(content: &Raw) -> String {
    perennial_schema::content::plain_text(content)
}

/// Providers refuse text blocks without any visible character.
fn is_blank(part: &StepPart) -> bool {
    matches!(part, StepPart::Text(content) if text_of(content).trim().is_empty())
}

fn result_of(call: &Call) -> MessagePart {
    let (content, is_error) = call.result.as_ref().map_or_else(
        || (perennial_schema::content::text_content(NO_RESULT), true),
        |r| (r.content.clone(), r.is_error),
    );
    MessagePart::ToolResult {
        id: call.id,
        native_id: call.native_id.clone(),
        content,
        is_error,
    }
}

//! How a decision becomes events: each kind of event is written in one place.

use perennial_schema::content::text_content;
use perennial_schema::event::{
    Body, Draft, Empty, ErrorDetail, ErrorKind, Idle, InputProcessed, McpToolResult, McpToolUse, Message, Permission,
    Private, Raw, RetryStatus, SessionError, ToolDispatched, ToolResult, ToolUse,
};
use perennial_schema::session::StopReason;
use perennial_schema::tool::{Effect, args_hash};
use perennial_schema::{EventId, Timestamp};

use super::next::CloseReason;
use super::state::{Call, CallLane};
use crate::ports::{Ids, Lane, Part, Placement, ToolSpec};

/// Writes events at one time with one source of ids.
pub(super) struct Author<'a> {
    pub(super) at: Timestamp,
    pub(super) ids: &'a dyn Ids,
}

impl Author<'_> {
    pub(super) fn draft(&self, body: Body) -> Draft {
        Draft::new(self.ids.event(), body, self.at)
    }

    pub(super) fn processed(&self, event_ids: Vec<EventId>) -> Option<Draft> {
        (!event_ids.is_empty()).then(|| self.draft(Body::InputProcessed(InputProcessed { event_ids })))
    }

    pub(super) fn dispatched(
        &self,
        tool_use_id: EventId,
        name: &str,
        input: &Raw,
        attempt: u32,
        effect: Effect,
        placement: Placement,
    ) -> Draft {
        let Placement {
            executor_id,
            journal_id,
        } = placement;
        let args_hash = args_hash(name, input.text());
        let dispatch = ToolDispatched {
            tool_use_id,
            executor_id,
            journal_id,
            attempt,
            effect,
            args_hash,
        };
        self.draft(Body::ToolDispatched(dispatch))
    }

    pub(super) fn result(&self, call: &Call, content: Raw, is_error: bool) -> Draft {
        let (content, is_error) = (Some(content), Some(is_error));
        self.draft(match call.lane {
            CallLane::Mcp { .. } => Body::AgentMcpToolResult(McpToolResult {
                mcp_tool_use_id: call.id,
                content,
                is_error,
            }),
            CallLane::Builtin | CallLane::SelfHosted | CallLane::Custom => Body::AgentToolResult(ToolResult {
                tool_use_id: call.id,
                content,
                is_error,
            }),
        })
    }

    pub(super) fn part(&self, part: &Part, tools: &[ToolSpec]) -> Draft {
        match part {
            Part::Thinking { id, native } => {
                Draft::new(*id, Body::AgentThinking(Empty {}), self.at).with_private(&Private {
                    native: Some(native.clone()),
                    ..Private::default()
                })
            }
            Part::Text { id, text } => Draft::new(
                *id,
                Body::AgentMessage(Message {
                    content: text_content(text),
                }),
                self.at,
            ),
            Part::ToolUse {
                id,
                native_id,
                name,
                input,
            } => {
                let native_id = Some(native_id.clone());
                match tools.iter().find(|tool| tool.name == *name) {
                    Some(tool) => self.tool_use(*id, native_id, tool, input),
                    None => self.unknown_tool(*id, native_id, name, input, tools),
                }
            }
        }
    }

    fn tool_use(&self, id: EventId, native_id: Option<String>, tool: &ToolSpec, input: &Raw) -> Draft {
        let (permission, hand, note) = match tool.chosen(input) {
            Ok(None) => (tool.permission, None, None),
            Ok(Some(choice)) => (choice.permission, choice.hand.clone(), None),
            // The model is told which ones there are.
            Err(note) => (Permission::Deny, None, Some(note)),
        };
        let (name, input) = (tool.name.clone(), input.clone());
        let evaluated_permission = Some(permission);
        let mut private = Private {
            native_id,
            hand,
            note,
            ..Private::default()
        };
        let body = match &tool.lane {
            Lane::Client => Body::AgentCustomToolUse(ToolUse {
                name,
                input,
                evaluated_permission: None,
            }),
            Lane::Executor => Body::AgentToolUse(ToolUse {
                name,
                input,
                evaluated_permission,
            }),
            Lane::SelfHosted => {
                private.self_hosted = true;
                Body::AgentToolUse(ToolUse {
                    name,
                    input,
                    evaluated_permission,
                })
            }
            Lane::Mcp { server, tool } => Body::AgentMcpToolUse(McpToolUse {
                mcp_server_name: server.clone(),
                name: tool.clone(),
                input,
                evaluated_permission,
            }),
        };
        Draft::new(id, body, self.at).with_private(&private)
    }

    /// A tool that was not offered: the log keeps what the model said, policy refuses it, and the model is told.
    fn unknown_tool(
        &self,
        id: EventId,
        native_id: Option<String>,
        name: &str,
        input: &Raw,
        tools: &[ToolSpec],
    ) -> Draft {
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        let note = Some(format!(
            "There is no tool {name:?}. Tools on offer: {}.",
            names.join(", ")
        ));
        let evaluated_permission = Some(Permission::Deny);
        let body = Body::AgentToolUse(ToolUse {
            name: name.to_owned(),
            input: input.clone(),
            evaluated_permission,
        });
        Draft::new(id, body, self.at).with_private(&Private {
            native_id,
            note,
            ..Private::default()
        })
    }
}

impl CloseReason {
    pub(super) fn text(&self, call: &Call) -> String {
        match (self, call.dispatched.is_some()) {
            (Self::Denied(message), _) => message.clone(),
            (Self::Interrupted, true) => {
                "Interrupted by the user while running; it was stopped and may have had partial effects.".into()
            }
            (Self::Interrupted, false) => "Interrupted by the user before it ran.".into(),
            (Self::Forked, true) => {
                "This session was forked while the call was running elsewhere; its outcome is not known here.".into()
            }
            (Self::Imported, true) => {
                "This session was imported while the call was running on another server; its outcome is not known here."
                    .into()
            }
            (Self::Imported, false) => "This session was imported before the call ran; it did not run here.".into(),
            (Self::Forked, false) => "This session was forked before the call ran; it did not run here.".into(),
        }
    }
}

/// What sets a session aside: written by the claimer without folding the log (I15).
#[must_use]
pub fn quarantine(message: String, at: Timestamp, ids: &dyn Ids) -> Vec<Draft> {
    let author = Author { at, ids };
    let error = ErrorDetail {
        kind: ErrorKind::UnknownError,
        message,
        retry_status: RetryStatus::Terminal,
        mcp_server_name: None,
    };
    vec![
        author.draft(Body::SessionError(SessionError { error })),
        author.draft(Body::SessionStatusIdle(Idle {
            stop_reason: StopReason::RetriesExhausted,
        })),
    ]
}

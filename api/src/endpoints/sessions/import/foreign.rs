//! A transcript of another program becomes a log: what was said, thought, called and answered, with the events around it that
//! a session of ours would have had.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::sync::Arc;

use axum::response::Response;
use perennial_engine::kernel::State as Folded;
use perennial_engine::ports::{Ids, Past, SessionMetadata};
use perennial_schema::content::text_content;
use perennial_schema::event::{
    Body, ContextCompacted, Draft, Empty, Event, Idle, InputProcessed, Message, ModelRequestEnd, Permission, Private,
    Raw, SessionImported, ToolResult, ToolUse,
};
use perennial_schema::limits::NAME_CHARS;
use perennial_schema::model::Usage;
use perennial_schema::session::StopReason;
use perennial_schema::transcript::{Heard, Origin, Part, Reader, Transcript};
use perennial_schema::{EventId, Timestamp};
use serde_json::json;

use super::land::{Arrived, Landing};
use crate::error::ApiError;
use crate::limits::{IMPORT_EVENT_BYTES, IMPORT_EVENTS, IMPORT_LINE_BYTES};

/// Makes the session.
pub(super) async fn land(landing: Landing<'_>, origin: Origin, file: File) -> Result<Response, ApiError> {
    let mut place = landing.place(None).await?;
    let (ids, now) = (Arc::clone(&landing.app.ports.ids), landing.app.ports.clock.now());
    let reading = tokio::task::spawn_blocking(move || {
        let transcript = read(origin, file)?;
        let unread = transcript.unread;
        let (from_session, title) = (transcript.id.clone(), transcript.title.clone());
        let (past, state) = Maker::new(origin, ids.as_ref(), now).log(transcript);
        Ok::<_, ApiError>((past, state, unread, from_session, title))
    });
    let read = reading.await.map_err(|error| {
        tracing::error!(%error, "the reading of a transcript ended abnormally");
        ApiError::bug()
    })?;
    let (past, state, unread, from_session, title) = read?;
    if past.is_empty() {
        return Err(ApiError::bad_request(format!(
            "the file holds no conversation: {unread} lines or blocks of it were not understood"
        )));
    }
    let session = landing.app.ports.ids.session();
    let workspace = place.unpacking.finish(landing.app, session).await?;
    let imported = SessionImported {
        format: origin.to_string(),
        from_session,
        events: state.seq,
        head_hash: None,
        workspace: workspace.into(),
        unread,
    };
    let arrived = Arrived {
        session,
        past,
        state,
        imported,
        title: title.map(|title| title.chars().take(NAME_CHARS).collect()),
        metadata: SessionMetadata::new(),
    };
    landing.create(place, arrived).await
}

/// Line by line; what is too long to be one is skipped and counted.
fn read(origin: Origin, file: File) -> Result<Transcript, ApiError> {
    let unreadable = |error| ApiError::bad_request(format!("the transcript cannot be read: {error}"));
    let size = file.metadata().map_err(unreadable)?.len();
    if size > IMPORT_EVENT_BYTES {
        return Err(ApiError::too_large(format!(
            "the transcript is larger than {IMPORT_EVENT_BYTES} bytes"
        )));
    }
    let mut reader = Reader::new(origin);
    let mut lines = BufReader::new(file);
    let (mut line, mut skipping, mut too_long) = (Vec::new(), false, 0);
    loop {
        line.clear();
        let read = Read::take(&mut lines, IMPORT_LINE_BYTES)
            .read_until(b'\n', &mut line)
            .map_err(unreadable)?;
        if read == 0 {
            break;
        }
        let whole = line.last() == Some(&b'\n') || (read as u64) < IMPORT_LINE_BYTES;
        if whole && !skipping {
            reader.line(&String::from_utf8_lossy(&line));
        }
        too_long += u64::from(!whole && !skipping);
        skipping = !whole;
    }
    let mut transcript = reader.transcript();
    transcript.unread += too_long;
    if transcript.parts.len() as u64 > IMPORT_EVENTS / 4 {
        return Err(ApiError::too_large(format!(
            "the transcript has more than {} parts",
            IMPORT_EVENTS / 4
        )));
    }
    Ok(transcript)
}

/// A model message under way.
struct Step {
    start: EventId,
    message: Option<String>,
    usage: Usage,
}

/// Writes the log as a worker would have.
struct Maker<'a> {
    origin: Origin,
    ids: &'a dyn Ids,
    at: Timestamp,
    turn: u64,
    state: Folded,
    past: Vec<Past>,
    step: Option<Step>,
    /// Somebody works: between `session.status_running` and idle.
    running: bool,
    /// The model has the last word.
    said: bool,
    queued: Vec<EventId>,
    calls: HashMap<String, EventId>,
    named: bool,
}

impl<'a> Maker<'a> {
    fn new(origin: Origin, ids: &'a dyn Ids, now: Timestamp) -> Self {
        Self {
            origin,
            ids,
            at: now,
            turn: 0,
            state: Folded::default(),
            past: Vec::new(),
            step: None,
            running: false,
            said: false,
            queued: Vec::new(),
            calls: HashMap::new(),
            named: false,
        }
    }

    fn log(mut self, transcript: Transcript) -> (Vec<Past>, Folded) {
        if let Some(first) = transcript.parts.iter().find_map(|part| part.at) {
            self.at = first;
        }
        for part in transcript.parts {
            self.part(part);
        }
        self.end_step();
        if self.running && self.state.open_calls().next().is_none() && self.said {
            self.rest();
        }
        (self.past, self.state)
    }

    fn part(&mut self, part: Part) {
        // Lines of one commit have one time; time does not run backwards.
        self.at = part.at.map_or(self.at, |at| at.max(self.at));
        let Part {
            message, usage, heard, ..
        } = part;
        match heard {
            Heard::User(blocks) => {
                self.end_step();
                if self.running && self.said {
                    self.rest();
                }
                self.said = false;
                let id = self.ids.event();
                let json = json!({"content": blocks}).to_string();
                if let Ok(draft) = Draft::input(id, "user.message", &json, self.at, None) {
                    self.queued.push(id);
                    self.append(draft);
                }
            }
            Heard::Text(text) => {
                let content = text_content(&text);
                self.say(
                    message,
                    usage,
                    Body::AgentMessage(Message { content }),
                    &Private::default(),
                );
                self.said = true;
            }
            Heard::Thinking(native) => {
                let private = Private {
                    native,
                    ..Private::default()
                };
                self.say(message, usage, Body::AgentThinking(Empty {}), &private);
            }
            Heard::ToolUse { id, name, input } => self.call(message, usage, id, name, input),
            Heard::ToolResult { id, content, is_error } => {
                self.end_step();
                let Some(tool_use_id) = self.calls.get(&id).copied() else {
                    return;
                };
                self.add(Body::AgentToolResult(ToolResult {
                    tool_use_id,
                    content: Some(Raw::of(&content)),
                    is_error: Some(is_error),
                }));
                self.said = false;
            }
            Heard::Compacted(summary) => {
                self.end_step();
                let up_to = self.state.seq;
                self.add(Body::ContextCompacted(ContextCompacted { summary, up_to }));
            }
        }
    }

    fn call(&mut self, message: Option<String>, usage: Usage, id: String, name: String, input: Raw) {
        let body = Body::AgentToolUse(ToolUse {
            name,
            input,
            evaluated_permission: Some(Permission::Allow),
        });
        let private = Private {
            native_id: Some(id.clone()).filter(|id| !id.is_empty()),
            ..Private::default()
        };
        let made = self.say(message, usage, body, &private);
        // The first of a name counts: ids are unique where they come from.
        self.calls.entry(id).or_insert(made);
        self.said = false;
    }

    /// A part of a step; begins one if it belongs to another message than the last one.
    fn say(&mut self, message: Option<String>, usage: Usage, body: Body, private: &Private) -> EventId {
        if self.step.as_ref().is_some_and(|step| step.message != message) {
            self.end_step();
        }
        if self.step.is_none() {
            self.begin_step(message);
        }
        if let Some(step) = &mut self.step
            && usage != Usage::default()
        {
            step.usage = usage;
        }
        let id = self.ids.event();
        let mut draft = Draft::new(id, body, self.at);
        if *private != Private::default() {
            draft = draft.with_private(private);
        }
        self.append(draft);
        id
    }

    fn begin_step(&mut self, message: Option<String>) {
        if !self.running {
            self.turn += 1;
            self.running = true;
            self.add(Body::SessionStatusRunning(Empty {}));
        }
        let start = self.ids.event();
        let mut draft = Draft::new(start, Body::SpanModelRequestStart(Empty {}), self.at);
        if !std::mem::replace(&mut self.named, true) {
            // Who spoke, so that a change of brains is told when the session goes on.
            let provider = match self.origin {
                Origin::ClaudeCode => "anthropic",
                Origin::Codex => "openai",
            };
            draft = draft.with_private(&Private {
                brain: Some(format!("{}/{provider}", self.origin)),
                ..Private::default()
            });
        }
        self.append(draft);
        let event_ids = std::mem::take(&mut self.queued);
        if !event_ids.is_empty() {
            self.add(Body::InputProcessed(InputProcessed { event_ids }));
        }
        self.step = Some(Step {
            start,
            message,
            usage: Usage::default(),
        });
    }

    fn end_step(&mut self) {
        if let Some(step) = self.step.take() {
            self.add(Body::SpanModelRequestEnd(ModelRequestEnd {
                model_request_start_id: step.start,
                model_usage: step.usage,
                is_error: false,
            }));
        }
    }

    fn rest(&mut self) {
        self.running = false;
        self.add(Body::SessionStatusIdle(Idle {
            stop_reason: StopReason::EndTurn,
        }));
    }

    fn add(&mut self, body: Body) {
        self.append(Draft::new(self.ids.event(), body, self.at));
    }

    fn append(&mut self, draft: Draft) {
        let private = draft
            .private
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok());
        self.state.apply(&Event {
            seq: self.state.seq + 1,
            id: draft.id,
            turn: self.turn,
            body: draft.body.clone(),
            private: private.unwrap_or_default(),
        });
        match self.past.last_mut() {
            Some(last) if (last.at, last.turn) == (self.at, self.turn) => last.events.push(draft),
            _ => self.past.push(Past {
                at: self.at,
                turn: self.turn,
                events: vec![draft],
            }),
        }
    }
}

#[cfg(test)]
mod tests;

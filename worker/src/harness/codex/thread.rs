//! A thread in mid-turn: what it was asked, which results it waits for, and its next step.

use std::collections::HashMap;

use perennial_engine::kernel::{Message, MessagePart, Role};
use perennial_engine::ports::{DeltaSink, ModelError, ModelStep, Part};
use perennial_schema::EventId;
use perennial_schema::event::{ErrorKind, Raw};
use perennial_schema::model::Usage;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, TRANSFER_ENCODING};
use serde::Deserialize;
use tokio::time::timeout;

use super::check::{self, Expected, Wrong};
use super::line::{Lane, Request};
use super::message::{self, Said};
use super::server::Seat;
use super::{Settings, config, rollout};
use crate::harness::access::Admitted;
use crate::harness::asked::Asked;
use crate::harness::fault::{self, Broken, transient};
use crate::harness::{Access, Think, Wire};
use crate::model::http::Endpoint;
use crate::model::openai::accumulator::Accumulator;
use crate::model::openai::body;

/// A thread and what belongs to it.
#[derive(Debug)]
pub(super) struct Thread {
    seat: Seat,
    lane: Lane,
    /// Its turn. What an earlier thread of the session left behind may still end, and says so under the same id.
    turn: String,
    access: Access,
    _admitted: Admitted,
    asked: Asked,
    /// How many messages the conversation had before the thread's last step.
    messages: usize,
    /// The calls of its last step, by our id and the model's; empty when it waits for nothing.
    calls: Vec<(EventId, String)>,
    /// Results that it has not asked for yet, by the model's id of the call.
    results: HashMap<String, String>,
}

impl Thread {
    /// Starts a thread from the whole conversation.
    pub(super) async fn start(settings: &Settings, ask: &Think<'_>) -> Result<Self, ModelError> {
        let (admitted, access) = Admitted::at(settings.gate.clone(), ask.key, ask.agent, Wire::Responses).await?;
        let asked = asked(ask);
        let server = settings.shared.server(settings).await?;
        // The session's own id: Codex makes it the provider's cache key.
        let id = ask.key.session.uuid();
        let seat = server.enter(id).await;
        let lane = server.line.open();
        let (work, file) = server.paths(id);
        let head = rollout::Head {
            thread: id,
            work,
            tools: ask.tools,
            version: server.version,
            at: settings.clock.now(),
        };
        server
            .write(id, rollout::render(&head, &rollout::items(&ask.messages)))
            .await?;
        let resume = config::Resume {
            thread: id,
            rollout: &file,
            work,
            system: asked.system.as_deref(),
            model: &access.model,
            base_url: &lane.base_url,
        };
        server.request("thread/resume", &config::resume(&resume)).await?;
        let started = server
            .request("turn/start", &config::turn(id, asked.effort.as_deref()))
            .await?;
        Ok(Self {
            seat,
            lane,
            turn: started.turn(),
            access,
            _admitted: admitted,
            asked,
            messages: ask.messages.len(),
            calls: Vec::new(),
            results: HashMap::new(),
        })
    }

    /// Gives the thread the results it waits for, if these messages are what it has said plus exactly those results, in a form
    /// that arrives as it would be rendered.
    pub(super) fn resume(&mut self, ask: &Think<'_>) -> Option<()> {
        let [.., said, heard] = ask.messages.as_slice() else {
            return None;
        };
        let fits = ask.messages.len() == self.messages + 2
            && said.role == Role::Assistant
            && calls(said).eq(self.calls.iter().map(|(id, _)| *id))
            && self.asked == asked(ask)
            // It asked again without us: it made something up.
            && !self.lane.has_request();
        if !fits {
            return None;
        }
        let mut texts = texts(heard)?;
        self.results = self
            .calls
            .iter()
            .map(|(id, native_id)| Some((native_id.clone(), texts.remove(id)?)))
            .collect::<Option<_>>()?;
        texts.is_empty().then(|| self.messages = ask.messages.len())
    }

    /// Whether it is worth keeping: what it says next depends on results only we have.
    pub(super) const fn waits_for_results(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Its next step.
    pub(super) async fn step(
        &mut self,
        settings: &Settings,
        ask: &Think<'_>,
        sink: &mut dyn DeltaSink,
    ) -> Result<ModelStep, Broken> {
        let fresh = self.calls.is_empty();
        let request = match timeout(settings.silence, self.request()).await {
            Ok(request) => request?,
            Err(_) => {
                let seconds = settings.silence.as_secs();
                return Err(transient(format!("Codex was silent for {seconds} s")).into());
            }
        };
        self.check(&request, ask, fresh)?;
        let endpoint = Endpoint::new(
            "the model's endpoint",
            &self.access.base_url,
            "/responses",
            self.access.key.clone(),
        );
        let asked = self.ask(settings, &endpoint, &request, sink);
        let (step, events) = match tokio::select! {
            biased;
            error = self.seat.server.died() => Err(error),
            asked = asked => asked.map_err(|error| endpoint.without_key(error)),
        } {
            Ok(answer) => answer,
            Err(error) => return Err(error.with_refusal_found().into()),
        };
        self.said(&step);
        if self.waits_for_results() && !request.answer(events) {
            self.calls.clear();
        }
        Ok(step)
    }

    /// Waits for its request, and meanwhile gives out the results it asks for.
    async fn request(&mut self) -> Result<Request, Broken> {
        loop {
            tokio::select! {
                biased;
                said = self.seat.next() => match said {
                    Some(Said::Call { request, call_id }) => {
                        let Some(text) = self.results.remove(&call_id) else {
                            return Err(Broken::void("it asks for a call that the log does not know"));
                        };
                        self.seat.server.say(message::result(&request, &text)).await?;
                    }
                    Some(Said::Ended { turn, .. }) if turn != self.turn => {}
                    Some(Said::Ended { why: Some(why), .. }) => {
                        return Err(Broken::void(format!("it ended the turn: {why}")));
                    }
                    Some(Said::Ended { why: None, .. }) => return Err(Broken::void("it ended the turn")),
                    None => return Err(self.seat.server.died().await.into()),
                },
                request = self.lane.next() => {
                    return request.ok_or_else(|| Broken::void("its line is closed"));
                }
            }
        }
    }

    /// A request that is not what the log says is not sent: a live thread is started again, a fresh one will not do better.
    fn check(&self, request: &Request, ask: &Think<'_>, fresh: bool) -> Result<(), Broken> {
        let expected = Expected {
            items: &rollout::items(&ask.messages),
            system: self.asked.system.is_some(),
            tools: &self.asked.tools,
        };
        let version = self.seat.server.version;
        match check::request(&request.body, &expected) {
            Ok(()) => Ok(()),
            Err(Wrong::Tools(tools)) => {
                let message = format!("Codex {version} offers its model other tools than ours: {tools}");
                Err(fault::tools(message).into())
            }
            Err(Wrong::Conversation(what)) if fresh => {
                let message = format!("Codex {version} changed the conversation it was given: {what}");
                Err(fault::error(ErrorKind::ModelRequestFailedError, message, false).into())
            }
            Err(Wrong::Conversation(what)) => Err(Broken::void(what)),
        }
    }

    /// Sends its request to its model; gives the step, and the answer as Codex is to hear it.
    async fn ask(
        &self,
        settings: &Settings,
        endpoint: &Endpoint,
        request: &Request,
        sink: &mut dyn DeltaSink,
    ) -> Result<(ModelStep, String), ModelError> {
        let mut headers = passed_on(&request.headers);
        if let Some(key) = endpoint.key_header("Bearer ")? {
            headers.insert(AUTHORIZATION, key);
        }
        let http = settings.shared.http(settings);
        let mut events = http.post(endpoint, headers, request.body.to_vec()).await?;
        let mut answer = Accumulator::new();
        let (mut heard, mut told) = (String::new(), Usage::default());
        while let Some(data) = events.next().await? {
            if data == "[DONE]" {
                break;
            }
            heard.push_str("data: ");
            // A line break in an event's data would have come as two lines.
            heard.push_str(&data.replace('\n', "\ndata: "));
            heard.push_str("\n\n");
            let over = answer.event(&data, sink)?;
            if answer.usage() != told {
                told = answer.usage();
                sink.used(told);
            }
            if over {
                break;
            }
        }
        Ok((answer.finish()?, heard))
    }

    /// Notes what the thread will wait for. A call that Codex would answer by itself is not shown to it.
    fn said(&mut self, step: &ModelStep) {
        self.calls.clear();
        for part in &step.parts {
            let Part::ToolUse {
                id, native_id, name, ..
            } = part
            else {
                continue;
            };
            let known = self.asked.tools.iter().any(|tool| tool.name == *name);
            // Two calls of one id could not be told apart when they ask for their results.
            let twice = self.calls.iter().any(|(_, other)| other == native_id);
            if !known || twice {
                self.calls.clear();
                return;
            }
            self.calls.push((*id, native_id.clone()));
        }
    }
}

fn asked(ask: &Think<'_>) -> Asked {
    Asked::of(ask, body::level(&ask.agent.model))
}

/// The headers that are about the request, not about the connection.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = headers.clone();
    for name in [
        HOST,
        CONNECTION,
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        AUTHORIZATION,
        // What comes back is read here.
        ACCEPT_ENCODING,
    ] {
        passed.remove(name);
    }
    passed
}

fn calls(message: &Message) -> impl Iterator<Item = EventId> {
    message.parts.iter().filter_map(|part| match part {
        MessagePart::ToolUse { id, .. } => Some(*id),
        _ => None,
    })
}

/// The results of a message that holds nothing else, if all of them are plain text. Codex scales pictures.
fn texts(message: &Message) -> Option<HashMap<EventId, String>> {
    #[derive(Deserialize)]
    struct Item {
        output: Option<String>,
    }
    let ids: Vec<EventId> = message
        .parts
        .iter()
        .map(|part| match part {
            MessagePart::ToolResult { id, .. } => Some(*id),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let items: Vec<Raw> = body::items(std::slice::from_ref(message));
    if items.len() != ids.len() {
        return None;
    }
    let text = |(id, item): (EventId, &Raw)| Some((id, item.parse::<Item>().ok()?.output?));
    ids.into_iter().zip(&items).map(text).collect()
}

//! Compaction: the model is asked for a summary of what entered the context long ago, and the log says that the summary takes
//! its place. A request like any other to the log: an interrupt ends it, a crash leaves it open and the next holder begins
//! anew, what it uses is counted. Nobody is answered by it, so nothing is owed less afterwards.
//!
//! When a summary cannot be had, the session goes on with the context as it is: the provider has the last word on whether
//! that is too long.

use perennial_engine::kernel::{Command, Message, MessagePart, Role};
use perennial_engine::ports::{ModelError, ModelStep, Part};
use perennial_engine::retry;
use perennial_schema::event::{ErrorKind, RetryStatus};
use perennial_schema::text::head_and_tail;
use tracing::info;

use super::append::Terms;
use super::think::{Asked, told};
use super::{Flow, Session, Stop};
use crate::limits;
use crate::model;
use crate::sink::Unheard;

const ASKED: &str = "Stop here and write a summary of this conversation up to now. It takes the place of everything above: \
whoever goes on sees only your summary and what follows it. Include, with names, paths, ids, numbers and exact wording where \
they matter:\n\
1. what the user asked for, in the user's own words, with every condition, correction and preference;\n\
2. what was done and found: files, commands and their results, decisions and their reasons;\n\
3. what failed, and what must not be tried or run again;\n\
4. where the work stands, and what comes next.\n\
Do not call any tool and do not go on with the work. Answer with the summary alone.";

impl Session {
    /// Has everything up to `up_to` summarised.
    pub(super) async fn compact(&mut self, up_to: u64) -> Result<Flow, Stop> {
        let (mut attempt, mut shortened) = (1, 0);
        loop {
            let drafts = self.decide(Command::StartCompaction { brain: self.brain() })?;
            let terms = Terms {
                only_at_head: true,
                ..Terms::default()
            };
            if !self.append_on(drafts, terms).await? {
                self.catch_up().await?;
                return Ok(Flow::Continue);
            }
            fail::fail_point!("worker.compact.before");
            let mut sink = Unheard::new(self.ports.ids.clone());
            let asked = {
                // Word for word it is the same request as ever, for the provider's cache: with the tools.
                let tools = if shortened == 0 { self.tools.clone() } else { Vec::new() };
                self.ask(self.question(up_to, shortened), &tools, &mut sink).await?
            };
            // A process that was asked for a summary is of no use for the conversation.
            self.close_harness().await;
            fail::fail_point!("worker.compact.after");
            let mut is_silent = false;
            let error = match asked {
                Asked::Interrupted => return self.abandon(sink.usage(), None).await,
                Asked::Answered(Err(error)) => error,
                Asked::Answered(Ok(step)) => match summary_of(&step) {
                    Some(summary) => return self.finish_compaction(&summary, up_to, &step).await,
                    None => {
                        is_silent = true;
                        model::no_summary()
                    }
                },
            };
            if let Some(refusal) = error.budget {
                return self.hold(refusal, &error, sink.usage()).await;
            }
            let too_long = error.kind == ErrorKind::CompactionLimitReachedError;
            if too_long && shortened < limits::SUMMARY_SHORTENINGS || is_silent && shortened == 0 {
                shortened += 1;
                self.abandon(sink.usage(), Some(told(&error, RetryStatus::Retrying)))
                    .await?;
            } else if error.retryable && attempt < retry::MODEL_ATTEMPTS {
                if !self.retry_later(&error, attempt, sink.usage()).await? {
                    return Ok(Flow::Continue);
                }
                attempt += 1;
            } else {
                return self.go_on_as_it_is(&error, sink.usage()).await;
            }
            if self.state.interrupt.is_some() {
                return Ok(Flow::Continue);
            }
        }
    }

    async fn finish_compaction(&mut self, summary: &str, up_to: u64, step: &ModelStep) -> Result<Flow, Stop> {
        let drafts = self.decide(Command::FinishCompaction {
            summary,
            up_to,
            usage: step.usage,
        })?;
        info!(up_to, bytes = summary.len(), "the context was compacted");
        self.append(drafts).await?;
        Ok(Flow::Continue)
    }

    /// No summary is to be had for now: no more is tried while this worker holds the session.
    async fn go_on_as_it_is(
        &mut self,
        error: &ModelError,
        usage: perennial_schema::model::Usage,
    ) -> Result<Flow, Stop> {
        self.compact_at = u64::MAX;
        let mut detail = told(error, RetryStatus::Exhausted);
        detail.message = format!("the context could not be compacted: {}", detail.message);
        self.abandon(usage, Some(detail)).await
    }

    /// What is to be summarised, and the question. As it was said, so that the provider's cache knows it; where that is too
    /// long for the model, or it goes on with its work instead, as a transcript, shorter each time.
    fn question(&self, up_to: u64, shortened: u32) -> Vec<Message> {
        let mut messages = self.state.render_up_to(up_to);
        if shortened > 0 {
            let most = usize::try_from(self.compact_at).unwrap_or(usize::MAX);
            let bytes = most.clamp(limits::TRANSCRIPT_BYTES.0, limits::TRANSCRIPT_BYTES.1) >> (shortened - 1);
            messages = vec![Message {
                role: Role::User,
                parts: vec![MessagePart::Text(transcript(&messages, bytes))],
            }];
        }
        let asked = MessagePart::Text(ASKED.into());
        match messages.last_mut() {
            Some(last) if last.role == Role::User => last.parts.push(asked),
            _ => messages.push(Message {
                role: Role::User,
                parts: vec![asked],
            }),
        }
        messages
    }
}

/// The text of the answer: calls it makes nevertheless are no part of it.
fn summary_of(step: &ModelStep) -> Option<String> {
    let texts: Vec<&str> = step
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Text { text, .. } => Some(text.trim()),
            Part::Thinking { .. } | Part::ToolUse { .. } => None,
        })
        .filter(|text| !text.is_empty())
        .collect();
    (!texts.is_empty()).then(|| head_and_tail(&texts.join("\n\n"), limits::SUMMARY_BYTES))
}

/// A conversation as one text of so many bytes: its beginning and its end, and of every long piece the same.
fn transcript(messages: &[Message], bytes: usize) -> String {
    let mut text = String::from("A conversation, as a transcript:\n");
    for message in messages {
        let who = match message.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        for part in &message.parts {
            let piece = match part {
                MessagePart::Text(text) => format!("\n[{who}]\n{text}\n"),
                MessagePart::Content(block) => format!("\n[{who}]\n{}\n", model::as_text(block)),
                MessagePart::Native(_) => continue,
                MessagePart::ToolUse { name, input, .. } => format!("\n[{who} calls {name}]\n{}\n", input.text()),
                MessagePart::ToolResult { content, is_error, .. } => {
                    let blocks: Vec<perennial_schema::event::Raw> = content.parse().unwrap_or_default();
                    let said: Vec<String> = blocks.iter().map(model::as_text).collect();
                    let kind = if *is_error { "error" } else { "result" };
                    format!("\n[{kind}]\n{}\n", said.join("\n"))
                }
            };
            text.push_str(&head_and_tail(&piece, limits::TRANSCRIPT_PIECE_BYTES));
        }
    }
    head_and_tail(&text, bytes)
}

//! Following a session until it rests: what `run`, `attach` and `send --follow` share.
//!
//! The stream is shown as it comes; on a terminal, confirmations are asked for; elsewhere the commands that answer them are
//! printed. The end is decided by the session's state on the server, not by a guess about silence.

mod asking;
mod interrupt;
mod looking;

use std::collections::BTreeSet;

use perennial_schema::event::{Domain, domain};
use serde_json::{Value, json};

use crate::client::pending::{PendingUse, Rest};
use crate::client::{Client, Feed, Frame};
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::render::{Style, Transcript, sanitize, summary};

use asking::Asking;
pub use interrupt::{CtrlC, OnCtrlC};
pub use looking::Looking;

/// How to follow.
#[derive(Debug)]
pub struct Options {
    /// Events after this seq.
    pub after: u64,
    /// Ids of inputs that need not be shown.
    pub own: BTreeSet<String>,
    /// What Ctrl-C means.
    pub on_ctrl_c: OnCtrlC,
    /// Events as JSON lines.
    pub json: bool,
    /// Colours.
    pub style: Style,
    /// Answer every confirmation with yes.
    pub auto_approve: bool,
    /// Stay when the session rests.
    pub stay: bool,
    /// Extension events too (JSON only).
    pub extensions: bool,
}

/// Follows until the session rests, needs somebody, ends, or Ctrl-C.
pub async fn follow(client: &Client, session: &str, ctrl_c: CtrlC, options: Options) -> Result<Exit, Error> {
    let mut following = Following {
        client,
        session,
        feed: Feed::new(client.clone(), session, options.after),
        transcript: Transcript::new(options.style, options.own.clone()),
        asking: Asking::new(!options.json),
        interrupted: false,
        looking: Looking::default(),
        options,
    };
    let end = following.until_end(ctrl_c).await?;
    following.finish(&end)?;
    Ok(end.exit)
}

struct Following<'a> {
    client: &'a Client,
    session: &'a str,
    feed: Feed,
    transcript: Transcript,
    asking: Asking,
    interrupted: bool,
    looking: Looking,
    options: Options,
}

/// Why following ended.
struct End {
    exit: Exit,
    stop: String,
}

impl Following<'_> {
    async fn until_end(&mut self, mut ctrl_c: CtrlC) -> Result<End, Error> {
        // Nothing may be left to see, and then no event will ever say so.
        if let Some(end) = self.look().await? {
            return Ok(end);
        }
        loop {
            let end = tokio::select! {
                frame = self.feed.next() => self.frame(&frame?).await?,
                line = self.asking.line() => self.answer(line).await?,
                () = ctrl_c.pressed() => self.ctrl_c().await?,
                () = self.looking.due() => self.look().await?,
            };
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    async fn frame(&mut self, frame: &Frame) -> Result<Option<End>, Error> {
        let event: Value = serde_json::from_str(&frame.text).map_err(|error| Error::Answer {
            what: format!("an event of type {}", frame.kind),
            detail: error.to_string(),
        })?;
        self.show(frame, &event)?;
        match frame.kind.as_str() {
            "session.status_terminated" | "session.deleted" => {
                return Ok(Some(self.end(Exit::EndedBadly, &frame.kind)));
            }
            "session.status_idle" => self.looking = Looking::AtSeq(0),
            "session.status_running" => self.looking = Looking::No,
            "user.tool_confirmation" => self.asking.answered(event["tool_use_id"].as_str().unwrap_or_default()),
            _ => {}
        }
        match self.looking {
            Looking::AtSeq(seq) if frame.seq.is_some() && self.feed.last() >= seq => self.look().await,
            _ => Ok(None),
        }
    }

    fn show(&mut self, frame: &Frame, event: &Value) -> Result<(), Error> {
        if !self.options.json {
            return output::raw(&self.transcript.event(&frame.kind, event));
        }
        let preview = frame.seq.is_none();
        if self.options.extensions || preview || domain(&frame.kind) != Domain::Extension {
            output::line(&frame.text)?;
        }
        Ok(())
    }

    /// Whether the session rests. The stream said so, but that may be long past in a replayed history, and new input may
    /// already have come: it rests when the server says so and nothing of its log is left to see.
    async fn look(&mut self) -> Result<Option<End>, Error> {
        match self.client.rest(self.session).await? {
            Some(rest) if rest.head > self.feed.last() => {
                self.looking = Looking::AtSeq(rest.head);
                Ok(None)
            }
            Some(rest) => {
                self.looking = Looking::No;
                self.rest(&rest).await
            }
            None => {
                self.looking = self.looking.later();
                Ok(None)
            }
        }
    }

    async fn rest(&mut self, rest: &Rest) -> Result<Option<End>, Error> {
        if rest.stop == "requires_action" {
            return self.requires_action(rest).await;
        }
        let exit = if self.interrupted {
            Exit::Interrupted
        } else {
            Exit::of_stop_reason(&rest.stop)
        };
        Ok((!self.options.stay).then(|| self.end(exit, &rest.stop)))
    }

    async fn requires_action(&mut self, rest: &Rest) -> Result<Option<End>, Error> {
        let pending = self.client.unanswered(self.session, rest).await?;
        let (asks, others): (Vec<_>, Vec<_>) = pending.into_iter().partition(PendingUse::wants_confirmation);
        if self.options.auto_approve {
            for used in &asks {
                self.confirm(&used.id, true, None).await?;
            }
        } else if others.is_empty() && self.asking.possible() {
            self.asking.ask(asks);
            return Ok(None);
        } else {
            asks.iter().for_each(|used| self.say_how_to_answer(used));
        }
        for used in &others {
            let (event, member) = used.result_event();
            output::note(&format!(
                "{} waits for a result from your program: send {event} with {member} {}",
                sanitize(&used.name),
                used.id
            ));
        }
        let answered = others.is_empty() && (self.options.auto_approve || asks.is_empty());
        Ok((!answered && !self.options.stay).then(|| self.end(Exit::NeedsAction, &rest.stop)))
    }

    fn say_how_to_answer(&self, used: &PendingUse) {
        let (session, id) = (self.session, &used.id);
        output::note(&format!(
            "{} {}\n  to allow it:  perennial approve {session} {id}\n  to refuse it: perennial deny {session} {id}",
            sanitize(&used.name),
            summary(&used.name, &used.input)
        ));
    }

    async fn answer(&mut self, line: Option<String>) -> Result<Option<End>, Error> {
        let Some(line) = line else {
            // The terminal is gone: nobody is there to answer.
            return Ok(Some(self.end(Exit::NeedsAction, "requires_action")));
        };
        if let Some((id, allow, message)) = self.asking.answer(&line) {
            self.confirm(&id, allow, message).await?;
        }
        Ok(None)
    }

    async fn confirm(&self, id: &str, allow: bool, message: Option<String>) -> Result<(), Error> {
        match crate::verbs::approve::confirm(self.client, self.session, id, allow, message).await {
            // Somebody else was faster, or interrupted it: the stream tells.
            Err(error) if matches!(error.status(), Some(400 | 409)) => Ok(()),
            other => other.map(drop),
        }
    }

    async fn ctrl_c(&mut self) -> Result<Option<End>, Error> {
        if self.options.on_ctrl_c == OnCtrlC::Detach {
            output::note(&format!(
                "\nleft; the session goes on: perennial attach {}",
                self.session
            ));
            return Ok(Some(self.end(Exit::Interrupted, "detached")));
        }
        output::note("\ninterrupting; press Ctrl-C again to leave at once");
        self.interrupted = true;
        self.asking.stop();
        let body = json!({"events": [{"type": "user.interrupt"}]});
        let path = format!("/v1/sessions/{}/events", self.session);
        self.client.post(&path, &body).await?;
        Ok(None)
    }

    fn end(&self, exit: Exit, stop: &str) -> End {
        End {
            exit,
            stop: stop.to_owned(),
        }
    }

    fn finish(&self, end: &End) -> Result<(), Error> {
        if !self.options.json {
            return Ok(());
        }
        let summary = json!({
            "type": "outcome",
            "session_id": self.session,
            "stop_reason": end.stop,
            "last_seq": self.feed.last(),
            "exit_code": end.exit.code(),
        });
        output::line(&summary.to_string())
    }
}

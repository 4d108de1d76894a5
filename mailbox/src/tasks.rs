//! Tasks: who waits for whom, and what is told in the end.
//!
//! A task ends once, because its end is a message under an id made of its own: whoever says first how it ended has said it, be it
//! the turn that is over, the time that is, or whoever cancelled it. Then what still runs of it is stopped, and then the task is
//! closed; a crash in between says the same again, which changes nothing. What was never begun ends like any mail that cannot
//! be delivered.

use std::sync::Arc;

use perennial_engine::kernel::admit;
use perennial_engine::ports::{
    Append, AppendError, Authority, Clock, EventFilter, Letter, Log, Message, SendError, SessionKey, SessionMetadata,
    SessionRow, StoreError, TraceQuery,
};
use perennial_schema::content::{plain_text, text_content};
use perennial_schema::event::{Body, Draft, Interrupt};
use perennial_schema::mail::{Address, Allowance, MailState, Sender, TASK_DEPTH, Task};
use perennial_schema::model::Usage;
use perennial_schema::session::{Status, StopReason};
use perennial_schema::{AppendId, EventId, MessageId, SessionId, Timestamp};
use serde_json::json;
use uuid::Uuid;

use crate::limits;
use crate::office::Office;

/// Sets the ids of answers apart from those of the tasks they end.
const ANSWER: u128 = 0x616e_7377_6572_0000_0000_0000_0000_0000;
/// The same for what stops a receiver.
const STOP: u128 = 0x7374_6f70_0000_0000_0000_0000_0000_0000;

/// What a delegating model may say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) max_turns: Option<u32>,
    /// Of models.
    pub(crate) max_budget: Option<Allowance>,
    /// Until it is stopped.
    pub(crate) seconds: u64,
}

/// How a task ended.
enum End {
    /// The receiver's turn is over.
    Done {
        text: String,
        requests: usize,
        usage: Usage,
        microusd: u64,
    },
    /// It was stopped, or cannot go on.
    Not(String),
}

impl Office {
    /// A task's part of a message, unless whoever is to do it waits for it already.
    pub(crate) async fn terms(
        &self,
        key: SessionKey,
        id: MessageId,
        to: &Address,
        terms: Terms,
    ) -> Result<Task, String> {
        let failed = |error: StoreError| error.to_string();
        // Judged anew, a repetition would have another end.
        let there = self.mail.message(key.workspace, id).await.map_err(failed)?;
        if let Some(task) = there.and_then(|message| message.letter.task) {
            return Ok(task);
        }
        if !to.takes_mail_itself() {
            return Err("to: a queue does no tasks; delegate to agent/NAME or session/ID".into());
        }
        let row = self.sessions.get(key).await.map_err(failed)?;
        let row = row.ok_or("this session is gone")?;
        let received = self.received(key, limits::TASK_MAIL).await.map_err(failed)?;
        let own = received.into_iter().find(|message| message.letter.task.is_some());
        let above = own.as_ref().and_then(|own| own.letter.task.as_ref());
        let mut chain = above.map(|task| task.chain.clone()).unwrap_or_default();
        chain.push(Address::Session(key.session));
        chain.push(Address::Agent(row.agent.name));
        if chain.contains(to) {
            return Err(format!(
                "to: {to} waits for this itself; do it here, or ask somebody else"
            ));
        }
        let task = Task {
            chain,
            max_turns: terms.max_turns,
            max_budget: terms.max_budget,
            seconds: terms.seconds,
        };
        if task.depth() > TASK_DEPTH {
            return Err(format!(
                "{TASK_DEPTH} sessions stand behind each other for this already: do it here"
            ));
        }
        self.set_aside(key, own.as_ref(), id, task.max_budget, task.seconds)
            .await?;
        Ok(task)
    }

    /// Ends a task; false when its end was told before. What runs of it is stopped by whoever looks after tasks.
    pub(crate) async fn cancel_task(&self, task: &Message) -> Result<bool, StoreError> {
        // Of a dead letter its sender is told anyway.
        if task.state == MailState::Dead {
            return Ok(false);
        }
        let taken_back = self.mail.cancel(task.workspace, task.letter.id).await?;
        let told = self.tell(task, &End::Not("it was cancelled".into())).await?;
        if taken_back {
            self.disallow(task).await?;
            self.mail.close_task(task.workspace, task.letter.id).await?;
        }
        self.bell.notify_one();
        Ok(told)
    }

    /// Says how a task ended; false when that was said before.
    async fn tell(&self, task: &Message, end: &End) -> Result<bool, StoreError> {
        let Some(letter) = answer(task, end) else {
            return Ok(true);
        };
        fail::fail_point!("mail.answer.before");
        let sent = self.mail.send(task.workspace, letter, u32::MAX).await;
        fail::fail_point!("mail.answer.after");
        match sent {
            Ok(sent) => {
                self.ring(task.workspace, &sent.message.letter.to, sent.message.position);
                Ok(true)
            }
            Err(SendError::Store(error)) => Err(error),
            // Another end was told first.
            Err(SendError::IdReused(_) | SendError::Full(..)) => Ok(false),
        }
    }
}

/// Looks after tasks until they have ended.
pub(crate) struct Keeper<'a> {
    pub(crate) office: &'a Office,
    pub(crate) log: &'a Arc<dyn Log>,
    pub(crate) clock: &'a Arc<dyn Clock>,
}

impl Keeper<'_> {
    /// Looks at each open task once; whether there are any.
    pub(crate) async fn look(&self) -> Result<bool, StoreError> {
        let mut after = 0;
        loop {
            let open = self.office.mail().open_tasks(after, limits::BATCH).await?;
            let Some(last) = open.last() else { return Ok(after > 0) };
            after = last.position;
            for task in &open {
                if let Err(error) = self.look_at(task).await {
                    tracing::warn!(message.id = %task.letter.id, %error, "a task waits");
                }
            }
        }
    }

    async fn look_at(&self, task: &Message) -> Result<(), StoreError> {
        let mail = self.office.mail();
        let (workspace, id) = (task.workspace, task.letter.id);
        let Some(terms) = &task.letter.task else { return Ok(()) };
        let late = task.created_at.plus_millis(terms.seconds * 1000) <= self.clock.now();
        let over = || End::Not("its time was over".into());
        match (task.state, task.session) {
            (MailState::Delivered, Some(session)) => {
                let answered = mail.message(workspace, answer_id(id)).await?.is_some();
                let end = match answered {
                    true => None,
                    false => match self.end_of(task, session, terms).await? {
                        None if !late => return Ok(()),
                        end => Some(end.unwrap_or_else(over)),
                    },
                };
                if let Some(end) = &end {
                    self.office.tell(task, end).await?;
                }
                let done = matches!(end, Some(End::Done { .. }));
                if !done && !self.stop(task, session).await? {
                    return Ok(());
                }
            }
            (MailState::Queued, _) if late && mail.cancel(workspace, id).await? => {
                self.office.tell(task, &over()).await?;
            }
            (MailState::Queued | MailState::Leased, _) => return Ok(()),
            // Whoever took it back has said so, or was about to.
            (MailState::Cancelled, _) => {
                self.office.tell(task, &End::Not("it was cancelled".into())).await?;
            }
            // Its sender is told like of any mail that cannot be delivered.
            _ => {}
        }
        self.office.disallow(task).await?;
        mail.close_task(workspace, id).await
    }

    /// Ends the turn of whoever does it, unless it is over. False while it has not begun: what is not begun cannot be ended.
    async fn stop(&self, task: &Message, session: SessionId) -> Result<bool, StoreError> {
        let key = SessionKey {
            workspace: task.workspace,
            session,
        };
        match self.office.sessions.get(key).await? {
            Some(row) if !rests(&row) && row.held => {}
            Some(row) if !rests(&row) => return Ok(false),
            // It would go on with what it owes as soon as there is room.
            Some(row) if row.hold.is_some() => {}
            _ => return Ok(true),
        }
        let id = apart(task.letter.id, STOP);
        let body = Body::UserInterrupt(Interrupt {
            session_thread_id: None,
        });
        let events = vec![Draft::new(EventId::from_uuid(id), body, self.clock.now())];
        let append = Append {
            key,
            append_id: AppendId::from_uuid(id),
            projection: admit(&events),
            events,
            authority: Authority::Client {
                guards: Vec::new(),
                idempotency: None,
            },
        };
        match self.log.append(append).await {
            Err(AppendError::Store(error)) => Err(error),
            // One that is gone needs no stopping.
            _ => Ok(true),
        }
    }

    /// How it ended, if it did.
    async fn end_of(&self, task: &Message, session: SessionId, terms: &Task) -> Result<Option<End>, StoreError> {
        let key = SessionKey {
            workspace: task.workspace,
            session,
        };
        let not = |why: &str| Ok(Some(End::Not(why.to_owned())));
        let row = self.office.sessions.get(key).await?;
        let Some(row) = row.filter(|row| row.deleted_at.is_none() && row.archived_at.is_none()) else {
            return not("its session was archived or deleted");
        };
        let Some(begun) = self.log.event(key, EventId::from_uuid(task.letter.id.uuid())).await? else {
            return Ok(None);
        };
        if rests(&row) {
            match row.stop_reason {
                Some(StopReason::EndTurn | StopReason::Refusal) => {}
                // Somebody may answer.
                Some(StopReason::RequiresAction { .. }) | None => return Ok(None),
                Some(StopReason::RetriesExhausted) => return not("its turn failed too often"),
                Some(StopReason::BudgetReached) => return not("its budget is used up"),
            }
            let (requests, usage) = self.requests(key, begun.seq).await?;
            let text = self.last_word(key, begun.seq).await?;
            let microusd = self.cost(key, begun.created_at).await?;
            return Ok(Some(End::Done {
                text,
                requests,
                usage,
                microusd,
            }));
        }
        if let Some(most) = terms.max_turns
            && self.requests(key, begun.seq).await?.0 >= most as usize
        {
            return not("it took more turns than it may");
        }
        Ok(None)
    }

    /// How many model requests were made since, and what they used.
    async fn requests(&self, key: SessionKey, since: u64) -> Result<(usize, Usage), StoreError> {
        let filter = EventFilter {
            types: vec!["span.model_request_end".to_owned()],
            cursor: Some(since),
            limit: limits::TASK_REQUESTS,
            ..EventFilter::default()
        };
        let (mut requests, mut usage) = (0, Usage::default());
        for record in self.log.list(key, filter).await? {
            if let Ok(Body::SpanModelRequestEnd(end)) = Body::parse(&record.kind, &record.payload) {
                requests += 1;
                usage.add(end.model_usage);
            }
        }
        Ok((requests, usage))
    }

    /// What the gateway has counted for its session since, as far as it has.
    async fn cost(&self, key: SessionKey, since: Timestamp) -> Result<u64, StoreError> {
        let metering = &self.office.metering;
        metering.flush().await?;
        let query = TraceQuery {
            workspace: key.workspace,
            session: Some(key.session),
            key: None,
            model: None,
            from: Some(since),
            to: None,
            cursor: None,
            limit: limits::TASK_TRACES,
        };
        Ok(metering.traces(query).await?.iter().map(|trace| trace.microusd).sum())
    }

    /// What the receiver said last.
    async fn last_word(&self, key: SessionKey, since: u64) -> Result<String, StoreError> {
        let filter = EventFilter {
            types: vec!["agent.message".to_owned()],
            descending: true,
            limit: 1,
            ..EventFilter::default()
        };
        let said = self
            .log
            .list(key, filter)
            .await?
            .into_iter()
            .find(|said| said.seq > since);
        let text = said.and_then(|said| match Body::parse(&said.kind, &said.payload) {
            Ok(Body::AgentMessage(message)) => Some(plain_text(&message.content)),
            _ => None,
        });
        Ok(text.unwrap_or_default())
    }
}

/// Nothing runs there, and nothing waits to.
fn rests(row: &SessionRow) -> bool {
    row.status == Status::Idle && !row.held && (row.ready_at.is_none() || row.hold.is_some())
}

/// The id of the message that tells how a task ended.
#[must_use]
pub fn answer_id(task: MessageId) -> MessageId {
    MessageId::from_uuid(apart(task, ANSWER))
}

fn apart(id: MessageId, from: u128) -> Uuid {
    Uuid::from_u128(id.uuid().as_u128() ^ from)
}

/// The message that ends it; none when nobody waits for it.
fn answer(task: &Message, end: &End) -> Option<Letter> {
    let letter = &task.letter;
    let (subject, text, told) = match end {
        End::Done {
            text,
            requests,
            usage,
            microusd,
        } => {
            let tokens = usage.context();
            let dollars = match microusd {
                0 => String::new(),
                some => format!(", ${}.{:06}", some / 1_000_000, some % 1_000_000),
            };
            let head = format!(
                "Task {} is done: {requests} turns, {tokens} tokens{dollars}.",
                letter.id
            );
            let told = json!({"task": "done", "turns": requests, "tokens": tokens, "cost_microusd": microusd});
            ("task done", format!("{head}\n{text}"), told)
        }
        End::Not(why) => {
            let text = format!("Task {} for {} was not done: {why}.", letter.id, letter.to);
            ("task not done", text, json!({"task": "not_done"}))
        }
    };
    let metadata = told.as_object().map_or_else(SessionMetadata::new, |told| {
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        told.iter()
            .map(|(name, value)| (name.clone(), text(value).into()))
            .collect()
    });
    Some(Letter {
        id: answer_id(letter.id),
        from: match task.session {
            Some(session) => Sender::At(Address::Session(session)),
            None => Sender::Postmaster,
        },
        to: letter.from.address()?.clone(),
        subject: Some(subject.to_owned()),
        content: text_content(&text),
        thread: letter.thread.clone(),
        in_reply_to: Some(letter.id),
        metadata,
        hops: letter.hops.saturating_add(1),
        deliver_at: None,
        expires_at: None,
        task: None,
        trace: letter.trace,
    })
}

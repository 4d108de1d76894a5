//! Mail as clients write and see it.

use std::time::Duration;

use indexmap::IndexMap;
use perennial_engine::ports::{MailboxSummary, Message, Receipt, SessionMetadata};
use perennial_mailbox::answer_id;
use perennial_schema::content::text_content;
use perennial_schema::event::Raw;
use perennial_schema::limits::NAME_CHARS;
use perennial_schema::mail::{Address, Allowance, MailState, Sender};
use perennial_schema::{MessageId, SessionId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::message_content;
use super::{length, metadata};
use crate::error::ApiError;
use crate::limits::{MAIL_BYTES, MAIL_HIDDEN_DEFAULT_SECONDS, MAIL_HIDDEN_MOST_SECONDS, MAIL_RECEIVED, MAIL_WAIT_MOST};
use crate::query::time;

/// `POST …/messages`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Send {
    subject: Option<String>,
    content: Value,
    thread: Option<String>,
    in_reply_to: Option<MessageId>,
    metadata: Option<metadata::Pairs>,
    deliver_at: Option<String>,
    expires_at: Option<String>,
    reply_to: Option<Address>,
}

/// A message that makes sense.
pub(crate) struct Written {
    pub(crate) subject: Option<String>,
    pub(crate) content: Raw,
    pub(crate) thread: Option<String>,
    pub(crate) in_reply_to: Option<MessageId>,
    pub(crate) metadata: IndexMap<String, String>,
    pub(crate) deliver_at: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    /// The queue in which answers are received.
    pub(crate) reply_to: Option<Address>,
}

impl Send {
    /// The message this body describes.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn read(self) -> Result<Written, ApiError> {
        let content = content(&self.content)?;
        length("subject", self.subject.as_deref().unwrap_or_default(), 0, NAME_CHARS)?;
        if let Some(thread) = &self.thread {
            length("thread", thread, 1, NAME_CHARS)?;
            if thread.trim() != thread {
                return Err(ApiError::field("thread", "must not begin or end with a space"));
            }
        }
        let metadata = self.metadata.unwrap_or_default();
        metadata::check(&metadata)?;
        if self.reply_to.as_ref().is_some_and(Address::takes_mail_itself) {
            return Err(ApiError::field(
                "reply_to",
                "expected queue/NAME, in which answers are received",
            ));
        }
        Ok(Written {
            subject: self.subject.filter(|subject| !subject.is_empty()),
            content,
            thread: self.thread,
            in_reply_to: self.in_reply_to,
            metadata,
            deliver_at: moment("deliver_at", self.deliver_at.as_deref())?,
            expires_at: moment("expires_at", self.expires_at.as_deref())?,
            reply_to: self.reply_to,
        })
    }
}

/// Text, or content blocks as in `user.message`.
fn content(given: &Value) -> Result<Raw, ApiError> {
    let content = match given {
        Value::String(text) if text.is_empty() => return Err(ApiError::field("content", "must not be empty")),
        Value::String(text) => text_content(text),
        blocks => {
            message_content("content", blocks)?;
            Raw::of(blocks)
        }
    };
    if content.text().len() > MAIL_BYTES {
        return Err(ApiError::field(
            "content",
            format!("at most {MAIL_BYTES} bytes fit in a message; put the rest in a file"),
        ));
    }
    Ok(content)
}

fn moment(field: &str, text: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    text.map(|text| time(text).ok_or_else(|| ApiError::field(field, "expected an RFC 3339 time")))
        .transpose()
}

/// `POST …/receive`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Receive {
    limit: Option<u32>,
    visibility_timeout: Option<u64>,
    wait: Option<u64>,
}

/// A receive that makes sense.
pub(crate) struct Asked {
    pub(crate) limit: u32,
    pub(crate) hidden_millis: u64,
    pub(crate) wait: Duration,
}

impl Receive {
    /// How much, for how long, and how patiently.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn read(self) -> Result<Asked, ApiError> {
        let limit = self.limit.unwrap_or(1);
        if !(1..=MAIL_RECEIVED).contains(&limit) {
            return Err(ApiError::field(
                "limit",
                format!("{limit} is not between 1 and {MAIL_RECEIVED}"),
            ));
        }
        let wait = Duration::from_secs(self.wait.unwrap_or(0));
        if wait > MAIL_WAIT_MOST {
            let most = MAIL_WAIT_MOST.as_secs();
            return Err(ApiError::field("wait", format!("at most {most} seconds; ask again")));
        }
        let hidden = self.visibility_timeout.unwrap_or(MAIL_HIDDEN_DEFAULT_SECONDS);
        Ok(Asked {
            limit,
            hidden_millis: hidden_millis("visibility_timeout", hidden, 1)?,
            wait,
        })
    }
}

fn hidden_millis(field: &str, seconds: u64, least: u64) -> Result<u64, ApiError> {
    if !(least..=MAIL_HIDDEN_MOST_SECONDS).contains(&seconds) {
        return Err(ApiError::field(
            field,
            format!("{seconds} is not between {least} and {MAIL_HIDDEN_MOST_SECONDS} seconds"),
        ));
    }
    Ok(seconds * 1000)
}

/// `POST …/acknowledge`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Acknowledge {
    pub(crate) receipt: String,
}

/// `POST …/reject`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reject {
    pub(crate) receipt: String,
    delay: Option<u64>,
}

impl Reject {
    /// Until it is handed out again.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn delay_millis(&self) -> Result<u64, ApiError> {
        hidden_millis("delay", self.delay.unwrap_or(0), 0)
    }
}

/// `POST …/extend`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Extend {
    pub(crate) receipt: String,
    visibility_timeout: u64,
}

impl Extend {
    /// For how much longer.
    ///
    /// # Errors
    /// 400 naming the field.
    pub(crate) fn hidden_millis(&self) -> Result<u64, ApiError> {
        hidden_millis("visibility_timeout", self.visibility_timeout, 1)
    }
}

/// A message.
#[derive(Serialize)]
pub(crate) struct MessageView {
    id: MessageId,
    #[serde(rename = "type")]
    type_: &'static str,
    mailbox: Address,
    from: Sender,
    subject: Option<String>,
    content: Raw,
    thread: String,
    in_reply_to: Option<MessageId>,
    metadata: SessionMetadata,
    hops: u32,
    state: MailState,
    /// Why it is dead.
    reason: Option<String>,
    /// The session that has it in its log.
    session_id: Option<SessionId>,
    deliveries: u32,
    deliver_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// What makes it a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<TaskView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
}

/// A task's part of a message.
#[derive(Serialize)]
pub(crate) struct TaskView {
    /// For whom it is done in the end, and through whom: of each the session and its agent, the first that delegated first.
    chain: Vec<Address>,
    max_turns: Option<u32>,
    max_budget: Option<Allowance>,
    /// Seconds.
    timeout: u64,
    /// The message that tells how it ended, with its turns, tokens and cost; there once it has.
    answer_id: MessageId,
}

impl From<Message> for MessageView {
    fn from(message: Message) -> Self {
        let letter = message.letter;
        Self {
            id: letter.id,
            type_: "mail",
            mailbox: letter.to,
            from: letter.from,
            subject: letter.subject,
            content: letter.content,
            thread: letter.thread,
            in_reply_to: letter.in_reply_to,
            metadata: letter.metadata,
            hops: letter.hops,
            state: message.state,
            reason: message.reason,
            session_id: message.session,
            deliveries: message.deliveries,
            deliver_at: letter.deliver_at,
            expires_at: letter.expires_at,
            created_at: message.created_at,
            updated_at: message.changed_at,
            task: letter.task.map(|task| TaskView {
                chain: task.chain,
                max_turns: task.max_turns,
                max_budget: task.max_budget,
                timeout: task.seconds,
                answer_id: answer_id(letter.id),
            }),
            receipt: None,
        }
    }
}

impl MessageView {
    /// As it is received.
    pub(crate) fn with_receipt(receipt: Receipt, message: Message) -> Self {
        Self {
            receipt: Some(receipt.to_string()),
            ..message.into()
        }
    }
}

/// What was received.
#[derive(Serialize)]
pub(crate) struct Received {
    pub(crate) data: Vec<MessageView>,
}

/// A mailbox.
#[derive(Serialize)]
pub(crate) struct MailboxView {
    address: Address,
    #[serde(rename = "type")]
    type_: &'static str,
    open: u64,
    leased: u64,
    dead: u64,
    latest_at: Timestamp,
}

impl From<MailboxSummary> for MailboxView {
    fn from(summary: MailboxSummary) -> Self {
        Self {
            address: summary.address,
            type_: "mailbox",
            open: summary.open,
            leased: summary.leased,
            dead: summary.dead,
            latest_at: summary.latest_at,
        }
    }
}

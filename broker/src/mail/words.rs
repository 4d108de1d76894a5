//! What both databases are asked, and their rows as values. `:now` is the time of the store's clock; `:any … :end` holds the rows that
//! nobody else is taking just now.

use perennial_engine::ports::{
    ChangeCursor, HandOver, Letter, MAIL_DELIVERIES, MailboxSummary, Message, MessageListing, Receipt, Return,
    SessionKey, StoreError, ThreadSession,
};
use perennial_schema::event::Raw;
use perennial_schema::mail::{Address, MailState};
use perennial_schema::{MessageId, SessionId, WorkspaceId};
use serde_json::value::RawValue;

use crate::sql::{Columns, Statement, inconsistent, statement};

const COLUMNS: &str = "position, workspace_id, id, sender, recipient, subject, content, thread, in_reply_to, metadata, hops, \
                       deliver_at, expires_at, task, trace, state, reason, session_id, round, deliveries, created_at, changed_at";
const OPEN: &str = "state IN ('queued', 'leased')";
const ENDED: &str = "state IN ('delivered', 'acknowledged', 'dead', 'cancelled')";
/// Somebody is there to be told of a dead letter: whoever sent it has a mailbox, and it is no such notice itself.
const HAS_SENDER: &str = "(sender LIKE 'session/%' OR sender LIKE 'queue/%')";

fn chosen() -> Statement {
    statement(format!("SELECT {COLUMNS} FROM messages WHERE "))
}

fn returning(asked: Statement) -> Statement {
    asked.sql(&format!(" RETURNING {COLUMNS}"))
}

fn mine(asked: Statement, workspace: WorkspaceId, id: MessageId) -> Statement {
    asked
        .sql("workspace_id = ? AND id = ?")
        .id(workspace.uuid())
        .id(id.uuid())
}

pub(super) fn send(workspace: WorkspaceId, letter: &Letter, room: u32) -> Result<Statement, StoreError> {
    let metadata = serde_json::to_string(&letter.metadata).map_err(|error| inconsistent("metadata", error))?;
    let recipient = letter.to.to_string();
    let task = letter.task.as_ref().map(serde_json::to_string).transpose();
    let task = task.map_err(|error| inconsistent("task", error))?;
    let asked = statement(
        "INSERT INTO messages (state, change_no, created_at, changed_at, due_at, workspace_id, id, sender, recipient, direct, \
         subject, content, thread, in_reply_to, metadata, hops, deliver_at, expires_at, task, task_open, trace) \
         SELECT 'queued', :commit, :now, :now",
    );
    let asked = match letter.deliver_at {
        Some(at) => asked.sql(", ?").time(at),
        None => asked.sql(", :now"),
    };
    Ok(asked
        .sql(", ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE (SELECT count(*) FROM (SELECT 1 FROM messages WHERE ")
        .id(workspace.uuid())
        .id(letter.id.uuid())
        .text(&letter.from.to_string())
        .text(&recipient)
        .flag(letter.to.takes_mail_itself())
        .maybe_text(letter.subject.as_deref())
        .text(letter.content.text())
        .text(&letter.thread)
        .maybe_id(letter.in_reply_to.map(MessageId::uuid))
        .text(&metadata)
        .number(i64::from(letter.hops))
        .maybe_time(letter.deliver_at)
        .maybe_time(letter.expires_at)
        .maybe_text(task.as_deref())
        .flag(task.is_some())
        .maybe_text(letter.trace.map(|trace| trace.to_string()).as_deref())
        .sql("workspace_id = ? AND recipient = ? AND ")
        .id(workspace.uuid())
        .text(&recipient)
        .sql(OPEN)
        .sql(" LIMIT ?) AS waiting) < ? ON CONFLICT (workspace_id, id) DO NOTHING RETURNING id")
        .number(i64::from(room))
        .number(i64::from(room)))
}

pub(super) fn message(workspace: WorkspaceId, id: MessageId) -> Statement {
    mine(chosen(), workspace, id)
}

pub(super) fn messages(listing: &MessageListing) -> Statement {
    let mut asked = chosen().sql("workspace_id = ?").id(listing.workspace.uuid());
    if let Some(to) = &listing.to {
        asked = asked.sql(" AND recipient = ?").text(&to.to_string());
    }
    if let Some(thread) = &listing.thread {
        asked = asked.sql(" AND thread = ?").text(thread);
    }
    if let Some(before) = listing.before {
        asked = asked.sql(" AND position < ?").amount(before);
    }
    let names: Vec<String> = listing.states.iter().map(|state| format!("'{state}'")).collect();
    if !names.is_empty() {
        asked = asked.sql(&format!(" AND state IN ({})", names.join(", ")));
    }
    asked
        .sql(" ORDER BY position DESC LIMIT ?")
        .number(i64::from(listing.limit))
}

fn of_mailbox(asked: Statement, workspace: WorkspaceId, to: &Address) -> Statement {
    asked
        .sql("workspace_id = ? AND recipient = ? AND change_no < :settled")
        .id(workspace.uuid())
        .text(&to.to_string())
}

/// A commit may become visible before an older one: what is not older than everything that is under way is left for the next look.
pub(super) fn changes(workspace: WorkspaceId, to: &Address, after: Option<ChangeCursor>, limit: u32) -> Statement {
    let chosen = statement(format!("SELECT {COLUMNS}, change_no FROM messages WHERE "));
    let mut asked = of_mailbox(chosen, workspace, to);
    if let Some(after) = after {
        asked = asked
            .sql(" AND (change_no, position) > (?, ?)")
            .amount(after.commit)
            .amount(after.position);
    }
    asked
        .sql(" ORDER BY change_no, position LIMIT ?")
        .number(i64::from(limit))
}

pub(super) fn latest_change(workspace: WorkspaceId, to: &Address) -> Statement {
    let chosen = statement("SELECT change_no, position FROM messages WHERE ");
    of_mailbox(chosen, workspace, to).sql(" ORDER BY change_no DESC, position DESC LIMIT 1")
}

pub(super) fn change_of(row: &impl Columns) -> Result<ChangeCursor, StoreError> {
    Ok(ChangeCursor {
        commit: row.amount("change_no")?,
        position: row.amount("position")?,
    })
}

/// Goes from one address to the next in the index, and looks at what is open, dead and newest of each there: what was read or
/// acknowledged in a month is passed over.
pub(super) fn mailboxes(workspace: WorkspaceId, after: Option<&Address>, limit: u32) -> Statement {
    let after = after.map(ToString::to_string).unwrap_or_default();
    let next = "(SELECT min(m.recipient) FROM messages m WHERE m.workspace_id = ? AND m.recipient >";
    let count = "(SELECT count(*) FROM messages m WHERE m.workspace_id = ? AND m.recipient = b.recipient AND";
    let id = workspace.uuid();
    statement(format!(
        "SELECT b.recipient, {count} m.{OPEN}) AS open, {count} m.state = 'leased') AS leased, \
         {count} m.state = 'dead') AS dead, (SELECT m.created_at FROM messages m WHERE m.workspace_id = ? \
         AND m.recipient = b.recipient ORDER BY m.position DESC LIMIT 1) AS latest_at FROM (WITH RECURSIVE \
         boxes (recipient, place) AS (SELECT {next} ?), 1 UNION ALL SELECT {next} boxes.recipient), boxes.place + 1 \
         FROM boxes WHERE boxes.recipient IS NOT NULL AND boxes.place < ?) \
         SELECT recipient FROM boxes WHERE recipient IS NOT NULL) AS b ORDER BY b.recipient"
    ))
    .id(id)
    .id(id)
    .id(id)
    .id(id)
    .id(id)
    .text(&after)
    .id(id)
    .number(i64::from(limit))
}

pub(super) fn delivered_to(key: SessionKey, limit: u32) -> Statement {
    chosen()
        .sql("workspace_id = ? AND session_id = ? ORDER BY changed_at DESC, position DESC LIMIT ?")
        .id(key.workspace.uuid())
        .id(key.session.uuid())
        .number(i64::from(limit))
}

pub(super) fn take(limit: u32, lease_millis: u64) -> Statement {
    let lease = micros(lease_millis);
    returning(
        statement(format!(
            "UPDATE messages SET round = round + 1, due_at = :now + {lease} WHERE position :any SELECT m.position FROM messages m \
             WHERE m.state = 'queued' AND m.direct = true AND m.due_at <= :now AND (m.deliver_at IS NOT NULL OR NOT EXISTS \
             (SELECT 1 FROM messages e WHERE e.workspace_id = m.workspace_id AND e.sender = m.sender \
             AND e.recipient = m.recipient AND e.state = 'queued' AND e.deliver_at IS NULL AND e.position < m.position)) \
             ORDER BY m.due_at LIMIT ? :end"
        ))
        .number(i64::from(limit)),
    )
}

pub(super) fn settle(message: &Message, came: &HandOver) -> Statement {
    let asked = match came {
        HandOver::Delivered(session) => statement(
            "UPDATE messages SET state = 'delivered', change_no = :commit, changed_at = :now, session_id = ? WHERE ",
        )
        .id(session.uuid()),
        HandOver::Dead(reason) => bury(reason).sql(" WHERE "),
        HandOver::Later(millis) => statement(format!(
            "UPDATE messages SET deliveries = deliveries + 1, due_at = :now + {} WHERE ",
            micros(*millis)
        )),
    };
    mine(asked, message.workspace, message.letter.id)
        .sql(" AND state = 'queued' AND round = ?")
        .number(i64::from(message.round))
        .sql(" RETURNING id")
}

fn bury(reason: &str) -> Statement {
    statement("UPDATE messages SET state = 'dead', change_no = :commit, changed_at = :now, reason = ?")
        .text(reason)
        .sql(&format!(", untold = {HAS_SENDER}"))
}

pub(super) fn next_due() -> Statement {
    statement("SELECT min(due_at) AS due_at, :now AS at FROM messages WHERE state = 'queued' AND direct = true")
}

pub(super) fn thread_session(thread: ThreadSession<'_>) -> Statement {
    let asked = statement(
        "INSERT INTO mail_threads (workspace_id, agent_id, thread, session_id) VALUES (?, ?, ?, ?) \
         ON CONFLICT (workspace_id, agent_id, thread) DO UPDATE SET session_id = ",
    )
    .id(thread.workspace.uuid())
    .id(thread.agent.uuid())
    .text(thread.thread)
    .id(thread.fresh.uuid());
    let asked = match thread.instead_of {
        Some(ended) => asked
            .sql("CASE WHEN mail_threads.session_id = ? THEN ? ELSE mail_threads.session_id END")
            .id(ended.uuid())
            .id(thread.fresh.uuid()),
        None => asked.sql("mail_threads.session_id"),
    };
    asked.sql(" RETURNING session_id")
}

pub(super) fn receive(workspace: WorkspaceId, queue: &Address, limit: u32, hidden_millis: u64) -> Statement {
    let hidden = micros(hidden_millis);
    returning(
        statement(format!(
            "UPDATE messages SET state = 'leased', change_no = :commit, changed_at = :now, round = round + 1, \
             deliveries = deliveries + 1, due_at = :now + {hidden} WHERE position :any SELECT m.position FROM messages m WHERE m.workspace_id = ? \
             AND m.recipient = ? AND m.state IN ('queued', 'leased') AND m.due_at <= :now AND m.deliveries < {MAIL_DELIVERIES} \
             AND coalesce(m.expires_at, :now + 1) > :now ORDER BY m.position LIMIT ? :end"
        ))
        .id(workspace.uuid())
        .text(&queue.to_string())
        .number(i64::from(limit)),
    )
}

pub(super) fn give_back(workspace: WorkspaceId, receipt: Receipt, what: Return) -> Statement {
    let asked = match what {
        Return::Acknowledge => {
            statement("UPDATE messages SET state = 'acknowledged', change_no = :commit, changed_at = :now WHERE ")
        }
        Return::Extend(millis) => statement(format!("UPDATE messages SET due_at = :now + {} WHERE ", micros(millis))),
        Return::Reject(millis) => statement(format!(
            "UPDATE messages SET change_no = :commit, changed_at = :now, due_at = :now + {}, \
             state = CASE WHEN deliveries < {MAIL_DELIVERIES} THEN 'queued' ELSE 'dead' END, \
             reason = CASE WHEN deliveries < {MAIL_DELIVERIES} THEN NULL ELSE '{TOO_OFTEN}' END, \
             untold = (deliveries >= {MAIL_DELIVERIES} AND {HAS_SENDER}) WHERE ",
            micros(millis)
        )),
    };
    // A lease that has run out counts until somebody else has the message.
    returning(
        mine(asked, workspace, receipt.message)
            .sql(" AND state = 'leased' AND round = ?")
            .number(i64::from(receipt.round)),
    )
}

/// Why a queue's message dies that nobody could make use of.
pub(super) const TOO_OFTEN: &str = "it was handed out too often and never acknowledged";
/// Why a message dies whose time is over.
pub(super) const EXPIRED: &str = "it has expired";

pub(super) fn cancel(workspace: WorkspaceId, id: MessageId) -> Statement {
    let asked = statement("UPDATE messages SET state = 'cancelled', change_no = :commit, changed_at = :now WHERE ");
    // Mail that was taken once may be in a log by now.
    mine(asked, workspace, id).sql(" AND state = 'queued' AND (direct = false OR round = 0) RETURNING id")
}

pub(super) fn replay(workspace: WorkspaceId, id: MessageId) -> Statement {
    let asked = statement(
        "UPDATE messages SET state = 'queued', change_no = :commit, changed_at = :now, due_at = :now, reason = NULL, deliveries = 0, \
         expires_at = NULL, untold = false WHERE ",
    );
    mine(asked, workspace, id).sql(" AND state = 'dead' RETURNING id")
}

pub(super) fn bury_ended() -> Vec<Statement> {
    let ended = " WHERE direct = false AND state IN ('queued', 'leased') AND due_at <= :now AND ";
    vec![
        bury(EXPIRED).sql(ended).sql("expires_at <= :now RETURNING id"),
        bury(TOO_OFTEN)
            .sql(ended)
            .sql(&format!("deliveries >= {MAIL_DELIVERIES} RETURNING id")),
    ]
}

pub(super) fn forget(keep_millis: u64) -> Statement {
    statement(format!(
        "DELETE FROM messages WHERE {ENDED} AND untold = false AND task_open = false AND changed_at < :now - {} RETURNING id",
        micros(keep_millis)
    ))
}

pub(super) fn untold(limit: u32) -> Statement {
    chosen()
        .sql("untold = true ORDER BY position LIMIT ?")
        .number(i64::from(limit))
}

pub(super) fn told(workspace: WorkspaceId, id: MessageId) -> Statement {
    mine(statement("UPDATE messages SET untold = false WHERE "), workspace, id).sql(" RETURNING id")
}

pub(super) fn open_tasks(after: u64, limit: u32) -> Statement {
    chosen()
        .sql("task_open = true AND position > ? ORDER BY position LIMIT ?")
        .amount(after)
        .number(i64::from(limit))
}

pub(super) fn close_task(workspace: WorkspaceId, id: MessageId) -> Statement {
    mine(statement("UPDATE messages SET task_open = false WHERE "), workspace, id).sql(" RETURNING id")
}

fn micros(millis: u64) -> u64 {
    millis.min(u64::from(u32::MAX)) * 1000
}

pub(super) fn message_of(row: &impl Columns) -> Result<Message, StoreError> {
    let content = RawValue::from_string(row.text("content")?).map_err(|error| inconsistent("content", error))?;
    Ok(Message {
        workspace: WorkspaceId::from_uuid(row.id("workspace_id")?),
        letter: Letter {
            id: MessageId::from_uuid(row.id("id")?),
            from: parsed(row, "sender")?,
            to: parsed(row, "recipient")?,
            subject: row.maybe_text("subject")?,
            content: Raw::from(content),
            thread: row.text("thread")?,
            in_reply_to: row.maybe_id("in_reply_to")?.map(MessageId::from_uuid),
            metadata: serde_json::from_str(&row.text("metadata")?).map_err(|error| inconsistent("metadata", error))?,
            hops: small(row, "hops")?,
            deliver_at: row.maybe_time("deliver_at")?,
            expires_at: row.maybe_time("expires_at")?,
            task: row
                .maybe_text("task")?
                .map(|task| serde_json::from_str(&task))
                .transpose()
                .map_err(|error| inconsistent("task", error))?,
            // Of no weight: what does not parse is no trace.
            trace: row.maybe_text("trace")?.and_then(|trace| trace.parse().ok()),
        },
        position: row.amount("position")?,
        state: parsed::<MailState>(row, "state")?,
        reason: row.maybe_text("reason")?,
        session: row.maybe_id("session_id")?.map(SessionId::from_uuid),
        round: small(row, "round")?,
        deliveries: small(row, "deliveries")?,
        created_at: row.time("created_at")?,
        changed_at: row.time("changed_at")?,
    })
}

pub(super) fn summary_of(row: &impl Columns) -> Result<MailboxSummary, StoreError> {
    Ok(MailboxSummary {
        address: parsed(row, "recipient")?,
        open: row.amount("open")?,
        leased: row.amount("leased")?,
        dead: row.amount("dead")?,
        latest_at: row.time("latest_at")?,
    })
}

/// Milliseconds from now until mail is due, rounded up.
pub(super) fn wait_of(row: &impl Columns) -> Result<Option<u64>, StoreError> {
    let now = row.number("at")?;
    let due = row.maybe_number("due_at")?;
    Ok(due.map(|due| u64::try_from(due.saturating_sub(now)).unwrap_or(0).div_ceil(1000)))
}

fn parsed<T: std::str::FromStr<Err: std::error::Error>>(
    row: &impl Columns,
    column: &'static str,
) -> Result<T, StoreError> {
    row.text(column)?
        .parse()
        .map_err(|error: T::Err| inconsistent(column, error))
}

fn small(row: &impl Columns, column: &'static str) -> Result<u32, StoreError> {
    u32::try_from(row.number(column)?).map_err(|error| inconsistent(column, error))
}

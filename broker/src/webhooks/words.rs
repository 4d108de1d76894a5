//! What both databases are asked, and their rows as values. `:now` is the time of the store's clock; `:any … :end` holds the rows
//! that nobody else is taking just now.

use perennial_engine::ports::{
    Attempt, ChangeCursor, Delivery, DeliveryListing, DeliveryState, StoreError, Watch, Webhook,
};
use perennial_schema::{DeliveryId, SessionId, WebhookId, WorkspaceId};

use crate::sql::{Columns, Statement, inconsistent, statement};

const WEBHOOK: &str =
    "workspace_id, id, url, description, events, secret, disabled, since, failures, failing_since, created_at,
    updated_at, revision";
const DELIVERY: &str =
    "workspace_id, webhook_id, id, event, kind, body, state, attempts, due_at, status, outcome, created_at,
    ended_at";

fn mine(asked: Statement, workspace: WorkspaceId, id: uuid::Uuid) -> Statement {
    asked.sql("workspace_id = ? AND id = ?").id(workspace.uuid()).id(id)
}

pub(super) fn watch(workspace: WorkspaceId) -> Statement {
    statement(
        "INSERT INTO webhook_watches (workspace_id, leased_until) VALUES (?, 0) ON CONFLICT (workspace_id) DO NOTHING",
    )
    .id(workspace.uuid())
}

pub(super) fn add(webhook: &Webhook, most: u32) -> Result<Statement, StoreError> {
    let asked = statement(format!(
        "INSERT INTO webhooks ({WEBHOOK}) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? \
         WHERE (SELECT count(*) FROM webhooks WHERE workspace_id = ?) < ? ON CONFLICT (id) DO NOTHING RETURNING id"
    ));
    let asked = asked.id(webhook.workspace.uuid()).id(webhook.id.uuid());
    Ok(columns(asked, webhook)?
        .amount(webhook.revision)
        .id(webhook.workspace.uuid())
        .amount(most.into()))
}

/// From the address on, without the revision.
fn columns(asked: Statement, webhook: &Webhook) -> Result<Statement, StoreError> {
    let events = serde_json::to_string(&webhook.events).map_err(|error| inconsistent("events", error))?;
    Ok(asked
        .text(&webhook.url)
        .text(&webhook.description)
        .text(&events)
        .text(&webhook.secret)
        .maybe_text(webhook.disabled.as_deref())
        .time(webhook.since)
        .amount(webhook.failures)
        .maybe_time(webhook.failing_since)
        .time(webhook.created_at)
        .time(webhook.updated_at))
}

pub(super) fn webhook(workspace: WorkspaceId, id: WebhookId) -> Statement {
    mine(
        statement(format!("SELECT {WEBHOOK} FROM webhooks WHERE ")),
        workspace,
        id.uuid(),
    )
}

pub(super) fn webhooks(workspace: WorkspaceId) -> Statement {
    statement(format!(
        "SELECT {WEBHOOK} FROM webhooks WHERE workspace_id = ? ORDER BY created_at DESC, id DESC"
    ))
    .id(workspace.uuid())
}

pub(super) fn swap(seen: u64, webhook: &Webhook) -> Result<Statement, StoreError> {
    let asked = statement(
        "UPDATE webhooks SET revision = revision + 1, url = ?, description = ?, events = ?, secret = ?, disabled = ?, since = ?, \
         failures = ?, failing_since = ?, created_at = ?, updated_at = ? WHERE ",
    );
    let asked = mine(columns(asked, webhook)?, webhook.workspace, webhook.id.uuid());
    Ok(asked.sql(" AND revision = ? RETURNING id").amount(seen))
}

pub(super) fn remove(workspace: WorkspaceId, id: WebhookId) -> Statement {
    mine(statement("DELETE FROM webhooks WHERE "), workspace, id.uuid()).sql(" RETURNING id")
}

pub(super) fn remove_deliveries(workspace: WorkspaceId, id: WebhookId) -> Statement {
    statement("DELETE FROM deliveries WHERE workspace_id = ? AND webhook_id = ?")
        .id(workspace.uuid())
        .id(id.uuid())
}

/// A workspace that somebody is told of and nobody looks through.
fn free(asked: Statement, not: &[WorkspaceId]) -> Statement {
    let asked = asked.sql(
        "SELECT workspace_id FROM webhook_watches w WHERE leased_until <= :now AND EXISTS (SELECT 1 FROM webhooks h \
         WHERE h.workspace_id = w.workspace_id AND h.disabled IS NULL)",
    );
    let asked = not.iter().fold(asked, |asked, workspace| {
        asked.sql(" AND workspace_id <> ?").id(workspace.uuid())
    });
    asked.sql(" ORDER BY leased_until LIMIT 1")
}

pub(super) fn free_watch(not: &[WorkspaceId]) -> Statement {
    free(statement(""), not)
}

pub(super) fn take_watch(lease_millis: u64, not: &[WorkspaceId]) -> Statement {
    let asked = statement("UPDATE webhook_watches SET leased_until = :now + ?").amount(lease_millis * 1000);
    free(asked.sql(" WHERE workspace_id :any "), not).sql(" :end RETURNING workspace_id, commit_at, position")
}

/// Never goes back: whoever took it when a lease had run out may have been further.
pub(super) fn put_watch(watch: &Watch) -> Statement {
    let asked = statement("UPDATE webhook_watches SET leased_until = :now");
    let asked = match watch.place {
        None => asked.sql(" WHERE workspace_id = ?").id(watch.workspace.uuid()),
        Some(place) => asked
            .sql(", commit_at = ?, position = ? WHERE workspace_id = ? AND (commit_at IS NULL OR (commit_at, position) <= (?, ?))")
            .amount(place.commit)
            .amount(place.position)
            .id(watch.workspace.uuid())
            .amount(place.commit)
            .amount(place.position),
    };
    asked.sql(" RETURNING workspace_id")
}

pub(super) fn seen(workspace: WorkspaceId, session: SessionId) -> Statement {
    statement("SELECT seq FROM webhook_heads WHERE workspace_id = ? AND session_id = ?")
        .id(workspace.uuid())
        .id(session.uuid())
}

pub(super) fn saw(workspace: WorkspaceId, session: SessionId, seq: u64) -> Statement {
    statement(
        "INSERT INTO webhook_heads (workspace_id, session_id, seq) VALUES (?, ?, ?) ON CONFLICT (workspace_id, session_id) \
         DO UPDATE SET seq = excluded.seq WHERE webhook_heads.seq < excluded.seq",
    )
    .id(workspace.uuid())
    .id(session.uuid())
    .amount(seq)
}

pub(super) fn enqueue(delivery: &Delivery, most: u32) -> Statement {
    statement(format!(
        "INSERT INTO deliveries ({DELIVERY}) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? \
         WHERE EXISTS (SELECT 1 FROM webhooks WHERE id = ?) AND (SELECT count(*) FROM (SELECT 1 FROM deliveries \
         WHERE webhook_id = ? AND state = 'pending' LIMIT ?) AS waiting) < ? ON CONFLICT (id) DO NOTHING RETURNING id"
    ))
    .id(delivery.workspace.uuid())
    .id(delivery.webhook.uuid())
    .id(delivery.id.uuid())
    .text(&delivery.event)
    .text(&delivery.kind)
    .text(&delivery.body)
    .text(delivery.state.as_str())
    .amount(delivery.attempts.into())
    .time(delivery.due_at)
    .maybe_amount(delivery.status.map(u64::from))
    .maybe_text(delivery.outcome.as_deref())
    .time(delivery.created_at)
    .maybe_time(delivery.ended_at)
    .id(delivery.webhook.uuid())
    .id(delivery.webhook.uuid())
    .amount(most.into())
    .amount(most.into())
}

const DUE: &str = "SELECT id FROM deliveries d WHERE state = 'pending' AND due_at <= :now AND EXISTS \
                   (SELECT 1 FROM webhooks h WHERE h.id = d.webhook_id AND h.disabled IS NULL)";

pub(super) fn any_due() -> Statement {
    statement(format!("{DUE} LIMIT 1"))
}

pub(super) fn take(limit: u32, lease_millis: u64) -> Statement {
    statement("UPDATE deliveries SET attempts = attempts + 1, due_at = :now + ?")
        .amount(lease_millis * 1000)
        .sql(&format!(" WHERE id :any {DUE} ORDER BY due_at LIMIT ? :end"))
        .amount(limit.into())
        .sql(&format!(" RETURNING {DELIVERY}"))
}

pub(super) fn settle(taken: &Delivery, attempt: &Attempt) -> Statement {
    let ended = attempt.state != DeliveryState::Pending;
    let asked = statement("UPDATE deliveries SET state = ?, due_at = :now + ?, status = ?, outcome = ?, ended_at = ")
        .text(attempt.state.as_str())
        .amount(attempt.again_in_millis * 1000)
        .maybe_amount(attempt.status.map(u64::from))
        .text(&attempt.outcome)
        .sql(if ended { ":now" } else { "NULL" })
        .sql(" WHERE ");
    mine(asked, taken.workspace, taken.id.uuid())
        .sql(" AND state = 'pending' AND attempts = ? AND due_at = ? RETURNING id")
        .amount(taken.attempts.into())
        .time(taken.due_at)
}

pub(super) fn deliveries(listing: &DeliveryListing) -> Statement {
    let asked = statement(format!(
        "SELECT {DELIVERY} FROM deliveries WHERE workspace_id = ? AND webhook_id = ?"
    ));
    let mut asked = asked.id(listing.workspace.uuid()).id(listing.webhook.uuid());
    if let Some(state) = listing.state {
        asked = asked.sql(" AND state = ?").text(state.as_str());
    }
    if let Some((at, id)) = listing.before {
        asked = asked.sql(" AND (created_at, id) < (?, ?)").time(at).id(id.uuid());
    }
    asked
        .sql(" ORDER BY created_at DESC, id DESC LIMIT ?")
        .amount(listing.limit.into())
}

pub(super) fn delivery(workspace: WorkspaceId, id: DeliveryId) -> Statement {
    mine(
        statement(format!("SELECT {DELIVERY} FROM deliveries WHERE ")),
        workspace,
        id.uuid(),
    )
}

pub(super) fn replay(workspace: WorkspaceId, id: DeliveryId) -> Statement {
    let asked =
        statement("UPDATE deliveries SET state = 'pending', attempts = 0, due_at = :now, ended_at = NULL WHERE ");
    mine(asked, workspace, id.uuid()).sql(&format!(" RETURNING {DELIVERY}"))
}

pub(super) fn forget(kept_millis: u64) -> Statement {
    statement("DELETE FROM deliveries WHERE state <> 'pending' AND ended_at <= :now - ?").amount(kept_millis * 1000)
}

pub(super) fn webhook_of(row: &impl Columns) -> Result<Webhook, StoreError> {
    Ok(Webhook {
        id: WebhookId::from_uuid(row.id("id")?),
        workspace: WorkspaceId::from_uuid(row.id("workspace_id")?),
        url: row.text("url")?,
        description: row.text("description")?,
        events: serde_json::from_str(&row.text("events")?).map_err(|error| inconsistent("events", error))?,
        secret: row.text("secret")?,
        disabled: row.maybe_text("disabled")?,
        since: row.time("since")?,
        failures: row.amount("failures")?,
        failing_since: row.maybe_time("failing_since")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        revision: row.amount("revision")?,
    })
}

pub(super) fn watch_of(row: &impl Columns) -> Result<Watch, StoreError> {
    let place = row.maybe_amount("commit_at")?.zip(row.maybe_amount("position")?);
    Ok(Watch {
        workspace: WorkspaceId::from_uuid(row.id("workspace_id")?),
        place: place.map(|(commit, position)| ChangeCursor { commit, position }),
    })
}

pub(super) fn delivery_of(row: &impl Columns) -> Result<Delivery, StoreError> {
    let state = row.text("state")?;
    let status = row.maybe_amount("status")?.map(u16::try_from).transpose();
    Ok(Delivery {
        id: DeliveryId::from_uuid(row.id("id")?),
        workspace: WorkspaceId::from_uuid(row.id("workspace_id")?),
        webhook: WebhookId::from_uuid(row.id("webhook_id")?),
        event: row.text("event")?,
        kind: row.text("kind")?,
        body: row.text("body")?,
        state: DeliveryState::parse(&state)
            .ok_or_else(|| inconsistent("state", format!("{state:?} is none of a delivery")))?,
        attempts: u32::try_from(row.amount("attempts")?).map_err(|error| inconsistent("attempts", error))?,
        due_at: row.time("due_at")?,
        status: status.map_err(|error| inconsistent("status", error))?,
        outcome: row.maybe_text("outcome")?,
        created_at: row.time("created_at")?,
        ended_at: row.maybe_time("ended_at")?,
    })
}

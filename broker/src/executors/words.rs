//! What both databases are asked, and their rows as values. `:now` is the time of the store's clock.

use perennial_engine::ports::{
    EXECUTOR_CODE_MILLIS, EXECUTOR_ONLINE_MILLIS, Executor, ExecutorKind, ExecutorListing, HeldTunnel, NewExecutor,
    StoreError, StoredCode,
};
use perennial_schema::frame::Card;
use perennial_schema::{ExecutorCode, ExecutorId, ExecutorSecretHash, OwnerId, WorkspaceId};
use uuid::Uuid;

use crate::limits::CODE_KEEP_MILLIS;
use crate::sql::{Columns, Statement, inconsistent, statement};

fn columns() -> String {
    let online = EXECUTOR_ONLINE_MILLIS * 1000;
    format!(
        "workspace_id, id, name, kind, card, hash, generation, node, node_url, last_seen_at, created_at, \
         (node IS NOT NULL AND coalesce(last_seen_at, 0) > :now - {online}) AS online"
    )
}

fn chosen() -> Statement {
    statement(format!("SELECT {} FROM executors WHERE ", columns()))
}

pub(super) fn holder(id: ExecutorId) -> Statement {
    chosen().sql("id = ?").id(id.uuid())
}

pub(super) fn executor(workspace: WorkspaceId, id: ExecutorId) -> Statement {
    mine(chosen(), workspace, id)
}

fn mine(asked: Statement, workspace: WorkspaceId, id: ExecutorId) -> Statement {
    asked
        .sql("workspace_id = ? AND id = ?")
        .id(workspace.uuid())
        .id(id.uuid())
}

pub(super) fn executors(listing: &ExecutorListing) -> Statement {
    let mut asked = chosen().sql("workspace_id = ?").id(listing.workspace.uuid());
    if let Some((at, id)) = listing.cursor {
        asked = asked.sql(" AND (created_at, id) < (?, ?)").time(at).id(id.uuid());
    }
    asked
        .sql(" ORDER BY created_at DESC, id DESC LIMIT ?")
        .number(i64::from(listing.limit))
}

pub(super) fn add_code(workspace: WorkspaceId, id: Uuid, code: &ExecutorCode) -> Statement {
    let end = EXECUTOR_CODE_MILLIS * 1000;
    statement(format!(
        "INSERT INTO executor_codes (expires_at, workspace_id, id, hash) VALUES (:now + {end}, ?, ?, ?) \
         ON CONFLICT (workspace_id, id) DO NOTHING RETURNING id"
    ))
    .id(workspace.uuid())
    .id(id)
    .bytes(&code.hash().0)
}

pub(super) fn code(workspace: WorkspaceId, id: Uuid) -> Statement {
    statement("SELECT workspace_id, id, hash, expires_at FROM executor_codes WHERE workspace_id = ? AND id = ?")
        .id(workspace.uuid())
        .id(id)
}

/// Codes that nobody asks for any more.
pub(super) fn forget_codes() -> Statement {
    statement(format!(
        "DELETE FROM executor_codes WHERE expires_at <= :now - {}",
        CODE_KEEP_MILLIS * 1000
    ))
}

pub(super) fn use_code(hash: ExecutorSecretHash) -> Statement {
    statement("UPDATE executor_codes SET used = true WHERE hash = ? AND NOT used AND expires_at > :now RETURNING workspace_id")
        .bytes(&hash.0)
}

/// To be followed by where the workspace comes from: the columns are in this order.
pub(super) const ADD: &str = "INSERT INTO executors (workspace_id, created_at, id, hash, kind, name) ";

/// The values of [`ADD`] after the workspace.
pub(super) fn new_values(asked: Statement, new: &NewExecutor) -> Statement {
    asked
        .sql(", :now, ?, ?, ?, ?")
        .id(new.id.uuid())
        .bytes(&new.hash.0)
        .text(kind_name(new.kind))
        .text(&new.name)
}

pub(super) fn rename(workspace: WorkspaceId, id: ExecutorId, name: &str) -> Statement {
    let asked = statement("UPDATE executors SET name = ? WHERE ").text(name);
    mine(asked, workspace, id).sql(&format!(" RETURNING {}", columns()))
}

pub(super) fn remove(workspace: WorkspaceId, id: ExecutorId) -> Statement {
    mine(statement("DELETE FROM executors WHERE "), workspace, id).sql(" RETURNING id")
}

pub(super) fn connect(
    workspace: WorkspaceId,
    id: ExecutorId,
    (node, url): (OwnerId, Option<&str>),
    card: &str,
) -> Statement {
    let asked =
        statement("UPDATE executors SET generation = generation + 1, last_seen_at = :now, node = ?, node_url = ")
            .id(node.uuid());
    let asked = match url {
        Some(url) => asked.sql("?").text(url),
        None => asked.sql("NULL"),
    };
    let asked = asked.sql(", card = ? WHERE ").text(card);
    mine(asked, workspace, id).sql(" RETURNING generation")
}

pub(super) fn describe(held: HeldTunnel, card: &str) -> Statement {
    let asked = statement("UPDATE executors SET card = ? WHERE ").text(card);
    mine(asked, held.workspace, held.executor)
        .sql(" AND node IS NOT NULL AND generation = ?")
        .number(integer(held.generation))
}

/// Of whatever tenant: a process answers for all tunnels it holds.
pub(super) fn renew(node: OwnerId) -> Statement {
    statement("UPDATE executors SET last_seen_at = :now WHERE node = ? RETURNING workspace_id, id, generation")
        .id(node.uuid())
}

pub(super) fn disconnect(held: HeldTunnel) -> Statement {
    let asked = statement("UPDATE executors SET node = NULL, node_url = NULL, last_seen_at = :now WHERE ");
    mine(asked, held.workspace, held.executor)
        .sql(" AND generation = ?")
        .number(integer(held.generation))
}

/// Passes that open nothing any more.
pub(super) fn forget_passes() -> Statement {
    statement("DELETE FROM executor_passes WHERE expires_at <= :now")
}

pub(super) fn add_pass(id: ExecutorId, pass: ExecutorSecretHash, millis: u64) -> Statement {
    let end = millis * 1000;
    statement(format!(
        "INSERT INTO executor_passes (expires_at, executor_id, hash) VALUES (:now + {end}, ?, ?) ON CONFLICT (hash) DO NOTHING"
    ))
    .id(id.uuid())
    .bytes(&pass.0)
}

pub(super) fn is_pass(id: ExecutorId, pass: ExecutorSecretHash) -> Statement {
    statement("SELECT executor_id FROM executor_passes WHERE hash = ? AND executor_id = ? AND expires_at > :now")
        .bytes(&pass.0)
        .id(id.uuid())
}

pub(super) fn use_pass(id: ExecutorId, pass: ExecutorSecretHash) -> Statement {
    statement(
        "DELETE FROM executor_passes WHERE hash = ? AND executor_id = ? AND expires_at > :now RETURNING executor_id",
    )
    .bytes(&pass.0)
    .id(id.uuid())
}

fn integer(generation: u64) -> i64 {
    i64::try_from(generation).unwrap_or(i64::MAX)
}

const fn kind_name(kind: ExecutorKind) -> &'static str {
    match kind {
        ExecutorKind::Device => "device",
        ExecutorKind::Sandbox => "sandbox",
    }
}

/// A card as it is stored.
pub(super) fn card_text(card: &Card) -> Result<String, StoreError> {
    serde_json::to_string(card).map_err(|error| inconsistent("card", error))
}

pub(super) fn executor_of(row: &impl Columns) -> Result<Executor, StoreError> {
    let kind = match row.text("kind")?.as_str() {
        "device" => ExecutorKind::Device,
        "sandbox" => ExecutorKind::Sandbox,
        other => return Err(inconsistent("kind", format!("{other:?} is no kind of executor"))),
    };
    let card = row.maybe_text("card")?.map(|text| serde_json::from_str(&text));
    Ok(Executor {
        id: ExecutorId::from_uuid(row.id("id")?),
        workspace: WorkspaceId::from_uuid(row.id("workspace_id")?),
        name: row.text("name")?,
        kind,
        card: card.transpose().map_err(|error| inconsistent("card", error))?,
        hash: hash_of(row)?,
        generation: row.amount("generation")?,
        node: row.maybe_id("node")?.map(OwnerId::from_uuid),
        node_url: row.maybe_text("node_url")?,
        online: row.flag("online")?,
        last_seen_at: row.maybe_time("last_seen_at")?,
        created_at: row.time("created_at")?,
    })
}

pub(super) fn code_of(row: &impl Columns) -> Result<StoredCode, StoreError> {
    Ok(StoredCode {
        id: row.id("id")?,
        workspace: WorkspaceId::from_uuid(row.id("workspace_id")?),
        hash: hash_of(row)?,
        expires_at: row.time("expires_at")?,
    })
}

pub(super) fn held_of(row: &impl Columns) -> Result<HeldTunnel, StoreError> {
    Ok(HeldTunnel {
        workspace: WorkspaceId::from_uuid(row.id("workspace_id")?),
        executor: ExecutorId::from_uuid(row.id("id")?),
        generation: row.amount("generation")?,
    })
}

fn hash_of(row: &impl Columns) -> Result<ExecutorSecretHash, StoreError> {
    let hash = <[u8; 32]>::try_from(row.bytes("hash")?);
    hash.map(ExecutorSecretHash)
        .map_err(|_| inconsistent("hash", "is not 32 bytes"))
}

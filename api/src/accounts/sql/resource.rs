//! What agents and environments have in common: they are found, listed newest first, and changed once per idempotency key.

use perennial_engine::ports::{Idempotency, StoreError};
use perennial_schema::{Timestamp, WorkspaceId};
use sqlx::Pool;

use super::dialect::{Columns, Dialect, Statement, statement};
use super::requests::{recall, remember};
use super::work::Work;
use crate::accounts::{AccountsError, Earlier, Listing, Made};

/// An agent or an environment.
pub(super) trait Resource: Sized + Send {
    /// A page of them; see [`page_of`].
    const PAGE: &'static str;

    /// How a later request finds it.
    fn made(&self) -> Earlier;

    /// Finds what an earlier request made.
    fn made_by(workspace: WorkspaceId, earlier: &Earlier) -> Statement;

    /// Reads a row.
    fn read(row: &impl Columns) -> Result<Self, StoreError>;
}

/// The statement of a page: what to select from, with the resource's row named `r`.
macro_rules! page_of {
    ($select:literal) => {
        concat!(
            $select,
            " WHERE r.workspace_id = $1 AND ($2 OR r.archived_at IS NULL) ",
            "AND r.created_at > $3 AND r.created_at >= $4 AND r.created_at < $5 AND r.created_at <= $6 ",
            "AND (r.created_at < $7 OR (r.created_at = $7 AND r.id < $8)) ",
            "ORDER BY r.created_at DESC, r.id DESC LIMIT $9"
        )
    };
}
pub(super) use page_of;

/// One, or none.
pub(super) async fn one<DB: Dialect, R: Resource>(
    work: &mut Work<DB>,
    statement: Statement,
) -> Result<Option<R>, StoreError> {
    work.rows(statement).await?.first().map(R::read).transpose()
}

/// All that a statement finds.
pub(super) async fn all<DB: Dialect, R: Resource>(pool: &Pool<DB>, statement: Statement) -> Result<Vec<R>, StoreError> {
    let rows = Work::reading(pool).await?.rows(statement).await?;
    rows.iter().map(R::read).collect()
}

/// A page of a listing.
pub(super) async fn page<DB: Dialect, R: Resource, Id: ToString + Send>(
    pool: Pool<DB>,
    workspace: WorkspaceId,
    listing: Listing<Id>,
) -> Result<Vec<R>, StoreError> {
    let created = &listing.created;
    let micros = |time: Option<Timestamp>, none: i64| time.map_or(none, Timestamp::micros);
    let (cursor_at, cursor_id) = match &listing.cursor {
        Some((at, id)) => (at.micros(), id.to_string()),
        None => (i64::MAX, String::new()),
    };
    let page = statement(R::PAGE)
        .text(workspace)
        .flag(listing.include_archived)
        .number(micros(created.gt, i64::MIN))
        .number(micros(created.gte, i64::MIN))
        .number(micros(created.lt, i64::MAX))
        .number(micros(created.lte, i64::MAX))
        .number(cursor_at)
        .text(cursor_id)
        .number(listing.limit);
    all(&pool, page).await
}

/// A change under way, in a transaction of its own that also remembers the request (I19). Dropped, it did not happen.
pub(super) struct Change<DB: Dialect> {
    work: Work<DB>,
    workspace: WorkspaceId,
    idempotency: Option<Idempotency>,
    at: Timestamp,
}

impl<DB: Dialect> Change<DB> {
    /// Begins. Requests with idempotency keys run one after the other within a workspace, so that the second of two equal
    /// ones finds what the first made.
    pub(super) async fn begin(
        pool: &Pool<DB>,
        workspace: WorkspaceId,
        idempotency: Option<Idempotency>,
        at: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut work = Work::begin(pool).await?;
        if idempotency.is_some() {
            work.alone(workspace).await?;
        }
        Ok(Self {
            work,
            workspace,
            idempotency,
            at,
        })
    }

    /// What an earlier request under the same key made.
    pub(super) async fn repeated<R: Resource>(&mut self) -> Result<Option<Made<R>>, AccountsError> {
        let Some(idempotency) = &self.idempotency else {
            return Ok(None);
        };
        let earlier = recall(&mut self.work, self.workspace, idempotency, self.at).await?;
        let Some(earlier) = earlier else { return Ok(None) };
        let found = one::<DB, R>(&mut self.work, R::made_by(self.workspace, &earlier)).await?;
        Ok(found.map(|resource| Made {
            resource,
            replayed: true,
        }))
    }

    /// Runs one statement of the change.
    pub(super) async fn execute(&mut self, statement: Statement) -> Result<u64, sqlx::Error> {
        self.work.execute(statement).await
    }

    /// Reads within the change.
    pub(super) async fn one<R: Resource>(&mut self, statement: Statement) -> Result<Option<R>, StoreError> {
        one(&mut self.work, statement).await
    }

    /// Remembers the request and commits.
    pub(super) async fn finish<R: Resource>(mut self, resource: R) -> Result<Made<R>, AccountsError> {
        if let Some(idempotency) = &self.idempotency {
            let made = resource.made();
            remember(&mut self.work, self.workspace, idempotency, &made, self.at).await?;
        }
        self.work.commit().await?;
        Ok(Made {
            resource,
            replayed: false,
        })
    }
}

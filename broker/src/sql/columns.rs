//! Cells of rows. One that does not parse names its column; it is never skipped and never a panic.

use perennial_engine::ports::StoreError;
use perennial_schema::Timestamp;
use sqlx::{ColumnIndex, Decode, Row, Type};
use uuid::Uuid;

/// A row of the meter's tables, or of the registry's.
pub(crate) trait Columns: Send + Sync {
    fn maybe_id(&self, column: &'static str) -> Result<Option<Uuid>, StoreError>;
    fn maybe_number(&self, column: &'static str) -> Result<Option<i64>, StoreError>;
    fn maybe_text(&self, column: &'static str) -> Result<Option<String>, StoreError>;
    fn flag(&self, column: &'static str) -> Result<bool, StoreError>;
    fn bytes(&self, column: &'static str) -> Result<Vec<u8>, StoreError>;

    fn id(&self, column: &'static str) -> Result<Uuid, StoreError> {
        self.maybe_id(column)?.ok_or_else(|| inconsistent(column, "is NULL"))
    }

    fn number(&self, column: &'static str) -> Result<i64, StoreError> {
        self.maybe_number(column)?
            .ok_or_else(|| inconsistent(column, "is NULL"))
    }

    fn amount(&self, column: &'static str) -> Result<u64, StoreError> {
        u64::try_from(self.number(column)?).map_err(|error| inconsistent(column, error))
    }

    fn maybe_amount(&self, column: &'static str) -> Result<Option<u64>, StoreError> {
        let number = self.maybe_number(column)?.map(u64::try_from).transpose();
        number.map_err(|error| inconsistent(column, error))
    }

    fn text(&self, column: &'static str) -> Result<String, StoreError> {
        self.maybe_text(column)?.ok_or_else(|| inconsistent(column, "is NULL"))
    }

    fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.number(column).map(Timestamp::from_micros)
    }

    fn maybe_time(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.maybe_number(column)?.map(Timestamp::from_micros))
    }
}

impl<R> Columns for R
where
    R: Row + Send + Sync,
    &'static str: ColumnIndex<R>,
    for<'r> Option<Uuid>: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> bool: Decode<'r, R::Database> + Type<R::Database>,
{
    fn maybe_id(&self, column: &'static str) -> Result<Option<Uuid>, StoreError> {
        self.try_get(column).map_err(|error| inconsistent(column, error))
    }

    fn maybe_number(&self, column: &'static str) -> Result<Option<i64>, StoreError> {
        self.try_get(column).map_err(|error| inconsistent(column, error))
    }

    fn maybe_text(&self, column: &'static str) -> Result<Option<String>, StoreError> {
        self.try_get(column).map_err(|error| inconsistent(column, error))
    }

    fn flag(&self, column: &'static str) -> Result<bool, StoreError> {
        self.try_get(column).map_err(|error| inconsistent(column, error))
    }

    fn bytes(&self, column: &'static str) -> Result<Vec<u8>, StoreError> {
        self.try_get(column).map_err(|error| inconsistent(column, error))
    }
}

/// A cell that does not parse.
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers hand over errors they no longer need"
)]
pub(crate) fn inconsistent(column: &'static str, problem: impl ToString) -> StoreError {
    StoreError::Inconsistent {
        table: "of the meter or the registry",
        key: column.to_owned(),
        message: problem.to_string(),
    }
}

/// A row that was just written and is not there.
pub(crate) fn vanished() -> StoreError {
    inconsistent("id", "a row that was just written is not there")
}

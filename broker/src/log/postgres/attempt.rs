//! How a writer gets one job done: look, write, and when that did not work, look again. What a lost connection left in doubt
//! is looked up under the job's own id before it is asked again (I2).

use std::time::Duration;

use perennial_engine::ports::{Append, AppendError, Appended, Ready, SessionKey, StoreError};
use tokio::time::Instant;

use super::create::Create;
use super::failure::{self, Kind};
use super::link::Link;
use super::{append, create, row};

/// What a writer is asked for.
pub(super) enum Job {
    Append(Box<Append>),
    Create(Box<Create>),
    Release {
        key: SessionKey,
        epoch: u64,
        ready: Ready,
        only_at_head: u64,
    },
}

/// What became of it.
pub(super) enum Done {
    Appended(Appended),
    /// Whether the row was changed.
    Row(bool),
}

impl Job {
    pub(super) fn key(&self) -> SessionKey {
        match self {
            Self::Append(append) => append.key,
            Self::Create(create) => create.new.key,
            Self::Release { key, .. } => *key,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let events = match self {
            Self::Append(append) => &append.events,
            Self::Create(create) => &create.new.events,
            Self::Release { .. } => return 0,
        };
        events.iter().map(|event| event.payload.len()).sum()
    }

    async fn once(&self, attempt: &mut Attempt, link: &mut Link) -> Tried {
        match self {
            Self::Append(append) => append::once(attempt, link, append).await,
            Self::Create(create) => create::once(attempt, link, create).await,
            Self::Release {
                key,
                epoch,
                ready,
                only_at_head,
            } => row::release(attempt, link, *key, *epoch, (*ready, *only_at_head)).await,
        }
    }
}

/// How far a job has come.
pub(super) struct Attempt {
    /// A statement whose fate is not known was sent.
    pub(super) sent: bool,
    /// What this writer knows of the row is not enough: read it.
    pub(super) fresh: bool,
    /// How often something was there already.
    taken: u32,
    pause: Duration,
    until: Instant,
}

/// One try: done, or (none) the row moved between the look and the statement.
pub(super) type Tried = Result<Option<Result<Done, AppendError>>, sqlx::Error>;

/// Runs a job by itself, until it happened, was refused, or its time is up.
pub(super) async fn run(link: &mut Link, job: &Job, sent: bool, until: Instant) -> Result<Done, AppendError> {
    let mut attempt = Attempt {
        sent,
        fresh: sent,
        taken: 0,
        pause: Duration::from_millis(5),
        until,
    };
    let mut last = String::from("the database did not answer in time");
    while Instant::now() < attempt.until {
        match job.once(&mut attempt, link).await {
            Ok(Some(done)) => return done,
            // Somebody else changed the row since it was read: look again.
            Ok(None) => last = String::from("the session's row changes all the time: try again"),
            Err(error) => last = attempt.after(&error, job.key()).await?,
        }
        attempt.fresh = true;
        link.forget(job.key());
    }
    Err(attempt.give_up(last))
}

impl Attempt {
    /// After an error: the end, or what to say should it be the last.
    async fn after(&mut self, error: &sqlx::Error, key: SessionKey) -> Result<String, AppendError> {
        match failure::kind(error) {
            Kind::Refused => return Err(failure::nothing_written(error).into()),
            Kind::Taken => {
                // The first time somebody may have been faster; the next look would have found that.
                self.taken += 1;
                if self.taken > 2 {
                    return Err(twice(error, key).into());
                }
            }
            Kind::Again | Kind::Lost => {
                tracing::debug!(%error, session.id = %key.session, "tried again");
                tokio::time::sleep(self.pause).await;
                self.pause = (self.pause * 2).min(Duration::from_millis(250));
            }
        }
        Ok(error.to_string())
    }

    fn give_up(&self, message: String) -> AppendError {
        if self.sent {
            StoreError::Unknown { message }.into()
        } else {
            failure::unavailable(message).into()
        }
    }
}

fn twice(error: &sqlx::Error, key: SessionKey) -> StoreError {
    StoreError::Inconsistent {
        table: "commits",
        key: key.session.to_string(),
        message: format!("the append breaks a constraint: {error}"),
    }
}

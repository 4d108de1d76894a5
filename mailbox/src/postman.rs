//! Hands mail over to sessions and agents. Any number of postmen work on one store; each message is one's at a time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use perennial_engine::ports::{
    AppendError, Clock, HandOver, Log, Message, NewSession, Projection, SessionKey, SessionMetadata, StoreError,
    ThreadSession,
};
use perennial_schema::SessionId;
use perennial_schema::environment::Environment;
use perennial_schema::mail::{Address, MailSessions};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::agents::Reception;
use crate::office::{Office, opens};
use crate::tasks::Keeper;
use crate::{event, limits, notice};

/// A postman.
pub struct Postman {
    office: Arc<Office>,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
}

impl Postman {
    /// Of an office, for the sessions of this log.
    #[must_use]
    pub const fn new(office: Arc<Office>, log: Arc<dyn Log>, clock: Arc<dyn Clock>) -> Self {
        Self { office, log, clock }
    }

    /// Works until it is told to stop; what is in hand then is finished.
    pub async fn run(self, stop: CancellationToken) {
        let mut tended = Instant::now();
        while !stop.is_cancelled() {
            let wait = match self.round().await {
                Ok(None) => continue,
                Ok(Some(wait)) => wait.min(self.tasks().await),
                Err(error) => {
                    tracing::warn!(%error, "mail waits: the store does not answer");
                    limits::SWEEP
                }
            };
            if tended.elapsed() >= limits::TEND {
                tended = Instant::now();
                self.tend().await;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.office.bell.notified() => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// Hands over what is due. How long nothing will be; none when there may be more right away.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn round(&self) -> Result<Option<Duration>, StoreError> {
        let mail = self.office.mail();
        let told = notice::tell(mail).await?;
        let sweep = limits::SWEEP;
        match mail.next_due().await? {
            _ if told > 0 => Ok(None),
            None => Ok(Some(sweep)),
            Some(0) => {
                let taken = mail.take(limits::BATCH, limits::LEASE_MILLIS).await?;
                if taken.is_empty() {
                    // What is due stands behind something that somebody else has in hand, or that failed a moment ago.
                    return Ok(Some(Duration::from_millis(limits::RETRY_MILLIS)));
                }
                join_all(taken.iter().map(|message| self.deliver(message))).await;
                Ok(None)
            }
            Some(millis) => Ok(Some(sweep.min(Duration::from_millis(millis)))),
        }
    }

    /// Looks after tasks; how long that is enough for.
    async fn tasks(&self) -> Duration {
        let keeper = Keeper {
            office: &self.office,
            log: &self.log,
            clock: &self.clock,
        };
        match keeper.look().await {
            Ok(true) => limits::TASK_LOOK,
            Ok(false) => limits::SWEEP,
            Err(error) => {
                tracing::warn!(%error, "tasks wait: the store does not answer");
                limits::SWEEP
            }
        }
    }

    async fn tend(&self) {
        if let Err(error) = self.office.mail().tend(limits::KEEP_MILLIS).await {
            tracing::warn!(%error, "ended mail was not cleared away");
        }
    }

    async fn deliver(&self, message: &Message) {
        let came = self.hand_over(message).await;
        match &came {
            HandOver::Delivered(session) => {
                tracing::debug!(message.id = %message.letter.id, session.id = %session, "mail handed over");
            }
            HandOver::Dead(reason) => {
                tracing::info!(message.id = %message.letter.id, to = %message.letter.to, reason, "a dead letter");
            }
            HandOver::Later(_) => {}
        }
        fail::fail_point!("mail.settle.before");
        if let Err(error) = self.office.mail().settle(message, &came).await {
            // Its time runs out, and the next one finds the event in the log.
            tracing::warn!(message.id = %message.letter.id, %error, "a hand-over was not noted");
        }
        self.office
            .ring(message.workspace, &message.letter.to, message.position);
    }

    /// Says what came of an attempt; nothing is noted yet.
    async fn hand_over(&self, message: &Message) -> HandOver {
        let since = Instant::now();
        let expires = message.letter.expires_at;
        if expires.is_some_and(|at| at <= self.clock.now()) {
            return HandOver::Dead("it has expired".to_owned());
        }
        let outcome = match &message.letter.to {
            Address::Session(session) => self.to_session(message, *session, since).await,
            Address::Agent(name) => self.to_agent(message, name, since).await,
            Address::Queue(_) => Ok(HandOver::Dead("a queue is fetched from".to_owned())),
        };
        outcome.unwrap_or_else(|error| {
            tracing::warn!(message.id = %message.letter.id, %error, "mail could not be handed over; it is tried again");
            HandOver::Later(retry_millis(message.deliveries))
        })
    }

    async fn to_session(&self, message: &Message, session: SessionId, since: Instant) -> Result<HandOver, AppendError> {
        match self.append(message, session, since).await {
            Err(AppendError::Archived) => Ok(HandOver::Dead("the session is archived".to_owned())),
            Err(AppendError::NotFound) => Ok(HandOver::Dead("there is no such session".to_owned())),
            came => came,
        }
    }

    /// To the session that answers this thread; one that takes no more mail is succeeded by another.
    async fn to_agent(&self, message: &Message, name: &str, since: Instant) -> Result<HandOver, AppendError> {
        let workspace = message.workspace;
        let Some(reception) = self.office.agents.reception(workspace, name).await? else {
            return Ok(HandOver::Dead("no agent of this name takes mail".to_owned()));
        };
        let Some(environment) = &reception.environment else {
            let gone = "the environment of the agent's mail is gone or archived";
            return Ok(HandOver::Dead(gone.to_owned()));
        };
        let thread = thread_of(message, &reception);
        let mut instead_of = None;
        for successor in 0..limits::SUCCESSORS {
            let asked = ThreadSession {
                workspace,
                agent: reception.agent.id,
                thread: &thread,
                fresh: opens(message.letter.id, successor),
                instead_of,
            };
            let session = self.office.mail().thread_session(asked).await?;
            fail::fail_point!("mail.thread.after");
            match self.open(message, session, &reception, environment, since).await {
                Err(AppendError::Archived | AppendError::NotFound) => instead_of = Some(session),
                came => return came,
            }
        }
        Ok(HandOver::Later(retry_millis(message.deliveries)))
    }

    /// Makes the session unless it is there: two appends, so that the message has its own id in either case.
    async fn open(
        &self,
        message: &Message,
        session: SessionId,
        reception: &Reception,
        environment: &Environment,
        since: Instant,
    ) -> Result<HandOver, AppendError> {
        let key = SessionKey {
            workspace: message.workspace,
            session,
        };
        if self.office.sessions.get(key).await?.is_none() {
            let new = NewSession {
                key,
                agent: reception.agent.clone(),
                environment_id: environment.id,
                environment: environment.config.clone(),
                title: message.letter.subject.clone(),
                metadata: SessionMetadata::new(),
                resources: Vec::new(),
                vault_ids: Vec::new(),
                budget: None,
                place: None,
                events: Vec::new(),
                projection: Projection::default(),
                idempotency: None,
            };
            self.office.sessions.create(new, None).await?;
        }
        self.append(message, session, since).await
    }

    async fn append(&self, message: &Message, session: SessionId, since: Instant) -> Result<HandOver, AppendError> {
        if since.elapsed() > limits::LEASE_SAFE {
            return Ok(HandOver::Later(0));
        }
        let key = SessionKey {
            workspace: message.workspace,
            session,
        };
        self.office.allow(message, session).await?;
        fail::fail_point!("mail.append.before");
        let append = event::append(message, key, self.clock.now());
        self.log.append(append).await?;
        fail::fail_point!("mail.append.after");
        Ok(HandOver::Delivered(session))
    }
}

/// Which of an agent's conversations a message belongs to.
fn thread_of(message: &Message, reception: &Reception) -> String {
    match reception.desk.sessions {
        MailSessions::PerThread => message.letter.thread.clone(),
        MailSessions::Single => String::new(),
        // No thread of a sender's is called so: they have no spaces around them.
        MailSessions::PerMessage => format!(" {} ", message.letter.id),
    }
}

fn retry_millis(tries: u32) -> u64 {
    let doubled = limits::RETRY_MILLIS.saturating_mul(1 << tries.min(16));
    doubled.min(limits::RETRY_MOST_MILLIS)
}

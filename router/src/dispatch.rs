//! A call's way: place, call, settle (DESIGN §8, INVARIANTS I4 and I5).
//!
//! **Invariant:** only the journal named at dispatch may say that a call never started. Every other kind of not knowing is
//! doubt, and nothing here turns doubt into a second run.

use std::sync::Arc;

use perennial_engine::ports::{AT_HOUSE, CallError, HOUSE, Hearer, Order, Placement, SessionKey, Settled};
use perennial_schema::environment::EnvironmentConfig;
use perennial_schema::frame::{Call, CallState, Refusal, Settle, ToExecutor, Workspace};
use perennial_schema::tool::{Outcome, args_hash};

use crate::exchange::Exchange;
use crate::link::Link;
use crate::pending::{NoPlace, Reply};
use crate::sandbox::Patience;
use crate::web::WEB_FETCH;

impl Exchange {
    /// The attached executor: the machine that dialled in and that the environment names, else the one of this host.
    pub(crate) async fn place_call(
        &self,
        key: SessionKey,
        environment: &EnvironmentConfig,
    ) -> Result<Placement, String> {
        if environment.executor() == Some(HOUSE) {
            return Ok(AT_HOUSE);
        }
        if matches!(environment, EnvironmentConfig::SelfHosted) {
            return Err("tools of a self-hosted environment are run by its own worker".into());
        }
        self.know_hosts().await;
        let link = match (self.sandboxes_of(environment), environment.executor()) {
            (Some(sandboxes), _) => self.place_in_sandbox(sandboxes, key).await?,
            (None, Some(executor)) => {
                let line = match self.awake((executor, key.workspace), Patience::ToCall).await {
                    Some((link, _)) => Some(link?),
                    None => self.line_of(executor, key.workspace).await,
                };
                line.ok_or_else(|| self.unreached(executor))?
            }
            (None, None) => self.hands().await.ok_or("no executor is attached to run this tool")?,
        };
        Ok(link.placement())
    }

    /// Sends a call and waits for its end.
    pub(crate) async fn dispatch(&self, order: Order, hearer: Option<Hearer>) -> Result<Outcome, CallError> {
        if let Some(tool) = order.mcp.clone() {
            return self.call_mcp(order, tool).await;
        }
        if order.placement.executor_id == HOUSE {
            return Ok(self.run_here(&order).await);
        }
        if order.tool == WEB_FETCH {
            return Ok(self.fetch(&order).await);
        }
        let hash = args_hash(&order.tool, order.input.text());
        let sandbox = self.in_sandbox(&order, Patience::ToCall).await;
        let link = match &sandbox {
            Some((link, _in_use)) => link.clone().map_err(CallError::Unknown)?,
            None => {
                let line = self.line_of(order.placement.executor_id, order.key.workspace).await;
                line.ok_or_else(|| CallError::Unknown("the executor named at dispatch is not attached".into()))?
            }
        };
        if link.hello.journal_id != order.placement.journal_id {
            // Whoever holds the session places it anew; a lease that is over, and does not know it, cannot: here epochs may be
            // forgotten that would tell it.
            return Err(CallError::NotSent(
                "the executor goes on with another journal than when this call was placed".into(),
            ));
        }
        let key = (order.key.session, order.call_id);
        let waiting = link.pending().wait_call(key, order.epoch, &hash);
        let heard = waiting.map_err(not_sent)?;
        let mut call = call(order, hash, Some(&link));
        if let Some(hearer) = hearer {
            call.progress = true;
            link.pending().hear(key, hearer);
        }
        let call = ToExecutor::Call(call);
        if link.send(call).await.is_err() {
            return Err(gone());
        }
        match heard.await {
            Ok(Reply::Result(outcome)) => Ok(outcome),
            Ok(Reply::Refused(refusal)) => Err(refused(refusal)),
            // A settle of the same call by a newer lease was answered first: its word holds for us too.
            Ok(Reply::State(CallState::Done { outcome })) => Ok(outcome),
            Ok(Reply::State(state)) => Err(CallError::Unknown(format!("the executor answered {state:?}"))),
            Err(_) => Err(gone()),
        }
    }

    /// Asks the executor named at dispatch what became of a call; waits while it runs. A link that breaks meanwhile is
    /// waited for again, a bounded time for each break.
    pub(crate) async fn ask(&self, order: Order) -> Result<Settled, CallError> {
        if order.mcp.is_some() {
            return self.settle_mcp(&order).await;
        }
        if order.placement.executor_id == HOUSE {
            // Run again under its id it does nothing twice.
            return Ok(Settled::NeverStarted);
        }
        if order.tool == WEB_FETCH {
            // It changes nothing: it is fetched again.
            return Ok(Settled::NeverStarted);
        }
        let hash = args_hash(&order.tool, order.input.text());
        loop {
            let sandbox = self.in_sandbox(&order, Patience::ToSettle).await;
            let link = match &sandbox {
                Some((Ok(link), _in_use)) => Arc::clone(link),
                Some((Err(reason), _)) => return Ok(in_doubt(reason)),
                None => match self.line_back(&order).await {
                    Some(link) => link,
                    None => return Ok(in_doubt("the executor that was given this call is gone")),
                },
            };
            let same = link.hello.journal_id == order.placement.journal_id;
            let key = (order.key.session, order.call_id);
            let waiting = link.pending().wait_call(key, order.epoch, &hash);
            let heard = match waiting {
                Ok(heard) => heard,
                Err(NoPlace::Gone) => continue,
                Err(NoPlace::Full) => return Err(CallError::Unknown("too many calls are outstanding".into())),
                Err(NoPlace::OtherArguments) => return Ok(in_doubt("it is running with other arguments")),
            };
            let question = ToExecutor::Settle(Settle {
                session: order.key.session,
                epoch: order.epoch,
                call_id: order.call_id,
                args_hash: hash.clone(),
            });
            if link.send(question).await.is_err() {
                continue;
            }
            if let Ok(reply) = heard.await {
                tracing::debug!(session.id = %order.key.session, call.id = %order.call_id, was = was(&reply), "a call was asked for");
                return match settled(reply)? {
                    // What another journal does not know may be what it has forgotten.
                    Settled::NeverStarted if !same => Ok(in_doubt(
                        "the executor that was given this call was rebuilt, or put back to older state, and has no record of it",
                    )),
                    settled => Ok(settled),
                };
            }
        }
    }
}

/// In a word, what had become of a call.
const fn was(reply: &Reply) -> &'static str {
    match reply {
        // Its end was waited for.
        Reply::Result(_) => "running",
        Reply::State(CallState::Done { .. }) => "done",
        Reply::State(CallState::NeverStarted) => "unknown",
        Reply::State(CallState::Lost) | Reply::Refused(Refusal::Lost) => "lost",
        Reply::State(CallState::Running) | Reply::Refused(_) => "refused",
    }
}

fn not_sent(why: NoPlace) -> CallError {
    match why {
        NoPlace::OtherArguments => not_started("this call id is in use with other arguments"),
        NoPlace::Full => not_started("too many calls are outstanding at the executor"),
        NoPlace::Gone => gone(),
    }
}

/// What is sent; without a link to an executor of a host that is reached in another way.
pub(crate) fn call(order: Order, args_hash: String, link: Option<&Link>) -> Call {
    let preparation = order.environment.preparation();
    let variables = preparation.map(|given| given.variables.clone()).unwrap_or_default();
    let workspace = workspace_of(&order.environment, link);
    Call {
        session: order.key.session,
        epoch: order.epoch,
        call_id: order.call_id,
        tool: order.tool,
        input: order.input,
        args_hash,
        effect: order.effect,
        workspace,
        variables,
        secret: order.secret,
        progress: false,
    }
}

/// The folder of a session, where an environment says.
pub(crate) fn workspace_of(environment: &EnvironmentConfig, link: Option<&Link>) -> Workspace {
    let offered = || link?.card().cwd.clone();
    match environment {
        // A machine that dialled in has no folders of sessions, but one that it offers.
        EnvironmentConfig::Local {
            executor_id: Some(_),
            dir,
            ..
        } => match dir.clone().or_else(offered) {
            Some(path) => Workspace::Dir { path },
            None => Workspace::Session,
        },
        EnvironmentConfig::Local { dir: Some(path), .. } => Workspace::Dir { path: path.clone() },
        // A sandbox is one session's, and so is its folder.
        EnvironmentConfig::Cloud { .. } if link.is_some_and(|link| link.guest.is_some()) => match offered() {
            Some(path) => Workspace::Dir { path },
            None => Workspace::Session,
        },
        _ => Workspace::Session,
    }
}

pub(crate) fn refused(refusal: Refusal) -> CallError {
    match refusal {
        Refusal::StaleEpoch { .. } => CallError::Fenced,
        Refusal::OtherArguments => not_started("this call id was used before with other arguments"),
        Refusal::JournalUnavailable { message } => {
            not_started(&format!("the executor cannot write its journal: {message}"))
        }
        Refusal::Busy => not_started("the executor runs too many calls already"),
        Refusal::Lost => CallError::Unknown("an earlier process started this call and its outcome is lost".into()),
    }
}

fn settled(reply: Reply) -> Result<Settled, CallError> {
    match reply {
        Reply::Result(outcome) | Reply::State(CallState::Done { outcome }) => Ok(Settled::Done(outcome)),
        Reply::State(CallState::NeverStarted) => Ok(Settled::NeverStarted),
        Reply::State(CallState::Lost) | Reply::Refused(Refusal::Lost) => Ok(in_doubt(
            "it was started, and the executor lost it before a result was recorded",
        )),
        // Running is waited out on the link and never gets here.
        Reply::State(CallState::Running) => Err(CallError::Unknown("still running".into())),
        Reply::Refused(Refusal::StaleEpoch { .. }) => Err(CallError::Fenced),
        Reply::Refused(Refusal::OtherArguments) => Ok(in_doubt("the executor has this call with other arguments")),
        Reply::Refused(reason @ (Refusal::Busy | Refusal::JournalUnavailable { .. })) => Err(CallError::Unknown(
            format!("the executor cannot answer now: {reason:?}"),
        )),
    }
}

fn in_doubt(why: &str) -> Settled {
    Settled::InDoubt { reason: why.to_owned() }
}

fn not_started(why: &str) -> CallError {
    CallError::NotStarted(why.to_owned())
}

fn gone() -> CallError {
    CallError::Unknown("the executor went away".into())
}

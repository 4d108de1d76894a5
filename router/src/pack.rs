//! Packed workspace folders on their way out of an executor or into one.

use perennial_schema::frame::{FromExecutor, PackAnswer, PackAsk, ToExecutor};
use perennial_schema::{ExecutorId, PackId};
use tokio::time::timeout;
use uuid::Uuid;

use crate::exchange::Exchange;
use crate::limits;

/// Whom to ask over the bus when it does not matter who does it: every process that reaches an executor hears it, one answers.
pub(crate) const ANYBODY: ExecutorId = ExecutorId::from_uuid(Uuid::max());

/// Whether it takes as long as the folder is large.
pub(crate) const fn is_long(ask: &PackAsk) -> bool {
    matches!(ask, PackAsk::Make { .. } | PackAsk::Unpack { .. })
}

/// Whether this is the answer to that question, and not to an earlier one.
fn answers(ask: &PackAsk, answer: &PackAnswer) -> bool {
    match (ask, answer) {
        (_, PackAnswer::Failed { .. })
        | (PackAsk::Make { .. }, PackAnswer::Made { .. })
        | (PackAsk::Write { .. }, PackAnswer::Written { .. })
        | (PackAsk::Unpack { .. }, PackAnswer::Unpacked)
        | (PackAsk::Drop, PackAnswer::Dropped) => true,
        (PackAsk::Read { offset }, PackAnswer::Piece { offset: read, .. }) => offset == read,
        _ => false,
    }
}

impl Exchange {
    /// One question about a pack.
    pub(crate) async fn ask_pack(
        &self,
        at: Option<ExecutorId>,
        pack: PackId,
        ask: PackAsk,
    ) -> Result<(ExecutorId, PackAnswer), String> {
        let link = match at {
            Some(at) => self.home_line_of(at).await,
            None => self.hands().await,
        };
        let link = link.ok_or("the executor that has the workspace is not attached")?;
        let mut heard = link
            .pending()
            .wait_pack(pack)
            .map_err(|_| "the executor cannot be asked now".to_owned())?;
        let patience = if is_long(&ask) {
            limits::COPY_WAIT
        } else {
            limits::PIECE_WAIT
        };
        let question = ToExecutor::Pack { pack, ask: ask.clone() };
        let sent = link.send(question).await;
        sent.map_err(|_| "the executor went away".to_owned())?;
        let answer = timeout(patience, async {
            loop {
                match heard.recv().await {
                    Some(answer) if answers(&ask, &answer) => return Some(answer),
                    Some(_) => {}
                    None => return None,
                }
            }
        });
        match answer.await {
            Ok(Some(answer)) => Ok((link.hello.executor_id, answer)),
            Ok(None) => Err("the executor went away".into()),
            Err(_) => Err("the executor does not answer".into()),
        }
    }
}

/// What a frame that came over the bus says.
pub(crate) fn answered(frame: FromExecutor, ask: &PackAsk) -> Result<(ExecutorId, PackAnswer), String> {
    match frame {
        FromExecutor::Pack { at, answer, .. } if answers(ask, &answer) => Ok((at, answer)),
        other => Err(format!("unexpected answer {other:?}")),
    }
}

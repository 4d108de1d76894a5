//! Long outputs, piece by piece, from the executor that has them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use perennial_engine::ports::Order;
use perennial_schema::frame::ToExecutor;
use tokio::time::timeout;

use crate::exchange::Exchange;
use crate::limits;
use crate::sandbox::Patience;

impl Exchange {
    /// A piece from this byte on; empty at the end.
    pub(crate) async fn piece(&self, order: &Order, offset: u64) -> Result<Bytes, String> {
        let sandbox = self.in_sandbox(order, Patience::ToCall).await;
        let link = match &sandbox {
            Some((link, _in_use)) => link.clone()?,
            None => {
                let line = self.line_of(order.placement.executor_id, order.key.workspace).await;
                line.ok_or("the executor that has it is not attached")?
            }
        };
        let (session, call_id) = (order.key.session, order.call_id);
        let heard = link
            .pending()
            .wait_piece((session, call_id), offset)
            .map_err(|_| "the executor cannot be asked now".to_owned())?;
        let question = ToExecutor::ReadOutput {
            session,
            call_id,
            offset,
        };
        let sent = link.send(question).await;
        sent.map_err(|_| "the executor went away".to_owned())?;
        match timeout(limits::PIECE_WAIT, heard).await {
            Ok(Ok(Some(piece))) => decode(&piece),
            Ok(Ok(None)) => Err("the executor does not have it any more".into()),
            Ok(Err(_)) => Err("the executor went away".into()),
            Err(_) => Err("the executor does not answer".into()),
        }
    }
}

/// Its bytes.
pub(crate) fn decode(piece: &str) -> Result<Bytes, String> {
    let bytes = STANDARD.decode(piece).map(Bytes::from);
    bytes.map_err(|error| format!("the executor sent a damaged piece: {error}"))
}

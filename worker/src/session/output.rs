//! Long outputs: fetched from the executor and put into the blobs before the event that names them is appended (I16).

use bytes::Bytes;
use perennial_engine::ports::{CallError, Order};
use perennial_schema::content::Block;
use perennial_schema::limits::TOOL_OUTPUT_KEPT_BYTES;
use perennial_schema::tool::{Outcome, Whole};
use tokio::sync::Semaphore;
use tracing::warn;

use crate::limits;
use crate::ports::Ports;

/// One at a time in this process: each is in memory as a whole while it is stored.
static ROOM: Semaphore = Semaphore::const_new(1);

/// The outcome, with a last block that says where the whole output is, if there is more than it shows.
pub(super) async fn kept(
    ports: &Ports,
    order: &Order,
    ended: Result<Outcome, CallError>,
) -> Result<Outcome, CallError> {
    let mut outcome = ended?;
    let Some(whole) = outcome.whole else { return Ok(outcome) };
    let note = match store(ports, order, whole).await {
        Ok(sha256) => stored(order, whole, &sha256),
        Err(reason) => {
            warn!(call.id = %order.call_id, reason, "a long output is not kept");
            format!(
                "[The whole output, {} bytes, could not be kept: {reason}]",
                whole.written
            )
        }
    };
    outcome.content.push(Block::text(note));
    Ok(outcome)
}

fn stored(order: &Order, whole: Whole, sha256: &str) -> String {
    let session = order.key.session;
    let part = match whole.written.checked_sub(whole.kept) {
        None | Some(0) => format!("The whole output, {} bytes, is kept", whole.written),
        Some(_) => format!("The first {} of {} bytes are kept", whole.kept, whole.written),
    };
    format!("[{part}: GET /v1/sessions/{session}/blobs/{sha256}]")
}

async fn store(ports: &Ports, order: &Order, whole: Whole) -> Result<String, String> {
    let _alone = ROOM.acquire().await.map_err(|_| "the worker is closing")?;
    let bytes = fetch(ports, order, whole.kept.min(TOOL_OUTPUT_KEPT_BYTES)).await?;
    let mut pause = limits::STORE_PAUSE.0;
    loop {
        match ports.blobs.put(order.key.workspace, bytes.clone()).await {
            Ok(sha256) => return Ok(sha256),
            Err(error) if pause > limits::STORE_PAUSE.1 => return Err(error.to_string()),
            Err(error) => warn!(%error, "could not store a long output; trying again"),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

async fn fetch(ports: &Ports, order: &Order, length: u64) -> Result<Bytes, String> {
    let length = usize::try_from(length).map_err(|_| "it is too long for this machine")?;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let piece = ports.router.output(order, bytes.len() as u64).await?;
        if piece.is_empty() || bytes.len() + piece.len() > length {
            return Err("the executor has another length of it than it said".into());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.into())
}

//! Hints about mailboxes. A mailbox is a room of the bus under an id made of its address: whoever waits there for mail looks when
//! something is said, and every so often when nothing is.

use perennial_engine::ports::SessionKey;
use perennial_schema::mail::Address;
use perennial_schema::{SessionId, WorkspaceId};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

pub(crate) fn of(workspace: WorkspaceId, address: &Address) -> SessionKey {
    let hash = Sha256::digest(format!("mailbox {address}"));
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
    SessionKey {
        workspace,
        session: SessionId::from_uuid(Uuid::from_bytes(bytes)),
    }
}

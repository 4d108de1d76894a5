//! Hints about mailboxes. A mailbox is a room of the bus under an id made of its address: whoever waits there for mail looks when
//! something is said, and every so often when nothing is.

use perennial_engine::ports::SessionKey;
use perennial_schema::mail::Address;
use perennial_schema::{SessionId, WorkspaceId};
use uuid::Uuid;

pub(crate) fn of(workspace: WorkspaceId, address: &Address) -> SessionKey {
    let id = Uuid::new_v5(&workspace.uuid(), address.to_string().as_bytes());
    SessionKey {
        workspace,
        session: SessionId::from_uuid(id),
    }
}

//! Executors that a session has beside what its environment says.

use serde::{Deserialize, Serialize};

use crate::ExecutorId;

/// An executor that is attached to a session: the model may choose to run its tools there.
///
/// The name is what the model calls it, and stays what it was when it was attached: an executor that is renamed meanwhile is
/// neither lost nor mistaken for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Which executor.
    pub executor_id: ExecutorId,
    /// What it is called in this session; no two are called the same.
    pub name: String,
    /// Absolute path of the folder its tools work in there; none means the one it offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
}

//! Mail: where it goes, who it is from, what becomes of it (DESIGN §9).

mod address;
mod desk;
mod sender;
mod state;
mod task;
mod tool;

pub use address::{Address, ParseAddressError};
pub use desk::{MailDesk, MailSessions};
pub use sender::{ParseSenderError, Sender};
pub use state::MailState;
pub use task::{Allowance, TASK_DEPTH, Task};
pub use tool::MailTool;

//! The pool: who works, and how much there is to do. Ours, beside the adopted API.
//!
//! Workers serve all workspaces of an install, so these routes are the operator's: they take a key of the workspace that the install
//! was made with.

mod list;
mod scaling;
mod steer;

pub(crate) use list::*;
pub(crate) use scaling::*;
pub(crate) use steer::*;

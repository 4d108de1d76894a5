//! The pool: who works, and how much there is to do. Ours, beside the adopted API.
//!
//! Workers serve all workspaces of a server. A server makes one workspace, so each of its keys is the operator's; when others are
//! made for tenants, these routes are not for their keys.

mod list;
mod scaling;
mod steer;

pub(crate) use list::*;
pub(crate) use scaling::*;
pub(crate) use steer::*;

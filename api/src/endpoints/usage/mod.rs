//! What models were used for. Ours, beside the adopted API.

mod requests;
mod sums;

pub(crate) use requests::*;
pub(crate) use sums::*;

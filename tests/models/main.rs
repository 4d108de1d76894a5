//! The model adapters against servers that are as strict as the vendors.

mod conversations;
mod failures;
mod refusals;
mod support;

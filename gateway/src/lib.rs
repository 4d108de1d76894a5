//! THE MODEL GATEWAY: the one place that has providers' keys. Whoever asks a model — the native loop in this process, a vendor's
//! harness or anybody with a virtual key over HTTP — asks through here, and is counted here.
//!
//! ```text
//! caller ─▶ key ─▶ endpoint on the list? provider, model allowed? ─▶ reserve ─▶ provider
//!                                                                                  │
//! caller ◀─ bytes as they came, each piece at once ◀─ usage read along ◀───────────┘ ─▶ settle, trace
//! ```
//!
//! * Bytes go through unchanged, both ways. Taken away are headers of one connection and whatever says who the caller is; a
//!   provider's key in its own answer is blotted out.
//! * A request is [`Endpoint`](endpoint)-listed, bounded, and its `model` is read but not rewritten. Where it goes is
//!   configuration ([`Providers`]); nothing in a request can say so.
//! * What it may cost is reserved in every budget before it leaves ([`books`]), and settled at what the answer told, whether
//!   it was heard to its end, cut or abandoned.
//!
//! No HTTP server here: `api` mounts it under `/llm`. Refusals are values ([`Refusal`]) that word themselves in the caller's
//! dialect.

mod answer;
mod books;
mod caller;
mod endpoint;
mod gateway;
mod headers;
mod keys;
pub mod limits;
mod peek;
mod price;
mod provider;
mod refusal;
mod rehearsal;
mod remote;
mod scrub;
mod span;
mod tally;
mod upstream;
mod usage;
mod wire;

pub use answer::{Answer, Body, Cut};
pub use caller::Caller;
pub use endpoint::dialect;
pub use gateway::{Ask, Counted, Forward, Gateway, Settings};
pub use keys::{REMEDY, presented};
pub use price::{Price, Prices};
pub use provider::{
    ANTHROPIC, ANTHROPIC_BASE_URL, Credential, OPENAI, OPENAI_BASE_URL, Provider, Providers, Route, is_name,
};
pub use refusal::{BUDGET, BUDGET_NEED, BUDGET_RESETS, Kind, REFUSED, Refusal};
pub use remote::{Remote, mint};
pub use upstream::Timeouts;
pub use wire::{Dialect, UnknownWire, Wire};

/// The name of the scripted model's provider: it is in this process and needs no key.
pub const REHEARSAL: &str = "rehearsal";
/// The scripted model.
pub const REHEARSAL_MODEL: &str = perennial_rehearsal::ID;

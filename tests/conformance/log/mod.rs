//! What every log must do: append and read, sessions, leases.

mod agreement;
mod appends;
mod capabilities;
mod changes;
mod forks;
mod guards;
mod idempotency;
mod imports;
mod leases;
mod places;
mod poison;
mod projections;
mod reads;
mod sessions;
mod slots;
mod storms;
mod tenancy;

//! Ring 2: two nodes and three workers on a real Postgres and a real NATS, while processes are killed and frozen, connections cut
//! and servers crashed. `PERENNIAL_TORTURE=1` runs the full counts; `make test` runs a tenth.

#[cfg(test)]
mod clocks;
#[cfg(test)]
mod deployed;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod letters;
#[cfg(test)]
mod place;
#[cfg(test)]
mod pool;
#[cfg(test)]
mod repeats;
#[cfg(test)]
mod sabotage;
#[cfg(test)]
mod storms;
#[cfg(test)]
mod takeover;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod upgrades;

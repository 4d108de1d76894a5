//! The client verbs of the real binary, as a person and a script use them.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod confirmations;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod outward;
#[cfg(test)]
mod resources;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod terminal;
#[cfg(test)]
mod without_server;

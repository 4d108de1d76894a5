//! The generic lane: a real process that speaks the Agent Client Protocol over stdio, a small scripted agent of our own
//! (`agent/`).

#[cfg(test)]
mod bench;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod house;
#[cfg(test)]
mod turns;

//! The generic lane: real processes that speak the Agent Client Protocol over stdio. One is a small scripted agent of our
//! own (`agent/`), the other opencode where it is installed.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod house;
#[cfg(test)]
mod opencode;
#[cfg(test)]
mod turns;

//! Editors: the Agent Client Protocol's own client, as published on npm, drives the real `perennial acp`
//! (`scripts/setup.sh --test` installs it).

#[cfg(test)]
mod hands;
#[cfg(test)]
mod questions;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod terminals;
#[cfg(test)]
mod turns;

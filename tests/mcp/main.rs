//! MCP with other people's programs: servers on the official Python SDK, on the web and started here, whose tools agents have, and
//! clients of our own server.
//! `scripts/setup.sh --test` installs them.

#[cfg(test)]
mod clients;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod mounts;
#[cfg(test)]
mod programs;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod rig;

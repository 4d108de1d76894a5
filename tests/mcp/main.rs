//! MCP with other people's programs: servers on the official Python SDK, whose tools agents have here, and clients of our own server.
//! `scripts/setup.sh --test` installs them.

#[cfg(test)]
mod clients;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod mounts;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod rig;

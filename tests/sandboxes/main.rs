//! Sandboxes: a real `perennial up`, or servers and workers of a cluster, a real Docker Engine of our own, and an image built on the
//! spot that holds busybox, a static bash and no libc. What the engine says is asked with its own command line. Without an engine the
//! tests print `NOT RUN`, and fail where everything must run.

#[cfg(test)]
mod both;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod cluster_rig;
#[cfg(test)]
mod egress;
#[cfg(test)]
mod hardening;
#[cfg(test)]
mod image;
#[cfg(test)]
mod lives;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod streams;

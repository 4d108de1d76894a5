//! Machines that dial in: a real `perennial up`, real `perennial connect` processes, a fault proxy between them, and the ledger
//! that commands write as the judge of what ran how often.

#[cfg(test)]
mod calls;
#[cfg(test)]
mod cards;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod cluster_rig;
#[cfg(test)]
mod crowds;
#[cfg(test)]
mod drops;
#[cfg(test)]
mod files;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod folders;
#[cfg(test)]
mod forwards;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod lives;
#[cfg(test)]
mod looks;
#[cfg(test)]
mod many;
#[cfg(test)]
mod partitions;
#[cfg(test)]
mod previews;
#[cfg(test)]
mod progress;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod rollbacks;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod service;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod terminals;
#[cfg(test)]
mod terms;

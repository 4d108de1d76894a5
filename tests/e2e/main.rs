//! The real binary, end to end: `perennial up` as a child process, killed, starved and restarted.

#[cfg(test)]
mod alone;
#[cfg(test)]
mod budgets;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod exhaustion;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod outputs;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod readonly;
#[cfg(test)]
mod storage;
#[cfg(test)]
mod tasks;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod turns;

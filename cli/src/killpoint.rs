//! What the proof does to this process, only in builds with the `failpoints` feature; other builds refuse the variables.
//!
//! Sabotage: `PERENNIAL_SABOTAGE="fence,journal"` takes safeguards away, to show that the proof notices.
//!
//! Crash points of the kill rig: `PERENNIAL_KILL_AT="worker.append.before=3"` ends this process by SIGKILL at the third hit
//! of that failpoint. Stalls: `PERENNIAL_STALL_AT="worker.append.before=5%sleep(800)"` makes a failpoint take its time (actions
//! of the `fail` crate), so that what may be overtaken is.
//!
//! Rolling upgrades: `PERENNIAL_OLDER_THAN="system.message,…"` makes a worker one of a version before these types of events.

use crate::config::{ConfigError, Environment};

const VARIABLE: &str = "PERENNIAL_KILL_AT";
const SABOTAGE: &str = "PERENNIAL_SABOTAGE";
const STALL: &str = "PERENNIAL_STALL_AT";
const OLDER: &str = "PERENNIAL_OLDER_THAN";
/// What can be taken away.
const SAFEGUARDS: [&str; 5] = ["fence", "journal", "note", "conditional_release", "dedupe"];

/// Arms the crash points and takes away the safeguards the environment names.
pub fn install(environment: &Environment) -> Result<(), ConfigError> {
    if let Some(list) = environment.get(VARIABLE) {
        arm(&parse(list)?)?;
    }
    for entry in environment.get(STALL).into_iter().flat_map(|list| list.split(',')) {
        let (name, actions) = entry
            .split_once('=')
            .ok_or_else(|| refused(STALL, entry, "name=actions[,name=actions]"))?;
        stall(name, actions)?;
    }
    for name in environment.get(SABOTAGE).into_iter().flat_map(|list| list.split(',')) {
        if !SAFEGUARDS.contains(&name) {
            return Err(refused(SABOTAGE, name, &format!("some of {}", SAFEGUARDS.join(", "))));
        }
        disarm(name)?;
    }
    if let Some(types) = environment.get(OLDER) {
        forget(types)?;
    }
    Ok(())
}

fn refused(variable: &str, value: &str, expected: &str) -> ConfigError {
    ConfigError::Value {
        name: variable.to_owned(),
        value: value.to_owned(),
        expected: expected.to_owned(),
    }
}

/// `name=n[,name=n]`, n counting from 1.
fn parse(list: &str) -> Result<Vec<(String, u64)>, ConfigError> {
    let one = |entry: &str| {
        let (name, count) = entry.trim().split_once('=')?;
        let count = count.parse().ok().filter(|count| *count > 0)?;
        Some((name.to_owned(), count))
    };
    list.split(',')
        .map(|entry| one(entry).ok_or_else(|| refused(VARIABLE, entry, "name=n[,name=n] with n from 1")))
        .collect()
}

#[cfg(feature = "failpoints")]
fn arm(points: &[(String, u64)]) -> Result<(), ConfigError> {
    use std::sync::atomic::{AtomicU64, Ordering};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    for (name, count) in points {
        let left = AtomicU64::new(*count);
        let armed = fail::cfg_callback(name.as_str(), move || {
            if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                // The signal cannot be caught, and one sent to oneself arrives before `kill` returns.
                kill(Pid::this(), Signal::SIGKILL).ok();
            }
        });
        armed.map_err(|reason| refused(VARIABLE, name, &reason))?;
    }
    Ok(())
}

#[cfg(feature = "failpoints")]
fn stall(name: &str, actions: &str) -> Result<(), ConfigError> {
    fail::cfg(name, actions).map_err(|reason| refused(STALL, name, &reason))
}

#[cfg(feature = "failpoints")]
fn disarm(safeguard: &str) -> Result<(), ConfigError> {
    fail::cfg(format!("sabotage.{safeguard}"), "return").map_err(|reason| refused(SABOTAGE, safeguard, &reason))
}

#[cfg(feature = "failpoints")]
fn forget(types: &str) -> Result<(), ConfigError> {
    let known = |kind: &str| perennial_schema::event::KINDS.iter().any(|(name, _)| *name == kind);
    if let Some(other) = types.split(',').find(|kind| !known(kind)) {
        return Err(refused(OLDER, other, "types of events, divided by commas"));
    }
    let action = format!("return({})", types.replace(',', "|"));
    fail::cfg("worker.older", &action).map_err(|reason| refused(OLDER, types, &reason))
}

#[cfg(not(feature = "failpoints"))]
fn arm(_points: &[(String, u64)]) -> Result<(), ConfigError> {
    Err(refused(
        VARIABLE,
        "",
        "a build with `--features failpoints`; this one has no crash points",
    ))
}

#[cfg(not(feature = "failpoints"))]
fn stall(name: &str, _actions: &str) -> Result<(), ConfigError> {
    Err(refused(
        STALL,
        name,
        "a build with `--features failpoints`; this one has no places to stall at",
    ))
}

#[cfg(not(feature = "failpoints"))]
fn disarm(safeguard: &str) -> Result<(), ConfigError> {
    Err(refused(
        SABOTAGE,
        safeguard,
        "a build with `--features failpoints`; this one cannot be sabotaged",
    ))
}

#[cfg(not(feature = "failpoints"))]
fn forget(types: &str) -> Result<(), ConfigError> {
    Err(refused(
        OLDER,
        types,
        "a build with `--features failpoints`; this one knows what it knows",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_crash_points() {
        let parsed = parse("worker.append.before=3,broker.commit.after=1").expect("valid");
        assert_eq!(
            parsed,
            [
                ("worker.append.before".to_owned(), 3),
                ("broker.commit.after".to_owned(), 1)
            ]
        );
        for wrong in ["", "a", "a=0", "a=x", "a=1,,b=2"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

//! Crash points of the kill rig: `PERENNIAL_KILL_AT="worker.append.before=3"` ends this process by SIGKILL at the third hit
//! of that failpoint. Only in builds with the `failpoints` feature; other builds refuse the variable.

use crate::config::{ConfigError, Environment};

const VARIABLE: &str = "PERENNIAL_KILL_AT";

/// Arms the crash points the environment asks for.
pub fn install(environment: &Environment) -> Result<(), ConfigError> {
    match environment.get(VARIABLE) {
        Some(list) => arm(&parse(list)?),
        None => Ok(()),
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
        .map(|entry| {
            one(entry).ok_or_else(|| ConfigError::Value {
                name: VARIABLE.to_owned(),
                value: entry.to_owned(),
                expected: "name=n[,name=n] with n from 1".to_owned(),
            })
        })
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
        armed.map_err(|reason| ConfigError::Value {
            name: VARIABLE.to_owned(),
            value: name.clone(),
            expected: reason,
        })?;
    }
    Ok(())
}

#[cfg(not(feature = "failpoints"))]
fn arm(_points: &[(String, u64)]) -> Result<(), ConfigError> {
    Err(ConfigError::Value {
        name: VARIABLE.to_owned(),
        value: String::new(),
        expected: "a build with `--features failpoints`; this one has no crash points".to_owned(),
    })
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

//! What processes cost: CPU time and memory, read from `/proc`.

use anyhow::{Context, Result};

/// Ticks of `/proc/*/stat` in a second; fixed on Linux.
const TICKS: f64 = 100.0;

/// CPU milliseconds of a process so far, and of its children, living and reaped.
pub(crate) fn tree_cpu_ms(root: u32) -> f64 {
    let mut ticks = 0;
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        ticks += stat(pid).map_or(0, |stat| stat.ticks);
        open.extend(children(pid));
    }
    ticks as f64 * 1000.0 / TICKS
}

/// CPU milliseconds of this process so far, without its children.
pub(crate) fn own_cpu_ms() -> f64 {
    stat(std::process::id()).map_or(0.0, |stat| stat.own as f64 * 1000.0 / TICKS)
}

struct Stat {
    /// User and system time.
    own: u64,
    /// The same with the children that were waited for.
    ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything; what follows the last parenthesis is numbers. utime is field 14 of the line.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let own = field(14)? + field(15)?;
    Some(Stat {
        own,
        ticks: own + field(16)? + field(17)?,
    })
}

fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task");
    let tasks = std::fs::read_dir(path).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

/// Memory of a process in KiB: what it shares counts in proportion.
pub(crate) fn pss_kib(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find(|line| line.starts_with("Pss:")).context("no Pss")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
}

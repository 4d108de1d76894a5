//! How much memory a process and its descendants have in use, as the kernel counts it.

use std::fs::read_to_string;

/// Most processes looked at: a harness with more is not one of ours.
const PROCESSES: usize = 256;

/// Resident bytes of a process and everything below it; what is gone meanwhile counts nothing.
pub(in crate::harness) fn resident_bytes(process: u32) -> u64 {
    let mut tree = vec![process];
    let mut next = 0;
    while let Some(parent) = tree.get(next).copied()
        && tree.len() < PROCESSES
    {
        tree.extend(children(parent));
        next += 1;
    }
    tree.into_iter().map(own).sum()
}

/// Children are listed per thread that made them.
fn children(process: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    let listed = |thread: std::fs::DirEntry| read_to_string(thread.path().join("children")).unwrap_or_default();
    threads
        .flatten()
        .flat_map(|thread| {
            listed(thread)
                .split_whitespace()
                .filter_map(|child| child.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// `VmRSS` is in kibibytes, whatever the size of a page.
fn own(process: u32) -> u64 {
    let status = read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_counts_with_its_children() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let both = resident_bytes(std::process::id());
        assert!(own(child.id()) > 0);
        assert!(both >= own(std::process::id()) / 2 + own(child.id()), "{both}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(resident_bytes(child.id()), 0, "gone");
    }
}

//! Processes of this machine, as `/proc` tells of them.

/// The processes below one, nearest first; children of any of its threads are its children.
#[must_use]
pub fn descendants(process: u32) -> Vec<u32> {
    let mut found = vec![process];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let threads = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten();
        for thread in threads.flatten() {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
        next += 1;
    }
    found.split_off(1)
}

/// The short name of a process; empty when it is gone.
#[must_use]
pub fn name(process: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

/// SIGKILL to the executor process of a data directory, which is nobody's child: whoever started it is dead by now.
///
/// # Errors
/// When it cannot be told.
pub fn end_executor(data: &std::path::Path) -> anyhow::Result<()> {
    for process in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        let ours =
            words.any(|word| word == b"executor") && words.any(|word| word == data.as_os_str().as_encoded_bytes());
        if ours {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)?;
        }
    }
    Ok(())
}

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

/// Whether a program with this word in its command line runs in this folder, contained there or not.
#[must_use]
pub fn runs_in(folder: &std::path::Path, word: &str) -> bool {
    let holds = |bytes: &[u8], part: &str| bytes.windows(part.len()).any(|found| found == part.as_bytes());
    let folder_text = folder.display().to_string();
    let fits = |process: std::fs::DirEntry| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let here = std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder);
        holds(&line, word) && (here || holds(&line, &folder_text))
    };
    std::fs::read_dir("/proc").is_ok_and(|mut all| all.any(|process| process.is_ok_and(fits)))
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

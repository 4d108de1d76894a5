//! A process with a clock of its own: a few lines of C that are loaded before everything else. (libfaketime does the same and
//! more, but looks for functions before our allocator is ready, and crashes.)

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};

/// The library, compiled once per test program.
///
/// # Errors
/// When it cannot be compiled.
pub fn library() -> Result<PathBuf> {
    static LIBRARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match LIBRARY.get_or_init(|| compile().map_err(|error| format!("{error:#}"))) {
        Ok(library) => Ok(library.clone()),
        Err(error) => bail!("{error}"),
    }
}

fn compile() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = here.join("../target/test-env");
    std::fs::create_dir_all(&place)?;
    let place = place.canonicalize()?;
    let fresh = place.join(format!("clock-{}.so", std::process::id()));
    let compiled = Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
        .args([&fresh, &here.join("harness/clock.c")])
        .output()
        .context("no C compiler")?;
    let said = String::from_utf8_lossy(&compiled.stderr);
    ensure!(compiled.status.success(), "clock.c cannot be compiled: {said}");
    // Another test program may use the old one just now.
    let library = place.join("clock.so");
    std::fs::rename(&fresh, &library)?;
    Ok(library)
}

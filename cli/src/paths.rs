//! Where things are: XDG directories and the files of a data directory.

use std::path::{Path, PathBuf};

use crate::config::Environment;

/// `$XDG_DATA_HOME/perennial`, by default `~/.local/share/perennial`; none without a home.
pub fn default_data_dir(environment: &Environment) -> Option<PathBuf> {
    xdg(environment, "XDG_DATA_HOME", ".local/share")
}

/// `$XDG_CONFIG_HOME/perennial/perennial.toml`, by default `~/.config/perennial/perennial.toml`. The working directory is
/// not looked at: a cloned repository must not be able to point the server, and its keys, somewhere else.
pub fn default_config_file(environment: &Environment) -> Option<PathBuf> {
    Some(xdg(environment, "XDG_CONFIG_HOME", ".config")?.join("perennial.toml"))
}

/// `$XDG_STATE_HOME/perennial`, by default `~/.local/state/perennial`: what this machine is connected to.
pub fn default_state_dir(environment: &Environment) -> Option<PathBuf> {
    xdg(environment, "XDG_STATE_HOME", ".local/state")
}

fn xdg(environment: &Environment, variable: &str, below_home: &str) -> Option<PathBuf> {
    // The XDG specification: a relative path there is invalid and to be ignored.
    let base = environment
        .get(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let base = base.or_else(|| Some(Path::new(environment.get("HOME")?).join(below_home)))?;
    Some(base.join("perennial"))
}

/// Where a running `up` says how to reach it: `{"url": …, "pid": …}`.
pub fn server_file(data_dir: &Path) -> PathBuf {
    data_dir.join("server.json")
}

/// The API key, readable by its owner only.
pub fn key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("key")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], data: Option<&str>, config: Option<&str>) {
        let environment = Environment::of(variables);
        assert_eq!(default_data_dir(&environment), data.map(PathBuf::from));
        assert_eq!(default_config_file(&environment), config.map(PathBuf::from));
    }

    #[test]
    fn xdg_directories() {
        check(
            &[("HOME", "/home/a")],
            Some("/home/a/.local/share/perennial"),
            Some("/home/a/.config/perennial/perennial.toml"),
        );
        check(
            &[
                ("HOME", "/home/a"),
                ("XDG_DATA_HOME", "/data"),
                ("XDG_CONFIG_HOME", "relative"),
            ],
            Some("/data/perennial"),
            Some("/home/a/.config/perennial/perennial.toml"),
        );
        check(&[], None, None);
    }
}

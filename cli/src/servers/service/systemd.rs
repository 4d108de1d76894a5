//! systemd, by a user's own unit.

use std::path::{Path, PathBuf};

use super::{Manager, Service};
use crate::config::Environment;

pub(super) fn manager(environment: &Environment) -> Option<Manager> {
    let given = environment.get("XDG_CONFIG_HOME").map(PathBuf::from);
    let base = given.filter(|path| path.is_absolute());
    let base = base.or_else(|| Some(Path::new(environment.get("HOME")?).join(".config")))?;
    Some(Manager {
        folder: base.join("systemd/user"),
        extension: "service",
        file,
        start: |name, _| {
            vec![
                systemctl(&["daemon-reload"]),
                systemctl(&["enable", &format!("{name}.service")]),
                // One that runs already is to run as the file says now.
                systemctl(&["restart", &format!("{name}.service")]),
            ]
        },
        stop: |name, _| vec![systemctl(&["disable", "--now", &format!("{name}.service")])],
        forget: &["systemctl", "--user", "daemon-reload"],
        hint: "to have it go on when you are logged out: loginctl enable-linger",
    })
}

fn systemctl(words: &[&str]) -> Vec<String> {
    ["systemctl", "--user"]
        .iter()
        .chain(words)
        .map(|&word| word.to_owned())
        .collect()
}

/// The unit. It is started again when it crashes, and not when it was told that it is not wanted (any more): another process that
/// connects as this machine would be cut by it, and cut it in turn.
pub(super) fn file(service: &Service) -> String {
    let command: Vec<String> = service
        .command
        .iter()
        .map(|word| quoted(word).replace('$', "$$"))
        .collect();
    let variables: String = service
        .variables
        .iter()
        .map(|(name, value)| format!("Environment={}\n", quoted(&format!("{name}={value}"))))
        .collect();
    format!(
        "# Written by `perennial connect --install`, removed by `perennial connect --uninstall`.\n\
         [Unit]\n\
         Description={}\n\
         \n\
         [Service]\n\
         ExecStart={}\n\
         {variables}\
         Restart=on-failure\n\
         RestartSec=5\n\
         RestartPreventExitStatus=1 2\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n",
        service.description.replace('%', "%%"),
        command.join(" "),
    )
}

/// A word as systemd reads it back.
fn quoted(word: &str) -> String {
    let escaped = word.replace('\\', r"\\").replace('"', r#"\""#).replace('%', "%%");
    format!("\"{escaped}\"")
}

//! launchd, by a user's own agent.

use std::path::Path;

use super::{Manager, Service};
use crate::config::Environment;

pub(super) fn manager(environment: &Environment) -> Option<Manager> {
    Some(Manager {
        folder: Path::new(environment.get("HOME")?).join("Library/LaunchAgents"),
        extension: "plist",
        file,
        start: |_, path| {
            vec![
                // One that is loaded is unloaded first; unloading what is not loaded is no failure.
                launchctl("unload", path),
                launchctl("load", path),
            ]
        },
        stop: |_, path| vec![launchctl("unload", path)],
        forget: &[],
        hint: "it goes on as long as you are logged in",
    })
}

fn launchctl(verb: &str, path: &Path) -> Vec<String> {
    let words = ["launchctl".to_owned(), verb.to_owned(), "-w".to_owned()];
    words.into_iter().chain([path.display().to_string()]).collect()
}

/// The agent. It is started again when it crashes, and not when it ended by itself.
pub(super) fn file(service: &Service) -> String {
    let words: String = service
        .command
        .iter()
        .map(|word| format!("    <string>{}</string>\n", escaped(word)))
        .collect();
    let variables: String = service
        .variables
        .iter()
        .map(|(name, value)| {
            let (name, value) = (escaped(name), escaped(value));
            format!("    <key>{name}</key><string>{value}</string>\n")
        })
        .collect();
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- Written by `perennial connect` with its flag install; the flag uninstall removes it. -->
<plist version="1.0">
<dict>
  <key>Label</key><string>{}</string>
  <key>ProgramArguments</key>
  <array>
{words}  </array>
  <key>EnvironmentVariables</key>
  <dict>
{variables}  </dict>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key>
  <dict>
    <key>Crashed</key><true/>
  </dict>
</dict>
</plist>
"#,
        escaped(&service.name),
    )
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            other => escaped.push(other),
        }
    }
    escaped
}

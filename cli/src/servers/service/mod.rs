//! `perennial connect --install` and `--uninstall`: a service of the user's own that keeps a connection, written for the system's
//! service manager and given to it. Where the manager cannot be asked, the person is told what to do.
//!
//! A service belongs to a folder and a server, so installing again replaces it and uninstalling needs no registration.

mod launchd;
mod systemd;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::config::Environment;
use crate::error::Error;
use crate::house::Connection;
use crate::output::note;

/// What the service needs of the environment in which it is installed.
const KEPT: [&str; 2] = ["PATH", "XDG_STATE_HOME"];

/// A connection to be kept.
struct Service {
    /// What the manager calls it.
    name: String,
    /// For people.
    description: String,
    /// The program and what it is told.
    command: Vec<String>,
    /// Variables it needs.
    variables: Vec<(String, String)>,
}

/// A system's service manager.
struct Manager {
    /// Where it looks for the user's services.
    folder: PathBuf,
    extension: &'static str,
    /// A service as its file.
    file: fn(&Service) -> String,
    /// The programs that make it known and start it, in order; of a name and its file.
    start: fn(&str, &Path) -> Vec<Vec<String>>,
    /// Those that stop it and make it unknown. It may be neither running nor known.
    stop: fn(&str, &Path) -> Vec<Vec<String>>,
    /// Those that have it notice that the file is gone.
    forget: &'static [&'static str],
    hint: &'static str,
}

impl Manager {
    fn of_this_system(environment: &Environment) -> Result<Self> {
        let manager = if cfg!(target_os = "macos") {
            launchd::manager(environment)
        } else {
            systemd::manager(environment)
        };
        manager.ok_or_else(|| Error::Usage("no place for a user's services: set HOME".into()).into())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.{}", self.extension))
    }
}

/// Has the connection kept from now on, also after the next login.
pub(super) fn install(connection: &Connection, environment: &Environment) -> Result<()> {
    if connection.terms.ask {
        return Err(
            Error::Usage("a service has no terminal to ask on (--ask): lift it with --unrestricted".into()).into(),
        );
    }
    let manager = Manager::of_this_system(environment)?;
    let service = Service::of(connection, environment)?;
    let path = manager.path(&service.name);
    let text = (manager.file)(&service);
    let news = fs::read_to_string(&path).ok().as_deref() != Some(text.as_str());
    if news {
        replace(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let what = if news { "wrote" } else { "unchanged:" };
    note(&format!("{what} {}", path.display()));
    let commands = (manager.start)(&service.name, &path);
    match ask(&commands) {
        Ok(()) => note(&format!(
            "{} is kept from now on; {}",
            service.description, manager.hint
        )),
        Err(why) => {
            note(&format!("the service is not started ({why}). Where it can be, do:"));
            commands
                .iter()
                .for_each(|command| note(&format!("  {}", command.join(" "))));
        }
    }
    Ok(())
}

/// Has the connections of a folder not kept any more; with a server only that one.
pub(super) fn uninstall(dir: &Path, server: Option<&str>, environment: &Environment) -> Result<()> {
    let manager = Manager::of_this_system(environment)?;
    let names = installed(&manager, dir, server)?;
    if names.is_empty() {
        note(&format!("no service keeps a connection of {}", dir.display()));
    }
    for name in names {
        let path = manager.path(&name);
        if let Err(why) = ask(&(manager.stop)(&name, &path)) {
            note(&format!("the service is not stopped ({why})"));
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => note(&format!("removed {}", path.display())),
        }
        let forget = manager.forget.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        if !forget.is_empty() && ask(&[forget]).is_err() {
            // A file that is gone is not started any more.
            tracing::debug!("the service manager was not told");
        }
    }
    Ok(())
}

impl Service {
    fn of(connection: &Connection, environment: &Environment) -> Result<Self> {
        let program = std::env::current_exe().context("cannot tell which program this is")?;
        let mut command = vec![text(program.as_os_str())?, "connect".to_owned()];
        for dir in connection.roots() {
            command.extend(["--dir".to_owned(), text(dir.as_os_str())?]);
        }
        command.extend(["--server".to_owned(), connection.server.clone()]);
        let variables = KEPT.iter().filter_map(|&name| {
            let value = environment.get(name)?;
            Some((name.to_owned(), value.to_owned()))
        });
        let variables: Vec<(String, String)> = variables.collect();
        let mut all = command.iter().chain(variables.iter().map(|(_, value)| value));
        if all.any(|word| word.chars().any(char::is_control)) {
            return Err(
                Error::Usage("a path or a variable with a control character cannot be in a service".into()).into(),
            );
        }
        Ok(Self {
            name: name_of(&connection.dir, &connection.server),
            description: format!("Perennial, {} at {}", connection.dir.display(), connection.server),
            command,
            variables,
        })
    }
}

fn text(word: &OsStr) -> Result<String> {
    let text = word.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        Error::Usage(format!(
            "{}: a path that is not UTF-8 cannot be in a service",
            word.display()
        ))
        .into()
    })
}

/// Names are of letters and digits in every manager, and paths are not.
fn name_of(dir: &Path, server: &str) -> String {
    format!("{}{:08x}", beginning(dir), hash(server.as_bytes()) >> 32)
}

fn beginning(dir: &Path) -> String {
    format!("perennial-{:016x}-", hash(dir.as_os_str().as_encoded_bytes()))
}

/// FNV-1a: the same for ever, which the standard library's hashes do not promise.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn installed(manager: &Manager, dir: &Path, server: Option<&str>) -> Result<Vec<String>> {
    let wanted = server.map(|server| name_of(dir, server.trim_end_matches('/')));
    let beginning = beginning(dir);
    let entries = match fs::read_dir(&manager.folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", manager.folder.display()))?,
    };
    let names = entries.flatten().filter_map(|entry| {
        let path = entry.path();
        let ours = path.extension().is_some_and(|extension| extension == manager.extension);
        let name = path.file_stem()?.to_str()?.to_owned();
        let same = wanted.as_ref().is_none_or(|wanted| *wanted == name);
        (ours && same && name.starts_with(&beginning)).then_some(name)
    });
    Ok(names.collect())
}

/// All of it or nothing, whenever the machine stops.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

/// Runs the programs in order; why the first that did not work did not.
fn ask(commands: &[Vec<String>]) -> Result<(), String> {
    for command in commands {
        let [program, words @ ..] = command.as_slice() else {
            continue;
        };
        let output = Command::new(program).args(words).output();
        let output = output.map_err(|error| format!("{program}: {error}"))?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{program}: {}", told.lines().next().unwrap_or("it failed")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Service {
        Service {
            name: "perennial-1".to_owned(),
            description: "Perennial, /a at http://x".to_owned(),
            command: ["/bin/perennial", "connect", "--dir", r#"/a b/"c\d%e$f'<&>"#]
                .map(str::to_owned)
                .to_vec(),
            variables: vec![("PATH".to_owned(), "/usr/bin:/x y/%h".to_owned())],
        }
    }

    #[test]
    fn words_are_what_they_were() {
        let unit = systemd::file(&service());
        assert!(
            unit.contains(r#"ExecStart="/bin/perennial" "connect" "--dir" "/a b/\"c\\d%%e$$f'<&>""#),
            "{unit}"
        );
        assert!(unit.contains(r#"Environment="PATH=/usr/bin:/x y/%%h""#), "{unit}");
        let plist = launchd::file(&service());
        assert!(
            plist.contains(r#"<string>/a b/&quot;c\d%e$f&apos;&lt;&amp;&gt;</string>"#),
            "{plist}"
        );
        assert!(
            plist.contains("<key>PATH</key><string>/usr/bin:/x y/%h</string>"),
            "{plist}"
        );
    }

    #[test]
    fn a_folder_and_a_server_have_one_name() {
        let name = |dir: &str, server| name_of(Path::new(dir), server);
        assert_eq!(name("/a", "http://x"), name("/a", "http://x"));
        assert_ne!(name("/a", "http://x"), name("/b", "http://x"));
        assert_ne!(name("/a", "http://x"), name("/a", "http://y"));
        assert!(name("/a", "http://x").starts_with(&beginning(Path::new("/a"))));
        assert_eq!(format!("{:016x}", hash(b"a")), "af63dc4c8601ec8c");
    }
}

//! The command line: every verb on one screen. What a verb takes is defined beside the verb.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Flags;
use crate::exit;
use crate::up::UpArgs;
use crate::verbs::{agent, approve, attach, completions, deny, env, run, send, session};

/// Durable agent sessions: a session survives the process that runs it.
#[derive(Debug, Parser)]
#[command(name = "perennial", version, propagate_version = true, after_help = exit::TABLE, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags every verb takes.
#[derive(Debug, Default, Args)]
pub struct Global {
    /// Print JSON (lists and streams: one value a line) on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Where the server keeps everything and clients find it [default: ~/.local/share/perennial]
    /// [env: PERENNIAL_DATA_DIR]
    #[arg(long, global = true, value_name = "PATH")]
    pub data_dir: Option<PathBuf>,
    /// The server to talk to instead of the data directory's, its key in PERENNIAL_KEY [env: PERENNIAL_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// Configuration file [default: ~/.config/perennial/perennial.toml] [env: PERENNIAL_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Up(UpArgs),
    Run(run::RunArgs),
    Attach(attach::AttachArgs),
    Send(send::SendArgs),
    /// List sessions that are not archived, newest first
    Ps(session::list::ListArgs),
    Approve(approve::ApproveArgs),
    Deny(deny::DenyArgs),
    /// Sessions
    #[command(subcommand)]
    Session(session::SessionVerb),
    /// Agents
    #[command(subcommand)]
    Agent(agent::AgentVerb),
    /// Environments: where the tools of a session run
    #[command(subcommand)]
    Env(env::EnvVerb),
    /// Bring the database of the data directory up to this build's schema (`up` does it by itself)
    Migrate,
    /// Explain the effective configuration and what is missing
    Doctor,
    Completions(completions::CompletionsArgs),
    /// Print the version
    Version,
}

impl Cli {
    /// The flags that are settings.
    pub fn flags(&self) -> Flags {
        let mut flags = Flags {
            config: self.global.config.clone(),
            data_dir: self.global.data_dir.clone(),
            url: self.global.url.clone(),
            ..Flags::default()
        };
        if let Verb::Up(up) = &self.verb {
            flags.listen.clone_from(&up.listen);
            flags.allow_local = up.allow_local;
            flags.slots = up.slots.map(Into::into);
            flags.lease_ttl_ms = up.lease_ttl_ms.map(Into::into);
            flags.renew_ms = up.renew_ms.map(Into::into);
            flags.sweep_ms = up.sweep_ms.map(Into::into);
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every verb with its arguments, so that a change of the command line is seen in review.
    #[test]
    fn usage_of_every_verb() {
        fn walk(command: &mut clap::Command, lines: &mut Vec<String>) {
            let verbs: Vec<String> = command
                .get_subcommands()
                .map(|verb| verb.get_name().to_owned())
                .collect();
            if verbs.is_empty() {
                lines.push(command.render_usage().to_string().replace("Usage: ", ""));
            }
            for verb in verbs.iter().filter(|verb| *verb != "help") {
                if let Some(verb) = command.find_subcommand_mut(verb) {
                    walk(verb, lines);
                }
            }
        }
        let mut command = Cli::command();
        command.build();
        let mut lines = Vec::new();
        walk(&mut command, &mut lines);
        let usage = lines.join("\n") + "\n";
        assert_eq!(
            usage,
            include_str!("usage.txt"),
            "cli/src/usage.txt is not what --help says:\n{usage}"
        );
    }

    #[test]
    fn up_flags_reach_the_settings() {
        let cli = Cli::try_parse_from([
            "perennial",
            "up",
            "--listen",
            "127.0.0.1:0",
            "--allow-local",
            "--slots",
            "3",
        ]);
        let flags = cli.expect("valid").flags();
        assert_eq!(flags.listen.as_deref(), Some("127.0.0.1:0"));
        assert!(flags.allow_local);
        assert_eq!(flags.slots, Some(3));
    }
}

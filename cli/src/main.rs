//! The binary `perennial`: parses the command line, sets up logging, runs one verb and turns its end into an exit code.
//!
//! What a verb does lives in `verbs/`, the server in `house/`; this file is the only place where errors are printed.

#![expect(
    unreachable_pub,
    reason = "a binary has no outside: `pub` says that other modules use it"
)]

mod args;
mod client;
mod config;
mod error;
mod exit;
mod follow;
mod house;
mod killpoint;
mod output;
mod paths;
mod render;
mod servers;
mod verbs;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Verb};
use crate::config::Settings;
use crate::error::Error;
use crate::exit::Exit;

/// A step makes and drops many small things on several threads: a quarter of its processor time with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => report(&error).into(),
    }
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    // One TLS provider in the tree, chosen before anything can want one; a second call would be refused, which is harmless.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let environment = config::environment();
    killpoint::install(&environment).map_err(Error::from)?;
    let settings = Settings::resolve(&cli.flags(), &environment).map_err(Error::from)?;
    logging(&cli.verb, &settings);
    let mut builder = match &cli.verb {
        verb if servers::stays(verb) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build()?;
    let json = cli.global.json;
    let exit = runtime.block_on(async {
        match servers::run(cli.verb, &settings, json).await {
            Ok(exit) => exit,
            Err(verb) => Ok(verbs::run(&verbs::Context::new(settings, json), verb).await?),
        }
    });
    // A thread that still waits for a line from the terminal must not keep the process alive.
    runtime.shutdown_background();
    exit
}

/// Logs go to stderr: `info` for the server, `warn` for clients, `PERENNIAL_LOG` overrides (a tracing filter).
fn logging(verb: &Verb, settings: &Settings) {
    // The bus says itself when it loses its server; the client below it would say so with every attempt.
    let default = if servers::stays(verb) {
        "info,async_nats=warn"
    } else {
        "warn"
    };
    let filter = tracing_subscriber::EnvFilter::builder()
        .parse_lossy(settings.log.value.clone().unwrap_or_else(|| default.to_owned()));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && settings.color);
    if settings.log_json.value {
        builder.json().init();
    } else {
        builder.init();
    }
}

fn report(error: &anyhow::Error) -> Exit {
    if error.downcast_ref::<Error>().is_some_and(Error::is_broken_pipe) {
        // Whoever read our output has seen enough (`perennial ps | head -1`).
        return Exit::Done;
    }
    eprintln!("perennial: {}", error::chain(error.as_ref()));
    error.downcast_ref::<Error>().map_or(Exit::Failed, Error::exit)
}

//! One verb, one file. Each file holds what the verb takes (its clap arguments) and what it does.

pub mod agent;
pub mod approvals;
pub mod approve;
pub mod attach;
pub mod budget;
pub mod call;
pub mod completions;
pub mod cp;
pub mod deny;
pub mod doctor;
pub mod env;
pub mod executor;
pub mod forward;
pub mod key;
pub mod mail;
pub mod mcp;
pub mod migrate;
pub mod preview;
pub mod prove;
pub mod run;
pub mod send;
pub mod session;
pub mod shell;
pub mod usage;
pub mod version;
pub mod webhook;
pub mod workers;

use crate::args::Verb;
use crate::client::Client;
use crate::config::Settings;
use crate::error::Error;
use crate::exit::Exit;
use crate::render::Style;

/// What every verb gets.
#[derive(Debug)]
pub struct Context {
    /// The configuration.
    pub settings: Settings,
    /// `--json`.
    pub json: bool,
    /// Colours on stdout.
    pub style: Style,
}

impl Context {
    /// A context of these settings.
    pub fn new(settings: Settings, json: bool) -> Self {
        let style = Style::of_stdout(settings.color && !json);
        Self { settings, json, style }
    }

    /// A client for the configured server.
    pub fn client(&self) -> Result<Client, Error> {
        Client::new(&self.settings)
    }
}

/// Runs a client verb.
pub async fn run(context: &Context, verb: Verb) -> Result<Exit, Error> {
    match verb {
        Verb::Up(_) | Verb::Serve(_) | Verb::Worker(_) | Verb::Connect(_) | Verb::Acp(_) | Verb::Rehearsal(_) => {
            Err(Error::Usage("not a client verb".to_owned()))
        }
        Verb::Executor(args) => match args.verb {
            Some(verb) => executor::run(context, verb).await,
            None => Err(Error::Usage("not a client verb".to_owned())),
        },
        Verb::Call(args) => call::run(context, args).await,
        Verb::Cp(args) => cp::run(context, args).await,
        Verb::Forward(args) => forward::run(context, args).await,
        Verb::Preview(args) => preview::run(context, args).await,
        Verb::Shell(args) => shell::run(context, args).await,
        Verb::Run(args) => run::run(context, args).await,
        Verb::Attach(args) => attach::run(context, args).await,
        Verb::Send(args) => send::run(context, args).await,
        Verb::Ps(args) => session::list::run(context, args).await,
        Verb::Approvals(args) => approvals::run(context, args).await,
        Verb::Approve(args) => approve::run(context, args).await,
        Verb::Deny(args) => deny::run(context, args).await,
        Verb::Session(verb) => session::run(context, verb).await,
        Verb::Agent(verb) => agent::run(context, verb).await,
        Verb::Env(verb) => env::run(context, verb).await,
        Verb::Usage(args) => usage::run(context, args).await,
        Verb::Budget(verb) => budget::run(context, verb).await,
        Verb::Key(verb) => key::run(context, verb).await,
        Verb::Webhook(verb) => webhook::run(context, verb).await,
        Verb::Mail(verb) => mail::run(context, verb).await,
        Verb::Mcp(args) => mcp::run(context, args).await,
        Verb::Workers(args) => workers::run(context, args).await,
        Verb::Migrate(_) => migrate::run(context).await,
        Verb::Doctor(_) => doctor::run(context).await,
        Verb::Prove(args) => prove::run(context, args).await,
        Verb::Completions(args) => completions::run(&args),
        Verb::Version => version::run(context),
    }
}

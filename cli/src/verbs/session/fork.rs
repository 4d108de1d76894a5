//! `perennial session fork SESSION`

use std::str::FromStr;

use clap::Args;
use perennial_schema::EventId;
use serde_json::json;

use super::switch::Switch;
use crate::client::resources::Session;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Copy a session, also one that works, and print the copy's id
///
/// The copy's workspace folder is the folder as it is now.
#[derive(Debug, Args)]
pub struct ForkArgs {
    session: String,
    /// Copy events up to and with this one, by its number or its id [default: all]
    #[arg(long, value_name = "EVENT|SEQ")]
    at: Option<Cut>,
    /// Go on with this agent of the server
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Title of the copy [default: the same]
    #[arg(long)]
    title: Option<String>,
    #[command(flatten)]
    switch: Switch,
}

/// The last event that is copied.
#[derive(Clone, Debug)]
enum Cut {
    Seq(u64),
    Event(EventId),
}

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(seq) = text.parse() {
            return Ok(Self::Seq(seq));
        }
        let event = text.parse().map(Self::Event);
        event.map_err(|_| format!("{text:?} is neither the number of an event nor an id like sevt_…"))
    }
}

/// Forks.
pub async fn run(context: &Context, args: ForkArgs) -> Result<Exit, Error> {
    let client = context.client()?;
    let mut body = match &args.at {
        Some(Cut::Seq(seq)) => json!({"at_seq": seq}),
        Some(Cut::Event(event)) => json!({"at_event": event}),
        // The request may be repeated: it says what "all" is now.
        None => json!({"at_seq": client.session(&args.session).await?.head()}),
    };
    let mut agent = args.switch.members();
    if let Some(id) = &args.agent {
        let kind = if agent.is_empty() {
            "agent"
        } else {
            "agent_with_overrides"
        };
        agent.insert("type".to_owned(), json!(kind));
        agent.insert("id".to_owned(), json!(id));
    }
    if !agent.is_empty() {
        body["agent"] = json!(agent);
    }
    if let Some(title) = &args.title {
        body["title"] = json!(title);
    }
    let path = format!("/v1/sessions/{}/fork", args.session);
    let body = client.post(&path, &body).await?;
    if context.json {
        output::line(body.text())?;
    } else {
        output::line(&body.parse::<Session>()?.id)?;
    }
    Ok(Exit::Done)
}

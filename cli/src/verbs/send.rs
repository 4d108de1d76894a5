//! `perennial send SESSION TEXT`

use std::collections::BTreeSet;

use clap::Args;
use serde_json::json;

use super::Context;
use crate::client::Client;
use crate::client::resources::Sent;
use crate::error::Error;
use crate::exit::Exit;
use crate::follow::{CtrlC, OnCtrlC, Options, follow};
use crate::output;

/// Send a message to a session, also while it works
#[derive(Debug, Args)]
pub struct SendArgs {
    session: String,
    text: String,
    /// Show what follows until the session rests
    #[arg(long, short)]
    follow: bool,
}

/// Sends; prints the event's id or what follows it.
pub async fn run(context: &Context, args: SendArgs) -> Result<Exit, Error> {
    let client = context.client()?;
    let ctrl_c = CtrlC::listen()?;
    let after = if args.follow {
        client.session(&args.session).await?.head()
    } else {
        0
    };
    let id = message(&client, &args.session, &args.text).await?;
    if !args.follow {
        if context.json {
            output::line(&json!({"id": id}).to_string())?;
        } else {
            output::line(&id)?;
        }
        return Ok(Exit::Done);
    }
    let options = Options {
        after,
        own: BTreeSet::from([id]),
        on_ctrl_c: OnCtrlC::Interrupt,
        json: context.json,
        style: context.style,
        auto_approve: false,
        stay: false,
        extensions: false,
    };
    follow(&client.patient(), &args.session, ctrl_c, options).await
}

/// Sends one `user.message`; returns the id of its event.
pub async fn message(client: &Client, session: &str, text: &str) -> Result<String, Error> {
    let body = json!({"events": [{"type": "user.message", "content": [{"type": "text", "text": text}]}]});
    let sent: Sent = client
        .post(&format!("/v1/sessions/{session}/events"), &body)
        .await?
        .parse()?;
    let first = sent.data.into_iter().next().ok_or_else(|| Error::Answer {
        what: "POST events".to_owned(),
        detail: "the sent event is missing".to_owned(),
    })?;
    Ok(first.id)
}

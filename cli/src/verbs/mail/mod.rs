//! `perennial mail …`: messages between sessions, agents, queues and programs.

pub mod ack;
pub mod cancel;
pub mod list;
pub mod nack;
pub mod read;
pub mod receive;
pub mod replay;
pub mod send;

use clap::{Args, Subcommand};
use perennial_schema::mail::Address;
use serde::Deserialize;
use serde_json::Value;

use super::Context;
use crate::client::Body;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;

/// Verbs of mail.
#[derive(Debug, Subcommand)]
pub enum MailVerb {
    Send(send::SendArgs),
    List(list::ListArgs),
    /// Show a message
    Read(MessageArg),
    Receive(receive::ReceiveArgs),
    /// Say that a received message is done
    Ack(ReceiptArg),
    Nack(nack::NackArgs),
    /// Take a message back that nobody has had yet
    Cancel(MessageArg),
    /// Queue a dead letter again
    Replay(MessageArg),
}

/// A message of a mailbox.
#[derive(Debug, Args)]
pub struct MessageArg {
    /// agent/NAME, session/ID or queue/NAME
    mailbox: Address,
    /// Its id
    message: String,
}

impl MessageArg {
    fn path(&self) -> String {
        format!("{}/{}", messages(&self.mailbox), self.message)
    }
}

/// A message that was received.
#[derive(Debug, Args)]
pub struct ReceiptArg {
    /// The queue: NAME or queue/NAME
    #[arg(value_parser = queue)]
    queue: Address,
    /// What came with the message
    receipt: String,
}

impl ReceiptArg {
    /// Its message, which the receipt names.
    fn path(&self, verb: &str) -> String {
        let message = self.receipt.split('.').next().unwrap_or_default();
        format!("{}/{message}/{verb}", messages(&self.queue))
    }
}

/// A queue by its name or its address.
fn queue(text: &str) -> Result<Address, String> {
    let address = match text.parse() {
        Ok(address) => Ok(address),
        Err(_) => Address::of("queue", text),
    };
    match address.map_err(|error| error.to_string())? {
        Address::Queue(name) => Ok(Address::Queue(name)),
        other => Err(format!(
            "{other} is no queue; mail of sessions and agents is handed over to them"
        )),
    }
}

fn messages(mailbox: &Address) -> String {
    format!("/v1/mailboxes/{mailbox}/messages")
}

#[derive(Debug, Deserialize)]
struct Mail {
    id: String,
    mailbox: String,
    from: String,
    subject: Option<String>,
    content: Vec<Value>,
    thread: String,
    in_reply_to: Option<String>,
    state: String,
    reason: Option<String>,
    session_id: Option<String>,
    created_at: String,
    receipt: Option<String>,
}

impl Mail {
    /// Its text; what is no text is named.
    fn text(&self) -> String {
        let block = |block: &Value| match block["text"].as_str() {
            Some(text) => text.to_owned(),
            None => format!("[{}]", block["type"].as_str().unwrap_or("?")),
        };
        self.content.iter().map(block).collect::<Vec<_>>().join("\n\n")
    }
}

/// Runs one of them.
pub async fn run(context: &Context, verb: MailVerb) -> Result<Exit, Error> {
    match verb {
        MailVerb::Send(args) => send::run(context, args).await,
        MailVerb::List(args) => list::run(context, args).await,
        MailVerb::Read(args) => read::run(context, args).await,
        MailVerb::Receive(args) => receive::run(context, args).await,
        MailVerb::Ack(args) => ack::run(context, args).await,
        MailVerb::Nack(args) => nack::run(context, args).await,
        MailVerb::Cancel(args) => cancel::run(context, args).await,
        MailVerb::Replay(args) => replay::run(context, args).await,
    }
}

/// A message as facts and text, or as the server's JSON.
fn print(context: &Context, body: &Body) -> Result<Exit, Error> {
    if context.json {
        output::line(body.text())?;
        return Ok(Exit::Done);
    }
    show(&body.parse()?)?;
    Ok(Exit::Done)
}

fn show(mail: &Mail) -> Result<(), Error> {
    let mut rows = vec![
        ("id", mail.id.clone()),
        ("from", mail.from.clone()),
        ("to", mail.mailbox.clone()),
        ("state", mail.state.clone()),
        ("thread", mail.thread.clone()),
        ("sent", mail.created_at.clone()),
    ];
    rows.extend(mail.subject.clone().map(|subject| ("subject", subject)));
    rows.extend(mail.in_reply_to.clone().map(|id| ("in reply to", id)));
    rows.extend(mail.reason.clone().map(|reason| ("reason", reason)));
    rows.extend(mail.session_id.clone().map(|session| ("session", session)));
    rows.extend(mail.receipt.clone().map(|receipt| ("receipt", receipt)));
    output::facts(&rows)?;
    output::line("")?;
    output::line(&crate::render::sanitize(&mail.text()))
}

//! `perennial mail list [MAILBOX]`

use clap::Args;
use perennial_schema::mail::{Address, MailState};
use serde::Deserialize;

use super::{Mail, messages};
use crate::client::pages::typed;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// List mailboxes, or the messages of one, newest first
#[derive(Debug, Args)]
pub struct ListArgs {
    /// agent/NAME, session/ID or queue/NAME
    mailbox: Option<Address>,
    /// Only messages in this state (may be repeated)
    #[arg(long = "state", value_name = "STATE", requires = "mailbox")]
    states: Vec<MailState>,
    /// Only messages of this conversation
    #[arg(long, requires = "mailbox")]
    thread: Option<String>,
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Debug, Deserialize)]
struct Mailbox {
    address: String,
    open: u64,
    leased: u64,
    dead: u64,
    latest_at: String,
}

/// Prints a table.
pub async fn run(context: &Context, args: ListArgs) -> Result<Exit, Error> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let client = context.client()?;
    let items = match &args.mailbox {
        None => client.list("/v1/mailboxes", &[], limit).await?,
        Some(mailbox) => {
            let states = args.states.iter().map(|state| ("states[]", state.to_string()));
            let query: Vec<_> = states.chain(args.thread.map(|thread| ("thread", thread))).collect();
            client.list(&messages(mailbox), &query, limit).await?
        }
    };
    if context.json {
        for item in &items {
            output::line(item.get())?;
        }
        return Ok(Exit::Done);
    }
    if args.mailbox.is_none() {
        let row = |mailbox: Mailbox| {
            vec![
                mailbox.address,
                mailbox.open.to_string(),
                mailbox.leased.to_string(),
                mailbox.dead.to_string(),
                mailbox.latest_at,
            ]
        };
        let rows: Vec<Vec<String>> = typed::<Mailbox>(&items)?.into_iter().map(row).collect();
        output::table(&["MAILBOX", "OPEN", "LEASED", "DEAD", "LATEST"], &rows)?;
        return Ok(Exit::Done);
    }
    let row = |mail: Mail| {
        let line = mail.subject.clone().unwrap_or_else(|| mail.text());
        let short: String = line.chars().take(60).collect();
        vec![mail.id, mail.state, mail.from, mail.created_at, short]
    };
    let rows: Vec<Vec<String>> = typed::<Mail>(&items)?.into_iter().map(row).collect();
    output::table(&["MESSAGE", "STATE", "FROM", "SENT", "SUBJECT"], &rows)?;
    Ok(Exit::Done)
}

//! `perennial mail list [MAILBOX]`

use clap::Args;
use perennial_schema::mail::{Address, MailState};
use serde::Deserialize;

use super::{Mail, messages};
use crate::client::MailFeed;
use crate::client::pages::typed;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::render::sanitize;
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
    /// Stay, and print messages again as they change their state
    #[arg(long, short = 'f', requires = "mailbox")]
    follow: bool,
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
    // What happens from here on is told by the feed, what was before by the list; what is between, by both.
    let mut feed = match args.mailbox.as_ref().filter(|_| args.follow) {
        Some(mailbox) => {
            let mut feed = MailFeed::new(client.clone(), mailbox);
            while feed.next().await?.kind != "live" {}
            Some(feed)
        }
        None => None,
    };
    let items = match &args.mailbox {
        None => client.list("/v1/mailboxes", &[], limit).await?,
        Some(mailbox) => {
            let states = args.states.iter().map(|state| ("states[]", state.to_string()));
            let thread = args.thread.clone().map(|thread| ("thread", thread));
            let query: Vec<_> = states.chain(thread).collect();
            client.list(&messages(mailbox), &query, limit).await?
        }
    };
    if context.json {
        for item in &items {
            output::line(item.get())?;
        }
        return match &mut feed {
            Some(feed) => follow(context, feed, &args).await,
            None => Ok(Exit::Done),
        };
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
    let rows: Vec<Vec<String>> = typed::<Mail>(&items)?.into_iter().map(row).collect();
    output::table(&["MESSAGE", "STATE", "FROM", "SENT", "SUBJECT"], &rows)?;
    match &mut feed {
        Some(feed) => follow(context, feed, &args).await,
        None => Ok(Exit::Done),
    }
}

/// Prints what changes, for as long as the server or whoever reads along is there.
async fn follow(context: &Context, feed: &mut MailFeed, args: &ListArgs) -> Result<Exit, Error> {
    loop {
        let frame = feed.next().await?;
        if frame.kind != "mail" {
            continue;
        }
        let mail: Mail = serde_json::from_str(&frame.text).map_err(|error| Error::Answer {
            what: "an event of the mailbox".to_owned(),
            detail: error.to_string(),
        })?;
        let wanted = args.states.is_empty() || args.states.iter().any(|state| state.name() == mail.state);
        if !wanted || args.thread.as_ref().is_some_and(|thread| *thread != mail.thread) {
            continue;
        }
        if context.json {
            output::line(&frame.text)?;
        } else {
            output::line(&sanitize(&row(mail).join("  ")).replace('\n', " "))?;
        }
    }
}

fn row(mail: Mail) -> Vec<String> {
    let line = mail.subject.clone().unwrap_or_else(|| mail.text());
    let short: String = line.chars().take(60).collect();
    vec![mail.id, mail.state, mail.from, mail.created_at, short]
}

//! `perennial session list` and `perennial ps`

use chrono::{DateTime, Utc};
use clap::Args;

use crate::client::pages::typed;
use crate::client::resources::{Deleted, Session};
use crate::client::{Changes, Frame};
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::render::sanitize;
use crate::verbs::Context;

#[derive(Debug, Args)]
pub struct ListArgs {
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only these: idle, running, rescheduling, terminated (may be repeated)
    #[arg(long, value_name = "STATUS")]
    status: Vec<String>,
    /// Only sessions of this agent
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Archived ones too
    #[arg(long, short)]
    all: bool,
    /// Every session, then each one again whenever it changes, until Ctrl-C
    #[arg(long, short, conflicts_with_all = ["limit", "status", "agent", "all"])]
    follow: bool,
}

/// Prints a table, or lines without an end.
pub async fn run(context: &Context, args: ListArgs) -> Result<Exit, Error> {
    if args.follow {
        return follow(context).await;
    }
    let mut query: Vec<(&str, String)> = args.status.into_iter().map(|status| ("statuses[]", status)).collect();
    query.extend(args.agent.map(|agent| ("agent_id", agent)));
    query.extend(args.all.then(|| ("include_archived", "true".to_owned())));
    query.push(("include", "extensions".to_owned()));
    let items = context
        .client()?
        .list(
            "/v1/sessions",
            &query,
            usize::try_from(args.limit).unwrap_or(usize::MAX),
        )
        .await?;
    if context.json {
        for item in &items {
            output::line(item.get())?;
        }
        return Ok(Exit::Done);
    }
    let sessions: Vec<Session> = typed(&items)?;
    let now = Utc::now();
    let row = |session: Session| {
        let state = session.state().to_owned();
        vec![
            session.id,
            state,
            age(&session.updated_at, now),
            session.agent.name,
            session.agent.model.id,
            session.title.unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = sessions.into_iter().map(row).collect();
    output::table(&["SESSION", "STATUS", "CHANGED", "AGENT", "MODEL", "TITLE"], &rows)?;
    Ok(Exit::Done)
}

/// One line for every change.
async fn follow(context: &Context) -> Result<Exit, Error> {
    let mut changes = Changes::new(context.client()?);
    loop {
        let frame = changes.next().await?;
        if context.json {
            output::line(&frame.text)?;
            continue;
        }
        match frame.kind.as_str() {
            "session" => {
                let session: Session = parsed(&frame)?;
                changed(
                    &session.id,
                    session.state(),
                    &session.agent.name,
                    session.title.as_deref(),
                )?;
            }
            "session_deleted" => changed(&parsed::<Deleted>(&frame)?.id, "deleted", "", None)?,
            _ => {}
        }
    }
}

fn parsed<'a, T: serde::Deserialize<'a>>(frame: &'a Frame) -> Result<T, Error> {
    serde_json::from_str(&frame.text).map_err(|error| Error::Answer {
        what: format!("an event of type {}", frame.kind),
        detail: error.to_string(),
    })
}

fn changed(id: &str, state: &str, agent: &str, title: Option<&str>) -> Result<(), Error> {
    let title = title.unwrap_or_default();
    let text = sanitize(&format!("{id}  {state:15}  {agent:15}  {title}")).replace('\n', " ");
    output::line(text.trim_end())
}

/// `12s`, `3m`, `5h`, `2d` ago.
fn age(at: &str, now: DateTime<Utc>) -> String {
    let Ok(at) = DateTime::parse_from_rfc3339(at) else {
        return at.to_owned();
    };
    let seconds = (now - at.with_timezone(&Utc)).num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        let now = DateTime::from_timestamp(1_000_000, 0).expect("valid");
        let check = |seconds: i64, expect: &str| {
            let at = DateTime::from_timestamp(1_000_000 - seconds, 0).expect("valid");
            assert_eq!(age(&at.to_rfc3339(), now), expect);
        };
        check(-5, "0s");
        check(59, "59s");
        check(60, "1m");
        check(7_200, "2h");
        check(200_000, "2d");
        assert_eq!(age("whenever", now), "whenever");
    }
}

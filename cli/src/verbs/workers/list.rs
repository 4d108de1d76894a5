//! `perennial workers`

use super::{MOST, PATH, Worker};
use crate::client::pages::typed;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

/// Prints a table.
pub(super) async fn run(context: &Context) -> Result<Exit, Error> {
    let items = context.client()?.list(PATH, &[], MOST).await?;
    if context.json {
        for item in &items {
            output::line(item.get())?;
        }
        return Ok(Exit::Done);
    }
    let row = |worker: Worker| {
        vec![
            worker.id,
            worker.name,
            worker.state,
            format!("{}/{}", worker.sessions, worker.slots),
            worker.harnesses.join(" "),
            worker.version,
            worker.joined_at,
        ]
    };
    let rows: Vec<Vec<String>> = typed::<Worker>(&items)?.into_iter().map(row).collect();
    output::table(
        &["WORKER", "NAME", "STATE", "SESSIONS", "HARNESSES", "VERSION", "SINCE"],
        &rows,
    )?;
    Ok(Exit::Done)
}

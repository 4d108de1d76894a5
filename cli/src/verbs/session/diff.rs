//! `perennial session diff SESSION`

use clap::Args;

use crate::client::{Client, Query};
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::render::Style;
use crate::render::sanitize;
use crate::verbs::Context;

/// Show what a session changed in its repository, also while it works
///
/// To a terminal with colours, elsewhere as a patch that git applies.
#[derive(Debug, Args)]
pub struct DiffArgs {
    session: String,
    #[command(flatten)]
    wanted: Wanted,
}

/// Which changes.
#[derive(Debug, Default, Args)]
pub struct Wanted {
    /// The repository, or a folder in it, in the folder that is worked in [default: its one repository, else the folder]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// From this revision on [default: where the session began, else the newest commit]
    #[arg(long, value_name = "REVISION")]
    base: Option<String>,
    /// Up to this revision [default: the files as they are]
    #[arg(long, value_name = "REVISION")]
    head: Option<String>,
    /// Up to what is staged
    #[arg(long, conflicts_with = "head")]
    staged: bool,
    /// Without files that git does not know
    #[arg(long)]
    tracked: bool,
    /// Lines around a change
    #[arg(long, value_name = "N")]
    context: Option<u16>,
}

impl DiffArgs {
    /// All changes of a session's repository.
    pub fn of(session: String, path: Option<String>, base: Option<String>) -> Self {
        let wanted = Wanted {
            path,
            base,
            ..Wanted::default()
        };
        Self { session, wanted }
    }

    pub fn url(&self) -> String {
        format!("/v1/sessions/{}/diff", self.session)
    }

    pub fn query(&self) -> Vec<(&'static str, String)> {
        self.wanted.query()
    }
}

impl Wanted {
    /// As the API takes it.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let given = [("path", &self.path), ("base", &self.base), ("head", &self.head)];
        let mut query: Vec<_> = given
            .into_iter()
            .filter_map(|(name, value)| value.clone().map(|value| (name, value)))
            .collect();
        query.extend(self.staged.then(|| ("staged", "true".to_owned())));
        query.extend(self.tracked.then(|| ("untracked", "false".to_owned())));
        query.extend(self.context.map(|lines| ("context", lines.to_string())));
        query
    }
}

/// Shows it.
pub async fn run(context: &Context, args: DiffArgs) -> Result<Exit, Error> {
    let client = context.client()?;
    show(context, &client, &args.url(), &args.query()).await
}

/// Shows what is there.
pub async fn show(context: &Context, client: &Client, url: &str, query: Query<'_>) -> Result<Exit, Error> {
    if context.json {
        let body = client.get(url, query).await?;
        output::line(body.text())?;
        return Ok(Exit::Done);
    }
    let patch = client.bytes(url, query, "text/x-patch").await?;
    let style = context.style;
    if !std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        output::bytes(&patch)?;
        return Ok(Exit::Done);
    }
    for line in String::from_utf8_lossy(&patch).lines() {
        output::line(&painted(&sanitize(line), style))?;
    }
    Ok(Exit::Done)
}

fn painted(line: &str, style: Style) -> String {
    let head = [
        "diff ",
        "index ",
        "--- ",
        "+++ ",
        "new file",
        "deleted file",
        "similarity",
        "rename ",
    ];
    if head.iter().any(|word| line.starts_with(word)) {
        return style.bold(line);
    }
    match line.chars().next() {
        Some('+') => style.good(line),
        Some('-') => style.bad(line),
        Some('@') => style.dim(line),
        _ => line.to_owned(),
    }
}

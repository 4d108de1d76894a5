//! The built-in tools. One file per tool; this one knows which there are and how an input becomes a plan.
//!
//! File tools run in this process, confined by descriptor-relative opens; only the shell needs a sandbox.

pub(crate) mod bash;
mod edit;
mod glob;
mod grep;
mod put;
mod read;
mod write;

use perennial_schema::event::Raw;
use perennial_schema::step::{self, CloneInput, DiffInput, PutInput, SetupInput};
use perennial_schema::tool::{BashInput, Builtin, EditInput, GlobInput, GrepInput, Outcome, ReadInput, WriteInput};

pub(crate) use self::edit::text as edit_text;
pub(crate) use self::read::{START_BYTES, is_text, text as read_text};
pub(crate) use self::write::said as written;
use crate::call::Stop;
use crate::workspace::{Folder, explain};

/// A checked input.
#[derive(Debug)]
pub(crate) enum Plan {
    Bash(bash::Command),
    Read(ReadInput),
    Write(WriteInput),
    Edit(EditInput),
    Glob(GlobInput),
    Grep(GrepInput),
    Clone(CloneInput),
    Put(PutInput),
    Diff(DiffInput),
}

/// Checks a call's tool and input before anything is started. The error is told to the model.
pub(crate) fn plan(tool: &str, input: &Raw) -> Result<(Builtin, Plan), String> {
    // Steps are offered like the tool that could do the same.
    match tool {
        step::SETUP => {
            return Ok((
                Builtin::Bash,
                Plan::Bash(bash::setup(&parse::<SetupInput>(tool, input)?)?),
            ));
        }
        step::CLONE => return Ok((Builtin::Write, Plan::Clone(parse(tool, input)?))),
        step::PUT => return Ok((Builtin::Write, Plan::Put(parse(tool, input)?))),
        step::DIFF => return Ok((Builtin::Read, Plan::Diff(parse(tool, input)?))),
        _ => {}
    }
    let builtin = Builtin::by_name(tool).ok_or_else(|| format!("this executor has no tool named {tool:?}"))?;
    let plan = match builtin {
        Builtin::Bash => Plan::Bash(bash::check(parse::<BashInput>(tool, input)?)?),
        Builtin::Read => Plan::Read(parse(tool, input)?),
        Builtin::Write => Plan::Write(parse(tool, input)?),
        Builtin::Edit => Plan::Edit(parse(tool, input)?),
        Builtin::Glob => Plan::Glob(parse(tool, input)?),
        Builtin::Grep => Plan::Grep(parse(tool, input)?),
    };
    Ok((builtin, plan))
}

fn parse<'a, T: serde::Deserialize<'a>>(tool: &str, input: &'a Raw) -> Result<T, String> {
    // A list would do for the decoder: its first element for the first field, and so on.
    if !input.text().starts_with('{') {
        return Err(format!("the input of {tool} does not fit: it is not an object"));
    }
    let parsed = input.parse();
    parsed.map_err(|error| format!("the input of {tool} does not fit: {error}"))
}

/// Runs a file tool. Blocks.
pub(crate) fn run(plan: &Plan, folder: &Folder, stop: &Stop) -> Outcome {
    let result = match plan {
        Plan::Read(input) => return read::run(input, folder).unwrap_or_else(|error| Outcome::text(error, true)),
        Plan::Write(input) => write::run(input, folder),
        Plan::Edit(input) => edit::run(input, folder),
        Plan::Glob(input) => glob::run(input, folder, stop),
        Plan::Grep(input) => grep::run(input, folder, stop),
        Plan::Put(input) => put::run(input, folder),
        Plan::Bash(_) | Plan::Clone(_) | Plan::Diff(_) => Err("it runs in a process of its own".into()),
    };
    if stop.is_cancelled() && matches!(plan, Plan::Glob(_) | Plan::Grep(_)) {
        return Outcome::text("[cancelled]", true);
    }
    match result {
        Ok(text) => Outcome::text(text, false),
        Err(text) => Outcome::text(text, true),
    }
}

/// Where a search begins.
struct Base {
    /// As it is shown: relative to the workspace folder, empty for the folder itself.
    path: std::path::PathBuf,
    dir: Option<cap_std::fs::Dir>,
    file: Option<cap_std::fs::File>,
}

fn base(folder: &Folder, path: Option<&str>) -> Result<Base, String> {
    let given = path.unwrap_or(".");
    let relative = folder.relative(given)?;
    let meta = folder.dir.metadata(&relative).map_err(|error| explain(given, &error))?;
    let path = relative
        .components()
        .filter(|part| *part != std::path::Component::CurDir)
        .collect();
    if meta.is_dir() {
        let dir = folder.dir.open_dir(&relative).map_err(|error| explain(given, &error))?;
        return Ok(Base {
            path,
            dir: Some(dir),
            file: None,
        });
    }
    let file = folder.open_file(given)?;
    Ok(Base {
        path,
        dir: None,
        file: Some(file),
    })
}

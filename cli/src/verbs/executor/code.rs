//! `perennial executor code`

use serde::Deserialize;
use serde_json::json;

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::verbs::Context;

#[derive(Deserialize)]
struct Code {
    secret: Option<String>,
    expires_at: String,
}

/// Makes one; the code alone goes to stdout.
pub async fn run(context: &Context) -> Result<Exit, Error> {
    let client = context.client()?;
    let made = client.post("/v1/executors/codes", &json!({})).await?;
    if context.json {
        output::line(made.text())?;
        return Ok(Exit::Done);
    }
    let code: Code = made.parse()?;
    let Some(secret) = code.secret else {
        return Err(Error::Failed("the code was lost on its way; make another one".into()));
    };
    output::note(&format!(
        "good for one machine, until {}. There:\n  perennial connect --server {} --code CODE --name NAME",
        code.expires_at,
        client.server()?.base
    ));
    output::line(&secret)?;
    Ok(Exit::Done)
}

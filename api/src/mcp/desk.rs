//! What is offered and done for a request, by the door it came through.

use async_trait::async_trait;
use axum::http::request::Parts;
use perennial_router::mcp::{McpAsked, McpDesk, McpOffer};
use perennial_schema::tool::Outcome;

use super::caller::{Caller, Scope};
use super::tools::{self, Done, Tool};

/// The desk of both doors.
pub(super) struct Desk;

#[async_trait]
impl McpDesk for Desk {
    async fn offers(&self, request: &Parts) -> Result<Vec<McpOffer>, String> {
        let caller = caller(request)?;
        match caller.scope {
            Scope::Session(key) => tools::session::offers(caller, key).await,
            Scope::Workspace => {
                let mut offers: Vec<McpOffer> = Tool::ALL.into_iter().map(Tool::offer).collect();
                offers.extend(tools::executors::offers(caller).await?);
                #[cfg(feature = "failpoints")]
                offers.extend(tools::fixtures::offers());
                Ok(offers)
            }
        }
    }

    async fn call(&self, request: &Parts, asked: McpAsked) -> Result<Option<Outcome>, String> {
        let caller = caller(request)?;
        #[cfg(feature = "failpoints")]
        if let Some(outcome) = tools::fixtures::call(&asked).await {
            return Ok(Some(outcome));
        }
        let done = match (caller.scope, Tool::by_name(&asked.tool)) {
            (Scope::Session(key), _) => tools::session::call(caller, key, asked).await,
            (Scope::Workspace, Some(tool)) => tool.run(caller, asked).await.map(|told| Some(outcome(&told))),
            (Scope::Workspace, None) => tools::executors::call(caller, asked).await,
        };
        Ok(match done {
            Ok(done) => done,
            // What went wrong is for the model to read.
            Err(problem) => Some(Outcome::text(problem, true)),
        })
    }
}

fn caller(request: &Parts) -> Result<&Caller, String> {
    let caller = request.extensions.get::<Caller>();
    caller.ok_or_else(|| "this request came through no door".to_owned())
}

fn outcome(told: &Done) -> Outcome {
    Outcome::text(told.to_string(), false)
}

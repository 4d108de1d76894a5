//! Tools of machines that dialled in: `machine__tool`, for those that are online.

use perennial_engine::ports::{Executor, ExecutorKind, ExecutorListing};
use perennial_router::mcp::{McpAsked, McpOffer};
use perennial_schema::event::Raw;
use perennial_schema::mcp::tool_name;
use perennial_schema::tool::{Builtin, Outcome};

use crate::endpoints::executors::{Call, cancel, made};
use crate::limits::MCP_EXECUTORS;
use crate::mcp::caller::Caller;

pub(crate) async fn offers(caller: &Caller) -> Result<Vec<McpOffer>, String> {
    let offer = |(executor, tool): &(Executor, Builtin)| McpOffer {
        name: tool_name(&executor.name, tool.name()),
        description: format!("On the machine {:?}: {}", executor.name, tool.description()),
        input_schema: tool.input_schema(),
        effect: tool.effect(),
    };
    Ok(online(caller).await?.iter().map(offer).collect())
}

/// Of two machines with one name the newer one is meant.
pub(crate) async fn call(caller: &Caller, asked: McpAsked) -> Result<Option<Outcome>, String> {
    let online = online(caller).await?;
    let mut online = online.into_iter();
    let Some((executor, tool)) = online.find(|(executor, tool)| tool_name(&executor.name, tool.name()) == asked.tool)
    else {
        return Ok(None);
    };
    let call = Call {
        tool,
        input: Raw::of(&asked.arguments),
        dir: None,
    };
    let (app, workspace) = (&caller.app, caller.principal.workspace);
    let id = app.ports.ids.uuid();
    let calling = made(app, workspace, executor.id, call, id);
    tokio::pin!(calling);
    let came = tokio::select! {
        came = &mut calling => came,
        () = asked.cancelled.cancelled() => {
            cancel(app, workspace, id).await;
            calling.await
        }
    };
    came.map(Some).map_err(|error| error.message)
}

async fn online(caller: &Caller) -> Result<Vec<(Executor, Builtin)>, String> {
    let listing = ExecutorListing {
        workspace: caller.principal.workspace,
        cursor: None,
        limit: MCP_EXECUTORS,
    };
    let executors = caller.app.ports.executors.executors(listing).await;
    let executors = executors.map_err(|error| error.to_string())?;
    let mut online = Vec::new();
    for executor in executors {
        if executor.kind != ExecutorKind::Device || !executor.online {
            continue;
        }
        let serves = executor
            .card
            .as_ref()
            .map(|card| card.tools.clone())
            .unwrap_or_default();
        let tools = Builtin::ALL
            .into_iter()
            .filter(|tool| serves.iter().any(|name| name == tool.name()));
        online.extend(tools.map(|tool| (executor.clone(), tool)));
    }
    Ok(online)
}

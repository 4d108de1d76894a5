//! The tools of one session's hands, for somebody beside its model: in its folder, with its shell. Its log does not know of these
//! calls, as it does not know what a person does at its terminal; policy that asks is answered by whoever calls.

use perennial_engine::ports::{
    CallError, HOUSE, Lane, Order, SessionKey, SessionRow, Settled, ToolSpec, environment_of,
};
use perennial_router::mcp::{McpAsked, McpOffer};
use perennial_schema::event::{Permission, Raw};
use perennial_schema::tool::Outcome;

use crate::limits::MCP_TRIES;
use crate::mcp::caller::Caller;

pub(crate) async fn offers(caller: &Caller, key: SessionKey) -> Result<Vec<McpOffer>, String> {
    let row = row(caller, key).await?;
    let offer = |tool: ToolSpec| McpOffer {
        name: tool.name,
        description: tool.description,
        input_schema: tool.input_schema,
        effect: tool.effect,
    };
    Ok(tools(caller, &row).await.into_iter().map(offer).collect())
}

pub(crate) async fn call(caller: &Caller, key: SessionKey, asked: McpAsked) -> Result<Option<Outcome>, String> {
    let mut row = row(caller, key).await?;
    let tools = tools(caller, &row).await;
    let Some(tool) = tools.into_iter().find(|tool| tool.name == asked.tool) else {
        return Ok(None);
    };
    let input = Raw::of(&asked.arguments);
    let hand = tool.chosen(&input)?.and_then(|choice| choice.hand.clone());
    let router = &caller.app.ports.router;
    for _ in 0..MCP_TRIES {
        let environment = environment_of(hand.as_ref(), &row.environment);
        let order = Order {
            key,
            epoch: row.epoch,
            call_id: caller.app.ports.ids.event(),
            tool: tool.name.clone(),
            input: input.clone(),
            effect: tool.effect,
            placement: router.place(key, &environment).await?,
            environment,
            secret: None,
            mcp: None,
        };
        let calling = made(caller, order.clone());
        tokio::pin!(calling);
        let came = tokio::select! {
            came = &mut calling => came,
            () = asked.cancelled.cancelled() => {
                router.cancel(key, order.epoch, order.call_id).await;
                calling.await
            }
        };
        match came {
            Ok(outcome) => return Ok(Some(outcome)),
            // Under another lease, or with the executor as it is now.
            Err(CallError::Fenced | CallError::NotSent(_)) => row = self::row(caller, key).await?,
            Err(CallError::NotStarted(reason)) => return Err(format!("the call was not started: {reason}")),
            Err(CallError::Unknown(reason)) => return Err(format!("the call's outcome is unknown: {reason}")),
        }
    }
    Err("the session changes hands; try again".into())
}

/// Sends it; when the line broke, asks what became of it, and sends it again only if it never began.
async fn made(caller: &Caller, order: Order) -> Result<Outcome, CallError> {
    let router = &caller.app.ports.router;
    match router.call(order.clone()).await {
        Err(CallError::Unknown(_)) => match router.settle(order.clone()).await? {
            Settled::Done(outcome) => Ok(outcome),
            Settled::NeverStarted => router.call(order).await,
            Settled::InDoubt { reason } => Err(CallError::Unknown(reason)),
        },
        came => came,
    }
}

async fn row(caller: &Caller, key: SessionKey) -> Result<SessionRow, String> {
    let row = caller.app.reread(key).await.map_err(|error| error.message)?;
    match row.archived_at.is_some() || row.deleted_at.is_some() {
        true => Err("the session is archived or deleted".into()),
        false => Ok(row),
    }
}

/// Those that machines run, and that its agent may have at all.
async fn tools(caller: &Caller, row: &SessionRow) -> Vec<ToolSpec> {
    let tools = caller
        .app
        .ports
        .router
        .catalogue(row.key, &row.agent, &row.environment)
        .await;
    let ours = |tool: &ToolSpec| {
        let hands = tool.choices.iter().filter_map(|choice| choice.hand.as_ref());
        tool.lane == Lane::Executor
            && tool.permission != Permission::Deny
            && hands.clone().all(|hand| hand.executor_id != HOUSE)
    };
    tools.into_iter().filter(ours).collect()
}

//! The editor's terminals: commands of sessions that are open there run in them, for whoever sits there to see.

use std::sync::Arc;

use agent_client_protocol::v1::ConnectionTo;
use agent_client_protocol::v1::schema::{
    CreateTerminalRequest, EnvVariable, KillTerminalRequest, ReleaseTerminalRequest, TerminalOutputRequest,
    WaitForTerminalExitRequest,
};
use agent_client_protocol::{Client as Editor, JsonRpcRequest};
use perennial_executor::Later;
use perennial_executor::panes::{Answer, Panes, Printed, Program, Status};
use perennial_schema::{EventId, SessionId};
use tokio::sync::{Mutex, oneshot};

use super::watch::{Open, Order, Watched};
use crate::render::sanitize;

/// How much of why an editor refuses is passed on, in characters.
const WHY_CHARS: usize = 500;

/// Where they are, and the sessions that the editor knows.
#[derive(Clone, Debug)]
pub(super) struct Terminals {
    editor: ConnectionTo<Editor>,
    open: Arc<Mutex<Open>>,
    able: bool,
}

impl Terminals {
    pub(super) const fn new(editor: ConnectionTo<Editor>, open: Arc<Mutex<Open>>, able: bool) -> Self {
        Self { editor, open, able }
    }

    /// Whether it has any.
    pub(super) const fn able(&self) -> bool {
        self.able
    }

    async fn ask<R: JsonRpcRequest>(&self, request: R) -> Result<R::Response, String> {
        let answer = self.editor.send_request(request).block_task().await;
        answer.map_err(|error| sanitize(&error.message).chars().take(WHY_CHARS).collect())
    }
}

impl Panes for Terminals {
    fn has(&self, session: SessionId) -> Later<'_, bool> {
        Box::pin(async move { self.open.lock().await.contains_key(&session.to_string()) })
    }

    fn create(&self, session: SessionId, program: Program) -> Answer<'_, String> {
        let env = program
            .env
            .into_iter()
            .map(|(name, value)| EnvVariable::new(name, value));
        let request = CreateTerminalRequest::new(session.to_string(), program.program)
            .args(program.arguments)
            .env(env.collect())
            .cwd(program.folder)
            .output_byte_limit(program.output_bytes);
        Box::pin(async move { Ok(self.ask(request).await?.terminal_id.0.to_string()) })
    }

    /// Told by who tells the editor of the call, and behind that: an editor knows no terminal of a call that it does not know.
    fn show<'a>(&'a self, session: SessionId, call: EventId, pane: &'a str) -> Later<'a, ()> {
        Box::pin(async move {
            let orders = self.open.lock().await.get(&session.to_string()).map(Watched::orders);
            let Some(orders) = orders else { return };
            let (told, telling) = oneshot::channel();
            let order = Order::Show {
                call: call.to_string(),
                terminal: pane.to_owned(),
                told,
            };
            if orders.send(order).await.is_ok() {
                telling.await.ok();
            }
        })
    }

    fn wait<'a>(&'a self, session: SessionId, pane: &'a str) -> Answer<'a, Status> {
        let request = WaitForTerminalExitRequest::new(session.to_string(), pane.to_owned());
        Box::pin(async move {
            let status = self.ask(request).await?.exit_status;
            Ok(Status {
                code: status.exit_code.map(u32::cast_signed),
                signal: status.signal.map(|signal| sanitize(&signal)),
            })
        })
    }

    fn output<'a>(&'a self, session: SessionId, pane: &'a str) -> Answer<'a, Printed> {
        let request = TerminalOutputRequest::new(session.to_string(), pane.to_owned());
        Box::pin(async move {
            let printed = self.ask(request).await?;
            Ok(Printed {
                text: printed.output,
                truncated: printed.truncated,
            })
        })
    }

    fn kill<'a>(&'a self, session: SessionId, pane: &'a str) -> Answer<'a, ()> {
        let request = KillTerminalRequest::new(session.to_string(), pane.to_owned());
        Box::pin(async move { self.ask(request).await.map(drop) })
    }

    fn release<'a>(&'a self, session: SessionId, pane: &'a str) -> Answer<'a, ()> {
        let request = ReleaseTerminalRequest::new(session.to_string(), pane.to_owned());
        Box::pin(async move { self.ask(request).await.map(drop) })
    }
}

//! The protocol's requests, each answered in a task of its own: the library reads nothing while a handler runs.

use std::sync::{Arc, OnceLock};

use agent_client_protocol::schema::ProtocolVersion;
use agent_client_protocol::v1::Responder;
use agent_client_protocol::v1::schema::{
    AgentCapabilities, CancelNotification, ClientCapabilities, CloseSessionRequest, CloseSessionResponse,
    Implementation, InitializeResponse, ListSessionsRequest, LoadSessionRequest, LoadSessionResponse,
    NewSessionRequest, NewSessionResponse, PromptCapabilities, PromptRequest, PromptResponse, ResumeSessionRequest,
    ResumeSessionResponse, SessionCapabilities, SessionCloseCapabilities, SessionListCapabilities,
    SessionResumeCapabilities, StopReason,
};
use agent_client_protocol::{
    Agent, Error as Refusal, JsonRpcRequest, JsonRpcResponse, RequestCancellation, on_receive_notification,
    on_receive_request,
};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Mutex, oneshot};

use super::desk::{Desk, Line, closed};
use super::stdio::{Pace, lines};
use super::watch::Order;
use super::{AcpArgs, prompt, sessions, told};
use crate::client::Client;

/// Serves one editor until it closes the streams.
pub(super) async fn serve(client: Client, args: AcpArgs) -> anyhow::Result<()> {
    let pace = Pace::new();
    let desk = Arc::new(Desk {
        client,
        args,
        pace: pace.clone(),
        open: Arc::default(),
        able: OnceLock::new(),
        hands: Mutex::default(),
    });
    /// A handler that leaves its work to a task.
    macro_rules! answered {
        ($request:ty, $handle:ident) => {{
            let desk = Arc::clone(&desk);
            async move |request: $request, responder, line: Line| {
                let (desk, editor) = (Arc::clone(&desk), line.clone());
                line.spawn(answer(responder, async move |cancelled| {
                    desk.$handle(request, editor, cancelled).await
                }))
            }
        }};
    }
    let (greeted, cancelling, offered) = (Arc::clone(&desk), Arc::clone(&desk), Arc::clone(&desk));
    let served = Agent
        .v1()
        .name("perennial")
        .on_receive_request(
            async move |greeting: Greeting, responder, _: Line| {
                greeted.able.set(greeting.client_capabilities).ok();
                responder.respond(hello()?)
            },
            on_receive_request!(),
        )
        .on_receive_request(answered!(NewSessionRequest, create), on_receive_request!())
        .on_receive_request(answered!(LoadSessionRequest, load), on_receive_request!())
        .on_receive_request(answered!(ResumeSessionRequest, resume), on_receive_request!())
        .on_receive_request(answered!(sessions::Fork, fork), on_receive_request!())
        .on_receive_request(answered!(ListSessionsRequest, list), on_receive_request!())
        .on_receive_request(answered!(CloseSessionRequest, close), on_receive_request!())
        .on_receive_request(answered!(PromptRequest, prompt), on_receive_request!())
        .on_receive_notification(
            async move |told: CancelNotification, line: Line| {
                let desk = Arc::clone(&cancelling);
                line.spawn(async move {
                    desk.cancel(&told.session_id.0).await;
                    Ok(())
                })
            },
            on_receive_notification!(),
        )
        .connect_to(lines(pace))
        .await;
    for (_, hands) in std::mem::take(&mut *offered.hands.lock().await) {
        hands.close().await;
    }
    served
        .map_err(|error| anyhow::anyhow!("{}", error.message))
        .context("the editor is not understood")
}

/// Answers a request with what became of it. The editor may be gone by then, which is no error of ours.
async fn answer<T: JsonRpcResponse>(
    responder: Responder<T>,
    work: impl AsyncFnOnce(RequestCancellation) -> Result<T, Refusal>,
) -> Result<(), Refusal> {
    let result = work(responder.cancellation()).await;
    responder.respond_with_result(result).ok();
    Ok(())
}

/// `initialize`, answered with more than the library has words for.
#[derive(Clone, Debug, Deserialize, Serialize, JsonRpcRequest)]
#[request(method = "initialize", response = Value)]
#[serde(rename_all = "camelCase")]
struct Greeting {
    /// What the editor can do.
    #[serde(default)]
    client_capabilities: ClientCapabilities,
}

/// What we are. A fork is in the protocol's draft only, so the library has no word for it.
fn hello() -> Result<Value, Refusal> {
    let able = AgentCapabilities::new()
        .load_session(true)
        .prompt_capabilities(PromptCapabilities::new().image(true).embedded_context(true))
        .session_capabilities(
            SessionCapabilities::new()
                .list(SessionListCapabilities::new())
                .resume(SessionResumeCapabilities::new())
                .close(SessionCloseCapabilities::new()),
        );
    let us = Implementation::new("perennial", env!("CARGO_PKG_VERSION")).title("Perennial".to_owned());
    let hello = InitializeResponse::new(ProtocolVersion::V1)
        .agent_capabilities(able)
        .agent_info(us);
    let mut hello = serde_json::to_value(hello).map_err(Refusal::into_internal_error)?;
    hello["agentCapabilities"]["sessionCapabilities"]["fork"] = json!({});
    Ok(hello)
}

impl Desk {
    async fn create(
        &self,
        request: NewSessionRequest,
        editor: Line,
        _: RequestCancellation,
    ) -> Result<NewSessionResponse, Refusal> {
        if !request.mcp_servers.is_empty() {
            tracing::warn!("the editor's MCP servers are not used: name them in the agent");
        }
        let Some(session) = &self.args.session else {
            let executor = match self.offers(&editor).map_err(|error| told(&error))? {
                Some(offer) => Some(
                    self.hand(offer, &request.cwd, None)
                        .await
                        .map_err(|error| told(&error))?,
                ),
                None => None,
            };
            let made = sessions::create(&self.client, &self.args, &request.cwd, executor).await;
            let session = made.map_err(|error| told(&error))?;
            self.open(session.id.clone(), request.cwd, 0, session.head(), editor)
                .await?;
            return Ok(NewSessionResponse::new(session.id));
        };
        // Its past is told as news, behind the answer that names it.
        let found = self.client.session(session).await.map_err(|error| told(&error))?;
        self.again(&found, &request.cwd, &editor).await;
        self.open(session.clone(), request.cwd, 0, 0, editor).await?;
        Ok(NewSessionResponse::new(session.clone()))
    }

    /// Answers when all of the past has been told.
    async fn load(
        &self,
        request: LoadSessionRequest,
        editor: Line,
        _: RequestCancellation,
    ) -> Result<LoadSessionResponse, Refusal> {
        let id = request.session_id.0.to_string();
        let session = self.client.session(&id).await.map_err(|error| told(&error))?;
        self.again(&session, &request.cwd, &editor).await;
        let history = self.open(id, request.cwd, 0, session.head(), editor).await?;
        history.await.map_err(|_| closed())??;
        Ok(LoadSessionResponse::new())
    }

    async fn resume(
        &self,
        request: ResumeSessionRequest,
        editor: Line,
        _: RequestCancellation,
    ) -> Result<ResumeSessionResponse, Refusal> {
        let id = request.session_id.0.to_string();
        let session = self.client.session(&id).await.map_err(|error| told(&error))?;
        self.again(&session, &request.cwd, &editor).await;
        let head = session.head();
        self.open(id, request.cwd, head, head, editor).await?;
        Ok(ResumeSessionResponse::new())
    }

    async fn fork(&self, request: sessions::Fork, editor: Line, _: RequestCancellation) -> Result<Value, Refusal> {
        let forked = sessions::fork(&self.client, &request.session_id).await;
        let id = forked.map_err(|error| told(&error))?.id;
        let session = self.client.session(&id).await.map_err(|error| told(&error))?;
        self.again(&session, &request.cwd, &editor).await;
        let head = session.head();
        self.open(id.clone(), request.cwd, head, head, editor).await?;
        Ok(json!({"sessionId": id}))
    }

    async fn list(
        &self,
        request: ListSessionsRequest,
        _: Line,
        _: RequestCancellation,
    ) -> Result<agent_client_protocol::v1::schema::ListSessionsResponse, Refusal> {
        sessions::list(&self.client, &request)
            .await
            .map_err(|error| told(&error))
    }

    /// The editor is done with it; what a prompt of its began is stopped, as the protocol asks. The session stays.
    async fn close(
        &self,
        request: CloseSessionRequest,
        _: Line,
        _: RequestCancellation,
    ) -> Result<CloseSessionResponse, Refusal> {
        self.cancel(&request.session_id.0).await;
        self.open.lock().await.remove(request.session_id.0.as_ref());
        Ok(CloseSessionResponse::new())
    }

    async fn prompt(
        &self,
        request: PromptRequest,
        editor: Line,
        cancelled: RequestCancellation,
    ) -> Result<PromptResponse, Refusal> {
        let content = prompt::content(request.prompt).map_err(|error| told(&error))?;
        let orders = self.orders(&request.session_id.0, editor).await?;
        let (reply, mut ended) = oneshot::channel();
        orders.send(Order::Prompt(content, reply)).await.map_err(|_| closed())?;
        let ended = tokio::select! {
            ended = &mut ended => ended,
            () = cancelled.cancelled() => {
                orders.send(Order::Cancel).await.map_err(|_| closed())?;
                ended.await
            }
        };
        let stop: StopReason = ended.map_err(|_| closed())??;
        Ok(PromptResponse::new(stop))
    }
}

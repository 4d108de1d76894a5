//! The OpenAPI document: its frame, and the shapes of bodies and parameters. The routes come from the endpoints themselves.
//!
//! These types only describe; what is really parsed and served is in `wire` and `perennial_schema`.

use serde_json::Value;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoParams, Modify, OpenApi, ToSchema};

#[derive(OpenApi)]
#[openapi(
    info(title = "Perennial", description = "Durable agent sessions. /v1 speaks the Claude Managed Agents resources."),
    modifiers(&Keys),
    security(("key" = []), ("bearer" = []))
)]
struct Frame;

struct Keys;

impl Modify for Keys {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-api-key")));
        components.add_security_scheme("key", key);
        let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        components.add_security_scheme("bearer", bearer);
    }
}

/// The document, pretty-printed; what `api/openapi.json` holds.
#[must_use]
pub fn document() -> String {
    let (_, keyed) = crate::router::keyed().split_for_parts();
    let (_, open) = crate::router::open().split_for_parts();
    let mut document = Frame::openapi();
    document.merge(keyed);
    document.merge(open);
    document.merge(crate::llm::doc::Doc::openapi());
    document
        .to_pretty_json()
        .map_or_else(|_| "{}".into(), |text| text + "\n")
}

macro_rules! object {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(ToSchema)]
        #[expect(dead_code, reason = "describes a shape; never built")]
        pub struct $name { $($(#[$field_doc])* $field: $kind,)* }
    )*};
}

/// There is nothing to choose yet.
#[derive(ToSchema)]
pub struct ExecutorCodeCreate {}

object! {
    /// A refused or failed request.
    Error {
        /// Always `error`.
        r#type: String,
        error: ErrorDetail,
        /// Also in the `request-id` header.
        request_id: Option<String>,
        title: String,
        status: u16,
        detail: String,
    }
    /// What went wrong.
    ErrorDetail {
        r#type: String,
        /// Names the field or the remedy.
        message: String,
        details: Option<Value>,
    }
    /// A model and how to use it.
    Model {
        id: String,
        speed: Option<String>,
        effort: Option<Value>,
        inference_geo: Option<String>,
    }
    /// A versioned definition.
    Agent {
        id: String,
        r#type: String,
        version: u64,
        name: String,
        model: Model,
        system: Option<String>,
        description: Option<String>,
        tools: Vec<Value>,
        /// Ours among them, `{type: "stdio", name, command, args, env}`: values of `env` are sealed.
        mcp_servers: Vec<Value>,
        skills: Vec<Value>,
        multiagent: Option<Value>,
        execution_identity: Value,
        /// Ours: `claude-code`, `codex` or `acp:NAME`; absent for the native loop.
        harness: Option<String>,
        /// Ours: how it takes mail, `{environment_id, sessions}`; absent when it takes none.
        mail: Option<Value>,
        metadata: std::collections::HashMap<String, String>,
        created_at: chrono::DateTime<chrono::Utc>,
        updated_at: chrono::DateTime<chrono::Utc>,
        archived_at: Option<chrono::DateTime<chrono::Utc>>,
    }
    AgentCreate {
        name: String,
        /// A model name, or an object with `id`.
        model: Value,
        system: Option<String>,
        description: Option<String>,
        tools: Option<Vec<Value>>,
        /// `{type: "url", name, url}`, or ours, a program that is started where its sessions' tools run:
        /// `{type: "stdio", name, command, args, env}`.
        mcp_servers: Option<Vec<Value>>,
        metadata: Option<std::collections::HashMap<String, String>>,
        /// Ours: `native` (default), `claude-code`, `codex` or `acp:NAME`.
        harness: Option<String>,
        /// Ours: takes mail at `agent/<name>` with it. `sessions` is `per_thread` (default), `single` or `per_message`.
        mail: Option<Value>,
        /// Ours: attached to its sessions.
        executors: Option<Vec<ExecutorAttach>>,
    }
    AgentUpdate {
        /// Refused unless it is the newest.
        version: Option<u64>,
        name: Option<String>,
        model: Option<Value>,
        system: Option<String>,
        description: Option<String>,
        tools: Option<Vec<Value>>,
        mcp_servers: Option<Vec<Value>>,
        /// Merged; a null value deletes its key.
        metadata: Option<std::collections::HashMap<String, Option<String>>>,
        harness: Option<String>,
        /// Null: it takes no mail any more.
        mail: Option<Value>,
        /// Ours: attached to its sessions, whole.
        executors: Option<Vec<ExecutorAttach>>,
    }
    AgentPage { data: Vec<Agent>, next_page: Option<String>, }
    /// A code for one machine to register with.
    ExecutorCode {
        r#type: String,
        expires_at: chrono::DateTime<chrono::Utc>,
        /// The code; shown once, by the answer that made it.
        secret: Option<String>,
    }
    ExecutorRegister {
        code: String,
        name: String,
        /// 64 lowercase hexadecimal digits that the machine chose at random; part of its token.
        secret: String,
    }
    /// A machine that has just registered.
    ExecutorRegistered {
        id: String,
        r#type: String,
        name: String,
        workspace_id: String,
        /// Opens its tunnel, and nothing else.
        token: String,
    }
    /// A machine that dials in.
    Executor {
        id: String,
        r#type: String,
        name: String,
        /// `device`, or `sandbox`: made for one session.
        kind: String,
        /// `online` or `offline`.
        status: String,
        /// What it said of itself when it connected last.
        card: Option<Value>,
        last_seen_at: Option<chrono::DateTime<chrono::Utc>>,
        created_at: chrono::DateTime<chrono::Utc>,
    }
    /// A piece of work for a worker of a self-hosted environment: to serve one session until it rests.
    Work {
        id: String,
        r#type: String,
        environment_id: String,
        /// `queued`, `starting`, `active`, `stopping` or `stopped`.
        state: String,
        /// `{"type": "session", "id": …}`.
        data: Value,
        /// Shown to whoever it is handed to, by the poll that does: URL-safe base64 of `{"sessions_token": …}`.
        secret: Option<String>,
        metadata: std::collections::HashMap<String, String>,
        created_at: chrono::DateTime<chrono::Utc>,
        acknowledged_at: Option<chrono::DateTime<chrono::Utc>>,
        started_at: Option<chrono::DateTime<chrono::Utc>>,
        latest_heartbeat_at: Option<chrono::DateTime<chrono::Utc>>,
        stop_requested_at: Option<chrono::DateTime<chrono::Utc>>,
        stopped_at: Option<chrono::DateTime<chrono::Utc>>,
    }
    WorkPage { data: Vec<Work>, next_page: Option<String>, }
    WorkUpdate {
        /// Merged; a null value deletes its key.
        metadata: Option<std::collections::HashMap<String, Option<String>>>,
    }
    WorkStop {
        /// At once, without waiting for the worker.
        force: Option<bool>,
    }
    /// What a heartbeat is answered with.
    WorkHeartbeat {
        r#type: String,
        /// To be named by the next one.
        last_heartbeat: String,
        /// False: the worker is to stop.
        lease_extended: bool,
        state: String,
        ttl_seconds: u32,
    }
    WorkStats {
        r#type: String,
        depth: u64,
        pending: u64,
        oldest_queued_at: Option<chrono::DateTime<chrono::Utc>>,
        workers_polling: u64,
    }
    WebhookCreate {
        /// `https` or `http`; what is told there is signed (Standard Webhooks).
        url: String,
        /// Only these types; absent or empty means all.
        events: Option<Vec<String>>,
        /// For people.
        description: Option<String>,
    }
    WebhookUpdate {
        url: Option<String>,
        events: Option<Vec<String>>,
        description: Option<String>,
        /// Off, or on again.
        enabled: Option<bool>,
    }
    /// Who is told of what happens.
    Webhook {
        id: String,
        r#type: String,
        url: String,
        description: String,
        events: Vec<String>,
        /// `enabled` or `disabled`.
        status: String,
        disabled_reason: Option<String>,
        /// Failed attempts in a row.
        failures: u64,
        failing_since: Option<chrono::DateTime<chrono::Utc>>,
        /// `whsec_…`: shown once, by the answer that made it.
        secret: Option<String>,
        created_at: chrono::DateTime<chrono::Utc>,
        updated_at: chrono::DateTime<chrono::Utc>,
    }
    WebhookPage { data: Vec<Webhook>, next_page: Option<String>, }
    /// One event for one receiver.
    Delivery {
        id: String,
        r#type: String,
        webhook_id: String,
        /// `webhook-id`: the same in every attempt.
        event_id: String,
        event_type: String,
        /// `pending`, `delivered` or `failed`.
        status: String,
        attempts: u32,
        next_attempt_at: Option<chrono::DateTime<chrono::Utc>>,
        /// What the receiver answered last.
        response_status: Option<u16>,
        /// What came of the last attempt.
        outcome: Option<String>,
        /// What is sent.
        body: Value,
        created_at: chrono::DateTime<chrono::Utc>,
        ended_at: Option<chrono::DateTime<chrono::Utc>>,
    }
    DeliveryPage { data: Vec<Delivery>, next_page: Option<String>, }
    EnvironmentKeyCreate {
        /// For people.
        name: Option<String>,
    }
    /// A key of an environment's workers: it opens their queue and the sessions of that environment, and nothing else.
    EnvironmentKey {
        id: String,
        r#type: String,
        environment_id: String,
        name: String,
        /// Shown once, by the answer that made it.
        secret: Option<String>,
        created_at: chrono::DateTime<chrono::Utc>,
    }
    EnvironmentKeyPage { data: Vec<EnvironmentKey>, next_page: Option<String>, }
    ExecutorPage { data: Vec<Executor>, next_page: Option<String>, }
    ExecutorRename { name: String, }
    /// An executor of the workspace that is to be a session's hands, beside its environment.
    ExecutorAttach {
        executor_id: String,
        /// What the model calls it; its name, unless said.
        name: Option<String>,
        /// Absolute path there; none means the folder that the executor offers.
        dir: Option<String>,
    }
    ExecutorCallCreate {
        /// `bash`, `read`, `write`, `edit`, `glob` or `grep`.
        tool: String,
        input: Value,
        /// Absolute path there; none means the folder that the executor offers.
        dir: Option<String>,
    }
    /// What came of a call.
    ExecutorCall {
        id: String,
        r#type: String,
        executor_id: String,
        tool: String,
        is_error: bool,
        /// What a command exited with.
        exit_code: Option<i32>,
        content: Vec<Value>,
    }
    ExecutorTicketCreate {
        /// Its name: letters, digits, - and _.
        terminal: String,
    }
    /// What a browser opens a terminal with, once.
    ExecutorTicket {
        r#type: String,
        executor_id: String,
        terminal: String,
        ticket: String,
        expires_at: chrono::DateTime<chrono::Utc>,
    }
    ExecutorPreviewCreate {
        /// What listens there on the machine's loopback address is shown.
        port: u16,
    }
    /// Where a browser sees a port of a machine.
    ExecutorPreview {
        r#type: String,
        executor_id: String,
        port: u16,
        /// The site; its cookie is good for twelve hours.
        origin: String,
        /// Opens the site, once.
        url: String,
        expires_at: chrono::DateTime<chrono::Utc>,
    }
    /// A file of a machine, stored.
    ExecutorFile { r#type: String, executor_id: String, path: String, bytes: u64, }
    /// A folder of a machine, as it was when it was looked at.
    ExecutorFolder {
        r#type: String,
        executor_id: String,
        path: String,
        entries: Vec<ExecutorEntry>,
        /// There is more than is listed.
        truncated: bool,
    }
    ExecutorEntry {
        name: String,
        /// `file`, `folder`, `link` (not followed) or `other`.
        r#type: String,
        /// Of a file.
        bytes: Option<u64>,
        modified_at: Option<chrono::DateTime<chrono::Utc>>,
    }
    /// Files of a form, stored.
    ExecutorUpload { r#type: String, executor_id: String, files: Vec<ExecutorUploaded>, }
    ExecutorUploaded { path: String, bytes: u64, }
    /// Files of a machine that were looked for.
    ExecutorSearch {
        r#type: String,
        executor_id: String,
        path: String,
        files: Vec<ExecutorFound>,
        /// There is more than is listed, or not everything was looked through.
        truncated: bool,
    }
    ExecutorFound { path: String, bytes: u64, lines: Option<Vec<ExecutorLine>>, }
    ExecutorLine { number: u64, text: String, }
    ExecutorRepositories {
        r#type: String,
        executor_id: String,
        path: String,
        repositories: Vec<ExecutorRepository>,
        /// Not everything was looked through.
        truncated: bool,
    }
    /// A repository of git, and what is checked out in it.
    ExecutorRepository { path: String, branch: Option<String>, commit: Option<String>, }
    /// Where a session's hands are.
    Environment {
        id: String,
        r#type: String,
        name: String,
        description: String,
        /// `cloud`, `self_hosted`, or ours: `local`.
        config: Value,
        metadata: std::collections::HashMap<String, String>,
        created_at: chrono::DateTime<chrono::Utc>,
        updated_at: chrono::DateTime<chrono::Utc>,
        archived_at: Option<chrono::DateTime<chrono::Utc>>,
    }
    EnvironmentCreate {
        name: String,
        config: Option<Value>,
        description: Option<String>,
        metadata: Option<std::collections::HashMap<String, String>>,
    }
    EnvironmentUpdate {
        name: Option<String>,
        config: Option<Value>,
        description: Option<String>,
        metadata: Option<std::collections::HashMap<String, Option<String>>>,
    }
    EnvironmentPage { data: Vec<Environment>, next_page: Option<String>, }
    /// One append-only log and what follows from it.
    Session {
        id: String,
        r#type: String,
        /// `idle`, `running`, `rescheduling` or `terminated`.
        status: String,
        title: Option<String>,
        agent: Value,
        environment_id: String,
        deployment_id: Option<String>,
        resources: Vec<Value>,
        vault_ids: Vec<String>,
        metadata: std::collections::HashMap<String, String>,
        outcome_evaluations: Vec<Value>,
        stats: Value,
        usage: Value,
        budget: Option<Value>,
        created_at: chrono::DateTime<chrono::Utc>,
        updated_at: chrono::DateTime<chrono::Utc>,
        archived_at: Option<chrono::DateTime<chrono::Utc>>,
        /// Ours, with `include=extensions`: `stop_reason`, `turn`, `head`, `quarantined`, `attempts`, `last_event` (`{"type", "name"?,
        /// "text"?, "is_error"?}`).
        perennial: Option<Value>,
    }
    SessionCreate {
        /// An agent id, `{"type":"agent","id","version"?}`, or `{"type":"agent_with_overrides",…}`.
        agent: Value,
        environment_id: String,
        title: Option<String>,
        metadata: Option<std::collections::HashMap<String, String>>,
        /// `{"type": "github_repository", "url", "authorization_token"?, "mount_path"?, "checkout"?}` and `{"type": "file", "file_id",
        /// "mount_path"?}`: there before the first call.
        resources: Option<Vec<Value>>,
        /// `user.message` events; with any, the session starts at once.
        initial_events: Option<Vec<Value>>,
        /// `{"type": "limit", "max_list_cost": {"amount": "2500", "currency": "USD"}}`, in cents.
        budget: Option<Value>,
        /// Ours: attached from the beginning; left out, those of the agent and of the environment.
        executors: Option<Vec<ExecutorAttach>>,
    }
    /// An uploaded file.
    File {
        id: String,
        r#type: String,
        filename: String,
        mime_type: String,
        size_bytes: u64,
        created_at: chrono::DateTime<chrono::Utc>,
        downloadable: bool,
    }
    FilePage {
        data: Vec<File>,
        next_page: Option<String>,
        has_more: bool,
        first_id: Option<String>,
        last_id: Option<String>,
    }
    /// Changes of a repository in a session's folder.
    SessionDiff {
        r#type: String,
        path: String,
        /// The commit it begins at.
        base: String,
        /// The commit it ends at; null means the files.
        head: Option<String>,
        /// `path`, `previous_path` of a renamed one, `status`, and lines as `additions` and `deletions`, null for binary ones.
        files: Vec<Value>,
        patch: String,
    }
    SessionUpdate {
        title: Option<String>,
        metadata: Option<std::collections::HashMap<String, Option<String>>>,
        /// `tools` and `mcp_servers`, whole, while the session is idle. Ours: `model`, `harness` and `system` too.
        agent: Option<Value>,
        /// Null removes it.
        budget: Option<Value>,
    }
    SessionFork {
        /// How many events to copy; all of them when absent.
        at_seq: Option<u64>,
        /// Instead of `at_seq`: the last event to copy.
        at_event: Option<String>,
        /// Another agent as in a creation, or `model`, `harness`, `system`, `tools`, `mcp_servers` to change.
        agent: Option<Value>,
        title: Option<String>,
    }
    SessionPage { data: Vec<Session>, next_page: Option<String>, prev_page: Option<String>, }
    EventsSend {
        /// Client events: `user.message`, `user.interrupt`, `user.tool_confirmation`, `user.custom_tool_result`,
        /// `user.tool_result`, `system.message`.
        events: Vec<Value>,
    }
    EventsSent { data: Vec<Value>, }
    EventPage { data: Vec<Value>, next_page: Option<String>, }
    /// An event with its envelope.
    Envelope {
        session_id: String,
        seq: u64,
        id: String,
        r#type: String,
        turn: u64,
        actor: Option<String>,
        thread_id: Option<String>,
        created_at: chrono::DateTime<chrono::Utc>,
        payload: Value,
    }
    LogPage { data: Vec<Envelope>, next_after: Option<u64>, }
    /// How much of models may be used. Ours.
    Budget {
        id: String,
        r#type: String,
        /// `{"type": "workspace"}`, `{"type": "key", "id"}` or `{"type": "session", "id"}`.
        scope: Value,
        /// `requests`, `tokens` or `money`.
        metric: String,
        /// What the amounts count: `requests`, `tokens` or `microusd`, millionths of a US dollar.
        unit: String,
        /// `total`, or `day`: it begins anew at midnight UTC.
        period: String,
        limit: u64,
        used: u64,
        /// Set aside for requests under way.
        reserved: u64,
        remaining: u64,
        /// From this share of the limit on a session that uses it is warned, once a period (`budget.warning`).
        warn_percent: Option<u8>,
        resets_at: Option<chrono::DateTime<chrono::Utc>>,
        created_at: chrono::DateTime<chrono::Utc>,
    }
    BudgetCreate {
        /// As shown, or just `workspace` (the default) or an id.
        scope: Option<Value>,
        metric: String,
        /// `total` (the default) or `day`.
        period: Option<String>,
        /// Units, or for money `{"amount": "2500", "currency": "USD"}` in cents.
        limit: Value,
        warn_percent: Option<u8>,
    }
    BudgetUpdate {
        /// Sessions that rest for this budget try again.
        limit: Option<Value>,
        /// Null: no warning.
        warn_percent: Option<u8>,
    }
    BudgetPage { data: Vec<Budget>, next_page: Option<String>, }
    /// A virtual key of the model gateway. Ours.
    GatewayKey {
        id: String,
        r#type: String,
        /// `workspace`, `session`, `executor`, or `turn` for a harness of this server's.
        kind: String,
        name: String,
        session_id: Option<String>,
        agent_id: Option<String>,
        /// Only these; all of them when null.
        models: Option<Vec<String>>,
        providers: Option<Vec<String>>,
        expires_at: Option<chrono::DateTime<chrono::Utc>>,
        revoked_at: Option<chrono::DateTime<chrono::Utc>>,
        created_at: chrono::DateTime<chrono::Utc>,
        /// Only in the answer that made it.
        secret: Option<String>,
    }
    GatewayKeyCreate {
        name: Option<String>,
        /// `workspace` (the default), `session` or `executor`.
        kind: Option<String>,
        session_id: Option<String>,
        agent_id: Option<String>,
        models: Option<Vec<String>>,
        providers: Option<Vec<String>>,
        expires_in_seconds: Option<u64>,
    }
    GatewayKeyPage { data: Vec<GatewayKey>, next_page: Option<String>, }
    /// What requests of one group came to. Ours.
    UsageSum {
        r#type: String,
        /// A day, a model, a session's or an agent's id; null where requests had none.
        group: Option<String>,
        requests: u64,
        errors: u64,
        input_tokens: u64,
        output_tokens: u64,
        cache_creation_input_tokens: u64,
        cache_read_input_tokens: u64,
        cost_microusd: u64,
    }
    UsagePage { data: Vec<UsageSum>, next_page: Option<String>, }
    /// One request to a model. Ours.
    Trace {
        id: String,
        r#type: String,
        created_at: chrono::DateTime<chrono::Utc>,
        session_id: Option<String>,
        agent_id: Option<String>,
        key_id: Option<String>,
        provider: String,
        model: String,
        wire: String,
        /// 0 when there was no answer.
        status: u16,
        error: Option<String>,
        usage: Value,
        cost_microusd: u64,
        ttft_ms: Option<u64>,
        duration_ms: u64,
        streamed: bool,
    }
    TracePage { data: Vec<Trace>, next_page: Option<String>, }
    /// A tool use that waits for somebody's answer. Ours.
    Approval {
        r#type: String,
        session_id: String,
        session_title: Option<String>,
        agent_id: String,
        agent_name: String,
        /// The type of event that answers it.
        answer: String,
        /// The event, as the session's log has it.
        tool_use: Value,
        /// With `answered=true`: `{"result": "allow" | "deny", "message"?, "at", "by"}`; `by` is the id of the key it was sent with.
        answered: Option<Value>,
    }
    /// A message.
    Mail {
        id: String,
        r#type: String,
        /// `agent/NAME`, `session/ID` or `queue/NAME`.
        mailbox: String,
        /// Set by the server: an address, `key/ID` or `postmaster`.
        from: String,
        subject: Option<String>,
        content: Vec<Value>,
        thread: String,
        in_reply_to: Option<String>,
        metadata: std::collections::HashMap<String, String>,
        /// Through how many agents its conversation went since a person or a program wrote.
        hops: u32,
        /// `queued`, `leased`, `delivered`, `acknowledged`, `dead` or `cancelled`.
        state: String,
        /// Why it is dead.
        reason: Option<String>,
        /// The session that has it in its log.
        session_id: Option<String>,
        deliveries: u32,
        deliver_at: Option<chrono::DateTime<chrono::Utc>>,
        expires_at: Option<chrono::DateTime<chrono::Utc>>,
        created_at: chrono::DateTime<chrono::Utc>,
        updated_at: chrono::DateTime<chrono::Utc>,
        /// What makes it a task: what its receiver's turn says in the end is awaited.
        task: Option<MailTask>,
        /// Of a message that was received: names this delivery.
        receipt: Option<String>,
    }
    MailTask {
        /// For whom it is done in the end, and through whom: of each the session and its agent, the first that delegated first.
        chain: Vec<String>,
        /// Model requests it may take.
        max_turns: Option<u32>,
        /// What it may use of models: `{"tokens": n}` or `{"microusd": n}`.
        max_budget: Option<Value>,
        /// Seconds it may take.
        timeout: u64,
        /// The message that tells how it ended, with its turns, tokens and cost; there once it has.
        answer_id: String,
    }
    MailPage { data: Vec<Mail>, next_page: Option<String>, }
    MailSend {
        subject: Option<String>,
        /// Text, or content blocks.
        content: Value,
        /// Conversation; that of the message it answers when left out, else a new one.
        thread: Option<String>,
        in_reply_to: Option<String>,
        metadata: Option<std::collections::HashMap<String, String>>,
        deliver_at: Option<chrono::DateTime<chrono::Utc>>,
        /// A dead letter from then on.
        expires_at: Option<chrono::DateTime<chrono::Utc>>,
        /// `queue/NAME`, in which answers are received.
        reply_to: Option<String>,
    }
    MailReceive {
        /// 1 to 10; 1 when left out.
        limit: Option<u32>,
        /// Seconds the messages are hidden from others; 30 when left out.
        visibility_timeout: Option<u64>,
        /// Seconds to wait for mail; 0 when left out.
        wait: Option<u64>,
    }
    MailReceived { data: Vec<Mail>, }
    MailAcknowledge { receipt: String, }
    MailReject {
        receipt: String,
        /// Seconds until it is handed out again; 0 when left out.
        delay: Option<u64>,
    }
    MailExtend {
        receipt: String,
        /// Seconds from now.
        visibility_timeout: u64,
    }
    /// A mailbox that has had mail.
    Mailbox {
        address: String,
        r#type: String,
        /// Messages that somebody may still get.
        open: u64,
        /// Those that a program has just now.
        leased: u64,
        /// Dead letters.
        dead: u64,
        latest_at: chrono::DateTime<chrono::Utc>,
    }
    MailboxPage { data: Vec<Mailbox>, next_page: Option<String>, }
    ApprovalPage { data: Vec<Approval>, next_page: Option<String>, }
    Worker {
        r#type: String,
        id: String,
        /// Its host and process.
        name: String,
        version: String,
        /// `active`; `cordoned`: claims no sessions; `draining`: gives back those it has; `drained`: has none left.
        state: String,
        /// Sessions at once.
        slots: u32,
        /// Those it holds.
        sessions: u64,
        /// Harnesses it has.
        harnesses: Vec<String>,
        joined_at: chrono::DateTime<chrono::Utc>,
        last_seen_at: chrono::DateTime<chrono::Utc>,
    }
    WorkerPage { data: Vec<Worker>, next_page: Option<String>, }
    WorkerSteer {
        /// `active`, `cordoned` or `draining`
        state: String,
    }
    McpTool {
        /// Always `mcp_tool`.
        r#type: String,
        id: String,
        /// Its server.
        url: String,
        name: String,
        /// `approved`, or `changed`: then it is not offered to models until somebody approves it.
        state: String,
        approved: McpToolCard,
        approved_at: chrono::DateTime<chrono::Utc>,
        /// What its server says of it now, where that is something else.
        changed: Option<McpToolCard>,
    }
    /// What a server says of a tool.
    McpToolCard { hash: String, description: String, input_schema: Value, annotations: Option<Value>, }
    McpToolPage { data: Vec<McpTool>, next_page: Option<String>, }
    McpToolApprove {
        /// The hash of what was looked at.
        approved_hash: String,
    }
    Scaling {
        r#type: String,
        pool: String,
        /// Sessions that want a slot: those that are ready and those that are held. The number to scale by; its target is the slots
        /// of one worker.
        wanted_slots: u64,
        /// The same in workers like those that are there; null when sessions wait and there is none to go by.
        wanted_workers: Option<u64>,
        ready_sessions: u64,
        /// Those among them that no worker could take, because their workspaces have all the slots they get. They want none.
        over_slots_sessions: u64,
        held_sessions: u64,
        /// How long the longest of the ready ones has waited.
        oldest_ready_ms: u64,
        /// Active ones.
        workers: u64,
        /// Theirs.
        slots: u64,
        /// What is wanted of each harness, by name.
        harnesses: Vec<ScalingHarness>,
    }
    ScalingHarness {
        harness: String,
        ready_sessions: u64,
        held_sessions: u64,
        oldest_ready_ms: u64,
        /// Active ones that have it. Where there is none, ready sessions wait half a minute for one, and then fail saying so.
        workers: u64,
    }
    Deleted { id: String, r#type: String, }
    Health {
        status: String,
        default_model: Option<String>,
        /// Of the server's program.
        version: Option<String>,
        /// How other processes of the install are reached: `alone` (there are none), `connected` or `disconnected` (NATS), `polled`
        /// (without NATS they look at the database).
        bus: Option<String>,
    }
}

macro_rules! params {
    ($($name:ident { $($(#[$meta:meta])* $field:ident: $kind:ty,)* })*) => {$(
        #[derive(IntoParams)]
        #[into_params(parameter_in = Query)]
        #[expect(dead_code, reason = "describes parameters; never built")]
        pub struct $name { $($(#[$meta])* $field: Option<$kind>,)* }
    )*};
}

params! {
    DeliveryParams {
        /// Only `pending`, `delivered` or `failed` ones.
        status: String,
    }
    WorkPollParams {
        /// How long to wait for work, 1 to 999 milliseconds; not at all when absent.
        block_ms: u32,
        /// Give out again what nobody acknowledged for so many milliseconds; 5000 when absent.
        reclaim_older_than_ms: u64,
    }
    WorkHeartbeatParams {
        /// `NO_HEARTBEAT`, then `last_heartbeat` of the previous answer; not compared when absent.
        expected_last_heartbeat: String,
        /// How long the lease is to last, 1 to 3600.
        desired_ttl_seconds: u32,
    }
    PageParams {
        /// Items of a page.
        limit: u32,
        /// `next_page` of the previous answer.
        page: String,
    }
    McpToolParams {
        /// Only those that changed and wait for somebody.
        changed: bool,
    }
    OrderParams {
        /// `asc` or `desc`.
        order: String,
    }
    ApprovalParams {
        /// Instead of what waits: which calls were allowed or denied, the newest of each session first.
        answered: bool,
    }
    ArchivedParams {
        /// Archived ones too.
        include_archived: bool,
    }
    CreatedParams {
        /// RFC 3339.
        #[param(rename = "created_at[gt]")]
        gt: String,
        #[param(rename = "created_at[gte]")]
        gte: String,
        #[param(rename = "created_at[lt]")]
        lt: String,
        #[param(rename = "created_at[lte]")]
        lte: String,
    }
    SessionParams {
        agent_id: String,
        agent_version: u64,
        #[param(rename = "statuses[]")]
        statuses: Vec<String>,
    }
    EventParams {
        #[param(rename = "types[]")]
        types: Vec<String>,
    }
    IncludeParams {
        /// `extensions`: this server's own events and fields too.
        include: String,
    }
    UsageParams {
        /// `day` (the default), `model`, `session` or `agent`.
        group_by: String,
        /// From the UTC day of this time on.
        from: String,
        /// Up to this time; a day it lies within counts whole.
        to: String,
        /// Most groups.
        limit: u32,
    }
    TraceParams {
        session_id: String,
        key_id: String,
        model: String,
        from: String,
        to: String,
    }
    LogParams {
        /// Events after this number.
        after: u64,
        /// Instead: so many of the newest.
        tail: u64,
        limit: u32,
    }
    MailParams {
        #[param(rename = "states[]")]
        states: Vec<String>,
        /// Only this conversation's.
        thread: String,
    }
    ExportParams {
        /// `false` leaves the workspace folder out.
        workspace: bool,
    }
    ImportParams {
        /// `claude-code` or `codex`, when the file does not say itself whose transcript it is.
        from: String,
        /// The agent that goes on; an exported session brings its own.
        agent_id: String,
        /// Where it goes on; for an exported session one like its own is found.
        environment_id: String,
        /// Go on with this model.
        model: String,
        /// Go on with this harness.
        harness: String,
        title: String,
    }
    MailFeedParams {
        /// Resume behind this id of the stream, `0-0` for all that is kept; wins over `Last-Event-ID`.
        after: String,
    }
    FeedParams {
        /// Resume behind this id of the stream; wins over `Last-Event-ID`.
        after: String,
    }
    StreamParams {
        /// Resume behind this event number; wins over `Last-Event-ID`.
        after: u64,
        /// Previews of `agent.message`, `agent.thinking` and, ours, `agent.tool_result`: what a running tool prints.
        #[param(rename = "event_deltas[]")]
        event_deltas: Vec<String>,
    }
}

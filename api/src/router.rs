//! Every route on one screen.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::App;
use crate::endpoints::{
    agents, approvals, budgets, environments, events, executors, feed, files, gateway_keys, health, mailboxes,
    mcp_tools, metrics, openapi, sessions, usage, webhooks, work, workers,
};
use crate::llm::Llm;
use crate::{auth, console, host, mcp, preview, respond, telemetry, traced};

/// Routes that need a key.
pub(crate) fn keyed() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(agents::create_agent, agents::list_agents))
        .routes(routes!(agents::retrieve_agent, agents::update_agent))
        .routes(routes!(agents::archive_agent))
        .routes(routes!(agents::list_agent_versions))
        .routes(routes!(
            environments::create_environment,
            environments::list_environments
        ))
        .routes(routes!(
            environments::retrieve_environment,
            environments::update_environment,
            environments::delete_environment
        ))
        .routes(routes!(environments::archive_environment))
        .routes(routes!(
            environments::create_environment_key,
            environments::list_environment_keys
        ))
        .routes(routes!(environments::end_environment_key))
        .routes(routes!(work::list_work))
        .routes(routes!(work::poll_work))
        .routes(routes!(work::work_stats))
        .routes(routes!(work::retrieve_work, work::update_work))
        .routes(routes!(work::acknowledge_work))
        .routes(routes!(work::heartbeat_work))
        .routes(routes!(work::stop_work))
        .routes(routes!(files::create_file, files::list_files))
        .routes(routes!(files::retrieve_file, files::delete_file))
        .routes(routes!(files::read_file))
        .routes(routes!(sessions::create_session, sessions::list_sessions))
        .routes(routes!(
            sessions::retrieve_session,
            sessions::update_session,
            sessions::delete_session
        ))
        .routes(routes!(sessions::archive_session))
        .routes(routes!(sessions::attach_executor))
        .routes(routes!(sessions::detach_executor))
        .routes(routes!(sessions::fork_session))
        .routes(routes!(sessions::export_session))
        .routes(routes!(sessions::import_session))
        .routes(routes!(sessions::read_log))
        .routes(routes!(sessions::read_blob))
        .routes(routes!(sessions::diff_session))
        .routes(routes!(sessions::retry_session))
        .routes(routes!(events::send_events, events::list_events))
        .routes(routes!(events::stream_events))
        .routes(routes!(feed::follow_sessions))
        .routes(routes!(approvals::list_approvals))
        .routes(routes!(budgets::create_budget, budgets::list_budgets))
        .routes(routes!(
            budgets::retrieve_budget,
            budgets::update_budget,
            budgets::delete_budget
        ))
        .routes(routes!(
            gateway_keys::create_gateway_key,
            gateway_keys::list_gateway_keys
        ))
        .routes(routes!(
            gateway_keys::retrieve_gateway_key,
            gateway_keys::revoke_gateway_key
        ))
        .routes(routes!(executors::create_executor_code))
        .routes(routes!(executors::list_executors))
        .routes(routes!(
            executors::retrieve_executor,
            executors::rename_executor,
            executors::remove_executor
        ))
        .routes(routes!(executors::call_executor))
        .routes(routes!(mailboxes::list_mailboxes))
        .routes(routes!(mailboxes::send_mail, mailboxes::list_mail))
        .routes(routes!(mailboxes::retrieve_mail))
        .routes(routes!(mailboxes::cancel_mail))
        .routes(routes!(mailboxes::replay_mail))
        .routes(routes!(mailboxes::follow_mail))
        .routes(routes!(mailboxes::receive_mail))
        .routes(routes!(mailboxes::acknowledge_mail))
        .routes(routes!(mailboxes::reject_mail))
        .routes(routes!(mailboxes::extend_mail))
        .routes(routes!(mcp_tools::list_mcp_tools))
        .routes(routes!(mcp_tools::approve_mcp_tool))
        .routes(routes!(executors::read_executor_file, executors::write_executor_file))
        .routes(routes!(executors::search_executor))
        .routes(routes!(executors::list_executor_repositories))
        .routes(routes!(executors::diff_executor))
        .routes(routes!(executors::upload_to_executor))
        .routes(routes!(executors::forward_executor_port))
        .routes(routes!(executors::create_executor_ticket))
        .routes(routes!(webhooks::create_webhook, webhooks::list_webhooks))
        .routes(routes!(
            webhooks::retrieve_webhook,
            webhooks::update_webhook,
            webhooks::delete_webhook
        ))
        .routes(routes!(webhooks::list_deliveries))
        .routes(routes!(webhooks::replay_delivery))
        .routes(routes!(executors::create_executor_preview))
        .routes(routes!(usage::usage))
        .routes(routes!(usage::usage_requests))
        .routes(routes!(metrics::metrics))
        .routes(routes!(workers::list_workers))
        .routes(routes!(workers::steer_worker))
        .routes(routes!(workers::scaling))
}

/// Routes anybody may ask; those of executors ask for a code, a token, a pass or a ticket of theirs.
pub(crate) fn open() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(openapi::openapi))
        .routes(routes!(executors::register_executor))
        .routes(routes!(executors::executor_tunnel))
        .routes(routes!(executors::executor_line))
        .routes(routes!(executors::executor_terminal))
}

/// The whole API. Layers run from the last to the first.
pub(crate) fn router(app: App) -> Router {
    let (keyed, _) = keyed().split_for_parts();
    let (open, _) = open().split_for_parts();
    let llm = llm(&app);
    let console = console::routes(&app, keyed.clone());
    keyed
        .clone()
        .merge(mcp::routes(&app, keyed))
        .route_layer(from_fn_with_state(Arc::clone(&app), auth::require_key))
        .merge(open)
        .merge(console)
        .route_layer(from_fn_with_state(Arc::clone(&app), traced::follow))
        .route_layer(from_fn(telemetry::measure))
        .fallback(console::page_or_no_route)
        .method_not_allowed_fallback(respond::no_method)
        .layer(from_fn_with_state(Arc::clone(&app), host::check))
        .layer(from_fn_with_state(Arc::clone(&app), respond::finish))
        .with_state(Arc::clone(&app))
        .merge(llm)
        .layer(from_fn_with_state(app, preview::divert))
}

/// What is behind the door of a sandbox: the tunnel of the executor in it, and nothing else of the API.
pub(crate) fn door(app: App) -> Router {
    let (tunnel, _) = OpenApiRouter::new()
        .routes(routes!(executors::executor_tunnel))
        .split_for_parts();
    tunnel
        .route_layer(from_fn(telemetry::measure))
        .fallback(respond::no_route)
        .method_not_allowed_fallback(respond::no_method)
        .layer(from_fn_with_state(Arc::clone(&app), respond::finish))
        .with_state(app)
}

/// What whoever runs the servers asks, without a key.
pub(crate) fn operations(app: App) -> Router {
    let (routes, _) = OpenApiRouter::new()
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
        .split_for_parts();
    routes
        .fallback(respond::no_route)
        .method_not_allowed_fallback(respond::no_method)
        .layer(from_fn_with_state(Arc::clone(&app), respond::finish))
        .with_state(app)
}

/// The model gateway: apart from everything else, because nothing around it may touch its bytes.
fn llm(app: &App) -> Router {
    let Some(gateway) = &app.config.gateway else {
        return Router::new();
    };
    let (accounts, config) = (app.ports.accounts.clone(), &app.config);
    Llm::new(gateway.clone(), Some(accounts), config.hosts.clone(), config.limits)
        .router()
        .route_layer(from_fn(telemetry::measure))
}

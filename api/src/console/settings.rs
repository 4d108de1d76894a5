//! `GET /console/settings`: what this server was started with, as far as whoever uses it is concerned: which models it can ask, and
//! what they cost. Read only, because the configuration is a file. No key, no address of a provider.

use axum::extract::State;
use axum::response::Response;
use perennial_gateway::{Credential, Gateway, Wire};
use serde::Serialize;

use crate::api::App;
use crate::auth::Principal;
use crate::respond::json;

#[derive(Serialize)]
struct Settings<'a> {
    r#type: &'static str,
    version: &'static str,
    workspace_id: String,
    key_id: String,
    default_model: &'a str,
    /// None of a process that asks no models itself.
    providers: Option<Vec<Provider<'a>>>,
    prices: Vec<Price<'a>>,
}

#[derive(Serialize)]
struct Provider<'a> {
    name: &'a str,
    wire: &'static str,
    /// `set`, `missing` or `not_needed`.
    key: &'static str,
    /// What sets a key that is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    setting: Option<&'a str>,
    /// Only these; none means all it has.
    models: Option<&'a [String]>,
}

/// US dollars for a million tokens.
#[derive(Serialize)]
struct Price<'a> {
    model: &'a str,
    input: f64,
    output: f64,
    cache_read: f64,
    cache_write: f64,
}

pub(super) async fn show(State(app): State<App>, principal: Principal) -> Response {
    let gateway = app.config.gateway.as_deref();
    json(&Settings {
        r#type: "settings",
        version: env!("CARGO_PKG_VERSION"),
        workspace_id: principal.workspace.to_string(),
        key_id: principal.key.to_string(),
        default_model: &app.config.default_model,
        providers: gateway.map(|gateway| gateway.providers().iter().map(provider).collect()),
        prices: gateway.map(prices).unwrap_or_default(),
    })
}

fn provider<'a>((name, provider): (&'a str, &'a perennial_gateway::Provider)) -> Provider<'a> {
    let (key, setting) = match &provider.credential {
        Credential::Key(_) => ("set", None),
        Credential::Keyless => ("not_needed", None),
        Credential::Missing { setting } => ("missing", Some(setting.as_str())),
    };
    Provider {
        name,
        wire: match provider.wire {
            Wire::Messages => "messages",
            Wire::Responses => "responses",
            Wire::Chat => "chat",
        },
        key,
        setting,
        models: provider.models.as_deref(),
    }
}

fn prices(gateway: &Gateway) -> Vec<Price<'_>> {
    let table = gateway.prices().iter();
    table
        .map(|(model, price)| Price {
            model,
            input: price.input,
            output: price.output,
            cache_read: price.cache_read,
            cache_write: price.cache_write,
        })
        .collect()
}

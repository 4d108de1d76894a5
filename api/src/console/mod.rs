//! The web console: its files, its logins, what its server was started with, and the API as its pages ask it.
//!
//! Pages never see a credential. `up` prints a link that logs in once ([`link`]); the login is a cookie no script can read
//! ([`cookie`]), good below `/console` and nowhere else: `/v1` ignores it, and `/console/v1` is the same API behind the cookie and
//! a look at where the request comes from ([`origin`], INVARIANTS S6). What the pages may load and run is in [`assets`] (S24).

mod assets;
mod cookie;
mod gate;
mod link;
mod login;
mod origin;
mod settings;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;

pub use self::assets::is_built;
pub(crate) use self::assets::page_or_no_route;
pub(crate) use self::link::Links;
use crate::api::App;

/// Where the console's requests go.
pub(crate) const ROOT: &str = "/console";

/// The API behind the cookie, and what gives one.
pub(crate) fn routes(app: &App, api: Router<App>) -> Router<App> {
    let behind = api
        .route("/login", get(login::show).delete(login::end))
        .route("/settings", get(settings::show))
        .route_layer(from_fn_with_state(Arc::clone(app), gate::require_login));
    let inside = Router::new()
        .route("/login", axum::routing::post(login::begin))
        .merge(behind)
        .route_layer(from_fn(origin::check))
        .layer(from_fn(assets::inert));
    Router::new().nest(ROOT, inside)
}

//! Requests as spans. A request that changes something is told, and one whose sender says that it is part of a trace; what else
//! is read is not. Its span goes with the inputs it sends, so that the turn they begin is part of the same trace.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::Method;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use perennial_schema::{RequestId, TraceParent, span_of};
use perennial_telemetry::{self as telemetry, Kind, Span, names};

use crate::api::App;

/// The span of a request; none where nobody hears of spans.
#[derive(Clone, Copy)]
pub(crate) struct Traced(pub(crate) Option<TraceParent>);

impl<S: Sync> FromRequestParts<S> for Traced {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or(Self(None)))
    }
}

/// Tells of a request when it is answered.
pub(crate) async fn follow(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if !telemetry::enabled() {
        return next.run(request).await;
    }
    let (ids, clock) = (&app.ports.ids, &app.ports.clock);
    let said = request.headers().get("traceparent");
    let said: Option<TraceParent> = said.and_then(|value| value.to_str().ok()?.parse().ok());
    let fresh = ids.uuid();
    let own = match said {
        Some(parent) => parent.with_span(span_of(fresh)),
        None => TraceParent::root(ids.uuid(), fresh),
    };
    request.extensions_mut().insert(Traced(Some(own)));
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads && said.is_none() {
        return next.run(request).await;
    }
    let (method, id) = (
        request.method().clone(),
        request.extensions().get::<RequestId>().copied(),
    );
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let start = clock.now();
    let response = next.run(request).await;
    let status = response.status();
    let parent = said.map(TraceParent::span);
    let span = Span::new(
        own,
        parent,
        format!("{method} {route}"),
        Kind::Server,
        (start, clock.now()),
    )
    .with(names::HTTP_METHOD, method.as_str())
    .with(names::HTTP_ROUTE, route)
    .with(names::HTTP_STATUS, u32::from(status.as_u16()))
    .with_any(names::REQUEST_ID, id.map(|id| id.to_string()));
    // What a client did wrong is no failure of this side.
    telemetry::record(span.failed(status.is_server_error().then(|| status.as_str().to_owned())));
    response
}

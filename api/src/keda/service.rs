//! The service's methods, by their paths.

use std::sync::Arc;

use axum::http::{Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::scaler::Scaler;
use super::wire::{GetMetricsRequest, ScaledObjectRef};
use crate::limits::KEDA_MESSAGE;

/// Answers one call.
pub(super) async fn answer(scaler: Arc<Scaler>, request: Request<Incoming>) -> Response<Body> {
    let request = request.map(Body::new);
    match request.uri().path() {
        "/externalscaler.ExternalScaler/IsActive" => {
            let method = service_fn(|asked: tonic::Request<ScaledObjectRef>| {
                let scaler = scaler.clone();
                async move { scaler.is_active(asked.into_inner()).await.map(tonic::Response::new) }
            });
            grpc().unary(method, request).await
        }
        "/externalscaler.ExternalScaler/StreamIsActive" => {
            let method = service_fn(|asked: tonic::Request<ScaledObjectRef>| {
                let scaler = scaler.clone();
                async move { scaler.stream_is_active(asked.get_ref()).map(tonic::Response::new) }
            });
            grpc().server_streaming(method, request).await
        }
        "/externalscaler.ExternalScaler/GetMetricSpec" => {
            let method = service_fn(|asked: tonic::Request<ScaledObjectRef>| {
                let scaler = scaler.clone();
                async move { scaler.metric_spec(asked.get_ref()).map(tonic::Response::new) }
            });
            grpc().unary(method, request).await
        }
        "/externalscaler.ExternalScaler/GetMetrics" => {
            let method = service_fn(|asked: tonic::Request<GetMetricsRequest>| {
                let scaler = scaler.clone();
                async move { scaler.metrics(asked.into_inner()).await.map(tonic::Response::new) }
            });
            grpc().unary(method, request).await
        }
        // Newer KEDAs ask for methods that may be missing, and go on without.
        path => tonic::Status::unimplemented(format!("there is no method {path} here")).into_http(),
    }
}

fn grpc<A, Q>() -> Grpc<ProstCodec<A, Q>>
where
    A: prost::Message + Send + 'static,
    Q: prost::Message + Default + Send + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(KEDA_MESSAGE)
}

//! The pool as KEDA sees it: a gRPC client over HTTP/2, as KEDA's own.

use std::collections::HashMap;
use std::time::Duration;

use axum::http::uri::PathAndQuery;
use perennial_api::keda;
use perennial_api::keda::wire::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, ScaledObjectRef,
};
use perennial_engine::ports::{Leases as _, Ready};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::rig::Rig;

const SLOTS: u32 = 8;

/// A scaler, and KEDA.
struct Scaled {
    rig: Rig,
    client: Grpc<Channel>,
    closing: CancellationToken,
    serving: JoinHandle<()>,
}

impl Scaled {
    async fn new() -> Self {
        let rig = Rig::new().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let closing = CancellationToken::new();
        let serving = tokio::spawn(keda::serve(listener, rig.pool.clone(), SLOTS, closing.clone()));
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        let client = Grpc::new(channel);
        Self {
            rig,
            client,
            closing,
            serving,
        }
    }

    async fn ask<Q, A>(&mut self, method: &str, asked: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.client.ready().await.unwrap();
        let codec = ProstCodec::<Q, A>::default();
        let answer = self
            .client
            .unary(tonic::Request::new(asked), path(method), codec)
            .await?;
        Ok(answer.into_inner())
    }

    async fn stream(&mut self, asked: ScaledObjectRef) -> Streaming<IsActiveResponse> {
        self.client.ready().await.unwrap();
        let codec = ProstCodec::default();
        let asked = tonic::Request::new(asked);
        let answer = self.client.server_streaming(asked, path("StreamIsActive"), codec).await;
        answer.unwrap().into_inner()
    }

    async fn is_active(&mut self, object: ScaledObjectRef) -> bool {
        self.ask::<_, IsActiveResponse>("IsActive", object)
            .await
            .unwrap()
            .result
    }

    async fn value(&mut self, object: ScaledObjectRef) -> f64 {
        let asked = GetMetricsRequest {
            scaled_object_ref: Some(object),
            metric_name: "perennial-wanted-slots".to_owned(),
        };
        let answer: GetMetricsResponse = self.ask("GetMetrics", asked).await.unwrap();
        let [value] = answer.metric_values.as_slice() else {
            unreachable!("one metric: {answer:?}");
        };
        assert_eq!(value.metric_name, "perennial-wanted-slots");
        assert!((value.metric_value_float - value.metric_value as f64).abs() < f64::EPSILON);
        value.metric_value_float
    }
}

fn path(method: &str) -> PathAndQuery {
    format!("/externalscaler.ExternalScaler/{method}").parse().unwrap()
}

fn object(metadata: &[(&str, &str)]) -> ScaledObjectRef {
    ScaledObjectRef {
        name: "workers".to_owned(),
        namespace: "perennial".to_owned(),
        scaler_metadata: metadata
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<HashMap<_, _>>(),
    }
}

#[tokio::test]
async fn the_number_is_that_of_the_scaling_route() {
    let mut scaled = Scaled::new().await;
    assert!(!scaled.is_active(object(&[])).await);
    for _ in 0..3 {
        let session = scaled.rig.session().await;
        scaled.rig.say(&session, "hello").await;
    }
    assert!(scaled.is_active(object(&[])).await);
    let wanted = scaled.rig.get("/v1/scaling/default").await.ok()["wanted_slots"].as_f64();
    assert_eq!(Some(scaled.value(object(&[])).await), wanted);
    assert_eq!(wanted, Some(3.0));
    for (harness, value) in [("native", 3.0), ("codex", 0.0)] {
        let mine = object(&[("harness", harness), ("pool", "default")]);
        assert!(
            (scaled.value(mine.clone()).await - value).abs() < f64::EPSILON,
            "{harness}"
        );
        assert_eq!(scaled.is_active(mine).await, value > 0.0, "{harness}");
    }
    for (metadata, slots) in [(object(&[]), SLOTS), (object(&[("slotsPerWorker", "16")]), 16)] {
        let spec: GetMetricSpecResponse = scaled.ask("GetMetricSpec", metadata).await.unwrap();
        let expected = MetricSpec {
            metric_name: "perennial-wanted-slots".to_owned(),
            target_size: slots.into(),
            target_size_float: slots.into(),
        };
        assert_eq!(spec.metric_specs, [expected]);
    }
}

#[tokio::test]
async fn a_trigger_that_asks_for_nonsense_is_told_so() {
    let mut scaled = Scaled::new().await;
    for (metadata, code) in [
        (("pool", "gpus"), Code::NotFound),
        (("slotsPerWorker", "0"), Code::InvalidArgument),
        (("slotsPerWorker", "many"), Code::InvalidArgument),
    ] {
        let refused = scaled.ask::<_, IsActiveResponse>("IsActive", object(&[metadata])).await;
        assert_eq!(refused.unwrap_err().code(), code, "{metadata:?}");
    }
    let newer = scaled
        .ask::<_, GetMetricSpecResponse>("StreamMetricSpec", object(&[]))
        .await;
    assert_eq!(newer.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn work_is_told_as_it_comes_and_goes_and_the_end_ends_the_stream() {
    let mut scaled = Scaled::new().await;
    let mut told = scaled.stream(object(&[])).await;
    assert!(
        !told.message().await.unwrap().unwrap().result,
        "what is so is said at once"
    );
    let session = scaled.rig.session().await;
    scaled.rig.say(&session, "hello").await;
    assert!(told.message().await.unwrap().unwrap().result);
    let claimed = scaled.rig.claim().await.row;
    let head = claimed.head;
    scaled
        .rig
        .store
        .release(claimed.key, claimed.epoch, Ready::Never, head)
        .await
        .unwrap();
    assert!(!told.message().await.unwrap().unwrap().result);
    scaled.closing.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), told.message())
        .await
        .unwrap();
    assert!(matches!(ended, Ok(None) | Err(_)), "{ended:?}");
    tokio::time::timeout(Duration::from_secs(5), scaled.serving)
        .await
        .unwrap()
        .unwrap();
}

/// The structs by hand and the file that says what they are.
#[test]
fn the_messages_are_those_of_the_proto() {
    use prost::Message as _;
    let proto = include_str!("../../src/keda/externalscaler.proto");
    for field in [
        "map<string, string> scalerMetadata = 3;",
        "bool result = 1;",
        "repeated MetricSpec metricSpecs = 1;",
        "double targetSizeFloat = 3;",
        "ScaledObjectRef scaledObjectRef = 1;",
        "repeated MetricValue metricValues = 1;",
        "double metricValueFloat = 3;",
    ] {
        assert!(proto.contains(field), "{field}");
    }
    // Field 1 "a", field 2 "b", field 3 a pair of "k" and "v", as any other encoder writes them.
    let mut asked = object(&[("k", "v")]);
    (asked.name, asked.namespace) = ("a".to_owned(), "b".to_owned());
    let bytes = b"\x0a\x01a\x12\x01b\x1a\x06\x0a\x01k\x12\x01v";
    assert_eq!(asked.encode_to_vec(), bytes);
    assert_eq!(ScaledObjectRef::decode(&bytes[..]).unwrap(), asked);
    let value = b"\x0a\x01m\x10\x05\x19\x00\x00\x00\x00\x00\x00\x14\x40";
    let value = keda::wire::MetricValue::decode(&value[..]).unwrap();
    assert_eq!((value.metric_value, value.metric_value_float), (5, 5.0));
}

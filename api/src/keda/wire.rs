//! The messages of `externalscaler.proto`.

use std::collections::HashMap;

/// Which scaled object asks, and what it was told to ask for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ScaledObjectRef {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// The trigger's metadata.
    #[prost(map = "string, string", tag = "3")]
    pub scaler_metadata: HashMap<String, String>,
}

/// Whether there should be any worker.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct IsActiveResponse {
    /// There is something to do.
    #[prost(bool, tag = "1")]
    pub result: bool,
}

/// What it is scaled by.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetMetricSpecResponse {
    /// One.
    #[prost(message, repeated, tag = "1")]
    pub metric_specs: Vec<MetricSpec>,
}

/// How much of a metric one worker is for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricSpec {
    /// Which metric.
    #[prost(string, tag = "1")]
    pub metric_name: String,
    /// As KEDA used to take it.
    #[prost(int64, tag = "2")]
    pub target_size: i64,
    /// As it takes it.
    #[prost(double, tag = "3")]
    pub target_size_float: f64,
}

/// A metric is asked for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetMetricsRequest {
    /// By whom.
    #[prost(message, optional, tag = "1")]
    pub scaled_object_ref: Option<ScaledObjectRef>,
    /// Which.
    #[prost(string, tag = "2")]
    pub metric_name: String,
}

/// What it is now.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetMetricsResponse {
    /// One.
    #[prost(message, repeated, tag = "1")]
    pub metric_values: Vec<MetricValue>,
}

/// A metric's value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricValue {
    /// Which metric.
    #[prost(string, tag = "1")]
    pub metric_name: String,
    /// As KEDA used to take it.
    #[prost(int64, tag = "2")]
    pub metric_value: i64,
    /// As it takes it.
    #[prost(double, tag = "3")]
    pub metric_value_float: f64,
}

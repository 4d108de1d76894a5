//! What KEDA is answered: the number of `GET /v1/scaling/default`, and how much of it one worker is for.

use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt as _};
use perennial_engine::ports::{Pool, StoreError};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::wire::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef,
};
use crate::endpoints::workers::POOL;
use crate::limits::{KEDA_LOOK, KEDA_STREAMS};

/// The one metric.
const METRIC: &str = "perennial-wanted-slots";

/// Answers.
pub(super) struct Scaler {
    pool: Arc<dyn Pool>,
    /// Slots of a worker, where the trigger does not say.
    slots: u32,
    streams: Arc<Semaphore>,
    closing: CancellationToken,
}

/// What a trigger's metadata says.
#[derive(Debug, PartialEq)]
struct Trigger {
    slots: u32,
    harness: Option<String>,
}

impl Scaler {
    pub(super) fn new(pool: Arc<dyn Pool>, slots: u32, closing: CancellationToken) -> Self {
        Self {
            pool,
            slots,
            streams: Arc::new(Semaphore::new(KEDA_STREAMS)),
            closing,
        }
    }

    pub(super) async fn is_active(&self, object: ScaledObjectRef) -> Result<IsActiveResponse, Status> {
        let trigger = self.trigger(&object)?;
        let result = self.wanted(&trigger).await? > 0;
        Ok(IsActiveResponse { result })
    }

    /// Whether there should be any worker, at once and whenever that changes. It ends when this server does, or cannot say.
    pub(super) fn stream_is_active(
        self: Arc<Self>,
        object: &ScaledObjectRef,
    ) -> Result<impl Stream<Item = Result<IsActiveResponse, Status>> + Send + use<>, Status> {
        let trigger = self.trigger(object)?;
        let room = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!("{KEDA_STREAMS} streams are open, more are not served at once"))
        })?;
        let closing = self.closing.clone();
        let begin = (self, trigger, None, room);
        let told = stream::unfold(Some(begin), |state| async move {
            let (scaler, trigger, told, room) = state?;
            loop {
                let active = match scaler.wanted(&trigger).await {
                    Ok(wanted) => wanted > 0,
                    Err(status) => return Some((Err(status), None)),
                };
                if told != Some(active) {
                    let answer = IsActiveResponse { result: active };
                    return Some((Ok(answer), Some((scaler, trigger, Some(active), room))));
                }
                tokio::time::sleep(KEDA_LOOK).await;
            }
        });
        Ok(told.take_until(closing.cancelled_owned()))
    }

    pub(super) fn metric_spec(&self, object: &ScaledObjectRef) -> Result<GetMetricSpecResponse, Status> {
        let slots = self.trigger(object)?.slots;
        Ok(GetMetricSpecResponse {
            metric_specs: vec![MetricSpec {
                metric_name: METRIC.to_owned(),
                target_size: slots.into(),
                target_size_float: slots.into(),
            }],
        })
    }

    pub(super) async fn metrics(&self, asked: GetMetricsRequest) -> Result<GetMetricsResponse, Status> {
        let object = asked.scaled_object_ref.unwrap_or_default();
        let wanted = self.wanted(&self.trigger(&object)?).await?;
        Ok(GetMetricsResponse {
            metric_values: vec![MetricValue {
                metric_name: METRIC.to_owned(),
                metric_value: i64::try_from(wanted).unwrap_or(i64::MAX),
                metric_value_float: u32::try_from(wanted).unwrap_or(u32::MAX).into(),
            }],
        })
    }

    /// Sessions that want a slot now; of one harness, if the trigger names one.
    async fn wanted(&self, trigger: &Trigger) -> Result<u64, Status> {
        let unavailable = |error: StoreError| Status::unavailable(error.to_string());
        let Some(harness) = &trigger.harness else {
            return Ok(self.pool.backlog().await.map_err(unavailable)?.wanted_slots());
        };
        let demand = self.pool.demand().await.map_err(unavailable)?;
        let mine = demand.into_iter().find(|demand| demand.harness == *harness);
        Ok(mine.map_or(0, |demand| demand.ready + demand.held))
    }

    fn trigger(&self, object: &ScaledObjectRef) -> Result<Trigger, Status> {
        let metadata = &object.scaler_metadata;
        let pool = metadata.get("pool").map_or(POOL, String::as_str);
        if pool != POOL {
            return Err(Status::not_found(format!(
                "there is no pool {pool:?}: all workers are one, called {POOL}"
            )));
        }
        let slots = match metadata.get("slotsPerWorker") {
            None => self.slots,
            Some(text) => text
                .parse()
                .ok()
                .filter(|slots| *slots > 0)
                .ok_or_else(|| Status::invalid_argument("slotsPerWorker must be a whole number from 1"))?,
        };
        let harness = metadata.get("harness").filter(|harness| !harness.is_empty()).cloned();
        Ok(Trigger { slots, harness })
    }
}

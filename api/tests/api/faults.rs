//! Stores that fail: 503 with the right advice, and ambiguous commits resolved by their id.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use perennial_api::Config;
use perennial_engine::ports::{Append, AppendError, Appended, EventFilter, Log, ReadFrom, SessionKey, StoreError};
use perennial_schema::EventId;
use perennial_schema::event::Record;
use serde_json::json;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use crate::rig::{Rig, message};

/// What a faulty log does on its next calls.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// Commits, then says it does not know.
    UnknownAfter,
    /// Says it does not know without committing.
    UnknownBefore,
    Full,
    Corrupt,
}

struct Faulty {
    inner: Arc<dyn Log>,
    fault: Fault,
    left: AtomicU32,
}

impl Faulty {
    fn strikes(&self) -> bool {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }

    fn error(&self) -> StoreError {
        match self.fault {
            Fault::UnknownAfter | Fault::UnknownBefore => StoreError::Unknown { message: "cut".into() },
            Fault::Full => StoreError::Unavailable {
                store: "log",
                message: "disk full; make room".into(),
            },
            Fault::Corrupt => StoreError::Inconsistent {
                table: "events",
                key: "sesn_x 7".into(),
                message: "bad".into(),
            },
        }
    }
}

#[async_trait]
impl Log for Faulty {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        if !self.strikes() {
            return self.inner.append(append).await;
        }
        if self.fault == Fault::UnknownAfter {
            self.inner.append(append).await?;
        }
        Err(self.error().into())
    }

    async fn read(&self, key: SessionKey, from: ReadFrom) -> Result<Vec<Record>, StoreError> {
        if self.strikes() {
            Err(self.error())
        } else {
            self.inner.read(key, from).await
        }
    }

    async fn event(&self, key: SessionKey, id: EventId) -> Result<Option<Record>, StoreError> {
        self.inner.event(key, id).await
    }

    async fn list(&self, key: SessionKey, filter: EventFilter) -> Result<Vec<Record>, StoreError> {
        if self.strikes() {
            Err(self.error())
        } else {
            self.inner.list(key, filter).await
        }
    }
}

async fn rig(fault: Fault, times: u32) -> (Rig, String) {
    let bus = Arc::new(perennial_broker::bus::local::Local::new());
    let rig = Rig::with(bus, Config::default(), |mut ports| {
        ports.log = Arc::new(Faulty {
            inner: ports.log,
            fault,
            left: AtomicU32::new(times),
        });
        ports
    })
    .await;
    let session = rig.session().await;
    (rig, session)
}

#[tokio::test]
async fn an_ambiguous_commit_is_asked_again_and_happens_once() {
    for fault in [Fault::UnknownAfter, Fault::UnknownBefore] {
        let (rig, session) = rig(fault, 2).await;
        let path = format!("/v1/sessions/{session}/events");
        let sent = rig.post(&path, &message("x")).await.ok();
        let listed = rig.get(&path).await.ok();
        assert_eq!(listed["data"], sent["data"]);
        assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_stays_unknown_is_a_503_to_be_retried() {
    let (rig, session) = rig(Fault::UnknownBefore, 99).await;
    let answer = rig.post(&format!("/v1/sessions/{session}/events"), &message("x")).await;
    answer.refused(503, "overloaded_error");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_full_disk_is_a_503_with_retry_after_and_heals() {
    let (rig, session) = rig(Fault::Full, 1).await;
    let path = format!("/v1/sessions/{session}/events");
    let answer = rig.post(&path, &message("x")).await;
    assert!(answer.refused(503, "overloaded_error").contains("make room"));
    assert_eq!(
        (answer.header("retry-after"), answer.header("x-should-retry")),
        (Some("1"), None)
    );
    rig.post(&path, &message("x")).await.ok();
}

#[tokio::test]
async fn a_corrupt_row_is_named_and_not_worth_a_retry() {
    let (rig, session) = rig(Fault::Corrupt, 1).await;
    let path = format!("/v1/sessions/{session}/events");
    let answer = rig.get(&path).await;
    let told = answer.refused(503, "api_error");
    assert!(told.contains("events") && told.contains("sesn_x 7"), "{told}");
    assert_eq!(
        (answer.header("retry-after"), answer.header("x-should-retry")),
        (None, Some("false"))
    );
    assert_eq!(answer.json["error"]["details"]["error_code"], "row_inconsistent");
    rig.get(&path).await.ok();
}

#[tokio::test]
async fn healthy_stores_are_ready() {
    let rig = Rig::new().await;
    assert_eq!(rig.get("/readyz").await.ok()["status"], "ready");
    assert_eq!(rig.get("/healthz").await.ok(), json!({"status": "ok"}));
}

/// A log whose appends wait to be let through.
struct Gated {
    inner: Arc<dyn Log>,
    begun: Semaphore,
    gate: Semaphore,
}

#[async_trait]
impl Log for Gated {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.begun.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
        self.inner.append(append).await
    }

    async fn read(&self, key: SessionKey, from: ReadFrom) -> Result<Vec<Record>, StoreError> {
        self.inner.read(key, from).await
    }

    async fn event(&self, key: SessionKey, id: EventId) -> Result<Option<Record>, StoreError> {
        self.inner.event(key, id).await
    }

    async fn list(&self, key: SessionKey, filter: EventFilter) -> Result<Vec<Record>, StoreError> {
        self.inner.list(key, filter).await
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_stop_what_it_began() {
    let mut gated = None;
    let bus = Arc::new(perennial_broker::bus::local::Local::new());
    let rig = Rig::with(bus, Config::default(), |mut ports| {
        let log = Arc::new(Gated {
            inner: ports.log,
            begun: Semaphore::new(0),
            gate: Semaphore::new(0),
        });
        ports.log = log.clone();
        gated = Some(log);
        ports
    })
    .await;
    let log = gated.unwrap();
    let session = rig.session().await;
    let path = format!("/v1/sessions/{session}/events");
    let request = rig
        .request("POST", &path)
        .body(axum::body::Body::from(message("x").to_string()))
        .unwrap();
    let mut answer = Box::pin(rig.api.router().oneshot(request));
    tokio::select! {
        _ = &mut answer => unreachable!("the gate is shut"),
        begun = log.begun.acquire() => begun.unwrap().forget(),
    }
    drop(answer);
    log.gate.add_permits(1);
    rig.api.drained().await;
    assert_eq!(rig.get(&path).await.ok()["data"].as_array().unwrap().len(), 1);
}

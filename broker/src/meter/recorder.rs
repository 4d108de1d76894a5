//! Traces on their way to the store: a bounded queue and one task that writes whatever waits in one commit.

use std::sync::Arc;

use perennial_engine::ports::{StoreError, Trace};
use tokio::sync::{mpsc, oneshot};

use super::books::Books;
use crate::limits;

enum Order {
    Trace(Box<Trace>),
    Flush(oneshot::Sender<()>),
}

/// The way to the task. The task ends with the last of them.
#[derive(Clone)]
pub(super) struct Recorder {
    orders: mpsc::Sender<Order>,
}

impl Recorder {
    /// Starts the task.
    pub(super) fn start(books: Arc<dyn Books>) -> Self {
        let (orders, inbox) = mpsc::channel(limits::TRACE_QUEUE);
        tokio::spawn(write(books, inbox));
        Self { orders }
    }

    /// Never waits; what does not fit is dropped and counted.
    pub(super) fn record(&self, traces: Vec<Trace>) {
        for trace in traces {
            if self.orders.try_send(Order::Trace(Box::new(trace))).is_err() {
                metrics::counter!("perennial_meter_traces_dropped_total").increment(1);
            }
        }
    }

    /// Waits until what was recorded before is written.
    pub(super) async fn flush(&self) -> Result<(), StoreError> {
        let stopped = || StoreError::Unavailable {
            store: "meter",
            message: "the task that writes traces has ended".into(),
        };
        let (done, written) = oneshot::channel();
        self.orders.send(Order::Flush(done)).await.map_err(|_| stopped())?;
        written.await.map_err(|_| stopped())
    }
}

async fn write(books: Arc<dyn Books>, mut inbox: mpsc::Receiver<Order>) {
    let mut orders = Vec::new();
    while inbox.recv_many(&mut orders, limits::TRACE_BATCH).await > 0 {
        let mut traces = Vec::new();
        let mut waiting = Vec::new();
        for order in orders.drain(..) {
            match order {
                Order::Trace(trace) => traces.push(*trace),
                Order::Flush(done) => waiting.push(done),
            }
        }
        if !traces.is_empty() {
            persist(books.as_ref(), &traces).await;
        }
        for done in waiting {
            // Who waited may have gone.
            let _ = done.send(());
        }
    }
}

/// Tries for a while: meanwhile the queue fills, and then traces are dropped.
async fn persist(books: &dyn Books, traces: &[Trace]) {
    for attempt in 1.. {
        let Err(error) = books.write(traces).await else { return };
        if attempt == limits::TRACE_ATTEMPTS {
            tracing::error!(%error, traces = traces.len(), "traces of model requests are lost");
            metrics::counter!("perennial_meter_traces_dropped_total").increment(traces.len() as u64);
            return;
        }
        tracing::warn!(%error, "could not write traces of model requests; trying again");
        tokio::time::sleep(limits::TRACE_PAUSE).await;
    }
}

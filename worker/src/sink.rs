//! Previews: the pieces of an unfinished event, encoded once and put on the bus. Best effort; never in the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use perennial_engine::ports::{Bus, Delta, DeltaSink, Ids, SessionKey};
use perennial_schema::EventId;
use serde_json::json;

/// Publishes one attempt's previews. Every attempt allocates new ids, so a dead attempt's pieces never mix with a live one's.
pub(crate) struct BusSink {
    bus: Arc<dyn Bus>,
    ids: Arc<dyn Ids>,
    key: SessionKey,
    /// How many pieces of each text were published.
    published: BTreeMap<EventId, u64>,
}

impl BusSink {
    pub(crate) fn new(bus: Arc<dyn Bus>, ids: Arc<dyn Ids>, key: SessionKey) -> Self {
        Self {
            bus,
            ids,
            key,
            published: BTreeMap::new(),
        }
    }

    fn publish(&self, event_id: EventId, kind: &'static str, n: u64, payload: &serde_json::Value) {
        let payload = Bytes::from(payload.to_string());
        self.bus.delta(
            self.key,
            Delta {
                event_id,
                kind,
                n,
                payload,
            },
        );
    }
}

impl DeltaSink for BusSink {
    fn start(&mut self, thinking: bool) -> EventId {
        let id = self.ids.event();
        let kind = if thinking { "agent.thinking" } else { "agent.message" };
        self.publish(
            id,
            kind,
            0,
            &json!({"type": "event_start", "event": {"type": kind, "id": id}}),
        );
        self.published.insert(id, 0);
        id
    }

    fn text(&mut self, id: EventId, text: &str) {
        let Some(n) = self.published.get_mut(&id) else { return };
        *n += 1;
        let n = *n;
        let content = json!({"type": "text", "text": text});
        let delta = json!({"type": "content_delta", "index": 0, "content": content});
        self.publish(
            id,
            "agent.message",
            n,
            &json!({"type": "event_delta", "event_id": id, "delta": delta}),
        );
    }

    fn id(&mut self) -> EventId {
        self.ids.event()
    }
}

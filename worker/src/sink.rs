//! Previews: the pieces of an unfinished event, encoded once and put on the bus. Best effort; never in the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use perennial_engine::ports::{Bus, Delta, DeltaSink, Hearer, Ids, SessionKey};
use perennial_schema::EventId;
use perennial_schema::model::Usage;
use serde_json::json;

/// Publishes one attempt's previews. Every attempt allocates new ids, so a dead attempt's pieces never mix with a live one's.
pub(crate) struct BusSink {
    bus: Arc<dyn Bus>,
    ids: Arc<dyn Ids>,
    key: SessionKey,
    /// How many pieces of each text were published.
    published: BTreeMap<EventId, u64>,
    usage: Usage,
}

impl BusSink {
    pub(crate) fn new(bus: Arc<dyn Bus>, ids: Arc<dyn Ids>, key: SessionKey) -> Self {
        Self {
            bus,
            ids,
            key,
            published: BTreeMap::new(),
            usage: Usage::default(),
        }
    }

    /// What this attempt has used, as far as it was told.
    pub(crate) const fn usage(&self) -> Usage {
        self.usage
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

    fn used(&mut self, usage: Usage) {
        self.usage = usage;
    }
}

/// Publishes what a call prints as a preview of its result, under an id of the preview alone: the call's tells whose it is.
pub(crate) fn aloud(bus: Arc<dyn Bus>, id: EventId, key: SessionKey, call_id: EventId) -> Hearer {
    const KIND: &str = "agent.tool_result";
    let pieces = AtomicU64::new(0);
    let publish = move |n, payload: serde_json::Value| {
        let payload = Bytes::from(payload.to_string());
        let delta = Delta {
            event_id: id,
            kind: KIND,
            n,
            payload,
        };
        bus.delta(key, delta);
    };
    Hearer(Arc::new(move |text| {
        let n = pieces.fetch_add(1, Ordering::Relaxed) + 1;
        if n == 1 {
            let event = json!({"type": KIND, "id": id, "tool_use_id": call_id});
            publish(0, json!({"type": "event_start", "event": event}));
        }
        let content = json!({"type": "text", "text": text});
        let delta = json!({"type": "content_delta", "index": 0, "content": content});
        publish(n, json!({"type": "event_delta", "event_id": id, "delta": delta}));
    }))
}

/// Allocates ids and keeps the usage; nobody hears a preview (a summary in the making is no event).
pub(crate) struct Unheard {
    ids: Arc<dyn Ids>,
    usage: Usage,
}

impl Unheard {
    pub(crate) fn new(ids: Arc<dyn Ids>) -> Self {
        Self {
            ids,
            usage: Usage::default(),
        }
    }

    /// What this attempt has used, as far as it was told.
    pub(crate) const fn usage(&self) -> Usage {
        self.usage
    }
}

impl DeltaSink for Unheard {
    fn start(&mut self, _thinking: bool) -> EventId {
        self.ids.event()
    }

    fn text(&mut self, _id: EventId, _text: &str) {}

    fn id(&mut self) -> EventId {
        self.ids.event()
    }

    fn used(&mut self, usage: Usage) {
        self.usage = usage;
    }
}

//! What clients ask of an API node, and what it answers: `api/src/endpoints/events/send.rs` without HTTP.

use std::sync::Arc;

use perennial_broker::Hinted;
use perennial_engine::kernel::admit;
use perennial_engine::ports::{
    Append, AppendError, Authority, Guard, Idempotency, IdempotencyMode, Ids, Log, Projection, ReadFrom, SessionKey,
    StoreError,
};
use perennial_schema::event::{Answer, Awaits, Body, Draft, Empty};
use perennial_schema::{AppendId, EventId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::people::{PAGE, at};
use crate::plan::Op;
use crate::ports::{NodeBus, Store};
use crate::world::{Gate, World};

/// An API node's process.
pub(crate) struct Front {
    pub(crate) gate: Gate,
    pub(crate) store: Arc<Hinted<Store>>,
    pub(crate) bus: Arc<NodeBus>,
}

/// What a client wants in the log.
#[derive(Clone)]
pub(crate) struct Letter {
    /// Names it for ever: the idempotency key.
    name: String,
    kind: &'static str,
    body: Value,
    as_what: As,
}

#[derive(Clone, Copy)]
enum As {
    Post,
    /// Handed over under the message's id.
    Mail(Uuid),
    /// The end of the session, if nothing runs.
    Archive,
}

impl Letter {
    pub(crate) fn post(name: String, kind: &'static str, body: Value) -> Self {
        let as_what = As::Post;
        Self {
            name,
            kind,
            body,
            as_what,
        }
    }

    pub(crate) fn text(name: String, text: &str) -> Self {
        let body = json!({"content": [{"type": "text", "text": text}]});
        Self::post(name, "user.message", body)
    }

    pub(crate) fn mail(id: Uuid, text: &str) -> Self {
        let message_id = perennial_schema::MessageId::from_uuid(id);
        Self {
            name: format!("mail {message_id}"),
            kind: "mail.received",
            body: json!({"message_id": message_id, "from": "agent/other", "content": [{"type": "text", "text": text}]}),
            as_what: As::Mail(id),
        }
    }
}

impl Letter {
    pub(crate) fn archive(name: String) -> Self {
        Self {
            as_what: As::Archive,
            ..Self::post(name, "session.status_terminated", json!({}))
        }
    }

    pub(crate) const fn name(&self) -> &String {
        &self.name
    }

    pub(crate) const fn is_mail(&self) -> bool {
        matches!(self.as_what, As::Mail(_))
    }

    /// The append, as the API makes it of a request.
    fn append(&self, key: SessionKey, world: &World) -> Append {
        let (ids, now): (&dyn Ids, _) = (world, at(world));
        let idempotency = Some(Idempotency {
            scope: "events".into(),
            key: self.name.clone(),
            body_hash: self.body.to_string(),
            mode: IdempotencyMode::Key,
        });
        if matches!(self.as_what, As::Archive) {
            let events = vec![Draft::new(ids.event(), Body::SessionStatusTerminated(Empty {}), now)];
            let guards = vec![Guard::NotRunning];
            let mut projection = Projection::of(&events);
            projection.patch.archive = true;
            return Append {
                key,
                append_id: ids.append(),
                authority: Authority::Client { guards, idempotency },
                projection,
                events,
            };
        }
        let drafted = Draft::input(ids.event(), self.kind, &self.body.to_string(), now, None);
        let events: Vec<Draft> = drafted.into_iter().collect();
        let (append_id, idempotency) = match self.as_what {
            As::Mail(id) => (AppendId::from_uuid(id), None),
            As::Post | As::Archive => (ids.append(), idempotency),
        };
        let guards = guards(&events);
        Append {
            key,
            append_id,
            authority: Authority::Client { guards, idempotency },
            projection: admit(&events),
            events,
        }
    }
}

impl Front {
    /// `POST /v1/sessions/{id}/events`, as `api/src/endpoints/events/send.rs` does it.
    pub(crate) async fn take(&self, key: SessionKey, letter: &Letter) -> Result<(Vec<String>, bool), AppendError> {
        let fault = self.gate.enter(Op::Request).await?;
        let append = letter.append(key, &self.gate.world);
        let mut tries = 0;
        let appended = loop {
            tries += 1;
            match self.store.append(append.clone()).await {
                Err(AppendError::Store(StoreError::Unknown { .. })) if tries < 3 => {}
                outcome => break outcome?,
            }
        };
        let ids = if appended.replayed {
            let from = ReadFrom {
                after: appended.first_seq - 1,
                limit: PAGE,
            };
            let records = self.store.read(key, from).await?;
            let own = records.into_iter().filter(|record| record.seq <= appended.last_seq);
            own.map(|record| record.id.to_string()).collect()
        } else {
            append.events.iter().map(|draft| draft.id.to_string()).collect()
        };
        self.gate.leave(fault).await;
        Ok((ids, appended.replayed))
    }
}

fn guards(drafts: &[Draft]) -> Vec<Guard> {
    let guard = |draft: &Draft| {
        let (tool_use_id, answer): (EventId, Answer) = draft.body.answers()?;
        let awaits = match (answer, &draft.body) {
            (Answer::Confirmation, _) => Awaits::Confirmation,
            (Answer::Result, Body::UserCustomToolResult(_)) => Awaits::CustomResult,
            (Answer::Result, _) => Awaits::ToolResult,
        };
        Some(Guard::Unanswered { tool_use_id, awaits })
    };
    drafts.iter().filter_map(guard).collect()
}

//! Requests put together from what the stores answered so far.

use perennial_engine::ports::{
    Append, Authority, Guard, Idempotency, IdempotencyMode, Ready, SessionKey, SessionPatch,
};
use perennial_schema::EventId;
use perennial_schema::event::{Awaits, Draft, Permission};
use uuid::Uuid;

use super::Bench;
use crate::fixture::{client, holder};

impl Bench {
    pub(super) fn ready(&self, ready: u8) -> Ready {
        match ready {
            0 => Ready::Keep,
            1 => Ready::Now,
            2 => Ready::UnlessParked,
            3 => Ready::At(self.measure().now().plus_millis(5_000)),
            _ => Ready::Never,
        }
    }

    pub(super) fn say(&self, key: SessionKey, ready: u8, asked: Option<(u8, u8)>) -> Append {
        let mut append = client(key, vec![self.measure().message("hi")], self.ready(ready));
        let (guards, idempotency) = match asked {
            None => (Vec::new(), None),
            Some((_, 3)) => (vec![Guard::NotRunning], None),
            Some((_, 4)) => (vec![Guard::Quarantined], None),
            Some((n, mode)) => {
                let mode = match mode {
                    0 => IdempotencyMode::Key,
                    1 => IdempotencyMode::Remember,
                    _ => IdempotencyMode::Retry,
                };
                let asked = Idempotency {
                    scope: "POST /".into(),
                    key: format!("{}", n % 2),
                    body_hash: format!("{}", n / 2),
                    mode,
                };
                (Vec::new(), Some(asked))
            }
        };
        append.authority = Authority::Client { guards, idempotency };
        append
    }

    pub(super) fn answer(&self, key: SessionKey, tool: usize, way: bool) -> Append {
        let rig = self.measure();
        let own = self.tools.iter().filter(|(of, _)| *of == key);
        let own: Vec<EventId> = own.map(|(_, tool)| *tool).collect();
        let tool = match own.as_slice() {
            [] => EventId::from_uuid(Uuid::nil()),
            tools => tools[tool % tools.len()],
        };
        let (event, awaits) = if way {
            (rig.confirmation(tool), Awaits::Confirmation)
        } else {
            (rig.custom_result(tool), Awaits::CustomResult)
        };
        let mut append = client(key, vec![event], Ready::Now);
        append.authority = Authority::Client {
            guards: vec![Guard::Unanswered {
                tool_use_id: tool,
                awaits,
            }],
            idempotency: None,
        };
        append
    }

    pub(super) fn write(&mut self, key: SessionKey, epoch: u64, what: u8) -> Append {
        let rig = self.measure();
        let mut tools = Vec::new();
        let mut events: Vec<Draft> = Vec::new();
        match what {
            0 => events.push(rig.running()),
            1 => events.push(rig.answer_text("so")),
            2 => events.push(rig.tool_use(Permission::Ask)),
            3 => events.push(rig.custom_tool_use()),
            4 => events.extend(self.tools.last().map(|(_, tool)| rig.tool_result(*tool))),
            _ => {
                let inputs: Vec<EventId> = self
                    .sent
                    .iter()
                    .filter(|append| append.key == key)
                    .flat_map(|append| append.events.iter().map(|event| event.id))
                    .collect();
                events.push(rig.processed(&inputs));
            }
        }
        if matches!(what, 2 | 3) {
            tools.extend(events.iter().map(|event| (key, event.id)));
        }
        let mut append = holder(key, epoch, events);
        append.projection.turn = Some(u64::from(what));
        append.projection.usage.input_tokens = u64::from(what);
        append.projection.progress = what == 1;
        self.tools.extend(tools);
        append
    }

    pub(super) fn patch(&self, key: SessionKey, what: u8) -> Append {
        let mut append = client(key, Vec::new(), Ready::Keep);
        match what {
            0 => append.projection.patch.archive = true,
            1 => append.projection.patch.delete = true,
            2 => append.projection.quarantined = Some(true),
            3 => append.projection.quarantined = Some(false),
            _ => {
                append.projection.patch = SessionPatch {
                    title: Some((what.is_multiple_of(2)).then(|| format!("title {what}"))),
                    ..SessionPatch::default()
                };
            }
        }
        append
    }
}

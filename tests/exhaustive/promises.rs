//! What must be true of every state.

use crate::session::{AppendId, Event, Outcome, Say};
use crate::world::World;

/// I1.
pub(crate) fn numbered_once(world: &World) -> bool {
    let numbered = (1..).zip(&world.log).all(|(seq, event)| event.seq == seq);
    let is_new = |at: usize, event: &Event| {
        let mut earlier = world.log[..at].iter();
        !earlier.any(|other| (other.by, other.say) == (event.by, event.say))
    };
    numbered && world.log.iter().enumerate().all(|(at, event)| is_new(at, event))
}

/// I3.
pub(crate) fn epochs_grow(world: &World) -> bool {
    let epochs = world.log.iter().filter_map(|event| match event.by {
        AppendId::Lease { epoch, .. } => Some(epoch),
        AppendId::Mail(_) => None,
    });
    epochs.is_sorted()
}

/// I5: at most one effect, none without a dispatch in the log; at most one result, and what it says is so.
pub(crate) fn call_is_right(world: &World, call: u8) -> bool {
    let count = |matches: &dyn Fn(&Say) -> bool| world.log.iter().filter(|event| matches(&event.say)).count();
    let used = count(&|say| matches!(say, Say::Use { call: c, .. } if *c == call));
    let results = count(&|say| matches!(say, Say::Result { call: c, .. } if *c == call));
    let outcome = Outcome::Done;
    let done = count(&|say| *say == Say::Result { call, outcome }) > 0;
    let effects = world.executor.effects[usize::from(call)];
    effects <= 1 && used <= 1 && results <= used && (effects == 0 || used == 1) && (!done || effects == 1)
}

/// I9.
pub(crate) fn mail_once(world: &World) -> bool {
    let received = world.log.iter().filter_map(|event| match event.say {
        Say::Mail(mail) => Some(mail),
        _ => None,
    });
    let received: Vec<u8> = received.collect();
    let marked = world.marked.iter().filter(|marked| **marked).count();
    received.is_sorted_by(|a, b| a < b) && received.len() >= marked
}

//! What may be asked next, made up at random.

use proptest::prelude::*;

/// One step, in numbers that are taken modulo what there is.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Create,
    Fork {
        of: usize,
        at: usize,
    },
    Say {
        to: usize,
        ready: u8,
        key: Option<(u8, u8)>,
    },
    Answer {
        to: usize,
        tool: usize,
        way: bool,
    },
    Write {
        to: usize,
        what: u8,
        stale: bool,
    },
    Rest {
        to: usize,
        behind: bool,
        asks: bool,
    },
    Repeat {
        which: usize,
    },
    Patch {
        to: usize,
        what: u8,
    },
    Register {
        who: usize,
    },
    Claim {
        who: usize,
        limit: u32,
    },
    Release {
        to: usize,
        ready: u8,
        behind: bool,
    },
    Unregister {
        who: usize,
    },
    Renew {
        who: usize,
    },
    Wait {
        millis: u16,
    },
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let (n, small) = (0..4usize, 0..4u8);
    prop_oneof![
        2 => Just(Step::Create),
        1 => (n.clone(), 0..6usize).prop_map(|(of, at)| Step::Fork { of, at }),
        6 => (n.clone(), 0..5u8, proptest::option::of((small.clone(), 0..5u8)))
            .prop_map(|(to, ready, key)| Step::Say { to, ready, key }),
        4 => (n.clone(), n.clone(), any::<bool>()).prop_map(|(to, tool, way)| Step::Answer { to, tool, way }),
        8 => (n.clone(), 0..6u8, proptest::bool::weighted(0.1))
            .prop_map(|(to, what, stale)| Step::Write { to, what, stale }),
        4 => (n.clone(), proptest::bool::weighted(0.2), any::<bool>())
            .prop_map(|(to, behind, asks)| Step::Rest { to, behind, asks }),
        2 => n.clone().prop_map(|which| Step::Repeat { which }),
        2 => (n.clone(), 0..32u8).prop_map(|(to, what)| Step::Patch { to, what }),
        1 => n.clone().prop_map(|who| Step::Register { who }),
        8 => (n.clone(), 0..4u32).prop_map(|(who, limit)| Step::Claim { who, limit }),
        2 => (n.clone(), 0..5u8, any::<bool>()).prop_map(|(to, ready, behind)| Step::Release { to, ready, behind }),
        1 => n.clone().prop_map(|who| Step::Unregister { who }),
        2 => n.clone().prop_map(|who| Step::Renew { who }),
        3 => (0..8_000u16).prop_map(|millis| Step::Wait { millis }),
    ]
}

//! What goes wrong, as an explicit list: decision number → fault. A seed draws the list while the run goes on; a failing run's
//! list is taken apart fault by fault, until what is left is what it takes ([`shrink`]).

use std::collections::BTreeMap;

/// Where a decision is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    Append,
    Read,
    Register,
    Claim,
    Renew,
    Release,
    Unregister,
    Attend,
    Place,
    Call,
    Settle,
    Cancel,
    Think,
    /// A client's request at an API node.
    Request,
    /// A follower of a stream reads on.
    Follow,
    /// A message of the bus for one node.
    Message,
    /// Steps of a call at the executor.
    Begins,
    Acts,
    Ends,
}

/// A fault. Times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    CrashBefore,
    CrashAfter,
    /// The store says that it cannot; nothing happened.
    Refused,
    /// The commit happened and its answer is lost.
    AppliedUnknown,
    /// The commit did not happen, and nobody knows.
    LostUnknown,
    Slow(u64),
    SlowAnswer(u64),
    /// The node stops, past its lease, and goes on as if nothing had been.
    Frozen(u64),
    /// The store's clock leaps: every lease expires under its holder.
    ClockLeaps,
    /// The node is told to finish.
    Drained,
    Dropped,
    Doubled,
    Late(u64),
    HandsCrash,
    HandsRebuilt,
    LinkCut,
    StreamCut,
}

/// All kinds, one bit each in a swarm.
const KINDS: usize = 17;

fn kind(index: usize, millis: u64) -> Fault {
    match index {
        0 => Fault::CrashBefore,
        1 => Fault::CrashAfter,
        2 => Fault::Refused,
        3 => Fault::AppliedUnknown,
        4 => Fault::LostUnknown,
        5 => Fault::Slow(1 + millis % 400),
        6 => Fault::SlowAnswer(1 + millis % 400),
        7 => Fault::Frozen(1_200 + millis % 1_800),
        8 => Fault::ClockLeaps,
        9 => Fault::Drained,
        10 => Fault::Dropped,
        11 => Fault::Doubled,
        12 => Fault::Late(1 + millis % 600),
        13 => Fault::HandsCrash,
        14 => Fault::HandsRebuilt,
        15 => Fault::LinkCut,
        _ => Fault::StreamCut,
    }
}

impl Fault {
    /// Whether it can strike there.
    fn fits(self, op: Op) -> bool {
        let bus = op == Op::Message;
        let hands = matches!(op, Op::Begins | Op::Acts | Op::Ends);
        let client = matches!(op, Op::Request | Op::Follow);
        match self {
            Self::Dropped | Self::Doubled | Self::Late(_) => bus,
            Self::HandsCrash => hands || matches!(op, Op::Call | Op::Settle),
            Self::HandsRebuilt => matches!(op, Op::Call | Op::Settle | Op::Acts),
            Self::LinkCut => matches!(op, Op::Call | Op::Settle),
            Self::StreamCut => op == Op::Follow,
            Self::AppliedUnknown | Self::LostUnknown => op == Op::Append,
            Self::Refused => {
                !bus && !hands && !matches!(op, Op::Call | Op::Settle | Op::Cancel | Op::Think | Op::Place)
            }
            Self::ClockLeaps => op == Op::Claim,
            Self::Drained => !bus && !hands && !client,
            Self::Frozen(_) => !bus && !hands && !client,
            Self::CrashBefore | Self::CrashAfter => !bus && !hands && op != Op::Follow,
            Self::Slow(_) | Self::SlowAnswer(_) => !bus && !hands,
        }
    }
}

/// Which faults a run has.
#[derive(Clone, Debug)]
pub(crate) enum Faults {
    /// Drawn from the seed.
    Drawn,
    /// Just these, by decision number.
    Listed(BTreeMap<u64, Fault>),
}

/// A run's plan.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    faults: Faults,
    swarm: u64,
    rate: u64,
}

/// Most faults of one run: behind that it must find its feet.
const MOST: usize = 24;

impl Plan {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        // Each run has a random half of the kinds: some bugs need the absence of a fault.
        let swarm = mix(seed, 0, 1) & mix(seed, 0, 2).max(1) | mix(seed, 0, 3) & mix(seed, 0, 4);
        Self {
            seed,
            faults,
            swarm,
            rate: 6 + mix(seed, 0, 5) % 40,
        }
    }

    /// The fault of a decision, if it has one.
    pub(crate) fn fault(&self, decision: u64, op: Op, fired: usize) -> Option<Fault> {
        match &self.faults {
            Faults::Listed(list) => list.get(&decision).copied().filter(|fault| fault.fits(op)),
            Faults::Drawn => self.draw(decision, op).filter(|_| fired < MOST),
        }
    }

    fn draw(&self, decision: u64, op: Op) -> Option<Fault> {
        // What happens all the time is hit less often, or nothing else would be.
        let rate = match op {
            Op::Renew | Op::Claim | Op::Read | Op::Message | Op::Follow => self.rate * 6,
            _ => self.rate,
        };
        if !mix(self.seed, decision, 10).is_multiple_of(rate) {
            return None;
        }
        let millis = mix(self.seed, decision, 11);
        let fitting: Vec<Fault> = (0..KINDS)
            .filter(|index| self.swarm >> index & 1 == 1)
            .map(|index| kind(index, millis))
            .filter(|fault| fault.fits(op))
            .collect();
        let at = mix(self.seed, decision, 12) as usize;
        (!fitting.is_empty()).then(|| fitting[at % fitting.len()])
    }
}

/// A number from a seed, a place and a purpose: what one decision draws changes no other.
pub(crate) fn mix(seed: u64, place: u64, purpose: u64) -> u64 {
    let mut z = seed
        .wrapping_add(place.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .wrapping_add(purpose.wrapping_mul(0xD1B5_4A32_D192_ED03));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Takes faults away, in halves, quarters, … one by one, as long as `fails` says that the rest still fails.
pub(crate) fn shrink(mut list: Vec<(u64, Fault)>, fails: impl Fn(&[(u64, Fault)]) -> bool) -> Vec<(u64, Fault)> {
    let mut size = list.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        while at < list.len() {
            let mut rest = list.clone();
            rest.drain(at..(at + size).min(list.len()));
            if fails(&rest) {
                list = rest;
            } else {
                at += size;
            }
        }
        if size == 1 {
            return list;
        }
        size = size.div_ceil(2);
    }
}

//! What sessions are told to do: rehearsal scripts whose tools leave a mark, from a seed.

use rand::Rng;
use rand::rngs::StdRng;

/// A turn of a few steps. Every call leaves a mark of its own in the ledger of its workspace, which is how the oracle knows
/// whether it ran; some take a while, some run beside each other, some turns only talk.
#[must_use]
pub fn turn(rng: &mut StdRng, name: &str) -> String {
    let mut lines = vec![format!("/say {name} begins")];
    let steps = rng.random_range(0..=3);
    for step in 0..steps {
        if rng.random_bool(0.5) {
            lines.push(format!("/tokens {} 4", rng.random_range(1..=12)));
        }
        for call in 0..rng.random_range(1..=2) {
            let wait = rng.random_range(0..=120);
            let mark = format!("{name}-{step}{call}");
            // The mark comes first or last, so that a kill finds calls on either side of their effect.
            let command = if rng.random_bool(0.5) {
                format!("echo {mark} >> ledger; sleep 0.{wait:03}")
            } else {
                format!("sleep 0.{wait:03}; echo {mark} >> ledger")
            };
            lines.push(format!("/tool bash {{\"command\":\"{command}\"}}"));
        }
        lines.push("/then".to_owned());
    }
    lines.push(format!("/say {name} ends"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn one_seed_one_script() {
        let script = |seed| turn(&mut StdRng::seed_from_u64(seed), "t1");
        assert_eq!(script(7), script(7));
        assert!((0..20).any(|seed| script(seed) != script(seed + 1)));
        assert!((0..20).any(|seed| script(seed).contains("echo t1-00 >> ledger")));
    }
}

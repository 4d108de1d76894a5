//! Retry arithmetic, pure: how long to wait before which attempt.

/// Process deaths after which a session is retried alone and later (I15).
pub const ALONE_AFTER: u32 = 3;
/// Process deaths after which a session is set aside (I15).
pub const QUARANTINE_AFTER: u32 = 8;
/// Model requests tried before the turn gives up.
pub const MODEL_ATTEMPTS: u32 = 5;

/// Delay before a session with this many process deaths may be claimed again, in milliseconds: none below
/// [`ALONE_AFTER`], then 1 s doubling; none from [`QUARANTINE_AFTER`] on, where the claim only sets the session aside.
#[must_use]
pub const fn attempt_delay_millis(attempts: u32) -> u64 {
    if attempts < ALONE_AFTER || attempts >= QUARANTINE_AFTER {
        0
    } else {
        1_000 << (attempts - ALONE_AFTER)
    }
}

/// Delay before model attempt `attempt` (1 is the first retry), in milliseconds: 500 ms doubling up to 30 s, ± 20 % by
/// `jitter` in 0..=1000; a provider's `retry_after` is honoured up to 120 s.
#[must_use]
pub const fn model_delay_millis(attempt: u32, retry_after_millis: Option<u64>, jitter: u64) -> u64 {
    let base = min64(500 << min(attempt.saturating_sub(1), 6), 30_000);
    let jittered = base * 4 / 5 + base * 2 / 5 * min64(jitter, 1000) / 1000;
    match retry_after_millis {
        Some(asked) if asked > jittered => min64(asked, 120_000),
        _ => jittered,
    }
}

/// Delay after attempt `attempt` (1 is the first) of a webhook, in milliseconds: 5 s, four times as long each time up to 6 h,
/// ± 20 % by `jitter` in 0..=1000; a receiver's `retry_after` is honoured up to 6 h.
#[must_use]
pub const fn webhook_delay_millis(attempt: u32, retry_after_millis: Option<u64>, jitter: u64) -> u64 {
    const MOST: u64 = 6 * 3_600_000;
    let base = min64(5_000 << (2 * min(attempt.saturating_sub(1), 8)), MOST);
    let jittered = base * 4 / 5 + base * 2 / 5 * min64(jitter, 1000) / 1000;
    match retry_after_millis {
        Some(asked) if asked > jittered => min64(asked, MOST),
        _ => jittered,
    }
}

const fn min(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

const fn min64(a: u64, b: u64) -> u64 {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_wait_from_the_third_death_on() {
        let delays: Vec<u64> = (0..10).map(attempt_delay_millis).collect();
        assert_eq!(delays, [0, 0, 0, 1000, 2000, 4000, 8000, 16000, 0, 0]);
    }

    #[test]
    fn webhooks_wait_longer_each_time_up_to_a_quarter_of_a_day() {
        let delays: Vec<u64> = [1, 2, 3, 40].map(|n| webhook_delay_millis(n, None, 500)).into();
        assert_eq!(delays, [5_000, 20_000, 80_000, 21_600_000]);
        assert_eq!(webhook_delay_millis(1, Some(60_000), 0), 60_000);
        assert_eq!(webhook_delay_millis(1, Some(u64::MAX), 0), 21_600_000);
    }

    #[test]
    fn model_delays_are_bounded_and_honour_the_provider() {
        assert_eq!(model_delay_millis(1, None, 500), 500);
        assert_eq!(model_delay_millis(40, None, 1000), 36_000);
        assert_eq!(model_delay_millis(1, Some(7_000), 0), 7_000);
        assert_eq!(model_delay_millis(1, Some(10_000_000), 0), 120_000);
    }
}

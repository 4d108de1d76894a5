//! Every bound of this crate in one place.

use std::time::Duration;

/// Messages that may wait for one session or agent.
pub(crate) const ROOM: u32 = 1_000;
/// Messages that may wait in one queue.
pub(crate) const QUEUE_ROOM: u32 = 10_000;
/// Through so many agents a conversation may go without a person or a program writing in it.
pub(crate) const HOPS: u32 = 64;
/// Messages taken at once; they are handed over side by side.
pub(crate) const BATCH: u32 = 32;
/// How long a taken message is left to its taker, in milliseconds: so late is mail whose postman was killed.
pub(crate) const LEASE_MILLIS: u64 = 5_000;
/// A taker that has had a message for so long lets it go before it appends anything: whoever comes next may be at it soon.
pub(crate) const LEASE_SAFE: Duration = Duration::from_secs(2);
/// How often a postman looks without being told, at least.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);
/// How often what ended is cleared away.
pub(crate) const TEND: Duration = Duration::from_secs(30);
/// How long a message is kept after its end, in milliseconds; so long its id is remembered.
pub(crate) const KEEP_MILLIS: u64 = 30 * 24 * 3600 * 1000;
/// First wait before a failed hand-over is repeated, in milliseconds; doubled each time.
pub(crate) const RETRY_MILLIS: u64 = 200;
/// The longest such wait.
pub(crate) const RETRY_MOST_MILLIS: u64 = 30_000;
/// Sessions that are tried for one message of an agent: each was archived when it came to it.
pub(crate) const SUCCESSORS: u32 = 3;
/// Dead letters whose senders are told in one go.
pub(crate) const NOTICES: u32 = 32;
/// Agents that are listed to a model.
pub(crate) const PEERS: u32 = 100;
/// Sessions at work among which those of the agents that are listed are looked for.
pub(crate) const RUNNING: u32 = 200;
/// What a model may write in one message, in bytes.
pub(crate) const TOOL_CONTENT_BYTES: usize = 64 * 1024;
/// A subject, in characters.
pub(crate) const SUBJECT_CHARS: usize = 256;
/// Messages shown to a model that does not say how many.
pub(crate) const READ_DEFAULT: u32 = 10;
/// The most it is shown.
pub(crate) const READ_MOST: u32 = 50;
/// How often open tasks are looked at.
pub(crate) const TASK_LOOK: Duration = Duration::from_millis(500);
/// How long a task may take unless its model says so, in seconds.
pub(crate) const TASK_SECONDS: u64 = 3_600;
/// The longest that a model may say.
pub(crate) const TASK_SECONDS_MOST: u64 = 7 * 24 * 3_600;
/// How much longer than a task may take a part of a budget stays set aside for it; then it counts as used. In milliseconds.
pub(crate) const ASIDE_MILLIS: u64 = 3_600_000;
/// Model requests whose cost a task's end adds up.
pub(crate) const TASK_TRACES: u32 = 1_000;
/// Messages among which a session finds the task it works on.
pub(crate) const TASK_MAIL: u32 = 50;
/// Model requests of a task that are counted.
pub(crate) const TASK_REQUESTS: u32 = 1_000;
/// How often a model's message is sent while the store cannot say what became of it.
pub(crate) const SEND_TRIES: u32 = 5;

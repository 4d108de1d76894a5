//! Fills a queue: a session that wants a worker and has no piece of work gets one, and a piece whose worker fell silent is over.
//! Whoever looks at a queue does this first, so that nothing is ever queued by a call that could be lost (I10).

use perennial_engine::ports::{Work, WorkQueueKey};
use perennial_schema::{Timestamp, WorkId};

use super::wanting::wanting;
use crate::api::App;
use crate::error::ApiError;
use crate::limits::{WORK_OPEN, WORK_REST_MILLIS};

/// What is in the queue now, oldest first, and the time.
pub(super) async fn supply(app: &App, queue: WorkQueueKey) -> Result<(Timestamp, Vec<Work>), ApiError> {
    let queues = &app.ports.work;
    let (now, mut seen) = queues.open(queue, WORK_REST_MILLIS, WORK_OPEN).await?;
    for work in seen.iter_mut().filter(|work| work.is_abandoned(now)) {
        let mut ended = work.clone();
        ended.end(now);
        // Whoever was faster has heard of its worker, or has done the same.
        queues.swap(work.revision, &ended).await?;
        *work = ended;
    }
    for (session, head) in wanting(app, queue).await? {
        let mut of_session = seen.iter().filter(|work| work.session == session);
        if seen.len() >= WORK_OPEN as usize || of_session.any(|work| !work.is_over() || work.did_nothing(head)) {
            continue;
        }
        let work = Work::new(WorkId::from_uuid(app.ports.ids.uuid()), queue, session, head, now);
        if queues.add(&work).await? {
            seen.push(work);
        }
    }
    seen.retain(|work| !work.is_over());
    Ok((now, seen))
}

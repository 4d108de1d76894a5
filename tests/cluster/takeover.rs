//! A worker dies with sessions in flight; how long until another goes on with each of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use perennial_proof::prove::{Fault, House, Loss, takeover};
use perennial_tests::client::Client;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::place::{Place, count, say, seed};

/// Sessions at work; two workers share them.
const SESSIONS: usize = 32;
/// The lease alone would take a second and a sweep.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn sessions_of_a_dead_worker_go_on_elsewhere() -> Result<()> {
    let Some(place) = Place::new().await? else {
        return Ok(());
    };
    let mut rng = StdRng::seed_from_u64(seed("takeover"));
    let (mut first, mut last, mut held) = (Vec::new(), Vec::new(), 0);
    for _ in 0..count(20) {
        let mut house = place.house(1, 2).await?;
        let door = house.doors().requests.first().context("no node")?.clone();
        let sessions = at_work(&door).await?;
        let loss = house
            .strike(Fault::KillWorker, &mut rng)
            .await?
            .context("nobody died")?;
        let mut delays = delays(&house, &door, &sessions, &loss).await?;
        delays.sort();
        held += delays.len();
        first.extend(delays.first().copied());
        last.extend(delays.last().copied());
        house.close().await;
    }
    ensure!(held > 0, "no worker died with a session: the rig is vacuous");
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    let (n, first, last) = (first.len(), median(first), median(last));
    say(format_args!(
        "takeover: first record after {first:?}, of all sessions after {last:?} (medians of {n} deaths, {held} sessions)"
    ));
    assert!(last < Duration::from_secs(3), "{last:?}");
    Ok(())
}

/// Sessions that all wait for the model.
async fn at_work(door: &Client) -> Result<Vec<String>> {
    let (agent, environment) = door.agent_and_environment("rehearsal-1").await?;
    let mut sessions = Vec::with_capacity(SESSIONS);
    for _ in 0..SESSIONS {
        let session = door.session(&agent, &environment).await?;
        door.say(&session, "/tokens 3000 5\n/say done").await?;
        sessions.push(session);
    }
    for session in &sessions {
        let mut stream = door.stream(session, "", Some(0)).await?;
        while stream.next().await?.context("the stream ended")?.event != "span.model_request_start" {}
    }
    Ok(sessions)
}

/// How long each session that the dead worker held waited for its next record.
async fn delays(house: &House, door: &Client, sessions: &[String], loss: &Loss) -> Result<Vec<Duration>> {
    let trace = house.trace();
    let mut delays = Vec::new();
    let begun = Instant::now();
    for session in sessions.iter().filter(|session| trace.held(loss, session)) {
        loop {
            if let Some(delay) = takeover(&door.log(session).await?, loss.at) {
                delays.push(delay);
                break;
            }
            ensure!(begun.elapsed() < PATIENCE, "{session} was left behind");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(delays)
}

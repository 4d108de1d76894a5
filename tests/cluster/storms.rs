//! Clients that go away in the middle of a request, and more requests than there are connections: nothing is poisoned, nothing
//! is lost, and no worker loses its lease.

use std::time::Duration;

use anyhow::Result;
use perennial_proof::proxy::Faults;
use perennial_tests::client::{id, message};
use perennial_tests::oracle::{Counters, Evidence, Post, check};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::place::{Place, count, say, seed};

#[tokio::test]
async fn cancelled_requests_poison_no_connection() -> Result<()> {
    let Some(place) = Place::new().await? else {
        return Ok(());
    };
    let house = place.house(2, 1).await?;
    let doors = house.doors().requests;
    let (agent, environment) = doors[0].agent_and_environment("rehearsal-1").await?;
    let session = doors[0].session(&agent, &environment).await?;
    let path = format!("/v1/sessions/{session}/events");
    let mut rng = StdRng::seed_from_u64(seed("cancelled"));
    let (storm, mut answered) = (count(1_000), 0);
    let mut posts = Vec::new();
    for request in 0..storm {
        let door = &doors[rng.random_range(0..2)];
        let key = format!("storm-{request}");
        // Dropping the future closes the connection under the request.
        // From far too short to ample, on a fast machine and on a slow one.
        let patience = Duration::from_micros(50_u64 << rng.random_range(0..12_u32));
        let (text, other) = (message(&format!("/say {request}")), serde_json::json!({"title": key}));
        let answer = match request % 3 {
            0 => tokio::time::timeout(patience, door.post_once(&path, &key, &text)).await,
            1 => tokio::time::timeout(patience, door.post(&format!("/v1/sessions/{session}"), &other)).await,
            _ => tokio::time::timeout(patience, door.get("/v1/sessions?limit=20")).await,
        };
        let Ok(Ok(answer)) = answer else { continue };
        assert!(answer.status < 500, "{answer:?}");
        answered += 1;
        if request % 3 == 0 {
            let ids = vec![id(&answer.ok()?["data"][0])?];
            posts.push(Post { key, ids });
        }
    }
    // Whatever connection comes next is whole: more requests than a pool holds, all at once.
    let after: Vec<_> = (0..64)
        .map(|request| doors[request % 2].say(&session, "/say after"))
        .collect();
    for said in futures_util::future::join_all(after).await {
        said?;
    }
    doors[0].until_idle(&session, 0, Duration::from_secs(120)).await?;
    let evidence = Evidence {
        log: doors[1].log(&session).await?,
        posts,
        at_rest: true,
        ..Evidence::default()
    };
    let violations = check(&evidence, &mut Counters::default());
    say(format_args!(
        "cancelled: {storm} requests, {answered} of them answered in time, {} violations",
        violations.len()
    ));
    assert_eq!(violations, []);
    assert!(answered > 0 && answered < storm, "the storm cancels all or nothing");
    house.close().await;
    Ok(())
}

/// The database answers late while ten times as many requests come as there are connections: some are told to come back, none
/// waits for ever, and the worker keeps its lease, because renewing has a connection of its own.
#[tokio::test]
async fn an_exhausted_pool_sheds_load_and_keeps_leases() -> Result<()> {
    let Some(place) = Place::new().await? else {
        return Ok(());
    };
    let house = place.house(2, 1).await?;
    let doors = house.doors().requests;
    let (agent, environment) = doors[0].agent_and_environment("rehearsal-1").await?;
    let working = doors[0].session(&agent, &environment).await?;
    doors[0].say(&working, "/sleep 6000\n/say still here").await?;
    let database = house.database().expect("a cluster has a database");
    database.set(Faults {
        latency: Duration::from_millis(150),
        ..Faults::default()
    });
    let requests = count(4_000);
    let sent: Vec<_> = (0..requests)
        .map(|request| doors[usize::try_from(request).unwrap_or(0) % 2].get("/v1/sessions?limit=1"))
        .collect();
    let (mut served, mut shed) = (0u64, 0u64);
    for answer in futures_util::future::join_all(sent).await {
        let answer = answer?;
        match answer.status {
            200 => served += 1,
            503 => {
                assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
                shed += 1;
            }
            _ => panic!("{answer:?}"),
        }
    }
    database.heal();
    let (events, _) = doors[0].until_idle(&working, 0, Duration::from_secs(60)).await?;
    let requests_to_model = events
        .iter()
        .filter(|event| event["type"] == "span.model_request_start")
        .count();
    say(format_args!(
        "exhausted pool: {requests} requests, {served} served, {shed} told to come back"
    ));
    assert_eq!(requests_to_model, 1, "the worker lost its lease: {events:#?}");
    assert!(served > 0);
    house.close().await;
    Ok(())
}

/// The bus is not there when everything starts, nor for a while after: turns go on by polling, streams show everything, and when
/// it comes nobody needs to be told.
#[tokio::test]
async fn a_cluster_starts_and_works_without_its_bus() -> Result<()> {
    let Some(place) = Place::new().await? else {
        return Ok(());
    };
    place.nats.lock().await.kill().await?;
    let house = place.house(2, 2).await?;
    let doors = house.doors().requests;
    let (agent, environment) = doors[0].agent_and_environment("rehearsal-1").await?;
    let session = doors[0].session(&agent, &environment).await?;
    let mut last = 0;
    for turn in 0..3 {
        let script = format!("/say on\n/tool bash {{\"command\":\"echo t{turn} >> ledger\"}}\n/then\n/say off");
        doors[turn % 2].say(&session, &script).await?;
        let (events, seen) = doors[1].until_idle(&session, last, Duration::from_secs(20)).await?;
        assert!(
            events.iter().any(|event| event["type"] == "agent.tool_result"),
            "{events:#?}"
        );
        last = seen;
        if turn == 1 {
            place.nats.lock().await.run().await?;
        }
    }
    let ledger = std::fs::read_to_string(house.data_dir().join("workspaces").join(&session).join("ledger"))?;
    let evidence = Evidence {
        log: doors[0].log(&session).await?,
        effects: ledger.lines().map(str::to_owned).collect(),
        at_rest: true,
        ..Evidence::default()
    };
    assert_eq!(check(&evidence, &mut Counters::default()), []);
    house.close().await;
    Ok(())
}

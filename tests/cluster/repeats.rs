//! Clients that repeat themselves: the same request at two nodes at once, and streams that are taken up at another node.

use std::sync::Arc;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use perennial_tests::client::{Client, id, message};
use perennial_tests::oracle::{Counters, Evidence, Post, View, check};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::place::{Place, either, say, seed};

/// Pairs under way at the same time.
const AT_ONCE: usize = 16;
/// Pairs that one session is sent.
const PAIRS_OF_ONE: u64 = 500;
/// Resumes of one session's stream.
const RESUMES_OF_ONE: u64 = 250;

#[tokio::test]
async fn the_same_request_at_two_nodes_has_one_effect_and_one_answer() -> Result<()> {
    let Some(place) = Place::new().await? else {
        return Ok(());
    };
    let house = place.house(2, 1).await?;
    let doors = house.doors().requests;
    let (agent, environment) = doors[0].agent_and_environment("rehearsal-1").await?;
    let pairs = either(20_000, 500);
    let (mut counters, mut violations) = (Counters::default(), Vec::new());
    for first in (0..pairs).step_by(usize::try_from(PAIRS_OF_ONE)?) {
        let session = doors[0].session(&agent, &environment).await?;
        let answers = futures_util::stream::iter(first..pairs.min(first + PAIRS_OF_ONE));
        let answers = answers.map(|pair| pair_of(&doors, &session, pair));
        let posts: Vec<Result<[Post; 2]>> = answers.buffer_unordered(AT_ONCE).collect().await;
        let posts = posts.into_iter().collect::<Result<Vec<_>>>()?.concat();
        doors[0]
            .until_idle(&session, 0, std::time::Duration::from_secs(120))
            .await?;
        let evidence = Evidence {
            log: doors[0].log(&session).await?,
            posts,
            at_rest: true,
            ..Evidence::default()
        };
        violations.extend(check(&evidence, &mut counters));
        eprintln!("pairs: {} of {pairs}", counters.repeated);
    }
    say(format_args!(
        "pairs: {} duplicate POST pairs across two nodes, {} violations",
        counters.repeated,
        violations.len()
    ));
    assert_eq!(violations, []);
    assert_eq!(counters.repeated, pairs);
    house.close().await;
    Ok(())
}

async fn pair_of(doors: &[Client], session: &str, pair: u64) -> Result<[Post; 2]> {
    let path = format!("/v1/sessions/{session}/events");
    let (key, body) = (format!("pair-{pair}"), message(&format!("/say {pair}")));
    let send = async |door: &Client| -> Result<Post> {
        let answer = door.post_once(&path, &key, &body).await?.ok()?;
        let ids = vec![id(&answer["data"][0])?];
        Ok(Post { key: key.clone(), ids })
    };
    let (one, two) = tokio::join!(send(&doors[0]), send(&doors[1]));
    Ok([one?, two?])
}

/// Readers of sessions that write all the time; each reader is cut off after a few frames and goes on at the other node.
#[tokio::test]
async fn streams_are_resumed_at_another_node() -> Result<()> {
    let Some(place) = Place::new().await? else {
        return Ok(());
    };
    let house = place.house(2, 1).await?;
    let doors = Arc::new(house.doors().requests);
    let (agent, environment) = doors[0].agent_and_environment("rehearsal-1").await?;
    // A tenth of the counts is shared by four readers.
    let (sessions, each) = either((20, RESUMES_OF_ONE), (4, RESUMES_OF_ONE / 10));
    let resumes = sessions * each;
    let mut rng = StdRng::seed_from_u64(seed("resumes"));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..sessions {
        let session = doors[0].session(&agent, &environment).await?;
        let (doors, mine, seed) = (doors.clone(), each, rng.random());
        readers.spawn(async move { resumed(&doors, &session, mine, seed).await });
    }
    let mut counters = Counters::default();
    let mut violations = Vec::new();
    while let Some(reader) = readers.join_next().await {
        violations.extend(check(&reader??, &mut counters));
    }
    say(format_args!(
        "resumes: {resumes} across two nodes, {} frames, {} violations",
        counters.frames,
        violations.len()
    ));
    assert_eq!(violations, []);
    house.close().await;
    Ok(())
}

async fn resumed(doors: &[Client], session: &str, resumes: u64, seed: u64) -> Result<Evidence> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut seen = Vec::new();
    for connection in 0..=resumes {
        let door = &doors[usize::try_from(connection)? % doors.len()];
        let last = seen.last().map_or(0, |(seq, _)| *seq);
        let frames = rng.random_range(1..10);
        let mut stream = door.stream(session, "?include=extensions", Some(last)).await?;
        // Each connection has something to show: old, new, or both.
        door.say(session, "/say one\n/tool glob {\"pattern\":\"*\"}\n/then\n/say two")
            .await?;
        let mut shown = 0;
        while shown < frames {
            let frame = stream.next().await?.context("the stream ended")?;
            if let Some(seq) = frame.seq {
                seen.push((seq, frame.data));
                shown += 1;
            }
        }
    }
    doors[0]
        .until_idle(session, 0, std::time::Duration::from_secs(120))
        .await?;
    let log = doors[0].log(session).await?;
    let head = log.last().and_then(|event| event["seq"].as_u64());
    let mut stream = doors[1]
        .stream(session, "?include=extensions", seen.last().map(|(seq, _)| *seq))
        .await?;
    while seen.last().map(|(seq, _)| *seq) < head {
        let frame = stream.next().await?.context("the stream ended")?;
        seen.extend(frame.seq.map(|seq| (seq, frame.data)));
    }
    Ok(Evidence {
        log,
        views: vec![View {
            after: 0,
            seen,
            complete: true,
        }],
        at_rest: true,
        ..Evidence::default()
    })
}

//! Reading: tails, pages, filters and cursors.

use perennial_engine::ports::{EventFilter, ReadFrom, Ready, TimeBounds};
use perennial_schema::event::Record;

use crate::fixture::{Rig, client, holder};
use crate::on_every_store;

on_every_store![
    tails_start_after_a_seq,
    a_read_is_bounded_by_bytes,
    pages_are_whole_and_ordered,
    lists_hide_extensions,
    lists_filter_by_type,
    cursors_page_both_ways,
    bounds_compare_the_processed_time,
    a_huge_cursor_finds_nothing,
];

fn seqs(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.seq).collect()
}

fn filter(limit: u32) -> EventFilter {
    EventFilter {
        limit,
        ..EventFilter::default()
    }
}

async fn tails_start_after_a_seq(rig: Rig) {
    let (noise, key) = (rig.session().await, rig.session().await);
    for n in 0..5 {
        rig.say(noise, "noise").await;
        rig.say(key, &format!("{n}")).await;
    }
    let read = |after, limit| rig.store.read(key, ReadFrom { after, limit });
    assert_eq!(seqs(&read(0, 100).await.unwrap()), [1, 2, 3, 4, 5]);
    assert_eq!(seqs(&read(3, 100).await.unwrap()), [4, 5]);
    assert_eq!(seqs(&read(1, 2).await.unwrap()), [2, 3]);
    assert!(read(5, 100).await.unwrap().is_empty());
    assert!(read(0, 0).await.unwrap().is_empty());
}

async fn a_read_is_bounded_by_bytes(rig: Rig) {
    let key = rig.session().await;
    for _ in 0..3 {
        rig.say(key, &"x".repeat(5 * 1024 * 1024)).await;
    }
    let page = rig.store.read(key, ReadFrom { after: 0, limit: 10 }).await.unwrap();
    assert_eq!(page.len(), 1, "5 MiB and 5 MiB are more than 8 MiB");
    assert_eq!(rig.log(key).await.len(), 3);
    let huge = rig.say(key, &"x".repeat(9 * 1024 * 1024)).await;
    let from = ReadFrom {
        after: huge.first_seq - 1,
        limit: 10,
    };
    assert_eq!(rig.store.read(key, from).await.unwrap().len(), 1, "at least one");
}

async fn pages_are_whole_and_ordered(rig: Rig) {
    let key = rig.session().await;
    let events = (0..57).map(|n| rig.message(&format!("{n}"))).collect();
    rig.append(client(key, events, Ready::Keep)).await.unwrap();
    let mut all = Vec::new();
    loop {
        let from = ReadFrom {
            after: all.last().copied().unwrap_or(0),
            limit: 10,
        };
        let page = rig.store.read(key, from).await.unwrap();
        if page.is_empty() {
            break;
        }
        all.extend(seqs(&page));
    }
    assert_eq!(all, (1..=57).collect::<Vec<u64>>());
}

async fn lists_hide_extensions(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    let mut foreign = rig.running();
    foreign.body = perennial_schema::event::Body::Unknown("future.event".into());
    let step = vec![rig.running(), rig.processed(&[]), foreign, rig.answer_text("a")];
    rig.append(holder(key, epoch, step)).await.unwrap();
    assert_eq!(seqs(&rig.list(key, filter(10)).await), [1, 2, 5]);
    let all = EventFilter {
        include_extensions: true,
        ..filter(10)
    };
    assert_eq!(seqs(&rig.list(key, all).await), [1, 2, 3, 4, 5]);
}

async fn lists_filter_by_type(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    let step = vec![
        rig.running(),
        rig.processed(&[]),
        rig.answer_text("a"),
        rig.answer_text("b"),
    ];
    rig.append(holder(key, epoch, step)).await.unwrap();
    let of = |types: &[&str]| EventFilter {
        types: types.iter().map(|&kind| kind.to_owned()).collect(),
        ..filter(10)
    };
    assert_eq!(seqs(&rig.list(key, of(&["agent.message"])).await), [4, 5]);
    assert_eq!(
        seqs(&rig.list(key, of(&["user.message", "input.processed"])).await),
        [1, 3]
    );
    assert!(rig.list(key, of(&["no.such'type"])).await.is_empty());
}

async fn cursors_page_both_ways(rig: Rig) {
    let key = rig.session().await;
    let events = (0..7).map(|n| rig.message(&format!("{n}"))).collect();
    rig.append(client(key, events, Ready::Keep)).await.unwrap();
    let page = |cursor, descending| EventFilter {
        cursor,
        descending,
        ..filter(3)
    };
    assert_eq!(seqs(&rig.list(key, page(None, false)).await), [1, 2, 3]);
    assert_eq!(seqs(&rig.list(key, page(Some(3), false)).await), [4, 5, 6]);
    assert_eq!(seqs(&rig.list(key, page(Some(6), false)).await), [7]);
    assert_eq!(seqs(&rig.list(key, page(None, true)).await), [7, 6, 5]);
    assert_eq!(seqs(&rig.list(key, page(Some(5), true)).await), [4, 3, 2]);
    assert_eq!(seqs(&rig.list(key, page(Some(2), true)).await), [1]);
    assert!(rig.list(key, page(Some(1), true)).await.is_empty());
}

async fn bounds_compare_the_processed_time(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    let input = rig.log(key).await[0].id;
    rig.clock.advance(100);
    let answered = rig.now();
    rig.append(holder(key, epoch, vec![rig.answer_text("early")]))
        .await
        .unwrap();
    rig.clock.advance(100);
    let stamped = rig
        .append(holder(key, epoch, vec![rig.processed(&[input])]))
        .await
        .unwrap()
        .at;
    rig.say(key, "still queued").await;
    let within = |created| EventFilter { created, ..filter(10) };
    let gte = |at| TimeBounds {
        gte: Some(at),
        ..TimeBounds::default()
    };
    assert_eq!(
        seqs(&rig.list(key, within(gte(answered))).await),
        [1, 2],
        "the queued one has no time"
    );
    assert_eq!(seqs(&rig.list(key, within(gte(stamped))).await), [1]);
    let exactly = TimeBounds {
        lte: Some(answered),
        ..gte(answered)
    };
    assert_eq!(seqs(&rig.list(key, within(exactly)).await), [2]);
    let open = TimeBounds {
        gt: Some(answered),
        lt: Some(stamped),
        ..TimeBounds::default()
    };
    assert!(rig.list(key, within(open)).await.is_empty());
}

async fn a_huge_cursor_finds_nothing(rig: Rig) {
    let (one, two) = (rig.session().await, rig.session().await);
    rig.say(one, "a").await;
    rig.say(two, "b").await;
    for after in [u64::from(u32::MAX), u64::MAX] {
        assert!(
            rig.store
                .read(one, ReadFrom { after, limit: 10 })
                .await
                .unwrap()
                .is_empty()
        );
        let up = EventFilter {
            cursor: Some(after),
            ..filter(10)
        };
        assert!(rig.list(one, up.clone()).await.is_empty());
        let down = EventFilter { descending: true, ..up };
        assert_eq!(rig.list(one, down).await.len(), 1, "one session's events only");
    }
}

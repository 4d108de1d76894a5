//! The stream of changes of a workspace: nothing skipped, each session once and in its newest form (I12).

use std::time::Duration;

use perennial_engine::ports::{
    Append, ChangeCursor, LAST_EVENT_PAUSE, Projection, Ready, SessionKey, SessionPatch, SessionRow,
};
use perennial_schema::session::Status;

use crate::fixture::{Rig, client, holder};
use crate::on_every_store;

on_every_store![
    every_session_is_told_once,
    an_append_within_a_turn_is_no_change,
    what_follows_a_pause_is_a_change,
    a_turn_is_two_changes,
    patches_and_deletes_are_changes,
    pages_join_without_a_gap,
    tenants_see_their_own,
    concurrent_changes_are_never_skipped,
];

/// Follows a tenant's changes.
struct Follower<'a> {
    rig: &'a Rig,
    cursor: Option<ChangeCursor>,
}

impl<'a> Follower<'a> {
    fn new(rig: &'a Rig) -> Self {
        Self { rig, cursor: None }
    }

    async fn page(&mut self, limit: u32) -> Vec<SessionRow> {
        let page = self.rig.store.changes(self.rig.workspace, self.cursor, limit).await;
        let page = page.unwrap();
        assert!(page.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order");
        assert!(
            page.iter().all(|(cursor, _)| Some(*cursor) > self.cursor),
            "after the cursor"
        );
        self.cursor = page.last().map(|(cursor, _)| *cursor).or(self.cursor);
        page.into_iter().map(|(_, row)| row).collect()
    }

    /// What is new. A store may hold a change back while an older transaction of another tenant is open, so this waits for
    /// as many as are expected.
    async fn news(&mut self, expected: usize) -> Vec<SessionRow> {
        let mut news = Vec::new();
        let collect = async {
            loop {
                let page = self.page(100).await;
                let empty = page.is_empty();
                news.extend(page);
                if empty && news.len() >= expected {
                    return;
                }
                if empty {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        };
        if tokio::time::timeout(Duration::from_secs(10), collect).await.is_err() {
            panic!("{} changes, expected {expected}", news.len());
        }
        news
    }
}

fn keys(rows: &[SessionRow]) -> Vec<SessionKey> {
    rows.iter().map(|row| row.key).collect()
}

async fn every_session_is_told_once(rig: Rig) {
    let (one, two) = (rig.session().await, rig.session().await);
    rig.say(one, "hi").await;
    let mut follower = Follower::new(&rig);
    let rows = follower.news(2).await;
    assert_eq!(keys(&rows), [two, one], "oldest change first");
    assert_eq!(rows[1], rig.row(one).await, "in its newest form");
    assert!(follower.page(10).await.is_empty());
}

async fn an_append_within_a_turn_is_no_change(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    rig.append(holder(key, epoch, vec![rig.running()])).await.unwrap();
    let mut follower = Follower::new(&rig);
    follower.news(1).await;
    for _ in 0..3 {
        rig.append(holder(key, epoch, vec![rig.answer_text("so")]))
            .await
            .unwrap();
    }
    let marker = rig.session().await;
    assert_eq!(keys(&follower.news(1).await), [marker]);
}

async fn what_follows_a_pause_is_a_change(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    rig.append(holder(key, epoch, vec![rig.running()])).await.unwrap();
    let mut follower = Follower::new(&rig);
    follower.news(1).await;
    let says = async |text: &str| {
        let append = holder(key, epoch, vec![rig.answer_text(text)]);
        rig.append(append).await.unwrap();
    };
    let pause = i64::try_from(LAST_EVENT_PAUSE.as_millis()).unwrap();
    rig.clock.advance(pause);
    says("after it").await;
    let rows = follower.news(1).await;
    let last = rows[0].last_event.as_ref().and_then(|last| last.text.as_deref());
    assert_eq!((rows.len(), last), (1, Some("after it")));
    says("at once").await;
    let marker = rig.session().await;
    assert_eq!(keys(&follower.news(1).await), [marker]);
}

async fn a_turn_is_two_changes(rig: Rig) {
    let (key, _, epoch) = rig.held().await;
    let mut follower = Follower::new(&rig);
    follower.news(1).await;
    let head = rig
        .append(holder(key, epoch, vec![rig.running()]))
        .await
        .unwrap()
        .last_seq;
    let rows = follower.news(1).await;
    assert_eq!((rows.len(), rows[0].status), (1, Status::Running));
    rig.append(rig.rest(key, epoch, head)).await.unwrap();
    let rows = follower.news(1).await;
    assert_eq!((rows.len(), rows[0].status), (1, Status::Idle));
}

async fn patches_and_deletes_are_changes(rig: Rig) {
    let key = rig.session().await;
    let mut follower = Follower::new(&rig);
    follower.news(1).await;
    let patched = |patch| Append {
        projection: Projection {
            patch,
            ..Projection::default()
        },
        ..client(key, Vec::new(), Ready::Keep)
    };
    let title = SessionPatch {
        title: Some(Some("New".into())),
        ..SessionPatch::default()
    };
    rig.append(patched(title)).await.unwrap();
    assert_eq!(follower.news(1).await[0].title.as_deref(), Some("New"));
    let delete = SessionPatch {
        delete: true,
        ..SessionPatch::default()
    };
    rig.append(patched(delete)).await.unwrap();
    assert!(follower.news(1).await[0].deleted_at.is_some());
}

async fn pages_join_without_a_gap(rig: Rig) {
    let mut expected = Vec::new();
    for _ in 0..7 {
        expected.push(rig.session().await);
    }
    let whole = Follower::new(&rig).news(7).await;
    assert_eq!(keys(&whole), expected);
    let mut follower = Follower::new(&rig);
    let mut joined = Vec::new();
    while joined.len() < 7 {
        let page = follower.page(3).await;
        assert!(page.len() <= 3);
        joined.extend(keys(&page));
    }
    assert_eq!(joined, expected);
}

async fn tenants_see_their_own(rig: Rig) {
    let other = rig.tenant();
    let (own, _foreign) = (rig.session().await, other.session().await);
    assert_eq!(keys(&Follower::new(&rig).news(1).await), [own]);
}

/// Writers and a follower at the same time: the follower ends up with every session's last title.
async fn concurrent_changes_are_never_skipped(rig: Rig) {
    const WRITERS: usize = 8;
    const TITLES: usize = 20;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let rig = rig.clone();
        writers.spawn(async move {
            let key = rig.session().await;
            for title in 1..=TITLES {
                let append = Append {
                    projection: Projection {
                        patch: SessionPatch {
                            title: Some(Some(title.to_string())),
                            ..SessionPatch::default()
                        },
                        ..Projection::default()
                    },
                    ..client(key, Vec::new(), Ready::Keep)
                };
                rig.append(append).await.unwrap();
            }
        });
    }
    let last = TITLES.to_string();
    let mut done = std::collections::HashSet::new();
    let mut follower = Follower::new(&rig);
    let follow = async {
        while done.len() < WRITERS {
            for row in follower.page(5).await {
                if row.title.as_deref() == Some(&last) {
                    done.insert(row.key);
                }
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), follow).await.unwrap();
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
}

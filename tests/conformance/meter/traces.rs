//! Traces and their sums.

use perennial_engine::ports::{Payer, Trace, TraceQuery, UsageBy, UsageQuery};
use perennial_schema::model::Usage;
use perennial_schema::{AgentId, GatewayKeyId, SessionId, Timestamp, TraceId};
use uuid::Uuid;

use super::fixture::Desk;

/// Noon of 2026-01-01.
const NOON: i64 = 1_767_268_800_000_000;
const DAY: i64 = 86_400_000_000;

super::on_every_meter!(
    a_trace_comes_back_as_it_was,
    traces_are_paged_latest_first_and_filtered,
    sums_are_grouped_by_what_is_asked,
    old_traces_go_and_their_sums_stay,
    many_traces_are_all_counted,
);

fn trace(desk: &Desk, day: i64) -> Trace {
    Trace {
        id: TraceId::from_uuid(Uuid::now_v7()),
        at: Timestamp::from_micros(NOON + day * DAY),
        payer: Payer {
            session: Some(SessionId::from_uuid(Uuid::now_v7())),
            agent: Some(AgentId::from_uuid(Uuid::now_v7())),
            key: Some(GatewayKeyId::from_uuid(Uuid::now_v7())),
            ..desk.payer()
        },
        provider: "anthropic".into(),
        model: "claude-x".into(),
        wire: "messages".into(),
        status: 200,
        error: None,
        usage: Usage {
            input_tokens: 1,
            output_tokens: 2,
            cache_creation_input_tokens: 3,
            cache_read_input_tokens: 4,
        },
        microusd: 5,
        ttft_ms: Some(6),
        duration_ms: 7,
        streamed: true,
    }
}

fn all(desk: &Desk) -> TraceQuery {
    TraceQuery {
        workspace: desk.workspace(),
        session: None,
        key: None,
        model: None,
        from: None,
        to: None,
        cursor: None,
        limit: 1000,
    }
}

async fn record(desk: &Desk, traces: &[Trace]) {
    desk.meter.record(traces.to_vec());
    desk.meter.flush().await.unwrap();
}

async fn a_trace_comes_back_as_it_was(desk: Desk) {
    let full = trace(&desk, 0);
    let bare = Trace {
        payer: desk.payer(),
        status: 0,
        error: Some("no\0answer".into()),
        usage: Usage::default(),
        microusd: 0,
        ttft_ms: None,
        streamed: false,
        ..trace(&desk, 1)
    };
    record(&desk, &[full.clone(), bare.clone()]).await;
    // Written twice, counted once.
    record(&desk, std::slice::from_ref(&full)).await;
    let seen = desk.elsewhere.traces(all(&desk)).await.unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1], full);
    let error = seen[0].error.clone().unwrap();
    assert!(error.starts_with("no") && error.ends_with("answer"), "{error:?}");
    assert_eq!(
        seen[0],
        Trace {
            error: Some(error),
            ..bare
        }
    );
    let foreign = TraceQuery {
        workspace: desk.rig.tenant().workspace,
        ..all(&desk)
    };
    assert_eq!(desk.meter.traces(foreign).await.unwrap(), []);
    let days = desk.meter.usage(by(&desk, UsageBy::Day)).await.unwrap();
    assert_eq!(days.iter().map(|row| row.requests).sum::<u64>(), 2);
}

async fn traces_are_paged_latest_first_and_filtered(desk: Desk) {
    let mut made: Vec<Trace> = (0..5).map(|n| trace(&desk, n / 2)).collect();
    made[3].model = "other".into();
    record(&desk, &made).await;
    let ids = |traces: &[Trace]| traces.iter().map(|trace| trace.id).collect::<Vec<_>>();
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let query = TraceQuery {
            cursor,
            limit: 2,
            ..all(&desk)
        };
        let page = desk.meter.traces(query).await.unwrap();
        let Some(last) = page.last() else { break };
        cursor = Some((last.at, last.id));
        seen.extend(ids(&page));
    }
    let mut expected = made.clone();
    expected.sort_by_key(|trace| std::cmp::Reverse((trace.at, trace.id)));
    assert_eq!(seen, ids(&expected));
    for (query, expected) in [
        (
            TraceQuery {
                session: made[1].payer.session,
                ..all(&desk)
            },
            vec![made[1].id],
        ),
        (
            TraceQuery {
                key: made[2].payer.key,
                ..all(&desk)
            },
            vec![made[2].id],
        ),
        (
            TraceQuery {
                model: Some("other".into()),
                ..all(&desk)
            },
            vec![made[3].id],
        ),
        (
            TraceQuery {
                from: Some(made[4].at),
                ..all(&desk)
            },
            vec![made[4].id],
        ),
        (
            TraceQuery {
                to: Some(made[0].at),
                ..all(&desk)
            },
            Vec::new(),
        ),
    ] {
        assert_eq!(
            ids(&desk.meter.traces(query.clone()).await.unwrap()),
            expected,
            "{query:?}"
        );
    }
}

fn by(desk: &Desk, by: UsageBy) -> UsageQuery {
    UsageQuery {
        workspace: desk.workspace(),
        by,
        from: None,
        to: None,
        limit: 100,
    }
}

async fn sums_are_grouped_by_what_is_asked(desk: Desk) {
    let first = trace(&desk, 0);
    let again = Trace {
        id: TraceId::from_uuid(Uuid::now_v7()),
        error: Some("overloaded".into()),
        status: 529,
        ..first.clone()
    };
    let dear = Trace {
        microusd: 1_000,
        model: "dear".into(),
        payer: desk.payer(),
        ..trace(&desk, 1)
    };
    record(&desk, &[first.clone(), again, dear]).await;
    let groups = async |query: UsageQuery| {
        let rows = desk.meter.usage(query).await.unwrap();
        rows.into_iter()
            .map(|row| (row.group, row.requests, row.microusd))
            .collect::<Vec<_>>()
    };
    let row = |group: &str, requests, microusd| (group.to_owned(), requests, microusd);
    let days = [row("2026-01-02", 1, 1_000), row("2026-01-01", 2, 10)];
    assert_eq!(groups(by(&desk, UsageBy::Day)).await, days);
    let models = [row("dear", 1, 1_000), row("claude-x", 2, 10)];
    assert_eq!(groups(by(&desk, UsageBy::Model)).await, models);
    let session = first.payer.session.unwrap().to_string();
    assert_eq!(
        groups(by(&desk, UsageBy::Session)).await,
        [row("", 1, 1_000), row(&session, 2, 10)]
    );
    let agent = first.payer.agent.unwrap().to_string();
    assert_eq!(
        groups(by(&desk, UsageBy::Agent)).await,
        [row("", 1, 1_000), row(&agent, 2, 10)]
    );
    let midnight = Timestamp::from_micros(NOON + DAY / 2);
    let until = UsageQuery {
        to: Some(midnight),
        ..by(&desk, UsageBy::Day)
    };
    assert_eq!(groups(until).await, [days[1].clone()]);
    let since = UsageQuery {
        from: Some(midnight),
        ..by(&desk, UsageBy::Day)
    };
    assert_eq!(groups(since).await, [days[0].clone()]);
    let one = UsageQuery {
        limit: 1,
        ..by(&desk, UsageBy::Day)
    };
    assert_eq!(groups(one).await, [days[0].clone()]);

    let sums = desk.meter.usage(by(&desk, UsageBy::Model)).await.unwrap();
    assert_eq!((sums[1].errors, sums[1].usage.cache_read_input_tokens), (1, 8));
}

async fn old_traces_go_and_their_sums_stay(desk: Desk) {
    let (old, new) = (trace(&desk, 0), trace(&desk, 1));
    record(&desk, &[old, new.clone()]).await;
    assert_eq!(desk.meter.prune(new.at).await.unwrap(), 1);
    let left = desk.meter.traces(all(&desk)).await.unwrap();
    assert_eq!(left, [new]);
    assert_eq!(desk.meter.usage(by(&desk, UsageBy::Day)).await.unwrap().len(), 2);
}

async fn many_traces_are_all_counted(desk: Desk) {
    let payer = trace(&desk, 0).payer;
    let make = |_| Trace {
        payer,
        ..trace(&desk, 0)
    };
    let tasks = [desk.meter.clone(), desk.elsewhere.clone()].map(|meter| {
        let traces: Vec<Trace> = (0..700).map(make).collect();
        tokio::spawn(async move {
            for trace in traces {
                meter.record(vec![trace]);
            }
            meter.flush().await.unwrap();
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
    let days = desk.meter.usage(by(&desk, UsageBy::Day)).await.unwrap();
    assert_eq!((days[0].requests, days[0].microusd), (1400, 7000));
}

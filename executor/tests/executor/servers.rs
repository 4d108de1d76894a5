//! Programs that are spoken to over their input and output, contained and not: what they are told, how they end, and that nothing of
//! them stays.

use indexmap::IndexMap;
use perennial_executor::{Executor, Policy, Sandbox};
use perennial_schema::Secret;
use perennial_schema::frame::Workspace;
use perennial_schema::stream::{Answer, Opening, Purpose, ServerStart, Unopened};
use perennial_tunnel::server::{Said, read};
use perennial_tunnel::{Lane, frames};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::rig::*;

fn start(script: &str, env: &[(&str, &str)]) -> ServerStart {
    let pairs = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned())));
    ServerStart {
        session: session(1),
        workspace: Workspace::Session,
        command: "bash".into(),
        args: vec!["-c".into(), script.into()],
        env: pairs.collect::<IndexMap<_, _>>(),
    }
}

async fn opened(executor: &Executor, start: ServerStart) -> (Lane, Answer) {
    let mut lane = executor.open_stream();
    let opening = Opening::of(Purpose::Server(Box::new(start)));
    frames::write(&mut lane, &opening).await.unwrap();
    let answer = timeout(PATIENCE, frames::read(&mut lane))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    (lane, answer)
}

/// Everything it printed, and how it ended.
async fn ended(lane: &mut Lane) -> (String, i32, String) {
    let mut printed = Vec::new();
    loop {
        match timeout(PATIENCE, read(lane)).await.unwrap().unwrap().unwrap() {
            Said::Bytes(bytes) => printed.extend_from_slice(&bytes),
            Said::Ended { status, errors } => return (String::from_utf8(printed).unwrap(), status, errors),
        }
    }
}

async fn line(lane: &mut Lane) -> String {
    let Some(Said::Bytes(bytes)) = timeout(PATIENCE, read(lane)).await.unwrap().unwrap() else {
        panic!("it said nothing");
    };
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_has_its_variables_its_input_and_an_end() {
    for rig in Rig::both().await {
        let env = [("API_TOKEN", "Zq9xy\nz \"1\""), ("MODE", "a 'b' $c"), ("EMPTY", "")];
        let script = "echo \"$PWD|$MODE|${EMPTY-unset}|${#API_TOKEN}\"; \
                      tr '\\0' ' ' </proc/$PPID/cmdline | grep -c \"${API_TOKEN:0:5}\"; \
                      while read -r x; do echo \"got $x\"; done; echo \"bad: $API_TOKEN\" >&2; exit 9";
        let (mut lane, answer) = opened(&rig.executor, start(script, &env)).await;
        assert_eq!(answer, Answer::Open { bytes: None });
        lane.write_all(b"one\ntwo\n").await.unwrap();
        lane.flush().await.unwrap();
        lane.shutdown().await.unwrap();
        let (printed, status, errors) = ended(&mut lane).await;
        let folder = rig.folder().canonicalize().unwrap();
        assert_eq!(
            printed,
            format!("{}|a 'b' $c||11\n0\ngot one\ngot two\n", folder.display())
        );
        assert_eq!((status, errors.as_str()), (9, "bad: [secret]"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_program_stays_when_its_stream_or_its_executor_goes() {
    for rig in Rig::both().await {
        for with_the_executor in [false, true] {
            let sleep = unique_sleep();
            let script = format!("trap '' TERM HUP; sleep {sleep} & setsid sleep {sleep} & echo up; sleep {sleep}");
            let (mut lane, _) = opened(&rig.executor, start(&script, &[])).await;
            assert_eq!(line(&mut lane).await, "up\n");
            eventually("all of it runs", || processes(&sleep).len() >= 3).await;
            if with_the_executor {
                timeout(PATIENCE, rig.executor.close()).await.unwrap();
            } else {
                drop(lane);
                eventually("all of it is gone", || processes(&sleep).is_empty()).await;
            }
            assert_eq!(processes(&sleep), Vec::<u32>::new());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_offered_or_not_there_is_refused() {
    let refused = |answer: Answer| match answer {
        Answer::Refused { reason, message } => (reason, message),
        Answer::Open { .. } => panic!("it was opened"),
    };
    let rig = Rig::with(Sandbox::Off, |limits| limits.servers = 1).await;
    let nowhere = ServerStart {
        command: "no-such-program".into(),
        ..start("", &[])
    };
    let (reason, message) = refused(opened(&rig.executor, nowhere).await.1);
    assert!(
        reason == Unopened::NotFound && message.contains("no-such-program"),
        "{message}"
    );
    let (reason, _) = refused(opened(&rig.executor, start("", &[("A=B", "1")])).await.1);
    assert_eq!(reason, Unopened::Unusable);
    let (first, answer) = opened(&rig.executor, start("cat", &[])).await;
    assert_eq!(answer, Answer::Open { bytes: None });
    let (reason, _) = refused(opened(&rig.executor, start("cat", &[])).await.1);
    assert_eq!(reason, Unopened::Busy);
    drop(first);

    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir.path().join("data"), Sandbox::Off);
    config.policy = Policy {
        read_only: true,
        ..Policy::default()
    };
    let executor = Executor::open(config).await.unwrap();
    let (reason, message) = refused(opened(&executor, start("touch made", &[])).await.1);
    assert!(
        reason == Unopened::NotOffered && message.contains("does not offer bash"),
        "{message}"
    );
}

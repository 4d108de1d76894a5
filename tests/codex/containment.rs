//! What the process sees: an empty home, no environment, no key, no files of ours.

use serde_json::json;

use crate::bench::{self, Bench, KEY, results, said, spoke};
use crate::upstream::{Reply, call, output, text};

#[tokio::test]
async fn it_sees_neither_our_environment_nor_our_files_nor_a_key() {
    let Some(mut bench) = Bench::open(vec![Reply::Says(vec![call(
        "call_a",
        "bash",
        &json!({"command": "x"}),
    )])])
    .await
    else {
        return;
    };
    bench.think(vec![said("go")]).await.unwrap();
    let authorization = bench.upstream.received()[0].headers["authorization"].clone();
    assert_eq!(authorization, format!("Bearer {KEY}"));
    let family = bench::family(bench.harness.process_id().await.unwrap());
    let inner = family[1..]
        .iter()
        .copied()
        .find(|process| bench::name(*process) == "codex");
    let Some(codex) = inner else {
        println!("NOT RUN: bubblewrap does not work here");
        return;
    };
    let proc = std::path::PathBuf::from(format!("/proc/{codex}"));
    let environment = std::fs::read_to_string(proc.join("environ")).unwrap();
    assert!(
        environment.contains("CODEX_HOME=/session") && !environment.contains("CARGO_MANIFEST_DIR"),
        "it starts from an empty environment"
    );
    assert!(!environment.contains(KEY) && !environment.to_lowercase().contains("api_key"));
    let root = proc.join("root");
    let seen = |path: &str| root.join(path.trim_start_matches('/')).exists();
    assert!(seen("/session/config.toml"));
    assert!(!seen(env!("CARGO_MANIFEST_DIR")) && !seen("/root") && !seen("/home") && !seen("/etc/shadow"));
    assert_eq!(std::fs::read_dir(root.join("session/work")).unwrap().count(), 0);
    assert_eq!(holding(&root.join("session"), KEY.as_bytes()), Vec::<String>::new());
}

/// The files below a folder that hold these bytes.
fn holding(folder: &std::path::Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, bytes));
        } else if std::fs::read(&path).is_ok_and(|all| all.windows(bytes.len()).any(|window| window == bytes)) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn it_runs_without_bubblewrap_too() {
    let bash = call("call_a", "bash", &json!({"command": "date"}));
    let replies = vec![Reply::Says(vec![bash]), Reply::Says(vec![text("done")])];
    let Some(mut bench) = Bench::uncontained(replies).await else {
        return;
    };
    let first = bench.think(vec![said("go")]).await.unwrap();
    bench
        .think(vec![said("go"), spoke(&first), results(&first, &["x"])])
        .await
        .unwrap();
    assert_eq!(bench.upstream.conversation(1).last(), Some(&output("call_a", "x")));
}

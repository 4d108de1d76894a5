//! The house rules as tests: who may know whom, which crate may use which library, and what every file begins with.

#![expect(clippy::expect_used, reason = "a check that cannot read the house should stop")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests is a folder of the workspace")
        .to_owned()
}

/// What is built for this host; crates for others need not have been downloaded.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc names its host").to_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--offline",
            "--filter-platform",
            &host(),
        ])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

/// Direct dependencies of the workspace's members, without those for tests.
fn dependencies(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let members: BTreeSet<&str> = metadata["workspace_members"]
        .as_array()
        .expect("members")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let packages = metadata["packages"].as_array().expect("packages");
    let members = packages
        .iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| members.contains(id)));
    members
        .map(|package| {
            let direct = package["dependencies"].as_array().expect("dependencies").iter();
            let direct = direct.filter(|dependency| dependency["kind"].is_null());
            let names = direct
                .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
                .collect();
            (package["name"].as_str().expect("a name").to_owned(), names)
        })
        .collect()
}

#[test]
fn imports_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = [
        ("perennial-schema", &[][..]),
        ("perennial-engine", &["schema"]),
        ("perennial-broker", &["schema", "engine"]),
        ("perennial-mailbox", &["schema", "engine", "telemetry"]),
        ("perennial-telemetry", &["schema"]),
        ("perennial-tunnel", &["schema"]),
        ("perennial-egress", &[]),
        ("perennial-webhooks", &["schema", "engine", "egress"]),
        (
            "perennial-router",
            &["schema", "engine", "telemetry", "tunnel", "egress"],
        ),
        ("perennial-executor", &["schema", "tunnel"]),
        ("perennial-gateway", &["schema", "engine", "telemetry", "rehearsal"]),
        ("perennial-rehearsal", &["schema"]),
        (
            "perennial-worker",
            &["schema", "engine", "telemetry", "router", "gateway", "rehearsal"],
        ),
        (
            "perennial-api",
            &[
                "schema",
                "engine",
                "telemetry",
                "mailbox",
                "router",
                "gateway",
                "egress",
                "webhooks",
            ],
        ),
        ("perennial-proof", &["schema"]),
    ]
    .into();
    for (name, direct) in dependencies(&metadata()) {
        let Some(allowed) = allowed.get(name.as_str()) else {
            continue;
        };
        let ours = direct
            .iter()
            .filter_map(|dependency| dependency.strip_prefix("perennial-"));
        for dependency in ours {
            assert!(allowed.contains(&dependency), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn each_library_has_its_rooms() {
    let rooms: [(&str, &[&str]); 16] = [
        (
            "sqlx",
            &[
                "perennial-broker",
                "perennial-router",
                "perennial-api",
                "perennial",
                "perennial-tests",
            ],
        ),
        ("async-nats", &["perennial-broker"]),
        (
            "agent-client-protocol",
            &["perennial", "perennial-worker", "perennial-tests"],
        ),
        ("rmcp", &["perennial-router"]),
        ("yamux", &["perennial-tunnel"]),
        (
            "tokio-tungstenite",
            &["perennial", "perennial-executor", "perennial-router", "perennial-tests"],
        ),
        ("bollard", &["perennial-router"]),
        ("kube", &["perennial-router"]),
        // KEDA's external scaler speaks gRPC; nothing else here does.
        ("tonic", &["perennial-api"]),
        ("tonic-prost", &["perennial-api"]),
        ("prost", &["perennial-api", "perennial-tests"]),
        ("opentelemetry", &["perennial"]),
        ("opentelemetry_sdk", &["perennial"]),
        ("opentelemetry-otlp", &["perennial"]),
        ("opentelemetry-proto", &["perennial-tests"]),
        (
            "axum",
            &[
                "perennial-api",
                "perennial-router",
                "perennial-rehearsal",
                "perennial-tests",
            ],
        ),
    ];
    for (name, direct) in dependencies(&metadata()) {
        for (library, allowed) in rooms {
            assert!(
                !direct.contains(library) || allowed.contains(&name.as_str()),
                "{name} must not use {library}"
            );
        }
    }
}

/// I8: the kernel and the vocabulary have no runtime, no network, no database and no randomness anywhere below them.
#[test]
fn the_kernel_is_pure() {
    let metadata = metadata();
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .filter_map(|node| Some((node["id"].as_str()?, node)))
        .collect();
    for start in ["perennial-schema", "perennial-engine"] {
        let first = nodes
            .keys()
            .find(|id| id.contains(&format!("/{}#", &start["perennial-".len()..])));
        let mut open: Vec<&str> = vec![first.expect("the crate is in the graph")];
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            for dependency in nodes[id]["deps"].as_array().expect("deps") {
                let normal = dependency["dep_kinds"]
                    .as_array()
                    .is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()));
                if normal {
                    open.push(dependency["pkg"].as_str().expect("a package id"));
                }
            }
        }
        for impure in ["tokio", "rand", "mio", "hyper", "sqlx", "reqwest", "async-std", "smol"] {
            let found = seen
                .iter()
                .any(|id| id.contains(&format!("#{impure}@")) || id.contains(&format!("/{impure}#")));
            assert!(!found, "{start} depends on {impure}");
        }
    }
}

fn sources(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(below).expect("a folder").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && name != "node_modules" && !name.to_string_lossy().starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    assert!(files.len() > 50, "found only {} files", files.len());
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a source file");
        assert!(
            text.starts_with("//!"),
            "{} does not begin with what it is",
            path.display()
        );
        for forbidden in [concat!("#[igno", "re"), concat!("#[should_", "panic")] {
            assert!(!text.contains(forbidden), "{} has {forbidden}", path.display());
        }
    }
}

/// The kernel's own sources name no clock and no hash order (a dependency check cannot see `std`).
#[test]
fn the_kernel_reads_no_clock() {
    let mut files = Vec::new();
    sources(&root().join("engine/src"), &mut files);
    sources(&root().join("schema/src"), &mut files);
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a source file");
        for impure in [
            "SystemTime",
            "Instant",
            "Utc::now",
            "HashMap",
            "HashSet",
            "std::env",
            "std::fs",
            "std::net",
            "std::thread",
        ] {
            assert!(!text.contains(impure), "{} uses {impure}", path.display());
        }
    }
}

/// The names of metrics in a text: `perennial_…`, without what a histogram adds to its own.
fn metrics(text: &str) -> BTreeSet<String> {
    let is_name = |byte: char| byte.is_ascii_lowercase() || byte == '_';
    let starts = text.match_indices("perennial_").filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        !before.is_some_and(|before| is_name(before) || before == '-' || before == '/')
    });
    let names = starts.map(|(at, _)| {
        let rest = &text[at..];
        let name = &rest[..rest.find(|byte| !is_name(byte)).unwrap_or(rest.len())];
        name.strip_suffix("_bucket").unwrap_or(name).to_owned()
    });
    names.collect()
}

/// A dashboard of a metric that was renamed is empty, and an alert on it never rings.
#[test]
fn what_is_watched_is_counted() {
    let mut files = Vec::new();
    for folder in [
        "api", "broker", "engine", "executor", "gateway", "mailbox", "router", "worker",
    ] {
        sources(&root().join(folder).join("src"), &mut files);
    }
    let counted: BTreeSet<String> = files
        .iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).expect("a source file");
            let literals = text
                .split('"')
                .skip(1)
                .step_by(2)
                .filter(|text| text.starts_with("perennial_"));
            literals.map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    for file in ["deploy/prometheus/alerts.yml", "deploy/grafana/perennial.json"] {
        let text = std::fs::read_to_string(root().join(file)).expect("a file of deploy");
        let watched = metrics(&text);
        assert!(watched.len() >= 9, "{file} watches only {watched:?}");
        let unknown: Vec<_> = watched.difference(&counted).collect();
        assert!(unknown.is_empty(), "{file} watches what nobody counts: {unknown:?}");
    }
    let board = std::fs::read_to_string(root().join("deploy/grafana/perennial.json")).expect("a file of deploy");
    let board: Value = serde_json::from_str(&board).expect("a dashboard is JSON");
    assert_eq!(board["uid"], "perennial");
}

/// The table of faults names tests that exist.
#[test]
fn every_fault_has_its_test() {
    let table = std::fs::read_to_string(root().join("tests/FAULTS.md")).unwrap();
    let mut files = Vec::new();
    for folder in ["tests", "api/tests"] {
        sources(&root().join(folder), &mut files);
    }
    let tests: String = files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    let rows = table.lines().filter(|line| line.starts_with("| F"));
    let names = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let missing: Vec<_> = names
        .clone()
        .filter(|name| !tests.contains(&format!("fn {name}(")))
        .collect();
    assert!(names.count() > 30, "the table has no names");
    assert!(missing.is_empty(), "no such test: {missing:?}");
}

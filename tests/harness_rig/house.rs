//! A server with a real harness and a scripted vendor, in a folder of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use perennial_tests::models::{ModelServer, Vendor};
use perennial_tests::server::Up;
use serde_json::Value;

use crate::conversation::{Block, of_log};
use crate::kind::Kind;

/// Longest a session may take to rest.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Longer leases than the other rigs': a harness that starts takes a whole core, and several do.
const LEASES: [&str; 7] = [
    "--lease-ttl-ms",
    "2500",
    "--renew-ms",
    "700",
    "--sweep-ms",
    "200",
    "--allow-local",
];

/// The house.
pub(crate) struct House<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) up: Up,
    pub(crate) model: ModelServer,
}

impl<'a> House<'a> {
    pub(crate) async fn new(kind: &'a Kind, binary: &Path) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let model = ModelServer::start(kind.vendor).await?;
        let (base, key) = match kind.vendor {
            Vendor::Anthropic => ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
            Vendor::OpenAi => ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
        };
        let mut up = Up::on(&dir.path().join("data"));
        up.args = LEASES.into_iter().map(str::to_owned).collect();
        let up = up
            .env(base, model.base_url())
            .env(key, "sk-test-canary")
            .env(kind.setting, binary.to_str().context("a path")?);
        Ok(Self { kind, dir, up, model })
    }

    /// Every request is the beginning of the conversation that the log tells; only the last answer was never sent back.
    pub(crate) fn upstream(&self, log: &[Value]) -> Vec<String> {
        let told = of_log(log);
        let mut violations = Vec::new();
        let mut longest = 0;
        let mut before: Vec<String> = Vec::new();
        for (n, request) in self.model.requests().iter().enumerate() {
            let asked = (self.kind.blocks)(&request.body);
            if !told.starts_with(&asked) {
                violations.push(format!("request {n} says {asked:#?}, the log {told:#?}"));
            }
            if !matches!(asked.last(), Some(Block::Prompt(_) | Block::Outcome { .. })) {
                violations.push(format!("request {n} ends with {:?}", asked.last()));
            }
            longest = longest.max(asked.len());
            // Whatever died in between: a model reads again what it has read, so that the vendor's cache holds.
            let read = (self.kind.read)(&request.body);
            for (index, (now, then)) in read.iter().zip(&before).enumerate() {
                if now != then {
                    violations.push(format!("part {index} of request {n} is {now}, and was {then}"));
                }
            }
            before = read;
        }
        let answer = told.get(longest..).unwrap_or_default();
        if answer.is_empty() || !answer.iter().all(|block| matches!(block, Block::Words(_))) {
            violations.push(format!("the vendor was told {longest} blocks, the log says {told:#?}"));
        }
        violations
    }

    /// Conversations that lie with a harness now.
    pub(crate) fn transcripts(&self) -> usize {
        let mut folders = vec![self.dir.path().join("data/harness")];
        let mut found = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "jsonl") {
                    found += 1;
                }
            }
        }
        found
    }

    pub(crate) fn lines(&self, folder: &str, name: &str, file: &str) -> Vec<String> {
        let mut path = self.dir.path().join("data").join(folder).join(name);
        if !file.is_empty() {
            path.push(file);
        }
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

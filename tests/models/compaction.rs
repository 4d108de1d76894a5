//! Long conversations through the whole house: the context is compacted, once, and the session goes on; also when its server
//! dies in the middle, somebody interrupts, or the model has already refused the context.

use std::time::Duration;

use anyhow::{Result, ensure};
use perennial_tests::models::{Answer, ModelServer, Reply, Tokens};
use perennial_tests::server::{Server, Up};
use serde_json::{Value, json};

use crate::house::up;
use crate::support::{VENDORS, Vendor, model_of};

const PATIENCE: Duration = Duration::from_secs(60);
/// Turns before the one whose answer fills the window.
const TURNS: usize = 8;
const ASKED: &str = "write a summary of this conversation";

struct House {
    models: ModelServer,
    up: Up,
    vendor: Vendor,
    _dir: tempfile::TempDir,
}

fn tokens(input: u64) -> Tokens {
    Tokens {
        input,
        output: 10,
        ..Tokens::default()
    }
}

fn says(text: &str, input: u64) -> Answer {
    Answer::new().text(&[text]).usage(tokens(input))
}

fn count(log: &[Value], kind: &str) -> usize {
    log.iter().filter(|event| event["type"] == kind).count()
}

impl House {
    /// Compacts beyond 2,000 tokens: one percent of what the model takes.
    async fn new(vendor: Vendor) -> Result<Self> {
        let models = ModelServer::start(vendor.origin()).await?;
        let dir = tempfile::tempdir()?;
        let up = up(vendor, dir.path(), &models)?.env("PERENNIAL_COMPACT_PERCENT", "1");
        Ok(Self {
            models,
            up,
            vendor,
            _dir: dir,
        })
    }

    async fn turn(&self, server: &Server, session: &str, text: &str) -> Result<()> {
        let log = server.client.log(session).await?;
        server.client.say(session, text).await?;
        server.client.until_idle(session, log.len() as u64, PATIENCE).await?;
        Ok(())
    }

    /// A session whose last answer said that the context has so many tokens.
    async fn grown(&self, server: &Server, last: u64) -> Result<String> {
        let (agent, environment) = server.client.agent_and_environment(model_of(self.vendor)).await?;
        let session = server.client.session(&agent, &environment).await?;
        for turn in 0..TURNS {
            let input = if turn + 1 == TURNS { last } else { 100 };
            self.models
                .push(says(&format!("answer {turn} {}", "a".repeat(500)), input));
            self.turn(server, &session, &format!("question {turn} {}", "q".repeat(500)))
                .await?;
        }
        Ok(session)
    }

    fn last_request(&self) -> String {
        self.models
            .requests()
            .last()
            .map(|request| request.raw.clone())
            .unwrap_or_default()
    }

    /// The log after a compaction: it happened once, in a span of its own that is counted, and what was asked since shows it.
    async fn compacted_once(&self, server: &Server, session: &str) -> Result<Vec<Value>> {
        let log = server.client.log(session).await?;
        ensure!(count(&log, "context.compacted") == 1, "{log:#?}");
        ensure!(count(&log, "agent.thread_context_compacted") == 1, "{log:#?}");
        let at = log
            .iter()
            .position(|event| event["type"] == "context.compacted")
            .unwrap_or(0);
        let end = &log[at + 2]["payload"];
        ensure!(
            end["type"] == "span.model_request_end" && end["is_error"] == false,
            "{end}"
        );
        ensure!(end["model_usage"]["input_tokens"] == 2_600, "{end}");
        let last = self.last_request();
        ensure!(last.contains("ALL THERE WAS") && !last.contains("question 0"), "{last}");
        ensure!(
            last.contains("answer 7") && !last.contains(ASKED),
            "the latest stays word for word: {last}"
        );
        ensure!(self.models.violations().is_empty(), "{:?}", self.models.violations());
        Ok(log)
    }
}

#[tokio::test]
async fn a_long_conversation_is_compacted_once_and_goes_on() -> Result<()> {
    for vendor in VENDORS {
        let house = House::new(vendor).await?;
        let server = house.up.start().await?;
        let session = house.grown(&server, 2_500).await?;
        ensure!(house.models.requests().len() == TURNS);
        house.models.push(says("ALL THERE WAS", 2_600));
        house.models.push(says("still here", 300));
        house.models.push(says("and here", 300));
        house.turn(&server, &session, "go on").await?;
        house.turn(&server, &session, "and on").await?;
        let requests = house.models.requests();
        ensure!(requests.len() == TURNS + 3, "{vendor:?}: {} requests", requests.len());
        let asked = &requests[TURNS].raw;
        ensure!(
            asked.contains(ASKED) && asked.contains("question 0") && !asked.contains("go on with it"),
            "{asked}"
        );
        ensure!(
            !asked.contains("answer 7"),
            "{vendor:?}: what stays is not summarised: {asked}"
        );
        house.compacted_once(&server, &session).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_dies_in_mid_compaction_leaves_nothing_behind() -> Result<()> {
    for vendor in VENDORS {
        let house = House::new(vendor).await?;
        let server = house.up.start().await?;
        let session = house.grown(&server, 2_500).await?;
        house.models.push(says("never heard", 1).every(Duration::from_secs(3)));
        house.models.push(says("ALL THERE WAS", 2_600));
        house.models.push(says("still here", 300));
        server.client.say(&session, "go on").await?;
        while house.models.requests().len() <= TURNS {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let after = server.client.log(&session).await?.len() as u64;
        server.kill().await?;
        let server = house.up.start().await?;
        server.client.until_idle(&session, after, PATIENCE).await?;
        let log = house.compacted_once(&server, &session).await?;
        let failed = log
            .iter()
            .filter(|event| event["payload"]["is_error"] == true && event["type"] == "span.model_request_end");
        ensure!(failed.count() == 1, "the dead attempt is closed: {log:#?}");
        ensure!(!house.last_request().contains("never heard"));
    }
    Ok(())
}

#[tokio::test]
async fn an_interrupt_ends_a_compaction_and_the_turn() -> Result<()> {
    let house = House::new(Vendor::Anthropic).await?;
    let server = house.up.start().await?;
    let session = house.grown(&server, 2_500).await?;
    house.models.push(says("never heard", 1).every(Duration::from_secs(30)));
    let after = server.client.log(&session).await?.len() as u64;
    server.client.say(&session, "go on").await?;
    while house.models.requests().len() <= TURNS {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let path = format!("/v1/sessions/{session}/events");
    let interrupt = json!({"events": [{"type": "user.interrupt"}]});
    server.client.post(&path, &interrupt).await?.ok()?;
    server.client.until_idle(&session, after, PATIENCE).await?;
    let log = server.client.log(&session).await?;
    ensure!(count(&log, "context.compacted") == 0, "{log:#?}");
    // What was not answered is asked again, behind a summary that is made this time.
    house.models.push(says("ALL THERE WAS", 2_600));
    house.models.push(says("still here", 300));
    house.turn(&server, &session, "well?").await?;
    house.compacted_once(&server, &session).await?;
    Ok(())
}

#[tokio::test]
async fn a_context_that_was_refused_is_compacted_and_asked_again() -> Result<()> {
    for vendor in VENDORS {
        let house = House::new(vendor).await?;
        let server = house.up.start().await?;
        let session = house.grown(&server, 100).await?;
        let too_long = || Reply::error(400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum");
        house.models.push(too_long());
        // Word for word it is too long to be summarised, too.
        house.models.push(too_long());
        house.models.push(says("ALL THERE WAS", 2_600));
        house.models.push(says("still here", 300));
        house.turn(&server, &session, "go on").await?;
        let requests = house.models.requests();
        ensure!(requests.len() == TURNS + 4, "{vendor:?}: {} requests", requests.len());
        ensure!(requests[TURNS + 2].raw.contains("as a transcript"));
        let log = house.compacted_once(&server, &session).await?;
        let errors: Vec<&Value> = log
            .iter()
            .filter(|event| event["type"] == "session.error")
            .map(|event| &event["payload"]["error"])
            .collect();
        ensure!(errors.len() == 2, "{errors:?}");
        for error in errors {
            ensure!(error["type"] == "compaction_limit_reached_error", "{error}");
            ensure!(error["retry_status"]["type"] == "retrying", "{error}");
        }
        let last = log.last().map(|event| &event["payload"]["stop_reason"]["type"]);
        ensure!(last == Some(&json!("end_turn")), "{last:?}");
    }
    Ok(())
}

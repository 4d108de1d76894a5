//! Tasks between agents: delegated, done, stopped when their time is over or somebody cancels them; each is told once to whoever
//! delegated it, also over SIGKILL, and nobody waits with a worker in hand.
//!
//! `PERENNIAL_TORTURE=1` runs the full counts; `make test` runs a tenth.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use perennial_tests::client::{Client, id};
use perennial_tests::server::Up;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const POINTS: [&str; 6] = [
    "mail.send.before",
    "mail.send.after",
    "mail.append.after",
    "mail.settle.before",
    "mail.answer.before",
    "mail.answer.after",
];

/// An agent that takes mail and writes it; its id.
async fn agent(client: &Client, name: &str, environment: &str) -> Result<String> {
    let body = json!({"name": name, "model": "rehearsal-1", "tools": [{"type": "mail_toolset"}],
        "mail": {"environment_id": environment}});
    id(&client.post("/v1/agents", &body).await?.ok()?)
}

/// A session of a lead, beside a worker that takes mail.
async fn lead(client: &Client) -> Result<String> {
    let (_, environment) = client.agent_and_environment("rehearsal-1").await?;
    agent(client, "worker", &environment).await?;
    let lead = agent(client, "lead", &environment).await?;
    client.session(&lead, &environment).await
}

fn delegate(to: &str, prompt: &str, more: &Value) -> String {
    let mut input = json!({"to": to, "prompt": prompt});
    for (name, value) in more.as_object().into_iter().flatten() {
        input[name] = value.clone();
    }
    format!("/tool delegate_task {input}")
}

/// What came of the calls of a tool.
fn told(log: &[Value]) -> Vec<String> {
    let results = log.iter().filter(|event| event["type"] == "agent.tool_result");
    let text = |event: &Value| event["payload"]["content"][0]["text"].as_str().map(str::to_owned);
    results.filter_map(text).collect()
}

fn task_of(told: &str) -> Result<String> {
    let id = told.split_once("as task ").and_then(|(_, rest)| rest.split_once('.'));
    Ok(id.with_context(|| told.to_owned())?.0.to_owned())
}

/// What was told of a task: the mail that answers it.
fn answers(log: &[Value], task: &str) -> Vec<String> {
    let mail = log.iter().filter(|event| event["type"] == "mail.received");
    mail.filter(|event| event["payload"]["in_reply_to"] == task)
        .map(|event| event["payload"]["content"].to_string())
        .collect()
}

/// Waits until the end of a task was told and the session rests.
async fn ended(client: &Client, session: &str, task: &str) -> Result<String> {
    let began = Instant::now();
    loop {
        let log = client.log(session).await?;
        let answers = answers(&log, task);
        let row = client.get(&format!("/v1/sessions/{session}")).await?.ok()?;
        if !answers.is_empty() && row["status"] == "idle" {
            ensure!(answers.len() == 1, "told more than once: {answers:?}");
            return Ok(answers.into_iter().collect());
        }
        ensure!(began.elapsed() < PATIENCE, "nothing is told of {task}: {log:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn turn(client: &Client, session: &str, text: &str) -> Result<Vec<Value>> {
    let after = client.log(session).await?.len() as u64;
    client.say(session, text).await?;
    client.until_idle(session, after, PATIENCE).await?;
    Ok(client.log(session).await?.split_off(after as usize))
}

/// The sessions that were opened for mail.
async fn others(client: &Client, session: &str) -> Result<Vec<Value>> {
    let listed = client.get("/v1/sessions?limit=100").await?.ok()?;
    let all = listed["data"].as_array().context("a list")?;
    Ok(all.iter().filter(|row| row["id"] != session).cloned().collect())
}

#[tokio::test]
async fn a_task_is_done_and_its_end_wakes_who_delegated_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Up::on(&dir.path().join("data")).start().await?;
    let client = &server.client;
    let session = lead(client).await?;
    let log = turn(
        client,
        &session,
        &delegate("agent/worker", "/say forty-two", &json!({})),
    )
    .await?;
    let task = task_of(&told(&log).concat())?;
    // It rested meanwhile: the turn was over before the answer came.
    let answer = ended(client, &session, &task).await?;
    ensure!(
        answer.contains("forty-two") && answer.contains("is done: 1 turns"),
        "{answer}"
    );
    // Whom it was delegated for cannot be asked to do it.
    let back = delegate("agent/lead", "/say no", &json!({}));
    let log = turn(client, &session, &delegate("agent/worker", &back, &json!({}))).await?;
    ended(client, &session, &task_of(&told(&log).concat())?).await?;
    let mut refused = 0;
    for other in others(client, &session).await? {
        let log = client.log(other["id"].as_str().context("an id")?).await?;
        refused += told(&log)
            .iter()
            .filter(|told| told.contains("waits for this itself"))
            .count();
    }
    ensure!(refused == 1, "{refused} were refused");
    for (input, why) in [
        (delegate("agent/lead", "x", &json!({})), "waits for this itself"),
        (delegate("queue/x", "x", &json!({})), "a queue does no tasks"),
        (
            delegate("agent/nobody", "x", &json!({})),
            "no agent of this name takes mail",
        ),
        (
            delegate("agent/worker", "x", &json!({"timeout": 0})),
            "timeout: must be",
        ),
        (
            "/tool cancel_task {\"task_id\": \"msg_00000000000000000000000000000001\"}".to_owned(),
            "has delegated no task",
        ),
    ] {
        let told = told(&turn(client, &session, &input).await?).concat();
        ensure!(told.contains(why), "{input}: {told}");
    }
    server.kill().await
}

/// Conversations between agents are cut short, not those in which somebody writes: an answer that came before does not count.
#[tokio::test]
async fn who_writes_delegates_as_often_as_they_like() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Up::on(&dir.path().join("data")).start().await?;
    let session = lead(&server.client).await?;
    // Each of them is two letters; agents may exchange 64 by themselves.
    for task in 0..33 {
        let log = turn(
            &server.client,
            &session,
            &delegate("agent/worker", &format!("/say {task}"), &json!({})),
        )
        .await?;
        let told = told(&log).concat();
        ended(&server.client, &session, &task_of(&told)?).await.context(told)?;
    }
    server.kill().await
}

#[tokio::test]
async fn a_task_that_is_stopped_is_told_once_and_stops() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Up::on(&dir.path().join("data")).start().await?;
    let client = &server.client;
    let session = lead(client).await?;
    // Over its time, over its turns, cancelled.
    let steps = vec!["/tool list_agents {}\n/sleep 300"; 40].join("\n/then\n");
    let cases = [
        ("/sleep 600000", json!({"timeout": 2}), "its time was over"),
        (
            steps.as_str(),
            json!({"max_turns": 2}),
            "it took more turns than it may",
        ),
        ("/sleep 600000", json!({}), "it was cancelled"),
    ];
    for (prompt, terms, why) in cases {
        let log = turn(client, &session, &delegate("agent/worker", prompt, &terms)).await?;
        let task = task_of(&told(&log).concat())?;
        if terms == json!({}) {
            let cancel = format!("/tool cancel_task {}", json!({"task_id": task}));
            let first = told(&turn(client, &session, &cancel).await?).concat();
            ensure!(first.contains("is stopped"), "{first}");
            ended(client, &session, &task).await?;
            let again = told(&turn(client, &session, &cancel).await?).concat();
            ensure!(
                again.contains("has ended before") || again.contains("is stopped"),
                "{again}"
            );
        }
        let answer = ended(client, &session, &task).await?;
        ensure!(answer.contains("was not done") && answer.contains(why), "{answer}");
    }
    // Nobody works on.
    let began = Instant::now();
    while others(client, &session)
        .await?
        .iter()
        .any(|row| row["status"] != "idle")
    {
        ensure!(began.elapsed() < PATIENCE, "somebody works on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.kill().await
}

#[tokio::test]
async fn a_task_uses_what_it_was_given_and_passes_on_no_more() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Up::on(&dir.path().join("data")).start().await?;
    let client = &server.client;
    let session = lead(client).await?;
    // Less than a single request may need.
    let little = json!({"max_budget": {"tokens": 10}});
    let log = turn(client, &session, &delegate("agent/worker", "/say no", &little)).await?;
    let task = task_of(&told(&log).concat())?;
    let answer = ended(client, &session, &task).await?;
    ensure!(answer.contains("its budget is used up"), "{answer}");
    // Its ceiling is gone with it, nothing is held, and nobody goes on with it.
    let budgets = client.get("/v1/budgets").await?.ok()?;
    ensure!(budgets["data"].as_array().is_some_and(Vec::is_empty), "{budgets}");
    let shown = client
        .get(&format!("/v1/mailboxes/agent/worker/messages/{task}"))
        .await?
        .ok()?;
    ensure!(
        shown["task"]["max_budget"]["tokens"] == 10 && shown["task"]["chain"][1] == "agent/lead",
        "{shown}"
    );
    let worker = shown["session_id"].as_str().context("a session")?;
    let before = serde_json::to_string(&client.log(worker).await?)?;
    ensure!(!before.contains("rehearsal-1: no"), "it was done: {before}");
    let said = serde_json::to_string(&turn(client, worker, "/say here I am").await?)?;
    ensure!(said.contains("rehearsal-1: here I am"), "{said}");

    // Who is limited itself says how much of it another may use, and gives no more than there is.
    let third = |more: &Value| delegate("agent/third", "/say done", more);
    let (_, environment) = client.agent_and_environment("rehearsal-1").await?;
    agent(client, "third", &environment).await?;
    let nested = [
        third(&json!({})),
        third(&json!({"max_budget": {"tokens": 900_000}})),
        third(&json!({"max_budget": {"amount": "5", "currency": "USD"}})),
        third(&json!({"max_budget": {"tokens": 50_000}})),
    ]
    .join("\n/then\n");
    let much = json!({"max_budget": {"tokens": 200_000}});
    let log = turn(client, &session, &delegate("agent/worker", &nested, &much)).await?;
    let task = task_of(&told(&log).concat())?;
    ended(client, &session, &task).await?;
    let shown = client
        .get(&format!("/v1/mailboxes/agent/worker/messages/{task}"))
        .await?
        .ok()?;
    let worker = shown["session_id"].as_str().context("a session")?;
    let told = told(&client.log(worker).await?);
    ensure!(told.len() == 4, "{told:?}");
    for (told, why) in told.iter().zip([
        "say how much of it this task may use",
        "are left of what you may use yourself",
        "in the same unit",
        "Delegated to agent/third",
    ]) {
        ensure!(told.contains(why), "{told}");
    }
    server.kill().await
}

#[tokio::test]
async fn sigkill_around_tasks_tells_each_end_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let server = Up::on(&data).start().await?;
    let session = lead(&server.client).await?;
    server.kill().await?;
    let rounds = if std::env::var_os("PERENNIAL_TORTURE").is_some() {
        10
    } else {
        1
    };
    let mut kills = 0;
    for (at, point) in (0..rounds).flat_map(|_| POINTS).enumerate() {
        let word = format!("word-{at}");
        let mut server = Up::on(&data)
            .env("PERENNIAL_KILL_AT", &format!("{point}=1"))
            .start()
            .await?;
        let before = server.client.log(&session).await?.len();
        // Whether its answer is heard or not: the session is there.
        let said = server
            .client
            .say(&session, &delegate("agent/worker", &format!("/say {word}"), &json!({})))
            .await;
        if let Err(error) = server.ended(PATIENCE).await {
            let log = server.client.log(&session).await?.split_off(before);
            return Err(error.context(format!("{point} was never hit, {at}: {said:?} {log:#?}")));
        }
        kills += 1;
        let server = Up::on(&data).start().await?;
        let began = Instant::now();
        let task = loop {
            let log = server.client.log(&session).await?.split_off(before);
            if let Some(told) = told(&log).pop() {
                break task_of(&told)?;
            }
            ensure!(began.elapsed() < PATIENCE, "{point}: it was not delegated: {log:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let answer = ended(&server.client, &session, &task).await.context(point)?;
        ensure!(answer.contains(&word), "{point}: {answer}");
        server.kill().await?;
    }
    println!("\nring 2, tasks: {kills} SIGKILLs around {kills} tasks, each end told once");
    Ok(())
}

//! Terminals of a machine over its tunnel: the same shell for who comes back, bounded memory for who does not read, and tickets.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use perennial_proof::rig::process::Program;
use perennial_tests::client::Client;
use perennial_tests::terminal::Terminal;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::cluster_rig::Cluster;
use crate::files::{forget_peak, peak};
use crate::rig::{Device, PATIENCE, Stand};

/// What memory may grow by for one who does not read while 100 MB are shown.
const FLAT: u64 = 24 << 20;

/// Somebody who looks at a terminal.
struct Onlooker {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    shown: String,
}

async fn open(url: &str, key: Option<&str>, path: &str) -> Result<Onlooker, Box<Error>> {
    let url = format!("{}{path}", url.replacen("http", "ws", 1));
    let mut request = url.into_client_request().map_err(Box::new)?;
    if let Some(key) = key {
        let key = key.parse().map_err(|_| Error::AttackAttempt)?;
        request.headers_mut().insert("x-api-key", key);
    }
    let (socket, _) = tokio_tungstenite::connect_async(request).await.map_err(Box::new)?;
    Ok(Onlooker {
        socket,
        shown: String::new(),
    })
}

fn path(device: &Device, name: &str) -> String {
    format!("/v1/executors/{}/terminals/{name}", device.id)
}

async fn attach(stand: &Stand, device: &Device, name: &str) -> Result<Onlooker> {
    let path = format!("{}?columns=200&rows=50", path(device, name));
    Ok(open(&stand.url, Some(stand.client().key()), &path).await?)
}

fn refused(opened: Result<Onlooker, Box<Error>>) -> Option<u16> {
    match opened.err().map(|error| *error) {
        Some(Error::Http(answer)) => Some(answer.status().as_u16()),
        _ => None,
    }
}

impl Onlooker {
    async fn types(&mut self, keys: &str) -> Result<()> {
        Ok(self.socket.send(Message::Binary(keys.to_owned().into())).await?)
    }

    /// Waits until something is shown; none when the shell has ended instead, and how.
    async fn until(&mut self, part: &str) -> Result<Option<i64>> {
        let looking = async {
            while !self.shown.contains(part) {
                match self.socket.next().await.context("it hung up")?? {
                    Message::Binary(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                    Message::Text(text) => {
                        let word: Value = serde_json::from_str(&text)?;
                        if word["type"] == "exited" {
                            return Ok(word["code"].as_i64());
                        }
                    }
                    _ => {}
                }
            }
            Ok(None)
        };
        let seen = timeout(PATIENCE, looking).await;
        seen.with_context(|| format!("{part:?} is not shown"))?
    }

    /// What a command prints, which must be one word.
    async fn says(&mut self, command: &str) -> Result<String> {
        let mark = uuid::Uuid::new_v4().simple().to_string();
        let (one, two) = mark.split_at(16);
        // So that the command as it is echoed does not look like its answer.
        self.types(&format!("echo {one}\"\"{two} $({command}) end\r")).await?;
        let from = self.shown.len();
        while !self.shown[from..].contains(&format!("{mark} ")) || !self.shown[from..].contains(" end\r\n") {
            let before = self.shown.len();
            match timeout(PATIENCE, self.socket.next()).await?.context("it hung up")?? {
                Message::Binary(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Message::Text(text) => anyhow::bail!("{text}"),
                _ => {}
            }
            ensure!(self.shown.len() < before + (1 << 20), "too much");
        }
        let shown = &self.shown[from..];
        let (_, rest) = shown.split_once(&format!("{mark} ")).context("an answer")?;
        let (word, _) = rest.split_once(" end").context("its end")?;
        Ok(word.to_owned())
    }

    async fn resize(&mut self, columns: u16, rows: u16) -> Result<()> {
        let word = json!({"type": "resize", "columns": columns, "rows": rows}).to_string();
        Ok(self.socket.send(Message::Text(word.into())).await?)
    }
}

#[tokio::test]
async fn who_comes_back_finds_the_same_shell() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let mut first = attach(&stand, &device, "main").await?;
    // In a namespace of its own its number says nothing.
    first.types("me=$RANDOM$RANDOM\r").await?;
    let me = first.says("echo $me").await?;
    ensure!(
        first.says("pwd").await? == device.work.display().to_string(),
        "{}",
        first.shown
    );
    ensure!(
        first.says("test -t 0 && echo terminal").await? == "terminal",
        "{}",
        first.shown
    );
    ensure!(first.says("stty size | tr ' ' x").await? == "50x200", "{}", first.shown);
    first.resize(91, 33).await?;
    ensure!(first.says("stty size | tr ' ' x").await? == "33x91", "{}", first.shown);
    // Nothing of the server's or its owner's is in its environment.
    let leaked = first.says("env | grep -c -e KEY -e TOKEN -e SECRET").await?;
    ensure!(leaked == "0", "{}", first.shown);
    // Something runs while nobody looks.
    first.types("x=kept; sleep 0.2; echo la\"\"ter\r").await?;
    // What was typed has come there.
    first.until("la\"\"ter").await?;
    drop(first);
    let mut second = attach(&stand, &device, "main").await?;
    second.until("later\r\n").await?;
    ensure!(second.shown.contains(&me), "no scrollback: {}", second.shown);
    ensure!(
        second.says("echo $me").await? == me && second.says("echo $x").await? == "kept",
        "{}",
        second.shown
    );
    // Two look at the same, and another one is another.
    let mut third = attach(&stand, &device, "main").await?;
    second.types("echo to_\"\"both\r").await?;
    third.until("to_both").await?;
    second.until("to_both").await?;
    let mut other = attach(&stand, &device, "other").await?;
    ensure!(other.says("echo none$me").await? == "none", "{}", other.shown);
    // Its end is told, and the next of that name is a new one.
    second.types("exit 7\r").await?;
    ensure!(
        second.until("never").await? == Some(7) && third.until("never").await? == Some(7),
        "{}",
        second.shown
    );
    let mut again = attach(&stand, &device, "main").await?;
    ensure!(again.says("echo none$me").await? == "none", "{}", again.shown);
    // Nothing of what was typed is left among the files.
    ensure!(!device.work.join(".bash_history").exists(), "{}", device.work.display());
    Ok(())
}

#[tokio::test]
async fn who_does_not_read_costs_a_bounded_piece_of_memory() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let pids = [stand.pid()?, device.process.as_ref().context("it runs")?.pid];
    let stalled = attach(&stand, &device, "main").await?;
    let mut looking = attach(&stand, &device, "main").await?;
    looking.says("echo ready").await?;
    let mut before = Vec::new();
    for pid in pids {
        forget_peak(pid)?;
        before.push(peak(pid)?);
    }
    // Quoted, so that what is typed does not look like what is shown.
    looking
        .types("head -c 100000000 /dev/zero | tr '\\0' x; echo; echo all_\"\"shown\r")
        .await?;
    let began = Instant::now();
    let mut tail = String::new();
    let mut bytes = 0;
    while !tail.contains("all_shown") {
        match timeout(PATIENCE, looking.socket.next())
            .await?
            .context("it hung up")??
        {
            Message::Binary(shown) => {
                bytes += shown.len();
                tail.push_str(&String::from_utf8_lossy(&shown));
                let cut = tail.len().saturating_sub(64);
                tail.drain(..cut);
            }
            Message::Text(word) => ensure!(word.contains("skipped"), "{word}"),
            _ => {}
        }
        ensure!(
            began.elapsed() < Duration::from_secs(120),
            "it stands still after {bytes} bytes"
        );
    }
    for (pid, before) in pids.into_iter().zip(before) {
        let grown = peak(pid)?.saturating_sub(before);
        println!(
            "\nring 2: 100 MB shown beside one who does not read, {bytes} seen: process {pid} grew by {} KiB",
            grown >> 10
        );
        ensure!(grown < FLAT, "{pid} grew by {grown}");
    }
    drop(stalled);
    Ok(())
}

async fn ticket(client: &Client, device: &Device, terminal: &str) -> Result<String> {
    let path = format!("/v1/executors/{}/tickets", device.id);
    let made = client.post(&path, &json!({"terminal": terminal})).await?.ok()?;
    Ok(made["ticket"].as_str().context("a ticket")?.to_owned())
}

#[tokio::test]
async fn a_ticket_opens_its_terminal_once() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let other = stand.device("other", None).await?;
    let plain = path(&device, "main");
    ensure!(
        refused(open(&stand.url, None, &plain).await) == Some(401),
        "without anything"
    );
    let shown = ticket(stand.client(), &device, "main").await?;
    let with = |at: &str, ticket: &str| format!("{at}?ticket={ticket}");
    for elsewhere in [path(&device, "root"), path(&other, "main")] {
        ensure!(
            refused(open(&stand.url, None, &with(&elsewhere, &shown)).await) == Some(401),
            "{elsewhere}"
        );
    }
    ensure!(
        refused(open(&stand.url, None, &with(&plain, "xk_0")).await) == Some(401),
        "made up"
    );
    let mut opened = open(&stand.url, None, &with(&plain, &shown)).await?;
    ensure!(opened.says("echo in").await? == "in", "{}", opened.shown);
    ensure!(
        refused(open(&stand.url, None, &with(&plain, &shown)).await) == Some(401),
        "twice"
    );
    // It opens nothing else of the API.
    let line = format!("/v1/executors/{}/line?generation=1", device.id);
    let next = ticket(stand.client(), &device, "main").await?;
    let answer = reqwest::Client::new()
        .get(format!("{}{line}", stand.url))
        .bearer_auth(&next)
        .send()
        .await?;
    ensure!(answer.status() == 401, "{answer:?}");
    let path = format!("/v1/executors/{}/tickets", device.id);
    ensure!(
        stand.client().post(&path, &json!({"terminal": "a/b"})).await?.status == 400,
        "a path"
    );
    Ok(())
}

#[tokio::test]
async fn its_owners_terms_hold_for_terminals_too() -> Result<()> {
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    for flags in [&["--read-only"][..], &["--tools", "read,write"]] {
        device.process()?.stop(PATIENCE).await?;
        stand.until(&device.id, "offline").await?;
        device.program.args.truncate(2);
        device.program.args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        device.start()?;
        stand.online(&device.id).await?;
        let opened = open(&stand.url, Some(stand.client().key()), &path(&device, "main")).await;
        ensure!(refused(opened) == Some(403), "{flags:?}");
        // A browser, which comes with a ticket, learns it from the close.
        let shown = ticket(stand.client(), &device, "main").await?;
        let mut opened = open(&stand.url, None, &format!("{}?ticket={shown}", path(&device, "main"))).await?;
        let told = timeout(PATIENCE, opened.socket.next()).await?.context("it hung up")??;
        let Message::Close(Some(why)) = &told else {
            anyhow::bail!("{told:?}")
        };
        ensure!(u16::from(why.code) == 4403 && why.reason.contains("offer"), "{why:?}");
    }
    Ok(())
}

/// Nothing of a terminal is left when its machine's process is.
#[tokio::test]
async fn a_shell_ends_with_its_executor() -> Result<()> {
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    for killed in [false, true] {
        if device.process.is_none() {
            device.start()?;
            stand.online(&device.id).await?;
        }
        let mut onlooker = attach(&stand, &device, "main").await?;
        onlooker.says("echo ready").await?;
        onlooker
            .types("(while :; do date +%s%N > beat; sleep 0.02; done) & echo beg\"\"un\r")
            .await?;
        onlooker.until("begun").await?;
        let beat = device.work.join("beat");
        crate::rig::wait_until(|| Ok(beat.exists())).await?;
        let mut process = device.process.take().context("it runs")?;
        if killed {
            process.kill().await?;
            // What the kernel does not end with it, its next life does.
            device.start()?;
        } else {
            process.stop(PATIENCE).await?;
        }
        stand
            .until(&device.id, if killed { "online" } else { "offline" })
            .await?;
        let read = || std::fs::read_to_string(&beat).unwrap_or_default();
        let before = read();
        tokio::time::sleep(Duration::from_millis(200)).await;
        ensure!(read() == before, "something of it is alive");
        std::fs::remove_file(&beat)?;
    }
    Ok(())
}

#[tokio::test]
async fn every_process_reaches_its_terminals() -> Result<()> {
    let Some(cluster) = Cluster::start(2, 0, false).await? else {
        return Ok(());
    };
    let device = cluster.device("laptop").await?;
    let mut shells = Vec::new();
    for node in [0, 1] {
        let url = format!("http://{}", cluster.address(node));
        let with = format!(
            "{}?ticket={}",
            path(&device, "main"),
            ticket(cluster.client(1 - node), &device, "main").await?
        );
        let mut onlooker = open(&url, None, &with).await?;
        onlooker.types(": ${me:=$RANDOM$RANDOM}\r").await?;
        shells.push(onlooker.says("echo $me").await?);
    }
    ensure!(shells[0] == shells[1], "{shells:?}");
    Ok(())
}

#[tokio::test]
async fn the_shell_verb_types_leaves_and_comes_back() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let program = Program {
        verb: "shell",
        data_dir: stand.dir.path().join("me"),
        log_file: stand.dir.path().join("shell.log"),
        env: vec![("PERENNIAL_KEY".into(), stand.client().key().to_owned())],
        args: ["--url", &stand.url, &device.id].map(str::to_owned).to_vec(),
    };
    let mut terminal = Terminal::start(program.command()?)?;
    terminal.until("Ctrl-] leaves it").await?;
    terminal.types("x=kept; echo fi\"\"rst")?;
    terminal.until("first").await?;
    terminal.types("\u{1d}")?;
    terminal.until("the shell goes on").await?;
    ensure!(terminal.ended().await? == Some(0), "{}", terminal.shown);
    let mut terminal = Terminal::start(program.command()?)?;
    terminal.until("first").await?;
    terminal.types("echo $x; exit 9")?;
    terminal.until("kept").await?;
    ensure!(terminal.ended().await? == Some(9), "{}", terminal.shown);
    Ok(())
}

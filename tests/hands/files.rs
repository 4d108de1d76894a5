//! Files of a machine over its tunnel: whole by their hash, in flat memory, within its folder and on its owner's terms.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use perennial_proof::rig::process::Program;
use perennial_schema::folder::MAX_FOLDER_ENTRIES;
use perennial_tests::client::{Answer, Client};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::cluster_rig::Cluster;
use crate::rig::{Device, PATIENCE, Stand, wait_until as until};

/// What a file is that memory must not hold.
const LARGE: usize = 100 << 20;
/// What memory may grow by meanwhile: windows and buffers, and what an allocator keeps.
const FLAT: u64 = 40 << 20;
/// Read at a time by one who is slow.
const SIP: usize = 4 << 20;

fn path(device: &Device, path: &str) -> String {
    format!("/v1/executors/{}/files?path={path}", device.id)
}

async fn put(client: &Client, device: &Device, at: &str, bytes: Vec<u8>) -> Result<Answer> {
    client.send(client.request("PUT", &path(device, at)).body(bytes)).await
}

/// Bytes that do not repeat.
fn made(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ (state >> 33)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The most memory a process has had, in bytes.
pub(crate) fn peak(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.context("VmHWM")?.trim().trim_end_matches(" kB").parse::<u64>()?;
    Ok(kib << 10)
}

/// From here on the most it has.
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    Ok(std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

async fn fetched_slowly(client: &Client, device: &Device, at: &str) -> Result<Vec<u8>> {
    let url = path(device, at);
    let mut response = client
        .request("GET", &url)
        .timeout(Duration::from_secs(300))
        .send()
        .await?;
    ensure!(response.status() == 200, "{}", response.text().await?);
    let (mut hash, mut since) = (Sha256::new(), 0);
    while let Some(piece) = response.chunk().await? {
        hash.update(&piece);
        since += piece.len();
        if since >= SIP {
            since = 0;
            // Who reads slowly: everything on the way fills up, and waits.
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }
    Ok(hash.finalize().to_vec())
}

#[tokio::test]
async fn a_large_file_comes_whole_to_a_slow_reader_in_flat_memory() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let bytes = made(1, LARGE);
    std::fs::write(device.work.join("large"), &bytes)?;
    let expected = Sha256::digest(&bytes).to_vec();
    let pids = [stand.pid()?, device.process.as_ref().context("it runs")?.pid];
    let mut before = Vec::new();
    for pid in pids {
        forget_peak(pid)?;
        before.push(peak(pid)?);
    }
    let began = Instant::now();
    ensure!(
        fetched_slowly(stand.client(), &device, "large").await? == expected,
        "another file"
    );
    let fetched = began.elapsed();
    // And there.
    let answer = put(stand.client(), &device, "dir/back", bytes).await?.ok()?;
    ensure!(answer["bytes"] == LARGE, "{answer}");
    ensure!(
        Sha256::digest(std::fs::read(device.work.join("dir/back"))?).to_vec() == expected,
        "another file"
    );
    for (pid, before) in pids.into_iter().zip(before) {
        let grown = peak(pid)?.saturating_sub(before);
        println!(
            "\nring 2: {} MiB both ways, fetched in {fetched:?}: process {pid} grew by {} KiB",
            LARGE >> 20,
            grown >> 10
        );
        ensure!(grown < FLAT, "{pid} grew by {grown}");
    }
    Ok(())
}

#[tokio::test]
async fn nothing_outside_its_folder_is_reached() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let outside = stand.dir.path().join("outside");
    std::fs::write(&outside, "secret")?;
    symlink(&outside, device.work.join("link"))?;
    symlink(stand.dir.path(), device.work.join("up"))?;
    nix::unistd::mkfifo(&device.work.join("fifo"), nix::sys::stat::Mode::S_IRWXU)?;
    let absolute = outside.display().to_string();
    for at in [
        "../outside",
        &absolute,
        "link",
        "up/outside",
        "fifo",
        "up",
        "up/",
        "../",
        "/",
        "/dev/zero",
        "/proc/self/environ",
    ] {
        let got = stand.client().get(&path(&device, at)).await?;
        ensure!((400..500).contains(&got.status), "{at}: {} {}", got.status, got.body);
        let put = put(stand.client(), &device, at, b"x".to_vec()).await?;
        ensure!((400..500).contains(&put.status), "{at}: {} {}", put.status, put.body);
    }
    ensure!(std::fs::read_to_string(&outside)? == "secret", "it was written");
    ensure!(
        stand.client().get(&path(&device, "nothing")).await?.status == 404,
        "nothing"
    );
    // A folder is looked at; nothing is stored in its place.
    let stored = put(stand.client(), &device, ".", b"x".to_vec()).await?;
    ensure!((400..500).contains(&stored.status), "{}", stored.body);
    // By its whole name, and by none.
    let there = device.work.join("there").display().to_string();
    ensure!(
        stand.client().get(&path(&device, &there)).await?.body == "there\n",
        "there"
    );
    let no_path = format!("/v1/executors/{}/files", device.id);
    ensure!(stand.client().get(&no_path).await?.status == 400, "no path");
    Ok(())
}

#[tokio::test]
async fn a_folder_says_what_is_in_it() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    std::fs::create_dir_all(device.work.join("src/deep"))?;
    std::fs::write(device.work.join("src/a \u{e9}.rs"), "fn a() {}")?;
    symlink("/etc/passwd", device.work.join("src/link"))?;
    nix::unistd::mkfifo(&device.work.join("src/pipe"), nix::sys::stat::Mode::S_IRWXU)?;
    let listed = async |at: &str| -> Result<serde_json::Value> { stand.client().get(&path(&device, at)).await?.ok() };
    let whole = device.work.join("src").display().to_string();
    for at in ["src", "src/", whole.as_str()] {
        let folder = listed(at).await?;
        ensure!(
            folder["type"] == "executor_folder" && folder["truncated"] == false,
            "{folder}"
        );
        let entries = folder["entries"].as_array().context("entries")?;
        let told: Vec<_> = entries
            .iter()
            .map(|entry| (entry["name"].as_str(), entry["type"].as_str(), entry["bytes"].as_u64()))
            .collect();
        let expected = [
            (Some("a \u{e9}.rs"), Some("file"), Some(9)),
            (Some("deep"), Some("folder"), None),
            (Some("link"), Some("link"), None),
            (Some("pipe"), Some("other"), None),
        ];
        ensure!(told == expected, "{at}: {told:?}");
        ensure!(entries[0]["modified_at"].is_string(), "{folder}");
    }
    let names = |folder: &serde_json::Value| folder["entries"].as_array().map_or(0, Vec::len);
    let root = listed(".").await?;
    let entries = root["entries"].as_array().context("entries")?;
    let folders: Vec<_> = entries.iter().filter(|entry| entry["type"] == "folder").collect();
    ensure!(folders.len() == 1 && folders[0]["name"] == "src", "{root}");
    ensure!(names(&listed("src/deep").await?) == 0, "an empty one");
    // Links lead nowhere, and a file is no folder.
    for at in ["src/link/", "src/a%20%C3%A9.rs/", "nothing/"] {
        let answer = stand.client().get(&path(&device, at)).await?;
        ensure!(answer.status == 404, "{at}: {} {}", answer.status, answer.body);
    }
    // More than is told of one.
    for index in 0..=MAX_FOLDER_ENTRIES {
        std::fs::write(device.work.join(format!("src/deep/{index}")), "")?;
    }
    let folder = listed("src/deep").await?;
    ensure!(
        names(&folder) == MAX_FOLDER_ENTRIES && folder["truncated"] == true,
        "{}",
        names(&folder)
    );
    Ok(())
}

/// What ends in the middle never was: no half file, nothing left beside it.
#[tokio::test]
async fn half_a_file_is_none() -> Result<()> {
    use tokio::io::AsyncWriteExt as _;
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    std::fs::write(device.work.join("kept"), "old")?;
    let mut socket = tokio::net::TcpStream::connect(stand.url.strip_prefix("http://").context("an address")?).await?;
    let head = format!(
        "PUT {} HTTP/1.1\r\nhost: {}\r\nx-api-key: {}\r\ncontent-length: 1000000\r\n\r\n",
        path(&device, "kept"),
        stand.url.strip_prefix("http://").context("an address")?,
        stand.client().key()
    );
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(&[7; 300_000]).await?;
    let beside = || -> Result<usize> {
        let names = std::fs::read_dir(&device.work)?
            .flatten()
            .map(|entry| entry.file_name());
        Ok(names.filter(|name| name.to_string_lossy().ends_with(".tmp")).count())
    };
    until(|| Ok(beside()? == 1)).await?;
    drop(socket);
    until(|| Ok(beside()? == 0)).await?;
    ensure!(
        std::fs::read_to_string(device.work.join("kept"))? == "old",
        "it was changed"
    );
    // A machine that dies in the middle of a file: the reader is told.
    std::fs::write(device.work.join("large"), made(2, LARGE))?;
    let request = stand.client().request("GET", &path(&device, "large"));
    let mut response = request.timeout(Duration::from_secs(60)).send().await?;
    response.chunk().await?.context("it begins")?;
    device.process()?.kill().await?;
    let rest = async {
        while response.chunk().await?.is_some() {}
        Ok::<_, reqwest::Error>(())
    };
    ensure!(rest.await.is_err(), "half a file looked like a whole one");
    Ok(())
}

#[tokio::test]
async fn its_owners_terms_hold_for_files_too() -> Result<()> {
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    for (flags, reads, writes) in [
        (&["--read-only"][..], true, false),
        (&["--tools", "write"][..], false, true),
        (&["--tools", "bash"][..], false, false),
    ] {
        device.process()?.stop(PATIENCE).await?;
        stand.until(&device.id, "offline").await?;
        device.program.args.truncate(2);
        device.program.args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        device.start()?;
        stand.online(&device.id).await?;
        let got = stand.client().get(&path(&device, "there")).await?;
        let put = put(stand.client(), &device, "made", b"x".to_vec()).await?;
        ensure!(
            (got.status == 200) == reads && (put.status == 200) == writes,
            "{flags:?}: {got:?} {put:?}"
        );
        for refused in [got, put].into_iter().filter(|answer| answer.status != 200) {
            ensure!(
                refused.status == 403 && refused.body["error"]["details"]["error_code"] == "not_offered",
                "{refused:?}"
            );
        }
    }
    device.process()?.stop(PATIENCE).await?;
    stand.until(&device.id, "offline").await?;
    let gone = stand.client().get(&path(&device, "there")).await?;
    ensure!(
        gone.status == 409 && gone.body["error"]["details"]["error_code"] == "executor_offline",
        "{gone:?}"
    );
    Ok(())
}

/// Through the process that holds the tunnel, from one that does not.
#[tokio::test]
async fn every_process_reaches_its_files() -> Result<()> {
    let Some(cluster) = Cluster::start(2, 0, false).await? else {
        return Ok(());
    };
    let device = cluster.device("laptop").await?;
    let bytes = made(3, 5 << 20);
    for node in [0, 1] {
        let name = format!("from-{node}");
        put(cluster.client(node), &device, &name, bytes.clone()).await?.ok()?;
        ensure!(std::fs::read(device.work.join(&name))? == bytes, "another file");
        let hash = fetched_slowly(cluster.client(1 - node), &device, &name).await?;
        ensure!(
            hash == Sha256::digest(&bytes).to_vec(),
            "another file {}",
            cluster.logs()
        );
    }
    Ok(())
}

fn verb(stand: &Stand, device: &Device, home: &Path, args: &[&str]) -> Result<Command> {
    let program = Program {
        verb: "cp",
        data_dir: home.to_owned(),
        log_file: stand.dir.path().join("cp.log"),
        env: vec![("PERENNIAL_KEY".into(), stand.client().key().to_owned())],
        args: args.iter().map(|arg| arg.replace("LAPTOP", &device.id)).collect(),
    };
    let mut command = program.command()?;
    command.args(["--url", &stand.url]);
    Ok(command)
}

#[tokio::test]
async fn cp_copies_both_ways() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let home = stand.dir.path().join("me");
    std::fs::create_dir_all(&home)?;
    let bytes = made(4, 3 << 20);
    let mut file = std::fs::File::create(home.join("mine"))?;
    file.write_all(&bytes)?;
    let mine = home.join("mine").display().to_string();
    let there = verb(&stand, &device, &home, &[&mine, "LAPTOP:sub/"])?.status().await?;
    ensure!(
        there.success() && std::fs::read(device.work.join("sub/mine"))? == bytes,
        "{there}"
    );
    let folder = home.display().to_string();
    std::fs::remove_file(home.join("mine"))?;
    let back = verb(&stand, &device, &home, &["laptop:sub/mine", &folder])?
        .status()
        .await?;
    ensure!(back.success() && std::fs::read(home.join("mine"))? == bytes, "{back}");
    let none = verb(&stand, &device, &home, &["laptop:nothing", &folder])?
        .status()
        .await?;
    ensure!(none.code() == Some(1), "{none}");
    let names: Vec<_> = std::fs::read_dir(&home)?
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    ensure!(
        !names.iter().any(|name| name.to_string_lossy().ends_with(".part")),
        "{names:?}"
    );
    Ok(())
}

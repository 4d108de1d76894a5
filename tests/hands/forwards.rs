//! Ports of a machine over its tunnel, as ports of this one.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use perennial_proof::rig::port::free_port;
use perennial_proof::rig::process::{Process, Program};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cluster_rig::Cluster;
use crate::rig::{Device, PATIENCE, Stand, wait_until as until};

/// Answers each connection with the hash of all that was said on it, and then with as much again as it was told to.
async fn service() -> Result<(u16, JoinHandle<()>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    let serving = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut said = Vec::new();
                // The end of what was said must arrive as such.
                if socket.read_to_end(&mut said).await.is_ok() {
                    let _ = socket.write_all(&Sha256::digest(&said)).await;
                    let _ = socket.write_all(&said).await;
                }
            });
        }
    });
    Ok((port, serving))
}

struct Forward {
    _process: Process,
    address: SocketAddr,
}

async fn forward(dir: &std::path::Path, (url, key): (&str, &str), device: &Device, port: &str) -> Result<Forward> {
    let program = Program {
        verb: "forward",
        data_dir: dir.join("me"),
        log_file: dir.join("forward.log"),
        env: vec![("PERENNIAL_KEY".into(), key.to_owned())],
        args: ["--url", url, &device.id, port].map(str::to_owned).to_vec(),
    };
    let (process, address) = program.start_listening().await?;
    Ok(Forward {
        _process: process,
        address: address.parse()?,
    })
}

async fn echoed(address: SocketAddr, bytes: &[u8]) -> Result<bool> {
    let (mut from, mut to) = TcpStream::connect(address).await?.into_split();
    let saying = async {
        to.write_all(bytes).await?;
        to.shutdown().await
    };
    let hearing = async {
        let mut heard = Vec::new();
        from.read_to_end(&mut heard).await.map(|_| heard)
    };
    let ((), heard) = timeout(PATIENCE, async { tokio::try_join!(saying, hearing) }).await??;
    let (hash, rest) = heard.split_at_checked(32).context("no hash")?;
    Ok(*hash == *Sha256::digest(bytes) && rest == bytes)
}

#[tokio::test]
async fn a_port_there_is_a_port_here() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let (port, serving) = service().await?;
    let at = (stand.url.as_str(), stand.client().key());
    let forward = forward(stand.dir.path(), at, &device, &format!("{port}:0")).await?;
    ensure!(forward.address.ip().is_loopback(), "{}", forward.address);
    for length in [0, 1, 70_000, 8 << 20] {
        let bytes: Vec<u8> = (0..length).map(|at: usize| (at % 251) as u8).collect();
        ensure!(echoed(forward.address, &bytes).await?, "{length} bytes");
    }
    // Many at once; none holds up another.
    let mut quiet = TcpStream::connect(forward.address).await?;
    quiet.write_all(b"half").await?;
    let all = (0..8_u8).map(|seed| async move { echoed(forward.address, &vec![seed; 300_000]).await });
    let all = futures_util::future::try_join_all(all).await?;
    ensure!(all.iter().all(|echoed| *echoed), "{all:?}");
    // A service that went away: the next connection ends, and says so on the terminal.
    serving.abort();
    let _ = serving.await;
    let mut nobody = TcpStream::connect(forward.address).await?;
    ensure!(
        timeout(PATIENCE, nobody.read(&mut [0; 8])).await?? == 0,
        "somebody answers"
    );
    until(|| {
        let log = std::fs::read_to_string(stand.dir.path().join("forward.log"))?;
        Ok(log.contains("nobody is reached on port"))
    })
    .await
}

#[tokio::test]
async fn every_process_reaches_its_ports() -> Result<()> {
    let Some(cluster) = Cluster::start(2, 0, false).await? else {
        return Ok(());
    };
    let device = cluster.device("laptop").await?;
    let (port, _serving) = service().await?;
    for node in [0, 1] {
        let url = format!("http://{}", cluster.address(node));
        let at = (url.as_str(), cluster.client(node).key());
        let forward = forward(cluster.dir.path(), at, &device, &format!("{port}:0")).await?;
        ensure!(
            echoed(forward.address, &vec![7; 1_000_000]).await?,
            "{}",
            cluster.logs()
        );
    }
    Ok(())
}

/// What its owner does not offer is refused, and so is what nobody listens on.
#[tokio::test]
async fn its_owners_terms_hold_for_ports_too() -> Result<()> {
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    let asked = async |device: &Device, port: u16| {
        let path = format!("/v1/executors/{}/forwards/{port}", device.id);
        let request = stand.client().request("GET", &path).timeout(Duration::from_secs(20));
        let request = request
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        stand.client().send(request).await
    };
    let (port, _serving) = service().await?;
    let nobody = asked(&device, free_port()?).await?;
    ensure!(nobody.status == 404, "{nobody:?}");
    let plain = stand
        .client()
        .get(&format!("/v1/executors/{}/forwards/{port}", device.id))
        .await?;
    ensure!(plain.status == 400, "{plain:?}");
    for flags in [&["--read-only"][..], &["--tools", "read,write"]] {
        device.process()?.stop(PATIENCE).await?;
        stand.until(&device.id, "offline").await?;
        device.program.args.truncate(2);
        device.program.args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        device.start()?;
        stand.online(&device.id).await?;
        let refused = asked(&device, port).await?;
        ensure!(refused.status == 403, "{flags:?}: {refused:?}");
    }
    Ok(())
}

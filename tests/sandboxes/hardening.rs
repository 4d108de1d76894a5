//! What a sandbox cannot do: said by the engine of the container, and by a probe that runs in it (DESIGN §8, INVARIANTS S18–S20).

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::rig::Stand;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_container_is_hardened() -> Result<()> {
    let Some(stand) = Stand::start().await? else {
        return Ok(());
    };
    let made = stand.session(&json!({"cpu": 0.5, "memory": "96m"})).await?;
    stand.bash(&made.session, "true").await?;
    let container = stand.container(&made.session)?;
    let host = &container["HostConfig"];
    for (key, value) in [
        ("CapDrop", json!(["ALL"])),
        ("CapAdd", Value::Null),
        ("Privileged", json!(false)),
        ("SecurityOpt", json!(["no-new-privileges"])),
        ("ReadonlyRootfs", json!(true)),
        ("NetworkMode", json!("none")),
        ("IpcMode", json!("private")),
        ("PidMode", json!("")),
        ("UTSMode", json!("")),
        ("UsernsMode", json!("")),
        ("CgroupnsMode", json!("private")),
        ("PidsLimit", json!(256)),
        ("Memory", json!(96 << 20)),
        ("MemorySwap", json!(96 << 20)),
        ("NanoCpus", json!(500_000_000)),
        ("Binds", Value::Null),
        ("PublishAllPorts", json!(false)),
    ] {
        assert_eq!(host[key], value, "{key}");
    }
    for key in [
        "Devices",
        "DeviceRequests",
        "PortBindings",
        "VolumesFrom",
        "GroupAdd",
        "Links",
    ] {
        let given = &host[key];
        assert!(
            given.is_null() || *given == json!([]) || *given == json!({}),
            "{key}: {given}"
        );
    }
    assert_eq!(container["Config"]["User"], "65532:65532");
    // Two things of this host, neither to be written, and the volume.
    let mounts = container["Mounts"].as_array().context("mounts")?;
    let mut seen: Vec<(&str, &str, bool)> = mounts
        .iter()
        .map(|mount| {
            let text = |key: &str| mount[key].as_str().unwrap_or_default();
            (text("Type"), text("Destination"), mount["RW"] == true)
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(
        seen,
        [
            ("bind", "/perennial/door", false),
            ("bind", "/perennial/executor", false),
            ("volume", "/sandbox", true)
        ]
    );
    // On this host the door is behind a folder that is its owner's alone.
    let doors = stand.up.data_dir.join("doors");
    assert_eq!(std::fs::metadata(doors)?.permissions().mode() & 0o777, 0o700);
    Ok(())
}

/// What the kernel says to whoever is inside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_inside_finds_no_way() -> Result<()> {
    let Some(stand) = Stand::start().await? else {
        return Ok(());
    };
    let made = stand.session(&json!({"memory": "96m"})).await?;
    let told = stand
        .bash(
            &made.session,
            "id -u; id -g; grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status",
        )
        .await?;
    let none = "0000000000000000";
    assert_eq!(
        told,
        format!(
            "65532\n65532\nCapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\nCapBnd:\t{none}\nCapAmb:\t{none}\nNoNewPrivs:\t1\nSeccomp:\t2\n"
        )
    );
    for (attempt, why) in [
        ("echo x > /bin/x", "Read-only file system"),
        ("echo x > /perennial/door/x", "Read-only file system"),
        ("echo x >> /perennial/executor", "denied"),
        ("echo x > /sandbox/x", "Permission denied"),
        ("mount -t tmpfs none /tmp", "denied"),
        ("unshare -U true", "Operation not permitted"),
        ("unshare -n true", "Operation not permitted"),
        ("chroot / true", "Operation not permitted"),
        ("echo 1 > /proc/sys/kernel/core_pattern", "Read-only file system"),
        ("dmesg", "not permitted"),
        ("ls /var/run/docker.sock /run/docker.sock", "No such file"),
        ("ls /dev/sda /dev/vda /dev/kmsg", "No such file"),
    ] {
        let told = stand
            .bash(&made.session, &format!("{attempt} 2>&1 && echo DONE"))
            .await?;
        assert!(!told.contains("DONE") && told.contains(why), "{attempt}: {told}");
    }
    // What is bounded bites: what a file in /tmp may hold, memory, processes.
    let large =
        "dd if=/dev/zero of=/tmp/large bs=1M count=100 2>&1; stat -c %s /tmp/large; rm -f /tmp/large; echo alive";
    let told = stand.bash(&made.session, large).await?;
    assert!(told.contains("No space left") && told.ends_with("alive\n"), "{told}");
    let greedy = "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}";
    let told = stand.bash(&made.session, greedy).await?;
    assert!(!told.contains("200000000"), "{told}");
    let forks = "busybox sh -c 'for i in $(seq 300); do sleep 2 & done' >/dev/null 2>/tmp/said; read line </tmp/said; echo $line";
    let told = stand.bash(&made.session, forks).await?;
    assert!(told.contains("can't fork"), "{told}");
    Ok(())
}

/// No packet leaves: not to this host, not to the metadata service, not to the next sandbox; no name resolves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_reached_but_the_tunnel() -> Result<()> {
    let Some(stand) = Stand::start().await? else {
        return Ok(());
    };
    let made = stand.session(&json!({"networking": {"type": "unrestricted"}})).await?;
    // A service of this host that listens everywhere, as databases do.
    let service = TcpListener::bind("0.0.0.0:0")?;
    service.set_nonblocking(true)?;
    let port = service.local_addr()?.port();
    let told = stand
        .bash(&made.session, "ls /sys/class/net; wc -l < /proc/net/route")
        .await?;
    assert_eq!(told, "lo\n1\n");
    let server = stand.client().get("/healthz").await?.ok().is_ok();
    assert!(server);
    for address in [
        "127.0.0.1",
        "172.17.0.1",
        "10.0.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "1.1.1.1",
        "::1",
        "fd00::1",
    ] {
        let told = stand
            .bash(
                &made.session,
                &format!("nc -w 1 {address} {port} </dev/null && echo REACHED; true"),
            )
            .await?;
        assert!(!told.contains("REACHED"), "{address}: {told}");
    }
    let told = stand
        .bash(&made.session, "nslookup example.com 2>&1 && echo RESOLVED; true")
        .await?;
    assert!(!told.contains("RESOLVED"), "{told}");
    assert!(service.accept().is_err());
    // The door opens on one thing, which needs a token; nothing else of the API is behind it.
    for (path, status) in [
        ("/v1/executors/tunnel", "401"),
        ("/v1/sessions", "404"),
        ("/v1/executors/register", "404"),
        ("/metrics", "404"),
        ("/healthz", "404"),
    ] {
        let told = through_the_door(&stand, &made.session, path)?;
        assert!(told.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {told}");
    }
    Ok(())
}

/// One request through the socket that the sandbox sees.
fn through_the_door(stand: &Stand, session: &str, path: &str) -> Result<String> {
    use std::io::Write as _;
    let container = stand.container(session)?;
    let mounts = container["Mounts"].as_array().context("mounts")?;
    let door = mounts
        .iter()
        .find(|mount| mount["Destination"] == "/perennial/door")
        .context("a door")?;
    let socket = std::path::Path::new(door["Source"].as_str().context("a folder")?).join("socket");
    let mut line = std::os::unix::net::UnixStream::connect(socket)?;
    write!(
        line,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )?;
    let mut told = String::new();
    line.read_to_string(&mut told)?;
    Ok(told)
}

/// The start code works once, for one executor; the secret that took its place is this sandbox's alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_code_is_used_up() -> Result<()> {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
    let Some(stand) = Stand::start().await? else {
        return Ok(());
    };
    let made = stand.session(&json!({})).await?;
    stand.bash(&made.session, "true").await?;
    let container = stand.container(&made.session)?;
    let variables = container["Config"]["Env"].as_array().context("variables")?;
    let variable = |name: &str| {
        let found = variables.iter().filter_map(Value::as_str);
        let mut found = found.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.next().map(str::to_owned).context("a variable")
    };
    let executor: perennial_schema::ExecutorId = variable("PERENNIAL_EXECUTOR_ID")?.parse()?;
    let code = variable("PERENNIAL_START_CODE")?;
    // Whoever finds the code has another secret, and may try to be this executor or another one.
    for id in [executor, perennial_schema::ExecutorId::from_uuid(uuid::Uuid::now_v7())] {
        let token = perennial_schema::ExecutorToken::new(id, [7; 32]);
        let address = stand
            .client()
            .request("GET", "/v1/executors/tunnel")
            .build()?
            .url()
            .to_string();
        let mut request = address.replace("http://", "ws://").into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("authorization", format!("Bearer {}", token.expose()).parse()?);
        headers.insert("perennial-start", code.parse()?);
        let refused = tokio_tungstenite::connect_async(request).await;
        let text = refused.map(|_| ()).map_err(|error| error.to_string());
        assert!(text.as_ref().is_err_and(|text| text.contains("401")), "{text:?}");
    }
    // The shells it runs see neither.
    let told = stand.bash(&made.session, "env").await?;
    assert!(
        !told.contains("PERENNIAL_START_CODE") && !told.contains(&code),
        "{told}"
    );
    assert!(stand.bash(&made.session, "echo still").await?.contains("still"));
    Ok(())
}

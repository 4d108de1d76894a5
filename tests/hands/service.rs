//! `connect --install`: what is written where, who is told, and that doing it twice is doing it once. The service manager is a
//! program of ours that notes what it is told.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use perennial_tests::server::binary;
use serde_json::json;

use crate::rig::{Device, PATIENCE, Stand};

struct House {
    config: PathBuf,
    programs: PathBuf,
    told: PathBuf,
}

impl House {
    fn new(dir: &Path) -> Result<Self> {
        let house = Self {
            config: dir.join("config"),
            programs: dir.join("programs"),
            told: dir.join("told"),
        };
        std::fs::create_dir_all(&house.programs)?;
        Ok(house)
    }

    /// From now on, `systemctl` ends with this.
    fn systemctl(&self, code: i32) -> Result<()> {
        let path = self.programs.join("systemctl");
        let script = format!(
            "#!/bin/sh\necho \"$@\" >> {}\necho no bus >&2\nexit {code}\n",
            self.told.display()
        );
        std::fs::write(&path, script)?;
        Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
    }

    fn told(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.told).unwrap_or_default();
        std::fs::remove_file(&self.told).ok();
        text.lines().map(str::to_owned).collect()
    }

    fn units(&self) -> Result<Vec<PathBuf>> {
        let folder = self.config.join("systemd/user");
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut units: Vec<PathBuf> = std::fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        units.sort();
        Ok(units)
    }

    async fn connect(&self, device: &Device, args: &[&str]) -> Result<(Option<i32>, String)> {
        let mut command = tokio::process::Command::new(binary()?);
        let output = command
            .arg("connect")
            .args(args)
            .env_clear()
            .env("HOME", &device.home)
            .env("XDG_CONFIG_HOME", &self.config)
            .env("PATH", format!("{}:/usr/bin:/bin", self.programs.display()))
            .output()
            .await?;
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_service_keeps_the_connection() -> Result<()> {
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    device.process()?.stop(PATIENCE).await?;
    let house = House::new(&stand.dir.path().join("house"))?;
    let second = stand.dir.path().join("second \"100%\" folder");
    std::fs::create_dir(&second)?;
    let (work, second) = (device.work.display().to_string(), second.display().to_string());
    let both = ["--dir", &work, "--dir", &second, "--install"];
    // Nothing that keeps services: it says what to do.
    let (code, told) = house.connect(&device, &both).await?;
    assert!(
        code == Some(0) && told.contains("systemctl --user enable perennial-"),
        "{told}"
    );
    let units = house.units()?;
    let text = std::fs::read_to_string(&units[0])?;
    let expected = format!("\"connect\" \"--dir\" \"{work}\" \"--dir\" ");
    assert!(
        units.len() == 1 && text.contains(&expected) && text.contains(&stand.url),
        "{text}"
    );
    assert!(text.contains("\\\"100%%\\\"") && !text.contains("xt_"), "{text}");
    // One that works is told, and the second time nothing is written.
    house.systemctl(0)?;
    let name = units[0].file_name().context("a name")?.to_string_lossy().into_owned();
    let before = std::fs::metadata(&units[0])?.modified()?;
    for _ in 0..2 {
        let (code, told) = house.connect(&device, &both).await?;
        assert!(code == Some(0) && told.contains("is kept from now on"), "{told}");
        assert_eq!(
            house.told(),
            [
                "--user daemon-reload",
                &format!("--user enable {name}"),
                &format!("--user restart {name}")
            ]
        );
    }
    assert_eq!(
        (house.units()?, std::fs::metadata(&units[0])?.modified()?),
        (units, before)
    );
    // What it starts is what was meant: both folders, and this server.
    let words = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .context("a command")?;
    let words = words.replace("%%", "%").replace("$$", "$");
    let mut shell = tokio::process::Command::new("/bin/sh");
    let mut kept = shell
        .args(["-c", &format!("exec {words}")])
        .env_clear()
        .env("HOME", &device.home)
        .env("PATH", "/usr/bin:/bin")
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let seen = stand.online(&device.id).await?;
    assert_eq!(seen["card"]["roots"].as_array().map(Vec::len), Some(2), "{seen}");
    for (dir, fine) in [(&work, true), (&second, true), (&"/usr".to_owned(), false)] {
        let body = json!({"tool": "bash", "input": {"command": "pwd"}, "dir": dir});
        let said = stand
            .client()
            .post(&format!("/v1/executors/{}/calls", device.id), &body)
            .await?
            .ok()?;
        assert_eq!(said["is_error"], !fine, "{said}");
        if fine {
            assert_eq!(said["content"][0]["text"], format!("{dir}\n"));
        }
    }
    kept.kill().await?;
    // Who does not want it any more says so, as often as they like; also where the manager fails.
    house.systemctl(1)?;
    for removed in [true, false] {
        let (code, told) = house.connect(&device, &["--dir", &work, "--uninstall"]).await?;
        assert_eq!(
            (code, told.contains("removed"), told.contains("no service")),
            (Some(0), removed, !removed),
            "{told}"
        );
    }
    assert!(house.units()?.is_empty());
    // A question needs somebody who answers.
    let (code, told) = house.connect(&device, &["--dir", &work, "--ask", "--install"]).await?;
    assert!(code == Some(2) && told.contains("terminal"), "{told}");
    Ok(())
}

/// `connect` alone offers what was offered; naming folders again is another offer.
#[tokio::test]
async fn folders_are_remembered_until_others_are_named() -> Result<()> {
    let stand = Stand::start().await?;
    let mut device = stand.device("laptop", None).await?;
    let second = stand.dir.path().join("second");
    std::fs::create_dir(&second)?;
    let second = second.display().to_string();
    for (named, folders) in [
        (vec!["--dir", second.as_str()], 2),
        (vec!["--dir", second.as_str(), "--dir", second.as_str()], 2),
        (vec![], 1),
    ] {
        device.process()?.stop(PATIENCE).await?;
        stand.until(&device.id, "offline").await?;
        device.program.args.truncate(2);
        device.program.args.extend(named.iter().map(|word| (*word).to_owned()));
        device.start()?;
        let card = stand.online(&device.id).await?["card"].clone();
        assert_eq!(card["roots"].as_array().map(Vec::len), Some(folders), "{card}");
        assert_eq!(card["cwd"], device.work.display().to_string());
    }
    Ok(())
}

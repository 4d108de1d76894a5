//! The services of `deploy/compose.yaml`, as processes of this machine: what is written there starts in that order, is healthy, and
//! answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use perennial_proof::rig::port::free_port;
use perennial_proof::rig::process::{Process, Program};
use perennial_tests::client::Client;
use perennial_tests::nats::Nats;
use perennial_tests::not_run;
use perennial_tests::postgres::Postgres;
use perennial_tests::processes::end_executor;
use tokio::process::Command;
use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlLoader};

const PATIENCE: Duration = Duration::from_secs(60);

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// `<<` as Compose reads it: what is said here comes before what is taken over.
fn merged(value: &Yaml) -> Yaml {
    match value {
        Yaml::Hash(hash) => {
            let mut all = Hash::new();
            if let Some(Yaml::Hash(inherited)) = hash.get(&Yaml::from_str("<<")).map(merged) {
                all.extend(inherited);
            }
            let own = hash.iter().filter(|(name, _)| name.as_str() != Some("<<"));
            all.extend(own.map(|(name, value)| (name.clone(), merged(value))));
            Yaml::Hash(all)
        }
        Yaml::Array(items) => Yaml::Array(items.iter().map(merged).collect()),
        other => other.clone(),
    }
}

/// A service of ours.
struct Service {
    name: String,
    verb: &'static str,
    environment: Vec<(String, String)>,
    healthcheck: Vec<String>,
    after: Vec<String>,
    replicas: usize,
}

fn texts(value: &Yaml) -> Vec<String> {
    let items = value.as_vec().into_iter().flatten();
    items.filter_map(Yaml::as_str).map(str::to_owned).collect()
}

fn services(compose: &Yaml) -> Result<Vec<Service>> {
    let all = compose["services"].as_hash().context("services")?;
    let ours = all
        .iter()
        .filter(|(_, service)| service["image"].as_str() == Some("perennial"));
    ours.map(|(name, service)| {
        let verb = match &*texts(&service["command"]).join(" ") {
            "migrate" => "migrate",
            "serve" => "serve",
            "worker" => "worker",
            other => bail!("`perennial {other}` is started there"),
        };
        let environment = service["environment"].as_hash().into_iter().flatten();
        let after = service["depends_on"].as_hash().into_iter().flatten();
        Ok(Service {
            name: name.as_str().context("a name")?.to_owned(),
            verb,
            environment: environment
                .filter_map(|(name, value)| Some((name.as_str()?.to_owned(), value.as_str()?.to_owned())))
                .collect(),
            healthcheck: texts(&service["healthcheck"]["test"]),
            after: after.filter_map(|(name, _)| name.as_str().map(str::to_owned)).collect(),
            replicas: usize::try_from(service["deploy"]["replicas"].as_i64().unwrap_or(1))?,
        })
    })
    .collect()
}

/// Names of the containers' network as addresses of this machine.
struct Network {
    secrets: String,
    nats: String,
    ports: BTreeMap<String, u16>,
}

impl Network {
    fn here(&self, service: &Service, metrics: u16, text: &str) -> String {
        let mut here = text
            .replace("/run/secrets", &self.secrets)
            .replace("nats://nats:4222", &self.nats)
            .replace("0.0.0.0:9464", &format!("127.0.0.1:{metrics}"))
            .replace("0.0.0.0:7340", &format!("127.0.0.1:{}", self.ports[&service.name]));
        for (name, port) in &self.ports {
            here = here.replace(&format!("http://{name}:7340"), &format!("http://127.0.0.1:{port}"));
        }
        here
    }
}

/// A container, as a process.
struct Running {
    process: Process,
    data: PathBuf,
    metrics: u16,
}

impl Running {
    async fn start(service: &Service, network: &Network, data: PathBuf) -> Result<Self> {
        let metrics = free_port()?;
        let environment = service.environment.iter().map(|(name, value)| {
            let here = network.here(service, metrics, value);
            // What whoever starts it may have set, and has not.
            (name.clone(), if here.starts_with("${") { String::new() } else { here })
        });
        let program = Program {
            verb: service.verb,
            log_file: data.with_extension("log"),
            data_dir: data.clone(),
            env: environment.filter(|(_, value)| !value.is_empty()).collect(),
            args: Vec::new(),
        };
        let mut process = program.start()?;
        if service.verb == "migrate" {
            let ended = process.ended(PATIENCE).await?;
            ensure!(ended.success(), "{}", program.log());
        } else {
            let begun = Instant::now();
            while !healthy(service, metrics).await? {
                ensure!(
                    begun.elapsed() < PATIENCE,
                    "{} is not healthy: {}",
                    service.name,
                    program.log()
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(Self { process, data, metrics })
    }
}

/// What Compose would ask.
async fn healthy(service: &Service, metrics: u16) -> Result<bool> {
    let [cmd, program, arguments @ ..] = &*service.healthcheck else {
        bail!("{} has no health check", service.name);
    };
    ensure!(cmd == "CMD", "{:?}", service.healthcheck);
    let arguments = arguments
        .iter()
        .map(|text| text.replace("/9464", &format!("/{metrics}")));
    let asked = Command::new(program).args(arguments).output().await?;
    Ok(asked.status.success())
}

#[tokio::test]
async fn the_composed_services_serve() -> Result<()> {
    let (Some(postgres), Some(nats)) = (Postgres::start().await?, Nats::start().await?) else {
        return not_run("the composed services: Postgres or nats-server is not installed");
    };
    let compose = YamlLoader::load_from_str(&std::fs::read_to_string(deploy().join("compose.yaml"))?)?;
    let services = services(&merged(compose.first().context("a document")?))?;
    let dir = tempfile::tempdir()?;
    // Its secrets are made where the script is.
    std::fs::copy(deploy().join("secrets.sh"), dir.path().join("secrets.sh"))?;
    for _ in 0..2 {
        let made = Command::new("bash").arg(dir.path().join("secrets.sh")).status().await?;
        ensure!(made.success(), "no secrets");
    }
    let secrets = dir.path().join("secrets");
    let url = std::fs::read_to_string(secrets.join("database_url"))?;
    let password = std::fs::read_to_string(secrets.join("database_password"))?;
    ensure!(
        url == format!("postgres://perennial:{password}@postgres:5432/perennial") && password.len() == 64,
        "{url}"
    );
    std::fs::write(secrets.join("database_url"), postgres.url("postgres"))?;
    let mut ports = BTreeMap::new();
    for service in &services {
        ports.insert(service.name.clone(), free_port()?);
    }
    let network = Network {
        secrets: secrets.display().to_string(),
        nats: nats.url(),
        ports,
    };
    let mut running: BTreeMap<String, Vec<Running>> = BTreeMap::new();
    let mut waiting: Vec<&Service> = services.iter().collect();
    while !waiting.is_empty() {
        let known = |name: &String| running.contains_key(name) || !services.iter().any(|service| service.name == *name);
        let (now, later): (Vec<&Service>, Vec<&Service>) =
            waiting.into_iter().partition(|service| service.after.iter().all(known));
        ensure!(!now.is_empty(), "services wait for each other");
        for service in now {
            let mut replicas = Vec::new();
            for replica in 0..service.replicas {
                let data = dir.path().join(format!("{}-{replica}", service.name));
                replicas.push(Running::start(service, &network, data).await?);
            }
            running.insert(service.name.clone(), replicas);
        }
        waiting = later;
    }
    ensure!(running["worker"].len() == 2 && running.len() == 5, "not all run");

    let key = std::fs::read_to_string(running["serve-1"][0].data.join("key"))?;
    for node in ["serve-1", "serve-2"] {
        let url = format!("http://127.0.0.1:{}", network.ports[node]);
        let client = Client::new(&url, key.trim())?;
        let (agent, environment) = client.agent_and_environment("rehearsal-1").await?;
        let session = client.session(&agent, &environment).await?;
        client.say(&session, "/say well deployed").await?;
        let (events, _) = client.until_idle(&session, 0, PATIENCE).await?;
        let answered = events
            .iter()
            .any(|event| event["type"] == "agent.message" && event.to_string().contains("well deployed"));
        ensure!(answered, "{events:?}");
    }
    for (name, replicas) in running.iter().filter(|(name, _)| *name != "migrate") {
        for replica in replicas {
            let url = format!("http://127.0.0.1:{}/metrics", replica.metrics);
            let text = reqwest::get(url).await?.error_for_status()?.text().await?;
            let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
            let foreign = lines.find(|line| !line.starts_with("perennial_"));
            ensure!(foreign.is_none(), "{name}: {foreign:?}");
            let expected = match &**name {
                "worker" => "perennial_worker_slots ",
                _ => "perennial_pool_slots ",
            };
            ensure!(text.contains(expected), "{name}: {text}");
        }
    }
    for replica in running.get_mut("worker").into_iter().flatten() {
        replica.process.stop(PATIENCE).await?;
        end_executor(&replica.data)?;
    }
    Ok(())
}

//! What a person sees when the server has started. The address alone goes to stdout, for scripts.

use crate::config::Settings;
use crate::house::{Front, Hands, Key};

/// Prints it.
pub(super) fn print(front: &Front, hands: &Hands, settings: &Settings) {
    println!("{}", front.url);
    eprintln!("perennial {} is up at {}", env!("CARGO_PKG_VERSION"), front.url);
    console(front);
    eprintln!("  data    {}", settings.data_dir.value.display());
    key(front, settings);
    eprintln!("  model   {}", model(settings));
    eprintln!("  tools   {}", tools(hands, settings));
    eprintln!("  cloud   {}", cloud(settings));
    eprintln!("  try     perennial run '/tool bash {{\"command\":\"uname -a\"}}'");
}

/// What an operator sees when a node of a cluster serves.
pub(super) fn serving(front: &Front, settings: &Settings) {
    println!("{}", front.url);
    eprintln!("perennial {} serves at {}", env!("CARGO_PKG_VERSION"), front.url);
    console(front);
    key(front, settings);
    eprintln!("  bus     {}", bus(settings));
    if settings.sandbox.is_some() {
        eprintln!("  cloud   {}", cloud(settings));
    }
    match &settings.pool.kept {
        Some(kept) => eprintln!(
            "  work    is done by {} to {} worker processes of {} slots each, as there is some, and by others on the same database",
            kept.min, kept.max.value, settings.slots.value
        ),
        None => eprintln!("  work    is done by `perennial worker` processes on the same database"),
    }
}

/// What an operator sees when a worker works.
pub(super) fn working(hands: &Hands, settings: &Settings) {
    eprintln!("perennial {} works", env!("CARGO_PKG_VERSION"));
    eprintln!("  slots   {}", settings.slots.value);
    eprintln!("  bus     {}", bus(settings));
    eprintln!("  hands   {} in {}", hands.place(), settings.data_dir.value.display());
}

fn cloud(settings: &Settings) -> String {
    match &settings.sandbox {
        Some(sandbox) => format!(
            "a container for each session, in the engine at {} (image {})",
            sandbox.docker.value, sandbox.image.value
        ),
        None => {
            "warning: no container engine (--docker), so `cloud` environments are folders of this host as well".into()
        }
    }
}

fn console(front: &Front) {
    match &front.console {
        Some(link) => eprintln!("  console {link}  (opens once, within ten minutes; later enter the key)"),
        None => eprintln!("  console not built into this binary (`make up` does where there is Node 20.19 or later)"),
    }
}

fn bus(settings: &Settings) -> &'static str {
    if settings.nats.is_some() {
        "NATS"
    } else {
        "none: the database is looked at every 200 ms (--nats-url makes it faster)"
    }
}

fn key(front: &Front, settings: &Settings) {
    let file = crate::paths::key_file(&settings.data_dir.value);
    match &front.key {
        Key::Known => eprintln!("  key     {}", file.display()),
        Key::Fresh(key) => {
            eprintln!("  key     {}", file.display());
            eprintln!(
                "          {} (made now, printed once; only its hash is in the database)",
                key.expose()
            );
        }
        Key::Elsewhere => {
            eprintln!("  key     none here: another server made the first (`serve --new-key` makes one more)");
        }
    }
}

fn model(settings: &Settings) -> String {
    let model = settings.model();
    let keyless = settings.anthropic.key.is_none() && settings.openai.key.is_none();
    if keyless {
        format!("{model} (scripted, needs no key; set ANTHROPIC_API_KEY or OPENAI_API_KEY for a real one)")
    } else {
        model.to_owned()
    }
}

fn tools(hands: &Hands, settings: &Settings) -> String {
    match (hands.uncontained_reason(), settings.allow_local.value) {
        (None, _) => "run under bubblewrap, in one folder per session".into(),
        (Some(reason), true) => format!("run on this host UNCONTAINED and without asking (--allow-local): {reason}"),
        (Some(reason), false) => format!("bash, write and edit ask before they run: {reason}"),
    }
}

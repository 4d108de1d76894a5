//! What a person sees when the server has started. The address alone goes to stdout, for scripts.

use super::house::House;
use crate::config::Settings;

/// Prints it.
pub(super) fn print(house: &House, settings: &Settings) {
    println!("{}", house.url);
    eprintln!("perennial {} is up at {}", env!("CARGO_PKG_VERSION"), house.url);
    eprintln!("  data    {}", settings.data_dir.value.display());
    eprintln!(
        "  key     {}",
        crate::paths::key_file(&settings.data_dir.value).display()
    );
    if let Some(key) = &house.fresh_key {
        eprintln!(
            "          {} (made now, printed once; only its hash is in the database)",
            key.expose()
        );
    }
    eprintln!("  model   {}", model(settings));
    eprintln!("  tools   {}", tools(house, settings));
    eprintln!("  cloud   warning: no container backend yet, so `cloud` environments are folders of this host as well");
    eprintln!("  try     perennial run '/tool bash {{\"command\":\"uname -a\"}}'");
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

fn tools(house: &House, settings: &Settings) -> String {
    match (&house.uncontained_reason, settings.allow_local.value) {
        (None, _) => "run under bubblewrap, in one folder per session".into(),
        (Some(reason), true) => format!("run on this host UNCONTAINED and without asking (--allow-local): {reason}"),
        (Some(reason), false) => format!("bash, write and edit ask before they run: {reason}"),
    }
}

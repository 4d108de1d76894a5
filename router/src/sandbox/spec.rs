//! What a sandbox is made of: what its environment says, and for the rest what its host does.

use perennial_engine::ports::SandboxSpec;
use perennial_schema::environment::Container;

/// Nothing left to choose.
pub(crate) fn fill(container: &Container, defaults: &SandboxSpec) -> SandboxSpec {
    SandboxSpec {
        image: container.image.clone().unwrap_or_else(|| defaults.image.clone()),
        cpu: container.cpu.unwrap_or(defaults.cpu),
        memory: container.memory.unwrap_or(defaults.memory),
        disk: container.disk.or(defaults.disk),
        idle_timeout: container.idle_timeout.unwrap_or(defaults.idle_timeout),
    }
}

/// In a line, for a model; of one that nobody makes now no more than its environment says.
pub(crate) fn describe(container: &Container, defaults: Option<&SandboxSpec>) -> String {
    let Some(defaults) = defaults else {
        let image = container.image.as_ref().map(|image| format!(", of the image {image}"));
        return format!("a container of this session alone{}", image.unwrap_or_default());
    };
    let spec = fill(container, defaults);
    let cpus = f64::from(spec.cpu.in_thousandths()) / 1000.0;
    format!(
        "a container of this session alone, of the image {}, {cpus} processors, {} MiB of memory",
        spec.image,
        spec.memory >> 20
    )
}

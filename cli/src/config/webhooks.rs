//! `[webhooks]`: where webhooks may be sent beside the public internet.

use serde::Deserialize;

use super::Setting;
use super::resolve::{Layers, by_default};

/// `[webhooks]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WebhooksSection {
    allow_hosts: Vec<String>,
}

impl Layers<'_> {
    /// Hosts that may be in a private network, and on any port.
    pub(super) fn webhook_hosts(&self, section: &WebhooksSection) -> Setting<Vec<String>> {
        let file = (!section.allow_hosts.is_empty()).then(|| (section.allow_hosts.join(","), "webhooks.allow_hosts"));
        let Some(named) = self.text(None, "PERENNIAL_WEBHOOKS_ALLOW_HOSTS", file) else {
            return by_default(Vec::new());
        };
        let hosts = named.value.split(',').map(str::trim).filter(|host| !host.is_empty());
        Setting {
            value: hosts.map(str::to_owned).collect(),
            from: named.from,
        }
    }
}

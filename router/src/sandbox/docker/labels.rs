//! Whose a container or a volume is: nothing is seen or touched that another install made.

use std::collections::HashMap;

use perennial_engine::ports::Boot;
use perennial_schema::ExecutorId;

use super::DockerSettings;

/// Who made a container or a volume; nothing with another value is touched.
const INSTANCE: &str = "perennial.instance";
/// And where the sockets are that it was made with: the copy of a data directory is another install.
const DOORS: &str = "perennial.doors";
const EXECUTOR: &str = "perennial.executor";
const SESSION: &str = "perennial.session";

/// What is there to tell them by.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    own: [(&'static str, String); 2],
}

impl Labels {
    pub(super) fn of(settings: &DockerSettings) -> Self {
        Self {
            own: [
                (INSTANCE, settings.instance.to_string()),
                (DOORS, settings.doors.display().to_string()),
            ],
        }
    }

    /// Finds what is ours.
    pub(super) fn filter(&self) -> HashMap<String, Vec<String>> {
        let own = self.own.iter().map(|(key, value)| format!("{key}={value}"));
        HashMap::from([("label".to_owned(), own.collect())])
    }

    /// What one is made with.
    pub(super) fn for_boot(&self, boot: &Boot) -> HashMap<String, String> {
        let about = [
            (EXECUTOR, boot.executor.to_string()),
            (SESSION, boot.key.session.to_string()),
        ];
        let labels = self.own.iter().cloned().chain(about);
        labels.map(|(key, value)| (key.to_owned(), value)).collect()
    }

    pub(super) fn are_on(&self, labels: Option<&HashMap<String, String>>) -> bool {
        let has = |(key, value): &(&str, String)| labels.and_then(|labels| labels.get(*key)) == Some(value);
        self.own.iter().all(has)
    }
}

/// What a container and its volume are called.
pub(super) fn name(executor: ExecutorId) -> String {
    format!("perennial-{}", executor.uuid().simple())
}

/// Which executor one is for.
pub(super) fn executor_of(labels: Option<&HashMap<String, String>>) -> Option<ExecutorId> {
    labels?.get(EXECUTOR)?.parse().ok()
}

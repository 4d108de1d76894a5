//! Tokens and cost by model. Which models there are is for providers to say, so a process names as many as it has room for, each
//! once it has answered, and counts what comes after as `other`.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use perennial_engine::ports::Trace;

/// Models that are named, and how long a name may be, in bytes.
const MODELS: usize = 100;
const NAME: usize = 120;

static NAMED: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());

/// Counts what a request that was answered came to.
pub(crate) fn by_model(trace: &Trace) {
    if !(200..300).contains(&trace.status) {
        return;
    }
    let (provider, model) = (trace.provider.clone(), label(&NAMED, &trace.provider, &trace.model));
    let kinds = [
        ("input", trace.usage.input_tokens),
        ("output", trace.usage.output_tokens),
        ("cache_read", trace.usage.cache_read_input_tokens),
        ("cache_write", trace.usage.cache_creation_input_tokens),
    ];
    for (kind, tokens) in kinds {
        metrics::counter!("perennial_gateway_model_tokens_total", "provider" => provider.clone(), "model" => model.clone(),
            "kind" => kind)
        .increment(tokens);
    }
    metrics::counter!("perennial_gateway_model_cost_microusd_total", "provider" => provider, "model" => model)
        .increment(trace.microusd);
}

fn label(named: &Mutex<BTreeSet<(String, String)>>, provider: &str, model: &str) -> String {
    let mut named = named.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (provider.to_owned(), model.to_owned());
    let room = model.len() <= NAME && named.len() < MODELS;
    if named.contains(&key) || room {
        named.insert(key);
        return model.to_owned();
    }
    "other".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_models_are_named_as_there_is_room_for() {
        let named = Mutex::default();
        for n in 0..MODELS {
            assert_eq!(label(&named, "p", &format!("m{n}")), format!("m{n}"));
        }
        assert_eq!(label(&named, "p", "one more"), "other");
        assert_eq!(label(&named, "q", "m0"), "other");
        assert_eq!(label(&named, "p", "m7"), "m7");
        assert_eq!(label(&Mutex::default(), "p", &"x".repeat(NAME + 1)), "other");
    }
}

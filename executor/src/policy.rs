//! What the owner of a machine allows, whoever asks. It is decided here and not by the server: a stolen or hostile one can ask for
//! no more (INVARIANTS S16).

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use perennial_schema::frame::Call;
use perennial_schema::stream::Purpose;
use perennial_schema::tool::{Builtin, Effect};

/// Whether a call may be done; asked before anything of it begins. Dropping the future withdraws the question.
pub trait Ask: Debug + Send + Sync {
    /// Waits for the owner's word.
    fn allows<'a>(&'a self, call: &'a Call) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

    /// The same for a stream that a server wants to open.
    fn opens<'a>(&'a self, purpose: &'a Purpose) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;
}

/// The owner's terms. The default allows everything within the root.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// These tools only; none offers all.
    pub tools: Option<Vec<Builtin>>,
    /// Of those, only what changes nothing.
    pub read_only: bool,
    /// Each call waits for the owner's word.
    pub ask: Option<Arc<dyn Ask>>,
}

impl Policy {
    /// Whether a tool is offered at all.
    #[must_use]
    pub fn offers(&self, tool: Builtin) -> bool {
        let named = self.tools.as_ref().is_none_or(|tools| tools.contains(&tool));
        named && (!self.read_only || tool.effect() == Effect::Read)
    }

    /// Whether folders may be copied, packed and unpacked as a whole, which no tool and no question stands before.
    pub(crate) fn offers_folders(&self) -> bool {
        self.ask.is_none() && Builtin::ALL.into_iter().all(|tool| self.offers(tool))
    }

    /// Refuses a tool that is not offered; told to the model.
    pub(crate) fn check(&self, tool: Builtin) -> Result<(), String> {
        if self.offers(tool) {
            return Ok(());
        }
        let offered: Vec<&str> = Builtin::ALL
            .into_iter()
            .filter(|tool| self.offers(*tool))
            .map(Builtin::name)
            .collect();
        Err(format!(
            "the owner of this machine does not offer {}; what it offers: {}",
            tool.name(),
            if offered.is_empty() {
                "nothing".to_owned()
            } else {
                offered.join(", ")
            }
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reads_is_offered_read_only() {
        let policy = |tools: Option<&[Builtin]>, read_only| Policy {
            tools: tools.map(<[Builtin]>::to_vec),
            read_only,
            ask: None,
        };
        let offered = |policy: &Policy| -> Vec<&str> {
            let all = Builtin::ALL.into_iter().filter(|tool| policy.offers(*tool));
            all.map(Builtin::name).collect()
        };
        assert_eq!(offered(&Policy::default()).len(), Builtin::ALL.len());
        assert_eq!(offered(&policy(None, true)), ["read", "glob", "grep"]);
        let some = [Builtin::Bash, Builtin::Read];
        assert_eq!(offered(&policy(Some(&some), false)), ["bash", "read"]);
        assert_eq!(offered(&policy(Some(&some), true)), ["read"]);
        assert!(Policy::default().offers_folders() && !policy(None, true).offers_folders());
        let refused = policy(Some(&[]), false).check(Builtin::Read).unwrap_err();
        assert!(refused.ends_with("offers: nothing"), "{refused}");
    }
}

//! What policy says of a tool. Approvals are for people's peace of mind; the sandbox is the boundary (DESIGN §8).

use perennial_schema::event::Permission;
use perennial_schema::tool::{Builtin, Policy};

/// How far the hands can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Contained, or somebody else's machine, or allowed by whoever started the server.
    Bounded,
    /// Tools run on this host with nothing around them.
    Host,
}

/// Evaluates a tool's policy.
pub(crate) fn permission(policy: Policy, tool: Builtin, reach: Reach) -> Permission {
    match policy {
        Policy::AlwaysAllow => Permission::Allow,
        Policy::AlwaysAsk => Permission::Ask,
        Policy::Deny => Permission::Deny,
        Policy::Auto if reach == Reach::Host && tool.changes_host() => Permission::Ask,
        Policy::Auto => Permission::Allow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_auto_looks_at_the_reach() {
        for reach in [Reach::Bounded, Reach::Host] {
            assert_eq!(permission(Policy::AlwaysAllow, Builtin::Bash, reach), Permission::Allow);
            assert_eq!(permission(Policy::AlwaysAsk, Builtin::Read, reach), Permission::Ask);
            assert_eq!(permission(Policy::Deny, Builtin::Read, reach), Permission::Deny);
            assert_eq!(permission(Policy::Auto, Builtin::Read, reach), Permission::Allow);
        }
        assert_eq!(
            permission(Policy::Auto, Builtin::Bash, Reach::Bounded),
            Permission::Allow
        );
        assert_eq!(permission(Policy::Auto, Builtin::Bash, Reach::Host), Permission::Ask);
        assert_eq!(permission(Policy::Auto, Builtin::Edit, Reach::Host), Permission::Ask);
    }
}

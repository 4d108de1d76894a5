//! Whether the agent may: yes. Our tools are decided on by the router, call by call, and its own reach no further than its
//! empty home.

use agent_client_protocol::v1::schema::{
    PermissionOptionKind, RequestPermissionOutcome, RequestPermissionRequest, RequestPermissionResponse,
    SelectedPermissionOutcome,
};

/// Allows it, as narrowly as the agent lets us.
pub(super) fn decide(request: &RequestPermissionRequest) -> RequestPermissionResponse {
    let allow = [PermissionOptionKind::AllowOnce, PermissionOptionKind::AllowAlways];
    let chosen = allow
        .into_iter()
        .find_map(|kind| request.options.iter().find(|option| option.kind == kind));
    RequestPermissionResponse::new(match chosen {
        Some(option) => RequestPermissionOutcome::Selected(SelectedPermissionOutcome::new(option.option_id.clone())),
        None => RequestPermissionOutcome::Cancelled,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn decided(kinds: &[&str]) -> Value {
        let options: Vec<Value> = kinds
            .iter()
            .map(|kind| json!({"optionId": format!("the {kind}"), "name": "n", "kind": kind}))
            .collect();
        let request = json!({"sessionId": "s", "toolCall": {"toolCallId": "t"}, "options": options});
        serde_json::to_value(decide(&serde_json::from_value(request).unwrap())).unwrap()
    }

    #[test]
    fn the_narrowest_yes_is_chosen() {
        let chosen = |kinds: &[&str]| decided(kinds)["outcome"]["optionId"].clone();
        assert_eq!(chosen(&["reject_once", "allow_always", "allow_once"]), "the allow_once");
        assert_eq!(chosen(&["allow_always", "reject_once"]), "the allow_always");
        assert_eq!(decided(&["reject_once"])["outcome"]["outcome"], "cancelled");
    }
}

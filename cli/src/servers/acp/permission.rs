//! Questions to the person at the editor: whether a call may be done. One that is answered elsewhere meanwhile is withdrawn.

use std::collections::BTreeMap;
use std::path::Path;

use agent_client_protocol::v1::ConnectionTo;
use agent_client_protocol::v1::schema::{
    PermissionOption, PermissionOptionKind, RequestPermissionOutcome, RequestPermissionRequest,
    RequestPermissionResponse,
};
use agent_client_protocol::{Client as Editor, ErrorCode, RequestCancellationHandle};
use tokio::sync::mpsc;

use super::tool;
use crate::client::pending::PendingUse;

/// Answers that wait to be passed on.
const ANSWERS: usize = 64;
const ALLOW: &str = "allow";
const REJECT: &str = "reject";

/// What was said to a question.
#[derive(Debug)]
pub(super) struct Answer {
    /// The tool use.
    pub(super) id: String,
    /// None when nobody decided: the question stands, for whoever else answers it.
    pub(super) allow: Option<bool>,
}

/// The open questions of one session.
#[derive(Debug)]
pub(super) struct Asking {
    editor: ConnectionTo<Editor>,
    session: String,
    open: BTreeMap<String, RequestCancellationHandle>,
    answering: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
}

impl Asking {
    pub(super) fn new(editor: ConnectionTo<Editor>, session: &str) -> Self {
        let (answering, answers) = mpsc::channel(ANSWERS);
        Self {
            editor,
            session: session.to_owned(),
            open: BTreeMap::new(),
            answering,
            answers,
        }
    }

    /// Asks, unless it was asked already.
    pub(super) fn ask(&mut self, used: &PendingUse, folder: &Path) -> agent_client_protocol::Result<()> {
        if self.open.contains_key(&used.id) {
            return Ok(());
        }
        let options = vec![
            PermissionOption::new(ALLOW, "Allow", PermissionOptionKind::AllowOnce),
            PermissionOption::new(REJECT, "Reject", PermissionOptionKind::RejectOnce),
        ];
        let call = tool::question(&used.id, &used.name, &used.input, folder);
        let request = RequestPermissionRequest::new(self.session.clone(), call, options);
        let request = self.editor.prepare_request(request);
        let withdraw = request.cancellation_handle();
        let (id, answering) = (used.id.clone(), self.answering.clone());
        request.on_receiving_result(async move |result| {
            let allow = decided(result);
            answering.send(Answer { id, allow }).await.ok();
            Ok(())
        })?;
        self.open.insert(used.id.clone(), withdraw);
        Ok(())
    }

    /// The next answer; one to a question that was withdrawn counts no more. Safe to drop and call again.
    pub(super) async fn answer(&mut self) -> Answer {
        loop {
            match self.answers.recv().await {
                Some(answer) if self.open.remove(&answer.id).is_some() => return answer,
                Some(_) => {}
                // We hold a sender.
                None => return std::future::pending().await,
            }
        }
    }

    /// This one is settled.
    pub(super) fn withdraw(&mut self, id: &str) {
        if let Some(question) = self.open.remove(id) {
            // An editor that is gone asks nobody.
            question.cancel().ok();
        }
    }

    /// None of them matters any more.
    pub(super) fn withdraw_all(&mut self) {
        for (_, question) in std::mem::take(&mut self.open) {
            question.cancel().ok();
        }
    }
}

fn decided(result: agent_client_protocol::Result<RequestPermissionResponse>) -> Option<bool> {
    match result {
        Ok(response) => match response.outcome {
            RequestPermissionOutcome::Selected(chosen) => match chosen.option_id.0.as_ref() {
                ALLOW => Some(true),
                REJECT => Some(false),
                _ => None,
            },
            _ => None,
        },
        Err(error) if error.code == ErrorCode::REQUEST_CANCELLED => None,
        Err(error) => {
            tracing::warn!(error = %error.message, "the editor asks nobody: approve or deny it elsewhere");
            None
        }
    }
}

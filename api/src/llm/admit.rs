//! Who may ask: the holder of a virtual key, or of a key of this server, who may ask for everything.

use axum::http::HeaderMap;
use perennial_engine::ports::Payer;
use perennial_gateway::{Caller, REMEDY, Refusal, presented};
use perennial_schema::VirtualKey;

use super::Llm;
use crate::accounts::Secret;

pub(super) async fn caller(llm: &Llm, headers: &HeaderMap) -> Result<Caller, Refusal> {
    let text = presented(headers).ok_or_else(|| Refusal::unauthenticated(REMEDY))?;
    if let Ok(secret) = text.parse::<VirtualKey>() {
        return llm.gateway.authenticate(&secret).await;
    }
    let refuse = || Refusal::unauthenticated(format!("this key is not known here; {REMEDY}"));
    let (Some(accounts), Ok(secret)) = (&llm.accounts, text.parse::<Secret>()) else {
        return Err(refuse());
    };
    let found = llm.keys.find(&**accounts, secret.id).await;
    let key = found.map_err(|error| Refusal::store(&error))?.ok_or_else(refuse)?;
    if !key.hash.matches(&secret) {
        return Err(refuse());
    }
    Ok(Caller::of(Payer {
        workspace: key.workspace,
        session: None,
        agent: None,
        key: None,
        aside: false,
    }))
}

//! Creations in the meter that happen once per idempotency key: the new thing's id follows from the key, so that a repetition
//! meets it whatever died in between.

use perennial_engine::ports::{Idempotency, IdempotencyMode};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::accounts::Earlier;
use crate::api::App;
use crate::auth::Principal;
use crate::error::ApiError;

/// A creation under way.
pub(crate) struct Once {
    /// What an earlier request under the same key made.
    pub(crate) earlier: Option<String>,
    /// The id of what is to be made.
    pub(crate) id: Uuid,
    principal: Principal,
    idempotency: Option<Idempotency>,
}

impl Once {
    /// Looks an earlier request up.
    ///
    /// # Errors
    /// 422 when the key was used with another body.
    pub(crate) async fn of(
        app: &App,
        principal: Principal,
        idempotency: Option<Idempotency>,
    ) -> Result<Self, ApiError> {
        let mut once = Self {
            earlier: None,
            id: app.ports.ids.uuid(),
            principal,
            idempotency,
        };
        if let Some(idempotency) = &once.idempotency {
            let (accounts, at) = (&app.ports.accounts, app.ports.clock.now());
            let earlier = accounts.recalled(principal.workspace, idempotency, at).await?;
            once.earlier = earlier.map(|earlier| earlier.resource_id);
            // A client's own key means one thing; what an SDK derives from a body may mean it twice.
            if idempotency.mode == IdempotencyMode::Key {
                once.id = derived(principal, idempotency);
            }
        }
        Ok(once)
    }

    /// Remembers what was made.
    pub(crate) async fn made(self, app: &App, resource_id: String) -> Result<(), ApiError> {
        let Some(idempotency) = self.idempotency else {
            return Ok(());
        };
        let (accounts, at) = (&app.ports.accounts, app.ports.clock.now());
        let made = Earlier {
            resource_id,
            version: 0,
        };
        Ok(accounts
            .remember(self.principal.workspace, idempotency, made, at)
            .await?)
    }
}

fn derived(principal: Principal, idempotency: &Idempotency) -> Uuid {
    let named = format!("{} {} {}", principal.workspace, idempotency.scope, idempotency.key);
    let hash = Sha256::digest(named);
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

//! Links that log in once. They live in the memory of the process that printed them, as hashes, and not for long.

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use perennial_schema::WorkspaceId;
use rand::TryRngCore as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use crate::limits::{CONSOLE_LINK, CONSOLE_LINKS};

struct Link {
    hash: [u8; 32],
    workspace: WorkspaceId,
    until: Instant,
}

/// The links nobody has opened yet.
#[derive(Default)]
pub(crate) struct Links(Mutex<Vec<Link>>);

impl Links {
    /// Makes one; its code belongs behind the `#` of an address, where no log and no `Referer` sees it.
    pub(crate) fn mint(&self, workspace: WorkspaceId) -> Result<String, rand::rand_core::OsError> {
        let mut random = [0_u8; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut random)?;
        let code = URL_SAFE_NO_PAD.encode(random);
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if links.len() >= CONSOLE_LINKS {
            links.remove(0);
        }
        links.push(Link {
            hash: Sha256::digest(code.as_bytes()).into(),
            workspace,
            until: Instant::now() + CONSOLE_LINK,
        });
        Ok(code)
    }

    /// Takes a code back: the first to come with it is let in, nobody after.
    pub(super) fn redeem(&self, code: &str) -> Option<WorkspaceId> {
        let hash: [u8; 32] = Sha256::digest(code.as_bytes()).into();
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|link| link.until > Instant::now());
        let at = links.iter().position(|link| link.hash.ct_eq(&hash).into())?;
        Some(links.remove(at).workspace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_code_is_good_once_and_not_for_long() {
        let links = Links::default();
        let workspace = WorkspaceId::from_uuid(uuid::Uuid::now_v7());
        let code = links.mint(workspace).unwrap();
        assert_eq!(links.redeem("another"), None);
        assert_eq!(links.redeem(&code), Some(workspace));
        assert_eq!(links.redeem(&code), None);
        let late = links.mint(workspace).unwrap();
        tokio::time::advance(CONSOLE_LINK).await;
        assert_eq!(links.redeem(&late), None);
    }

    #[test]
    fn there_are_never_many() {
        let links = Links::default();
        let workspace = WorkspaceId::from_uuid(uuid::Uuid::now_v7());
        let codes: Vec<_> = (0..=CONSOLE_LINKS).map(|_| links.mint(workspace).unwrap()).collect();
        assert_eq!(links.redeem(&codes[0]), None, "the oldest made room");
        assert_eq!(links.redeem(&codes[CONSOLE_LINKS]), Some(workspace));
    }
}

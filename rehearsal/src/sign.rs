//! What vouches for a thought: the vendors sign or encrypt theirs, and refuse one that was changed. Ours can be checked by any
//! process, so a conversation goes on after a server was started again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

const NONCE: usize = 6;
const MAC: usize = 16;

/// A signature of this text; `nonce` makes those of equal texts differ.
pub(crate) fn sign(nonce: u64, text: &str) -> String {
    let mut bytes = nonce.to_be_bytes()[8 - NONCE..].to_vec();
    let mac = mac(&bytes, text);
    bytes.extend(mac);
    STANDARD.encode(bytes)
}

/// Whether we signed this text.
pub(crate) fn is_ours(signature: &str, text: &str) -> bool {
    STANDARD
        .decode(signature)
        .is_ok_and(|bytes| bytes.len() == NONCE + MAC && bytes[NONCE..] == mac(&bytes[..NONCE], text))
}

fn mac(nonce: &[u8], text: &str) -> [u8; MAC] {
    let digest = Sha256::new()
        .chain_update(b"perennial rehearsal")
        .chain_update(nonce)
        .chain_update(text)
        .finalize();
    let mut mac = [0; MAC];
    mac.copy_from_slice(&digest[..MAC]);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_thought_is_seen() {
        let signature = sign(7, "why");
        assert!(is_ours(&signature, "why"));
        assert!(!is_ours(&signature, "why not"));
        assert!(!is_ours(&signature.replace("==", "=x"), "why"));
        assert_ne!(signature, sign(8, "why"));
        assert!(!is_ours("", "why") && !is_ours("AAAA", "why"));
    }
}

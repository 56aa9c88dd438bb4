//! HKDF-Expand and HMAC, SHA-256 (RFC 5869, RFC 2104).
//!
//! Data keys and root keys are uniformly random, so HKDF's extract step is left out (RFC 5869 section 3.3).

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Fills `out` with `HKDF-Expand-SHA256(key, info[0] ‖ info[1] ‖ …, out.len())`.
///
/// `N` is a type parameter so that the length limit of RFC 5869 (255 blocks) is checked by the compiler.
pub(crate) fn expand<const N: usize>(key: &[u8; 32], info: &[&[u8]], out: &mut [u8; N]) {
    const { assert!(N <= 255 * 32, "HKDF-Expand-SHA256 gives at most 255 blocks") };
    // invariant: a key of exactly one hash output is long enough (RFC 5869 section 2.3), and the length is checked above.
    #[allow(clippy::expect_used)]
    Hkdf::<Sha256>::from_prk(key)
        .expect("a PRK of 32 bytes is long enough")
        .expand_multi_info(info, out)
        .expect("the output length is within 255 blocks");
}

/// HMAC-SHA256 keyed once; clone it per message.
pub(crate) fn hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap_or_else(|_| {
        // invariant: HMAC takes keys of every length (RFC 2104 section 2).
        unreachable!("HMAC takes keys of every length")
    })
}

/// `HMAC-SHA256(key, parts[0] ‖ parts[1] ‖ …)`.
pub(crate) fn hmac_once(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = hmac(key);
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

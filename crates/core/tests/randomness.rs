//! Random bytes: nothing repeats, nothing is left unfilled.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use pg_encrypt_core::random::{fill, os_random};

#[test]
fn draws_differ() {
    let draws: HashSet<[u8; 16]> = (0..10_000).map(|_| os_random().unwrap()).collect();
    assert_eq!(draws.len(), 10_000);
    assert_eq!(os_random::<0>().unwrap(), []);
}

/// All of a buffer is filled, also one longer than the 256 bytes that one call of `getrandom` is sure to give.
#[test]
fn long_buffers_are_filled_to_the_end() {
    let mut buffer = vec![0; 100_000];
    fill(&mut buffer).unwrap();
    for chunk in buffer.chunks(16) {
        assert_ne!(chunk, [0; 16]);
    }
}

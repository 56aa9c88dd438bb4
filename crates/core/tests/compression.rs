//! Compressed plaintexts: what is kept, and what a hostile one can't do.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use pg_encrypt_core::compress::{CompressionError, MIN_LEN, compress, decompress};
use proptest::prelude::*;

/// Text that LZ4 shrinks, so that `take` bytes of noise in front decide whether an eighth is saved.
fn text(noise: usize, length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut text: Vec<u8> = (0..noise)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect();
    text.resize(length, b'a');
    text
}

#[test]
fn short_values_are_left_alone() {
    for length in [0, 1, 100, MIN_LEN - 1, MIN_LEN] {
        assert_eq!(compress(&text(0, length)), None, "{length}");
    }
    assert!(compress(&text(0, MIN_LEN + 1)).is_some());
}

#[test]
fn only_results_that_save_an_eighth_are_kept() {
    let mut kept = 0;
    for noise in (0..=4096).step_by(8) {
        let text = text(noise, 4096);
        if let Some(compressed) = compress(&text) {
            assert!(compressed.len() <= 4096 - 512, "{noise}");
            assert_eq!(decompress(&compressed, 4096).unwrap(), text);
            kept += 1;
        } else {
            assert!(noise > 3400, "{noise} bytes of noise left enough to save");
        }
    }
    assert!((425..512).contains(&kept), "{kept} of 513 were kept");
}

#[test]
fn the_cap_holds_before_anything_is_allocated() {
    let compressed = compress(&text(0, 100_000)).unwrap();
    assert_eq!(decompress(&compressed, 100_000).unwrap().len(), 100_000);
    assert_eq!(
        decompress(&compressed, 99_999),
        Err(CompressionError::TooLong {
            length: 100_000,
            cap: 99_999
        })
    );
    // A claim of 4 GiB from a few bytes.
    let claim = [&[0xff; 4][..], &compressed[4..]].concat();
    assert_eq!(decompress(&claim, usize::MAX), Err(CompressionError::Malformed));
    assert_eq!(
        decompress(&claim, 1 << 30),
        Err(CompressionError::TooLong {
            length: u32::MAX as usize,
            cap: 1 << 30
        })
    );
}

#[test]
fn a_wrong_length_field_fails() {
    let compressed = compress(&text(50, 2000)).unwrap();
    for wrong in [0_u32, 1, 1999, 2001, 4000] {
        let altered = [&wrong.to_be_bytes()[..], &compressed[4..]].concat();
        assert_eq!(
            decompress(&altered, 10_000),
            Err(CompressionError::Malformed),
            "{wrong}"
        );
    }
}

#[test]
fn every_truncation_fails() {
    let compressed = compress(&text(50, 2000)).unwrap();
    for length in 0..compressed.len() {
        let expected = if length < 4 {
            CompressionError::Truncated
        } else {
            CompressionError::Malformed
        };
        assert_eq!(
            decompress(&compressed[..length], 10_000),
            Err(expected),
            "{length}"
        );
    }
}

proptest! {
    #[test]
    fn round_trips(words in prop::collection::vec("[a-z]{1,6}", 0..500)) {
        let text = words.join(" ").into_bytes();
        if let Some(compressed) = compress(&text) {
            prop_assert_eq!(decompress(&compressed, text.len()).unwrap(), text);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(plaintext) = decompress(&bytes, 1 << 20) {
            prop_assert!(plaintext.len() <= 1 << 20);
        }
    }

    #[test]
    fn altered_blocks_never_panic(at in 4..200_usize, byte: u8) {
        let mut compressed = compress(&text(1000, 4000)).unwrap();
        compressed[at] = byte;
        if let Ok(plaintext) = decompress(&compressed, 4000) {
            prop_assert_eq!(plaintext.len(), 4000);
        }
    }
}

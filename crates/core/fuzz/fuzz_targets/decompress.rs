//! Bytes that claim to be compressed: the cap holds, and what compresses comes back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pg_encrypt_core::compress::{compress, decompress};

const CAP: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(plaintext) = decompress(bytes, CAP) {
        assert!(plaintext.len() <= CAP);
    }
    if let Some(compressed) = compress(bytes) {
        assert!(compressed.len() <= bytes.len() - bytes.len() / 8);
        assert_eq!(decompress(&compressed, bytes.len()).unwrap(), bytes);
    }
});

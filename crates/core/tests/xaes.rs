//! XAES-256-GCM against the published vectors of C2SP (https://c2sp.org/XAES-256-GCM).

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod common;

use hex_literal::hex;
use pg_encrypt_core::gcm::AssociatedData;
use pg_encrypt_core::xaes::{NONCE_LEN, PREFIX_LEN, XaesKey};
use shake::Shake128;
use shake::digest::{ExtendableOutput, Update, XofReader};

fn split(nonce: &[u8; NONCE_LEN]) -> (&[u8; PREFIX_LEN], &[u8; NONCE_LEN - PREFIX_LEN]) {
    let (prefix, suffix) = nonce.split_at(PREFIX_LEN);
    (prefix.try_into().unwrap(), suffix.try_into().unwrap())
}

/// Seals, opens again and gives `ciphertext ‖ tag`.
fn seal(key: &[u8; 32], nonce: &[u8; NONCE_LEN], plaintext: &[u8], associated_data: &[u8]) -> Vec<u8> {
    let (prefix, suffix) = split(nonce);
    let key = XaesKey::from_bytes(key).derive(prefix);
    let associated_data = AssociatedData::from(associated_data);
    let mut sealed = vec![0; plaintext.len()];
    let tag = key.seal(suffix, associated_data, plaintext, &mut sealed).unwrap();
    let mut opened = vec![0; plaintext.len()];
    key.open(suffix, associated_data, &sealed, &tag, &mut opened)
        .unwrap();
    assert_eq!(opened, plaintext);
    sealed.extend_from_slice(&tag);
    sealed
}

#[test]
fn without_associated_data_and_top_bit_of_l_clear() {
    assert_eq!(
        seal(&[0x01; 32], b"ABCDEFGHIJKLMNOPQRSTUVWX", b"XAES-256-GCM", b""),
        hex!("ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271")
    );
}

#[test]
fn with_associated_data_and_top_bit_of_l_set() {
    assert_eq!(
        seal(
            &[0x03; 32],
            b"ABCDEFGHIJKLMNOPQRSTUVWX",
            b"XAES-256-GCM",
            b"c2sp.org/XAES-256-GCM"
        ),
        hex!("986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d")
    );
}

/// 10,000 messages whose keys, nonces, lengths, plaintexts and associated data come from SHAKE128 of nothing; the
/// SHAKE128 digest of all results.
#[test]
fn accumulated_randomized_messages() {
    let mut source = Shake128::default().finalize_xof();
    let mut digest = Shake128::default();
    for _ in 0..10_000 {
        let mut key = [0; 32];
        source.read(&mut key);
        let mut nonce = [0; NONCE_LEN];
        source.read(&mut nonce);
        let plaintext = message(&mut source);
        let associated_data = message(&mut source);
        digest.update(&seal(&key, &nonce, &plaintext, &associated_data));
    }
    let mut accumulated = [0; 32];
    digest.finalize_xof_into(&mut accumulated);
    assert_eq!(
        accumulated,
        hex!("e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939")
    );
}

/// A length byte, then so many bytes.
fn message(source: &mut impl XofReader) -> Vec<u8> {
    let mut length = [0];
    source.read(&mut length);
    let mut message = vec![0; usize::from(length[0])];
    source.read(&mut message);
    message
}

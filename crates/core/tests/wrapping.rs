//! Wrapped data keys: what must unwrap, and everything that must not.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashSet;

use pg_encrypt_core::key::{CheckValueMismatch, DataKey, KeyId, Purpose, UnknownPurpose};
use pg_encrypt_core::wrap::{LocalRoot, WRAPPED_LOCAL_LEN, WrapError, associated_data};
use proptest::prelude::*;

const ROOT: [u8; 32] = [0x52; 32];

fn id(id: i32) -> KeyId {
    KeyId::new(id).unwrap()
}

fn root() -> LocalRoot {
    LocalRoot::from_bytes(ROOT)
}

#[test]
fn wrapping_draws_a_fresh_nonce() {
    let key = DataKey::from_bytes([1; 32]);
    let wrapped: HashSet<_> = (0..100)
        .map(|_| root().wrap(&key, id(1), Purpose::Column).unwrap())
        .collect();
    assert_eq!(wrapped.len(), 100);
    for wrapped in wrapped {
        assert_eq!(wrapped.len(), WRAPPED_LOCAL_LEN);
        assert_eq!(
            root().unwrap(&wrapped, id(1), Purpose::Column).unwrap().expose(),
            key.expose()
        );
    }
}

#[test]
fn every_flipped_bit_fails() {
    let original = root()
        .wrap(&DataKey::from_bytes([1; 32]), id(1), Purpose::Column)
        .unwrap();
    for at in 0..original.len() {
        for bit in 0..8 {
            let mut altered = original.clone();
            altered[at] ^= 1 << bit;
            match root().unwrap(&altered, id(1), Purpose::Column) {
                Err(WrapError::UnknownFormat(byte)) => assert_eq!((at, byte), (0, altered[0])),
                Err(WrapError::AuthenticationFailed) => assert_ne!(at, 0),
                Err(other) => panic!("byte {at} bit {bit}: {other}"),
                Ok(_) => panic!("byte {at} bit {bit} was unwrapped"),
            }
        }
    }
}

#[test]
fn every_other_length_fails() {
    let mut wrapped = root()
        .wrap(&DataKey::from_bytes([1; 32]), id(1), Purpose::Column)
        .unwrap();
    wrapped.extend([0; 20]);
    for length in (0..wrapped.len()).filter(|&length| length != WRAPPED_LOCAL_LEN) {
        match root().unwrap(&wrapped[..length], id(1), Purpose::Column) {
            Err(WrapError::Length { actual }) => assert_eq!(actual, length),
            _ => panic!("{length} bytes"),
        }
    }
}

#[test]
fn another_root_id_or_purpose_fails() {
    let wrapped = root()
        .wrap(&DataKey::from_bytes([1; 32]), id(1), Purpose::Column)
        .unwrap();
    let mut other_root = ROOT;
    other_root[0] ^= 1;
    for (root, key_id, purpose) in [
        (LocalRoot::from_bytes(other_root), id(1), Purpose::Column),
        (root(), id(2), Purpose::Column),
        (root(), id(1), Purpose::Index),
    ] {
        assert!(matches!(
            root.unwrap(&wrapped, key_id, purpose),
            Err(WrapError::AuthenticationFailed)
        ));
    }
    assert_ne!(LocalRoot::from_bytes(other_root).root_id(), root().root_id());
}

/// A provider's wrapped key is told apart from damage: the extension chose the wrong root.
#[test]
fn keys_of_remote_providers_are_named_as_such() {
    assert!(matches!(
        root().unwrap(&[2; 100], id(1), Purpose::Column),
        Err(WrapError::UnknownFormat(2))
    ));
}

#[test]
fn associated_data_is_label_id_and_purpose() {
    assert_eq!(
        associated_data(id(0x0102_0304), Purpose::Index),
        *b"pg_encrypt/v1/wrap\0\x01\x02\x03\x04\x02"
    );
}

#[test]
fn check_values_belong_to_key_id_and_purpose() {
    let key = DataKey::from_bytes([1; 32]);
    let check_value = key.check_value(id(1), Purpose::Column);
    assert_eq!(key.verify(id(1), Purpose::Column, &check_value), Ok(()));
    assert_eq!(
        key.verify(id(2), Purpose::Column, &check_value),
        Err(CheckValueMismatch)
    );
    assert_eq!(
        key.verify(id(1), Purpose::Index, &check_value),
        Err(CheckValueMismatch)
    );
    assert_eq!(
        DataKey::from_bytes([2; 32]).verify(id(1), Purpose::Column, &check_value),
        Err(CheckValueMismatch)
    );
    for at in 0..check_value.len() {
        let mut altered = check_value;
        altered[at] ^= 0x80;
        assert_eq!(
            key.verify(id(1), Purpose::Column, &altered),
            Err(CheckValueMismatch)
        );
        assert_eq!(
            key.verify(id(1), Purpose::Column, &check_value[..at]),
            Err(CheckValueMismatch)
        );
    }
    let longer = [&check_value[..], &[0]].concat();
    assert_eq!(
        key.verify(id(1), Purpose::Column, &longer),
        Err(CheckValueMismatch)
    );
}

#[test]
fn generated_keys_and_ids_differ() {
    let keys: HashSet<_> = (0..100).map(|_| *DataKey::generate().unwrap().expose()).collect();
    assert_eq!(keys.len(), 100);
    // 100 of 2^31: a repetition has a chance of 2.3e-6.
    let ids: HashSet<_> = (0..100).map(|_| KeyId::random().unwrap()).collect();
    assert_eq!(ids.len(), 100);
    // An id of fewer than 24 bits among 100 is likely, one of fewer than 16 bits in all 100 is not.
    assert!(ids.iter().any(|id| id.get() > 1 << 24));
}

#[test]
fn key_ids_are_positive() {
    for (value, valid) in [
        (i32::MIN, false),
        (-1, false),
        (0, false),
        (1, true),
        (i32::MAX, true),
    ] {
        assert_eq!(KeyId::new(value).map(KeyId::get), valid.then_some(value));
    }
}

#[test]
fn purposes_have_words_and_codes() {
    assert_eq!(Purpose::ALL.map(Purpose::code), [1, 2]);
    assert_eq!(Purpose::ALL.map(Purpose::as_str), ["column", "index"]);
    for purpose in Purpose::ALL {
        assert_eq!(purpose.as_str().parse(), Ok(purpose));
    }
    assert_eq!("Column".parse::<Purpose>(), Err(UnknownPurpose));
}

proptest! {
    #[test]
    fn wrapped_keys_round_trip(root: [u8; 32], key: [u8; 32], key_id in 1..=i32::MAX, index: bool) {
        let purpose = if index { Purpose::Index } else { Purpose::Column };
        let root = LocalRoot::from_bytes(root);
        let wrapped = root.wrap(&DataKey::from_bytes(key), id(key_id), purpose).unwrap();
        prop_assert!(!wrapped.windows(8).any(|window| key.starts_with(window)));
        let unwrapped = root.unwrap(&wrapped, id(key_id), purpose).unwrap();
        prop_assert_eq!(unwrapped.expose(), &key);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_unwrap(mut bytes in prop::collection::vec(any::<u8>(), 0..100), local: bool) {
        if local {
            bytes.resize(WRAPPED_LOCAL_LEN, 0);
            bytes[0] = 1;
        }
        prop_assert!(root().unwrap(&bytes, id(1), Purpose::Column).is_err());
    }
}

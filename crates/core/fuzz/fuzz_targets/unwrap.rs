//! Bytes that claim to be a wrapped key: nothing unwraps that wasn't wrapped here, and nothing panics.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pg_encrypt_core::key::{DataKey, KeyId, Purpose};
use pg_encrypt_core::wrap::{LocalRoot, WRAPPED_LOCAL, WRAPPED_LOCAL_LEN};

fuzz_target!(|bytes: &[u8]| {
    let root = LocalRoot::from_bytes([0x52; 32]);
    let key_id = KeyId::new(7).unwrap();
    assert!(root.unwrap(bytes, key_id, Purpose::Column).is_err());

    // Past the checks of format and length, to the tag.
    let mut wrapped = bytes.to_vec();
    wrapped.resize(WRAPPED_LOCAL_LEN, 0);
    wrapped[0] = WRAPPED_LOCAL;
    assert!(root.unwrap(&wrapped, key_id, Purpose::Column).is_err());

    // What was wrapped unwraps, and with any byte altered doesn't.
    let Some((key, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let [at, flip, ..] = *rest else { return };
    let mut wrapped = root
        .wrap(&DataKey::from_bytes(*key), key_id, Purpose::Column)
        .unwrap();
    assert_eq!(
        root.unwrap(&wrapped, key_id, Purpose::Column).unwrap().expose(),
        key
    );
    wrapped[usize::from(at) % WRAPPED_LOCAL_LEN] ^= flip;
    assert_eq!(root.unwrap(&wrapped, key_id, Purpose::Column).is_ok(), flip == 0);
});

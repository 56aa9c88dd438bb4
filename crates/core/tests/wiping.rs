//! Dropping a key leaves nothing of it behind where it was.
//!
//! The extension drops keys inside its locked arena, so what counts is the memory of the value itself.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use pg_encrypt_core::deterministic::SivKey;
use pg_encrypt_core::envelope::{EpochKey, Sealer, ValueKey};
use pg_encrypt_core::key::DataKey;
use pg_encrypt_core::token::{IndexKey, IndexKind};
use pg_encrypt_core::wrap::LocalRoot;
use pg_encrypt_core::xaes::{MessageKey, XaesKey};

/// Single bytes survive by chance; words of this many do not.
const WORD: usize = 8;

fn read<T>(slot: &MaybeUninit<T>) -> Vec<u8> {
    let start = slot.as_ptr().cast::<u8>();
    // SAFETY: every byte is inside `slot`, which was zeroed before the value was written into it.
    (0..size_of::<T>())
        .map(|at| unsafe { start.add(at).read_volatile() })
        .collect()
}

/// Writes a key into zeroed memory, drops it there, and compares the memory before and after. The last `public` bytes may
/// stay: epoch, flags, counter, and padding, which come after the aligned secrets.
fn check<T>(name: &str, public: usize, key: T) {
    let mut slot = MaybeUninit::<T>::zeroed();
    slot.write(key);
    let before = read(&slot);
    // SAFETY: the value was written above and is not used again.
    unsafe { slot.assume_init_drop() };
    let after = read(&slot);

    let secret_words = before
        .chunks_exact(WORD)
        .filter(|word| **word != [0; WORD])
        .count();
    assert!(secret_words >= 32 / WORD, "{name}: the test saw no secret");
    let survivors: Vec<_> = before
        .chunks_exact(WORD)
        .zip(after.chunks_exact(WORD))
        .enumerate()
        .filter(|(_, (before, after))| before == after && **before != [0; WORD])
        .map(|(at, _)| at * WORD)
        .collect();
    assert!(
        survivors.len() * WORD <= public,
        "{name}: words at {survivors:?} survived the drop"
    );
}

#[test]
fn keys_are_wiped_where_they_are_dropped() {
    let secret = std::array::from_fn(|i| 0x80 | i as u8);
    let data_key = || DataKey::from_bytes(secret);
    let value_key = || ValueKey::derive(&data_key(), b"users.ssn");
    let epoch_key = || -> EpochKey { value_key().epoch_key(&[0x2e; 16]) };
    check("DataKey", 0, data_key());
    check("LocalRoot", 0, LocalRoot::from_bytes(secret));
    check("XaesKey", 0, XaesKey::from_bytes(&secret));
    check("MessageKey", 0, MessageKey::from_bytes(&secret));
    check(
        "IndexKey",
        0,
        IndexKey::derive(&data_key(), IndexKind::Equality, b"users.ssn"),
    );
    check("SivKey", 8, SivKey::derive(&data_key(), b"users.ssn"));
    check("ValueKey", 16, value_key());
    check("EpochKey", 16 + 16, epoch_key());
    check("Sealer", 16 + 16 + 16, Sealer::new(epoch_key()));
}

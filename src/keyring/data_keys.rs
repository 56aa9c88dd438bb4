//! Unwrapped data keys.

use super::{root, secret, with};
use crate::catalog::keys::KeyRow;
use crate::error::{self, Error};
use crate::pg::secret::SecretBox;
use crate::pg::wait::LatchPatience;
use foldhash::HashMap;
use pg_encrypt_core::key::{DataKey, KeyId};
use std::time::Instant;

#[derive(Default)]
pub(super) struct DataKeys {
    loaded: HashMap<KeyId, Loaded>,
}

struct Loaded {
    key: SecretBox<DataKey>,
    check_value: Vec<u8>,
}

impl DataKeys {
    pub(super) fn get(&self, key_id: KeyId) -> Option<&DataKey> {
        self.loaded.get(&key_id).map(|loaded| &*loaded.key)
    }
}

/// Makes sure that the key of `row`, which was read in this generation, is loaded, and that it is that row's.
pub(super) fn load(row: &KeyRow) -> Result<(), Error> {
    let wrapped = match &row.wrapped {
        Some(wrapped) => wrapped,
        None => {
            with(|keyring| keyring.forget_key(row.key_id));
            return Err(Error::KeyDestroyed {
                name: row.name.clone(),
                key_id: row.key_id.get(),
            });
        }
    };
    let current = with(|keyring| match keyring.data_keys.loaded.get(&row.key_id) {
        Some(loaded) if loaded.check_value == row.check_value => true,
        Some(_) => {
            // Another key under the same id: a restored or re-created row.
            keyring.forget_key(row.key_id);
            false
        }
        None => false,
    });
    if current {
        return Ok(());
    }

    // The root key is asked for, used and wiped: it is in memory only while data keys are being unwrapped.
    let root = root::open()?;
    if root.root_id() != row.root_id {
        return Err(Error::WrongRoot {
            key_id: row.key_id.get(),
            wrapped_by: row.root_id.clone(),
            configured: root.root_id().to_owned(),
        });
    }
    let key = root
        .unwrap(wrapped, row.key_id, row.purpose, &mut LatchPatience)
        .map_err(|error| root::failed(error, |error| error::unwrapping(error, row.key_id.get())))?;
    key.verify(row.key_id, row.purpose, &row.check_value)
        .map_err(|_| Error::KeyCorrupt {
            key_id: row.key_id.get(),
        })?;
    let loaded = Loaded {
        key: secret(key)?,
        check_value: row.check_value.clone(),
    };
    with(|keyring| {
        keyring.oldest.get_or_insert_with(Instant::now);
        keyring.data_keys.loaded.insert(row.key_id, loaded);
    });
    Ok(())
}

impl super::Keyring {
    /// Wipes a data key and everything derived from it.
    pub(super) fn forget_key(&mut self, key_id: KeyId) {
        if self.data_keys.loaded.remove(&key_id).is_some() {
            // Its subkeys stay in their places, since handles are positions, but are overwritten when wiped as a
            // whole: rare enough (destruction, restore) to drop everything.
            self.forget_everything();
            crate::pg::inval::bump();
        }
    }
}

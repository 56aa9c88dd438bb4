//! All keys under another root key.

use crate::catalog::keys::{self, KeyRow};
use crate::error::{self, Error};
use crate::keyring::root;
use crate::pg::acl;
use crate::pg::wait::LatchPatience;
use crate::sql_function;
use pg_encrypt_core::key::DataKey;
use pg_encrypt_providers::RootKeyProvider;

sql_function! {
    /// One transaction: after a crash every key is under the root that it was under before.
    fn rewrap_keys(call) {
        let new_root = call.datum(0).map(|_| String::from_utf8_lossy(call.bytes(0)));
        let old_root = call.datum(1).map(|_| String::from_utf8_lossy(call.bytes(1)));
        // A location can be a command of the server's. Only superusers may name one, here as in the setting.
        if (new_root.is_some() || old_root.is_some()) && !acl::is_superuser(acl::outer_user()?) {
            return Err(Error::LocationNeedsSuperuser);
        }
        // No version is made under the old root meanwhile and left behind.
        keys::lock_against_changes()?;
        let to = match new_root.as_deref() {
            Some(location) => root::open_new_at(location)?,
            None => root::open()?,
        };
        let mut from = None;
        let mut rewrapped = 0;
        for row in keys::all_wrapped()? {
            if row.root_id == to.root_id() {
                continue;
            }
            // The old root is not asked for when nothing is under it any more: it may be gone.
            let from = match &from {
                Some(from) => from,
                None => from.insert(match old_root.as_deref() {
                    Some(location) => root::open_at(location)?,
                    None => root::open()?,
                }),
            };
            rewrap(&row, &**from, &*to)?;
            rewrapped += 1;
        }
        Ok(Some(rewrapped.into()))
    }
}

/// Unwraps one key, wraps it, and unwraps the result before it replaces what could be unwrapped.
fn rewrap(row: &KeyRow, from: &dyn RootKeyProvider, to: &dyn RootKeyProvider) -> Result<(), Error> {
    if row.root_id != from.root_id() {
        return Err(Error::OtherRoot {
            key_id: row.key_id.get(),
            wrapped_by: row.root_id.clone(),
            given: from.root_id().to_owned(),
        });
    }
    let key = unwrap(row, from, row.wrapped.as_deref().unwrap_or_default())?;
    let wrapped = to
        .wrap(&key, row.key_id, row.purpose, &mut LatchPatience)
        .map_err(|error| root::failed(error, Error::Root))?;
    unwrap(row, to, &wrapped)?;
    keys::set_wrapped(row, wrapped, to.root_id())
}

/// Unwraps a key and makes sure that it is the one of the row.
fn unwrap(row: &KeyRow, root: &dyn RootKeyProvider, wrapped: &[u8]) -> Result<DataKey, Error> {
    let key_id = row.key_id.get();
    let key = root
        .unwrap(wrapped, row.key_id, row.purpose, &mut LatchPatience)
        .map_err(|error| root::failed(error, |error| error::unwrapping(error, key_id)))?;
    key.verify(row.key_id, row.purpose, &row.check_value)
        .map_err(|_| Error::KeyCorrupt { key_id })?;
    Ok(key)
}

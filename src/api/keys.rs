//! The life of a key.

use crate::catalog::encrypted_data;
use crate::catalog::keys::{self, KeyRow, NewKey};
use crate::error::Error;
use crate::keyring::root;
use crate::pg::datum::interval_from;
use crate::pg::wait::LatchPatience;
use crate::pg::{acl, encoding, xact};
use crate::sql_function;
use crate::{catalog, types};
use pg_encrypt_core::key::{DataKey, KeyId, Purpose};
use pg_encrypt_core::lifecycle::KeyState;
use pg_encrypt_providers::RootKeyProvider;
use pgrx::datum::Interval;
use pgrx::pg_sys::Datum;

sql_function! {
    fn create_key(call) {
        let name = key_name(call.required(0, "name")?)?;
        let rotation_period = match call.datum(1) {
            Some(datum) => interval_from(datum).ok_or(Error::BadRotationPeriod)?,
            None => return Err(Error::Null { argument: "rotation_period" }),
        };
        if rotation_period.as_micros() <= 0 {
            return Err(Error::BadRotationPeriod);
        }
        let description = match call.datum(2) {
            Some(_) => Some(text(call.bytes(2), "comment")?),
            None => None,
        };

        keys::lock_name(&name)?;
        if !keys::by_name(name.as_bytes())?.is_empty() {
            return Err(Error::KeyExists { name });
        }
        let root = root::open_or_create()?;
        let mut column_key = None;
        for purpose in Purpose::ALL {
            let key_id = add_version(&*root, &name, purpose, 1, Some(rotation_period), description.as_deref())?;
            column_key.get_or_insert(key_id);
        }
        types::ddl::register_builtins(&name)?;
        Ok(column_key.map(|key_id| key_id.get().into()))
    }
}

sql_function! {
    fn rotate_key(call) {
        let name = key_name(call.required(0, "name")?)?;
        let purpose = purpose(call.required(1, "purpose")?)?;
        keys::lock_name(&name)?;
        Ok(Some(rotate(&name, purpose)?.get().into()))
    }
}

sql_function! {
    /// In the same transaction as the rotation, so that no value is encrypted under a version that is known to be lost.
    fn mark_compromised(call) {
        let row = locked(call.required_int4(0, "key_id")?)?;
        keys::mark_compromised(row.key_id)?;
        if row.state == KeyState::Active {
            rotate(&row.name, row.purpose)?;
        }
        Ok(Some(Datum::from(0usize)))
    }
}

sql_function! {
    fn activate_key(call) {
        let row = locked(call.required_int4(0, "key_id")?)?;
        match row.state {
            KeyState::Rotating => {}
            KeyState::Active => return Ok(Some(Datum::from(0usize))),
            KeyState::Retired => {
                return Err(wrong_state(row, "rotating", "A retired key can't be used to encrypt again."));
            }
        }
        let versions = versions(&row.name, row.purpose)?;
        if let Some(active) = versions.iter().find(|other| other.state == KeyState::Active) {
            keys::set_state(active.key_id, KeyState::Active, KeyState::Rotating)?;
        }
        keys::set_state(row.key_id, KeyState::Rotating, KeyState::Active)?;
        Ok(Some(Datum::from(0usize)))
    }
}

sql_function! {
    fn retire_key(call) {
        let row = locked(call.required_int4(0, "key_id")?)?;
        match row.state {
            KeyState::Rotating => {}
            KeyState::Active => return Err(wrong_state(row, "rotating", "Rotate the key first.")),
            KeyState::Retired => return Ok(Some(Datum::from(0usize))),
        }
        match catalog::types::count_by_index_key(row.key_id)? {
            0 => {}
            types => return Err(Error::IndexKeyInUse { key_id: row.key_id.get(), types }),
        }
        if xact::has_one_snapshot() {
            return Err(Error::NeedsReadCommitted);
        }
        prove_unused(&row)?;
        require_unused(&row, "retired")?;
        // What the wait could have let happen: the state is compared again by the update.
        keys::set_state(row.key_id, KeyState::Rotating, KeyState::Retired)?;
        Ok(Some(Datum::from(0usize)))
    }
}

sql_function! {
    fn destroy_key(call) {
        let row = locked(call.required_int4(0, "key_id")?)?;
        if row.state != KeyState::Retired {
            return Err(wrong_state(row, "retired", "Retire the key first."));
        }
        if row.wrapped.is_none() {
            return Err(Error::KeyDestroyed { name: row.name, key_id: row.key_id.get() });
        }
        if call.required(1, "confirm")? != row.name.as_bytes() {
            return Err(Error::Confirmation { name: row.name });
        }
        // Retiring proved that nothing is encrypted under it any more. But a client that may not decrypt can write back what it
        // had read before, which is stored as it is; and rows come back from backups.
        require_unused(&row, "destroyed")?;
        keys::destroy(row.key_id)?;
        Ok(Some(Datum::from(0usize)))
    }
}

/// Refuses while something that can be seen holds values or tokens under a version.
fn require_unused(row: &KeyRow, what: &'static str) -> Result<(), Error> {
    let uses = encrypted_data::uses_of(row.key_id)?;
    let Some(first) = uses.iter().find(|used| !used.is_moved_by_job).or(uses.first()) else {
        return Ok(());
    };
    Err(Error::KeyInUse {
        key_id: row.key_id.get(),
        purpose: row.purpose,
        what,
        advice: first.advice.clone(),
        uses: uses.into_iter().map(|used| (used.place, used.values)).collect(),
    })
}

/// Proves that no transaction can still use a version that was replaced.
///
/// Why this is enough. The rotation's commit sent an invalidation to every session before it released the key's lock,
/// which we hold now. Every later call of an encrypting function takes the invalidation in before it looks at what it
/// remembers ([`crate::pg::inval::generation`]) and so finds the new active version. What may still hold the old one is
/// a call that was under way at that time, in a transaction that was running then. The same invalidation has statements
/// parsed again whose literals were encrypted when they were prepared. So we wait for all transactions
/// running now; afterwards whatever the old key encrypted is committed and visible, or gone. Long ones are refused by
/// name instead of waited for. Prepared transactions run nowhere and their rows can't be seen: any of them is refused.
fn prove_unused(row: &KeyRow) -> Result<(), Error> {
    let key_id = row.key_id.get();
    if let Some(pid) = keys::transaction_older_than_rotation(row.key_id)? {
        return Err(Error::OlderTransaction { key_id, pid });
    }
    if let Some(gid) = keys::prepared_transaction()? {
        return Err(Error::PreparedTransaction { key_id, gid });
    }
    xact::wait_for_running_transactions();
    match keys::prepared_transaction()? {
        Some(gid) => Err(Error::PreparedTransaction { key_id, gid }),
        None => Ok(()),
    }
}

/// Makes a new version active and the one before it rotating. The key's lock is held.
fn rotate(name: &str, purpose: Purpose) -> Result<KeyId, Error> {
    let versions = versions(name, purpose)?;
    let root = root::open()?;
    if let Some(active) = versions.iter().find(|row| row.state == KeyState::Active) {
        keys::set_state(active.key_id, KeyState::Active, KeyState::Rotating)?;
    }
    let newest = versions.iter().map(|row| row.version).max().unwrap_or(0);
    add_version(&*root, name, purpose, newest + 1, None, None)
}

/// Makes a key, wraps it, stores it as the active version.
fn add_version(
    root: &dyn RootKeyProvider,
    name: &str,
    purpose: Purpose,
    version: i32,
    rotation_period: Option<Interval>,
    description: Option<&str>,
) -> Result<KeyId, Error> {
    let key_id = unused_key_id()?;
    let key = DataKey::generate()?;
    let wrapped = root
        .wrap(&key, key_id, purpose, &mut LatchPatience)
        .map_err(|error| root::failed(error, Error::Root))?;
    keys::insert(NewKey {
        key_id,
        name,
        purpose,
        version,
        wrapped,
        check_value: key.check_value(key_id, purpose),
        root_id: root.root_id(),
        rotation_period,
        description,
        created_by: &acting_role()?,
    })?;
    Ok(key_id)
}

/// A random id that no key has. Random, because after point-in-time recovery a sequence would give the same id to
/// another key.
fn unused_key_id() -> Result<KeyId, Error> {
    for _ in 0..100 {
        let key_id = KeyId::random()?;
        if keys::by_id(key_id)?.is_none() {
            return Ok(key_id);
        }
    }
    Err(Error::KeyIdsExhausted)
}

/// The row of a key, with the right to change it until the end of the transaction.
fn locked(key_id: i32) -> Result<KeyRow, Error> {
    let find = || {
        let unknown = Error::UnknownKeyId { key_id };
        match KeyId::new(key_id) {
            Some(key_id) => keys::by_id(key_id)?.ok_or(unknown),
            None => Err(unknown),
        }
    };
    keys::lock_name(&find()?.name)?;
    // Read again under the lock: it may have changed between the two.
    find()
}

fn versions(name: &str, purpose: Purpose) -> Result<Vec<KeyRow>, Error> {
    let mut versions = keys::by_name(name.as_bytes())?;
    versions.retain(|row| row.purpose == purpose);
    match versions.is_empty() {
        true => Err(Error::NoSuchKey { name: name.into() }),
        false => Ok(versions),
    }
}

fn wrong_state(row: KeyRow, wanted: &'static str, hint: &'static str) -> Error {
    Error::KeyWrongState {
        name: row.name,
        key_id: row.key_id.get(),
        is: row.state.as_str(),
        wanted,
        hint,
    }
}

/// The role for whom an administration function acts, as it is recorded.
pub(super) fn acting_role() -> Result<String, Error> {
    acl::outer_user().map(acl::display_name)
}

/// A key's name: 1 to 63 bytes of printable text, and ASCII where the database is not UTF-8, so that it is the same
/// bytes everywhere.
pub(super) fn key_name(bytes: &[u8]) -> Result<String, Error> {
    let name = std::str::from_utf8(bytes).map_err(|_| Error::BadKeyName)?;
    let printable = !name.chars().any(char::is_control);
    let portable = name.is_ascii() || encoding::is_utf8_database();
    match (1..=63).contains(&bytes.len()) && printable && portable {
        true => Ok(name.to_owned()),
        false => Err(Error::BadKeyName),
    }
}

fn purpose(bytes: &[u8]) -> Result<Purpose, Error> {
    let name = String::from_utf8_lossy(bytes);
    name.parse().map_err(|_| Error::UnknownPurpose {
        name: name.into_owned(),
    })
}

fn text(bytes: &[u8], argument: &'static str) -> Result<String, Error> {
    Ok(encoding::to_utf8(bytes)
        .map_err(|_| Error::NotTextArgument { argument })?
        .into_owned())
}

//! From what a caller names to the subkey that serves it: row, state, privilege, data key, derivation.

use super::{Handle, Now, data_keys, privileges, with};
use crate::catalog::grants::Privilege;
use crate::catalog::keys::{self, KeyRow};
use crate::error::Error;
use crate::guc;
use pg_encrypt_core::key::{DataKey, KeyId, Purpose};
use pg_encrypt_core::lifecycle::{KeyState, KeyUse};
use pgrx::pg_sys::Oid;

/// What a subkey was derived from: its kind, data key and context.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Derivation {
    pub kind: SubkeyKind,
    pub key_id: KeyId,
    pub context: Box<[u8]>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum SubkeyKind {
    Value,
    EqualityToken,
}

/// A question that may be asked again in this generation.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub role: Oid,
    pub what: Wanted,
    pub context: Box<[u8]>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    /// The active version of the named key, to encrypt with, deterministically or not.
    Seal { name: Box<[u8]>, privilege: Privilege },
    /// The key that a value names.
    Open { key_id: KeyId },
    /// The active index key of that name, or all that search finds.
    Tokens { name: Box<[u8]>, all: bool },
    /// The index key that a searchable type was made with, for a role with a privilege for the type's key.
    PinnedTokens {
        key_id: KeyId,
        name: Box<[u8]>,
        privilege: Privilege,
    },
}

#[derive(Clone)]
pub(super) struct Answer {
    pub handles: Box<[Handle]>,
    /// Whether it holds for the whole generation, so that a call site may remember it.
    pub lasting: bool,
}

/// Makes the subkey of a key in a context, or finds it.
pub(super) type Derive = fn(&mut super::Keyring, KeyRow, &[u8]) -> Result<Handle, Error>;

impl Request {
    pub fn new(now: Now, what: Wanted, context: &[u8]) -> Self {
        Self {
            role: now.role,
            what,
            context: context.into(),
        }
    }
}

impl Answer {
    /// The one subkey of a request that one key serves.
    pub fn handle(&self) -> Result<Handle, Error> {
        self.handles.first().copied().ok_or(Error::KeyChanged)
    }
}

/// Answers a request from this generation's memory, or the slow way.
pub(super) fn resolve(request: Request, derive: Derive) -> Result<Answer, Error> {
    if let Some(answer) = with(|keyring| keyring.resolved.get(&request).cloned()) {
        return Ok(answer);
    }
    let (rows, lasting) = rows_for(&request)?;
    for row in &rows {
        data_keys::load(row)?;
    }
    with(|keyring| {
        // Here and not between statements: one statement may go through more contexts than there is memory for.
        if keyring.derived.len() >= super::MAX_SUBKEYS {
            keyring.forget_subkeys();
        }
        let handles: Result<Box<[Handle]>, Error> = rows
            .into_iter()
            .map(|row| derive(keyring, row, &request.context))
            .collect();
        let answer = Answer {
            handles: handles?,
            lasting,
        };
        if lasting {
            keyring.resolved.insert(request, answer.clone());
        }
        Ok(answer)
    })
}

/// The key versions that may serve a request, after every check; and whether the answer holds for the generation.
fn rows_for(request: &Request) -> Result<(Vec<KeyRow>, bool), Error> {
    match &request.what {
        Wanted::Seal { name, privilege } => {
            let row = active(name, Purpose::Column)?;
            privileges::require(request.role, &row.name, *privilege)?;
            Ok((vec![row], true))
        }
        Wanted::Open { key_id } => {
            let row = by_id(*key_id, Purpose::Column)?;
            privileges::require(request.role, &row.name, Privilege::Decrypt)?;
            if row.wrapped.is_some() && !row.state.permits(KeyUse::Decrypt, guc::allow_retired_keys()) {
                return Err(not_usable(row, "decrypt"));
            }
            // A setting can take the permission for retired keys away within the generation: ask each time.
            let lasting = row.state != KeyState::Retired;
            Ok((vec![row], lasting))
        }
        Wanted::PinnedTokens {
            key_id,
            name,
            privilege,
        } => {
            let row = by_id(*key_id, Purpose::Index)?;
            // The grant is for the key that the type names; the index key has the same name by construction.
            privileges::require(request.role, &String::from_utf8_lossy(name), *privilege)?;
            match row.state.permits(KeyUse::Search, false) {
                true => Ok((vec![row], true)),
                false => Err(not_usable(row, "search")),
            }
        }
        Wanted::Tokens { name, all } => {
            let rows = match all {
                false => vec![active(name, Purpose::Index)?],
                true => searchable(name)?,
            };
            if let Some(row) = rows.first() {
                privileges::require(request.role, &row.name, Privilege::Search)?;
            }
            Ok((rows, true))
        }
    }
}

/// The key with an id, of the wanted purpose.
fn by_id(key_id: KeyId, wanted: Purpose) -> Result<KeyRow, Error> {
    let row = keys::by_id(key_id)?.ok_or(Error::NoSuchKeyId { key_id: key_id.get() })?;
    match row.purpose == wanted {
        true => Ok(row),
        false => Err(Error::KeyWrongPurpose {
            key_id: key_id.get(),
            is: row.purpose.as_str(),
            wanted: wanted.as_str(),
        }),
    }
}

fn not_usable(row: KeyRow, doing: &'static str) -> Error {
    Error::KeyNotUsable {
        name: row.name,
        key_id: row.key_id.get(),
        state: row.state,
        doing,
    }
}

/// The active version of a key.
fn active(name: &[u8], purpose: Purpose) -> Result<KeyRow, Error> {
    let versions = keys::by_name(name)?;
    let display = || String::from_utf8_lossy(name).into_owned();
    if versions.is_empty() {
        return Err(Error::NoSuchKey { name: display() });
    }
    versions
        .into_iter()
        .find(|row| row.purpose == purpose && row.state == KeyState::Active)
        .ok_or_else(|| Error::NoActiveKey {
            name: display(),
            purpose: purpose.as_str(),
        })
}

/// Every index key that rows may still have been indexed with, the active one first.
fn searchable(name: &[u8]) -> Result<Vec<KeyRow>, Error> {
    let newest = active(name, Purpose::Index)?;
    let mut rows: Vec<KeyRow> = keys::by_name(name)?
        .into_iter()
        .filter(|row| {
            row.purpose == Purpose::Index
                && row.key_id != newest.key_id
                && row.wrapped.is_some()
                && row.state.permits(KeyUse::Search, false)
        })
        .collect();
    rows.insert(0, newest);
    Ok(rows)
}

/// A loaded data key. `load` came before, in the same call.
pub(super) fn loaded(keyring: &super::Keyring, key_id: KeyId) -> Result<&DataKey, Error> {
    keyring.data_keys.get(key_id).ok_or(Error::KeyChanged)
}

/// The name of the key with an id.
pub fn name_of(key_id: KeyId) -> Result<String, Error> {
    Ok(keys::by_id(key_id)?
        .ok_or(Error::NoSuchKeyId { key_id: key_id.get() })?
        .name)
}

/// The active index key of a name: what a new searchable type makes its tokens with.
pub fn active_index_key(name: &str) -> Result<KeyId, Error> {
    Ok(active(name.as_bytes(), Purpose::Index)?.key_id)
}

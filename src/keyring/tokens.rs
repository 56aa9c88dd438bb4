//! Blind-index tokens.

use super::resolve::{Answer, Derivation, Request, SubkeyKind, Wanted, loaded, resolve};
use super::{Handle, Keyring, Now, secret, with};
use crate::catalog::grants::Privilege;
use crate::catalog::keys::KeyRow;
use crate::error::Error;
use crate::pg::site::{Remembered, Site};
use pg_encrypt_core::key::KeyId;
use pg_encrypt_core::normalize::Normalizer;
use pg_encrypt_core::token::{IndexKey, IndexKind, TokenBits};

pub(super) struct IndexSubkey {
    version: i32,
    key: IndexKey,
}

/// What a call site that makes tokens remembers.
#[derive(Default)]
pub struct TokenSite {
    now: Now,
    key: Remembered<64>,
    context: Remembered<64>,
    handle: Handle,
}

impl Site for TokenSite {}

/// The active index key of `key_name`, if the current role may search with it.
#[inline]
pub fn active(site: &mut TokenSite, now: Now, key_name: &[u8], context: &[u8]) -> Result<Handle, Error> {
    if site.now == now && site.key.is(key_name) && site.context.is(context) {
        return Ok(site.handle);
    }
    let handle = ask(now, key_name, context, false)?.handle()?;
    *site = TokenSite {
        now,
        handle,
        ..TokenSite::default()
    };
    site.key.set(key_name);
    site.context.set(context);
    Ok(handle)
}

/// Every live index key of `key_name`, the active one first.
pub fn all(now: Now, key_name: &[u8], context: &[u8]) -> Result<Box<[Handle]>, Error> {
    Ok(ask(now, key_name, context, true)?.handles)
}

/// What a call site that makes tokens under one index key remembers.
#[derive(Clone, Copy, Default)]
pub struct PinnedSite {
    now: Now,
    key_id: Option<KeyId>,
    handle: Handle,
}

/// One index key by its id, whatever version is active: a searchable type keeps the key it was made with. The current
/// role needs `privilege` for the key named `key_name`. A call site asks for one privilege and context only.
#[inline]
pub fn pinned(
    site: &mut PinnedSite,
    now: Now,
    key_id: KeyId,
    key_name: &[u8],
    context: &[u8],
    privilege: Privilege,
) -> Result<Handle, Error> {
    if site.now == now && site.key_id == Some(key_id) {
        return Ok(site.handle);
    }
    let what = Wanted::PinnedTokens {
        key_id,
        name: key_name.into(),
        privilege,
    };
    let handle = resolve(Request::new(now, what, context), derive_equality)?.handle()?;
    *site = PinnedSite {
        now,
        key_id: Some(key_id),
        handle,
    };
    Ok(handle)
}

/// Writes the token of a normalised value into `out`, which is as long as `bits` say.
#[inline]
pub fn token(
    handle: Handle,
    normalizer: Normalizer,
    normalized: &[u8],
    bits: TokenBits,
    out: &mut [u8],
) -> Result<(), Error> {
    with(|keyring| {
        let subkey = &keyring.tokens[handle.0 as usize];
        Ok(subkey
            .key
            .equality_token(subkey.version, normalizer, normalized, bits, out)?)
    })
}

fn ask(now: Now, key_name: &[u8], context: &[u8], all: bool) -> Result<Answer, Error> {
    let name = key_name.into();
    resolve(
        Request::new(now, Wanted::Tokens { name, all }, context),
        derive_equality,
    )
}

fn derive_equality(keyring: &mut Keyring, row: KeyRow, context: &[u8]) -> Result<Handle, Error> {
    let kind = SubkeyKind::EqualityToken;
    let derivation = Derivation {
        kind,
        key_id: row.key_id,
        context: context.into(),
    };
    if let Some(handle) = keyring.derived.get(&derivation) {
        return Ok(*handle);
    }
    let data_key = loaded(keyring, row.key_id)?;
    let key = IndexKey::derive(data_key, IndexKind::Equality, context);
    let subkey = secret(IndexSubkey {
        version: row.version,
        key,
    })?;
    let handle = Handle(keyring.tokens.len() as u32);
    keyring.tokens.push(subkey);
    keyring.derived.insert(derivation, handle);
    Ok(handle)
}

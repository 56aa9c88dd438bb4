//! Sealing and opening values.

use super::resolve::{Derivation, Request, SubkeyKind, Wanted, loaded, resolve};
use super::{Handle, Keyring, Now, secret, with};
use crate::catalog::grants::Privilege;
use crate::catalog::keys::KeyRow;
use crate::error::Error;
use crate::pg::call::{MAX_VARLENA, TooLarge};
use crate::pg::inval;
use crate::pg::secret::{SecretBox, protection};
use crate::pg::site::{Remembered, Site};
use pg_encrypt_core::compress::decompress;
use pg_encrypt_core::deterministic::SivKey;
use pg_encrypt_core::envelope::{
    AuthenticationFailed, EPOCH_LEN, Envelope, EpochKey, Format, SealError, Sealer, TypeCode, ValueKey,
};
use pg_encrypt_core::key::KeyId;
use pg_encrypt_core::random::{Reserve, os_random};
use pgrx::pg_sys::{self, Datum};
use std::time::{SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// Everything that one data key does in one context.
pub(super) struct ValueSubkey {
    key_id: KeyId,
    key: ValueKey,
    siv: SivKey,
    sealer: Option<Sealer>,
    /// The transaction that `sealer`'s epoch belongs to. An epoch never outlives its transaction.
    sealer_transaction: u64,
}

/// Derived keys of epochs seen lately. Rows that were loaded in bulk share an epoch; the key of an epoch costs three
/// times what opening a short value costs.
#[derive(Default)]
pub(super) struct EpochCache {
    sets: [[Option<SecretBox<Epoch>>; EPOCH_WAYS]; EPOCH_SETS],
}

struct Epoch {
    of: Handle,
    key: EpochKey,
}

/// A power of two; 32 epochs of some 600 bytes stay in the first-level cache beside everything else.
const EPOCH_SETS: usize = 32 / EPOCH_WAYS;

/// Places that an epoch may have. With one, a statement that reads two epochs by turns, as re-encryption does with each
/// column's old and new one, would derive both for every row whenever they meet there.
const EPOCH_WAYS: usize = 2;

/// Why a value was not opened. Small, so that the answer for each value of a scan comes back in a register.
#[derive(Clone, Copy)]
pub(super) enum NotOpened {
    AuthenticationFailed,
    OutOfSecretMemory,
}

impl From<AuthenticationFailed> for NotOpened {
    fn from(_: AuthenticationFailed) -> Self {
        Self::AuthenticationFailed
    }
}

impl From<NotOpened> for Error {
    fn from(reason: NotOpened) -> Self {
        match reason {
            NotOpened::AuthenticationFailed => Self::AuthenticationFailed,
            NotOpened::OutOfSecretMemory => Self::OutOfSecretMemory,
        }
    }
}

/// What a sealing call site remembers.
#[derive(Clone, Copy, Default)]
pub struct SealSite {
    key: Remembered<64>,
    context: Remembered<64>,
    in_context: SealInContext,
}

/// What it remembers of one key and context.
#[derive(Clone, Copy, Default)]
pub struct SealInContext {
    now: Now,
    /// What was checked. One site can ask for both: `reencrypt_column` over values of both formats.
    privilege: Option<Privilege>,
    handle: Handle,
}

/// What an opening call site remembers.
#[derive(Clone, Copy, Default)]
pub struct OpenSite {
    context: Remembered<64>,
    in_context: OpenInContext,
}

/// What it remembers of one context.
#[derive(Clone, Copy, Default)]
pub struct OpenInContext {
    now: Now,
    key_id: Option<KeyId>,
    handle: Handle,
}

impl Site for SealSite {}
impl Site for OpenSite {}

/// What is sealed, and as what.
#[derive(Clone, Copy)]
pub struct Plaintext<'a> {
    pub format: Format,
    pub type_code: TypeCode,
    /// Whether `bytes` are compressed. With [`Format::Siv`] they are not, for which the same value has to give the same bytes.
    pub compressed: bool,
    pub row_id: &'a [u8],
    pub bytes: &'a [u8],
}

/// What it takes to seal into a format.
pub fn privilege_to_seal(format: Format) -> Privilege {
    match format {
        Format::Xaes => Privilege::Encrypt,
        Format::Siv => Privilege::Deterministic,
    }
}

/// The subkey that encrypts for the current role under the active version of `key_name`.
#[inline]
pub fn sealing(
    site: &mut SealSite,
    now: Now,
    key_name: &[u8],
    context: &[u8],
    privilege: Privilege,
) -> Result<Handle, Error> {
    if !(site.key.is(key_name) && site.context.is(context)) {
        site.in_context = SealInContext::default();
        site.key.set(key_name);
        site.context.set(context);
    }
    sealing_in(&mut site.in_context, now, key_name, context, privilege)
}

/// As [`sealing`], for those who know that it is the same key and context each time.
#[inline]
pub fn sealing_in(
    site: &mut SealInContext,
    now: Now,
    key_name: &[u8],
    context: &[u8],
    privilege: Privilege,
) -> Result<Handle, Error> {
    if site.now == now && site.privilege == Some(privilege) {
        return Ok(site.handle);
    }
    let what = Wanted::Seal {
        name: key_name.into(),
        privilege,
    };
    let handle = resolve(Request::new(now, what, context), derive_value)?.handle()?;
    *site = SealInContext {
        now,
        privilege: Some(privilege),
        handle,
    };
    Ok(handle)
}

/// The subkey that decrypts values under `key_id` for the current role.
#[inline]
pub fn opening(site: &mut OpenSite, now: Now, key_id: KeyId, context: &[u8]) -> Result<Handle, Error> {
    if !site.context.is(context) {
        site.in_context = OpenInContext::default();
        site.context.set(context);
    }
    opening_in(&mut site.in_context, now, key_id, context)
}

/// As [`opening`], for those who know that it is the same context each time.
#[inline(always)]
pub fn opening_in(
    site: &mut OpenInContext,
    now: Now,
    key_id: KeyId,
    context: &[u8],
) -> Result<Handle, Error> {
    if site.now == now && site.key_id == Some(key_id) {
        return Ok(site.handle);
    }
    find_opening(site, now, key_id, context)
}

#[cold]
fn find_opening(site: &mut OpenInContext, now: Now, key_id: KeyId, context: &[u8]) -> Result<Handle, Error> {
    let what = Wanted::Open { key_id };
    let answer = resolve(Request::new(now, what, context), derive_value)?;
    let handle = answer.handle()?;
    *site = match answer.lasting {
        true => OpenInContext {
            now,
            key_id: Some(key_id),
            handle,
        },
        false => OpenInContext::default(),
    };
    Ok(handle)
}

/// Id of the key that `handle` seals under.
pub fn key_id(handle: Handle) -> KeyId {
    with(|keyring| keyring.value(handle).key_id)
}

/// Seals `plaintext` into `out`, which is longer by its format's overhead.
#[inline]
pub fn seal(handle: Handle, plaintext: &Plaintext<'_>, out: &mut [u8]) -> Result<(), Error> {
    with(|keyring| keyring.seal(handle, plaintext, out))
}

/// Opens an envelope of either format into `out`, which is as long as its plaintext.
#[inline]
pub fn open(handle: Handle, envelope: &Envelope<'_>, row_id: &[u8], out: &mut [u8]) -> Result<(), Error> {
    Ok(with(|keyring| keyring.open(handle, envelope, row_id, out))?)
}

/// Opens an envelope into memory that `new` allocates for as many bytes as the plaintext has, decompressed if it was
/// compressed: the datum and its content.
#[inline]
pub fn open_into_new<'a>(
    handle: Handle,
    envelope: &Envelope<'_>,
    row_id: &[u8],
    new: impl Fn(usize) -> Result<(Datum, &'a mut [u8]), TooLarge>,
) -> Result<(Datum, &'a [u8]), Error> {
    if envelope.header().compressed {
        return open_compressed(handle, envelope, row_id, new);
    }
    let (datum, out) = new(envelope.plaintext_len())?;
    open(handle, envelope, row_id, out)?;
    Ok((datum, out))
}

#[cold]
fn open_compressed<'a>(
    handle: Handle,
    envelope: &Envelope<'_>,
    row_id: &[u8],
    new: impl Fn(usize) -> Result<(Datum, &'a mut [u8]), TooLarge>,
) -> Result<(Datum, &'a [u8]), Error> {
    let mut packed = Zeroizing::new(vec![0; envelope.plaintext_len()]);
    open(handle, envelope, row_id, &mut packed)?;
    let plain = Zeroizing::new(decompress(&packed, MAX_PLAINTEXT)?);
    let (datum, out) = new(plain.len())?;
    out.copy_from_slice(&plain);
    Ok((datum, out))
}

/// The longest plaintext that a compressed value may claim: what fits into a datum.
const MAX_PLAINTEXT: usize = MAX_VARLENA - pg_sys::VARHDRSZ;

impl Keyring {
    #[inline]
    fn value(&mut self, handle: Handle) -> &mut ValueSubkey {
        &mut self.values[handle.0 as usize]
    }

    #[inline]
    pub(super) fn seal(
        &mut self,
        handle: Handle,
        plaintext: &Plaintext<'_>,
        out: &mut [u8],
    ) -> Result<(), Error> {
        let Plaintext {
            format,
            type_code,
            compressed,
            row_id,
            bytes,
        } = *plaintext;
        let subkey = self.value(handle);
        let key_id = subkey.key_id;
        if format == Format::Siv {
            return Ok(subkey.siv.seal_into(type_code, key_id, row_id, bytes, out)?);
        }
        let transaction = inval::transaction();
        if subkey.sealer_transaction == transaction
            && let Some(sealer) = &mut subkey.sealer
        {
            match sealer.seal_into(type_code, compressed, key_id, row_id, bytes, out) {
                Err(SealError::EpochExhausted) => {}
                sealed => return Ok(sealed?),
            }
        }
        let epoch = self.new_epoch()?;
        let subkey = self.value(handle);
        let sealer = subkey.sealer.insert(Sealer::new(subkey.key.epoch_key(&epoch)));
        subkey.sealer_transaction = transaction;
        Ok(sealer.seal_into(type_code, compressed, key_id, row_id, bytes, out)?)
    }

    #[inline]
    fn new_epoch(&mut self) -> Result<[u8; EPOCH_LEN], Error> {
        if protection().inherited_regions > 0 {
            return Ok(os_random()?);
        }
        let reserve = match &mut self.reserve {
            Some(reserve) => reserve,
            none => none.insert(secret(Reserve::new())?),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(reserve.draw(now.map_or(0, |since| since.as_nanos() as u64))?)
    }

    #[inline]
    pub(super) fn open(
        &mut self,
        handle: Handle,
        envelope: &Envelope<'_>,
        row_id: &[u8],
        out: &mut [u8],
    ) -> Result<(), NotOpened> {
        match envelope.epoch() {
            Some(epoch) => Ok(self.epoch_key(handle, epoch)?.open_into(envelope, row_id, out)?),
            None => Ok(self.value(handle).siv.open_into(envelope, row_id, out)?),
        }
    }

    #[inline]
    fn epoch_key(&mut self, handle: Handle, epoch: &[u8; EPOCH_LEN]) -> Result<&EpochKey, NotOpened> {
        // An epoch is random: any of its bytes spreads well.
        let set = usize::from(epoch[0]) % EPOCH_SETS;
        let is_it = |way: &Option<SecretBox<Epoch>>| matches!(way, Some(seen) if seen.of == handle && seen.key.epoch() == epoch);
        let way = match self.epochs.sets[set].iter().position(is_it) {
            Some(way) => way,
            None => self.derive_epoch(handle, epoch, set)?,
        };
        match &self.epochs.sets[set][way] {
            Some(seen) => Ok(&seen.key),
            None => Err(NotOpened::OutOfSecretMemory),
        }
    }

    /// The way where the key of an epoch that is not in the cache has been put.
    #[inline(never)]
    fn derive_epoch(
        &mut self,
        handle: Handle,
        epoch: &[u8; EPOCH_LEN],
        set: usize,
    ) -> Result<usize, NotOpened> {
        const FIRST: usize = 0;
        let seen = Epoch {
            of: handle,
            key: self.value(handle).key.epoch_key(epoch),
        };
        let ways = &mut self.epochs.sets[set];
        // The one that came first goes.
        ways.rotate_right(1);
        match &mut ways[FIRST] {
            Some(place) => **place = seen,
            way => *way = Some(SecretBox::new(seen).ok_or(NotOpened::OutOfSecretMemory)?),
        }
        Ok(FIRST)
    }
}

fn derive_value(keyring: &mut Keyring, row: KeyRow, context: &[u8]) -> Result<Handle, Error> {
    let derivation = Derivation {
        kind: SubkeyKind::Value,
        key_id: row.key_id,
        context: context.into(),
    };
    if let Some(handle) = keyring.derived.get(&derivation) {
        return Ok(*handle);
    }
    let data_key = loaded(keyring, row.key_id)?;
    let subkey = secret(ValueSubkey {
        key_id: row.key_id,
        key: ValueKey::derive(data_key, context),
        siv: SivKey::derive(data_key, context),
        sealer: None,
        sealer_transaction: 0,
    })?;
    let handle = Handle(keyring.values.len() as u32);
    keyring.values.push(subkey);
    keyring.derived.insert(derivation, handle);
    Ok(handle)
}

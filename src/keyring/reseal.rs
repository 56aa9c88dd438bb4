//! Moving a value to another key: opened under the one, sealed under the other, opened again and compared.

use super::values::{self, OpenSite, Plaintext, SealSite};
use super::{Now, name_of, with};
use crate::error::Error;
use crate::pg::datum::new_varlena;
use crate::pg::site::Site;
use pg_encrypt_core::envelope::Envelope;
use pg_encrypt_core::key::KeyId;
use pgrx::pg_sys::Datum;
use zeroize::Zeroizing;

/// What a call site that moves values remembers.
#[derive(Default)]
pub struct ResealSite {
    open: OpenSite,
    seal: SealSite,
    name: KeyName,
}

impl Site for ResealSite {}

/// The name of the key that the last value was under: looking it up takes longer than moving a value.
#[derive(Clone, Copy)]
struct KeyName {
    at: Now,
    key_id: Option<KeyId>,
    bytes: [u8; 63],
    len: u8,
}

impl Default for KeyName {
    fn default() -> Self {
        Self {
            at: Now::default(),
            key_id: None,
            bytes: [0; 63],
            len: 0,
        }
    }
}

impl KeyName {
    fn find(&mut self, at: Now, key_id: KeyId) -> Result<(), Error> {
        if self.at == at && self.key_id == Some(key_id) {
            return Ok(());
        }
        let name = name_of(key_id)?;
        *self = Self {
            at,
            key_id: Some(key_id),
            len: name.len() as u8,
            ..Self::default()
        };
        self.bytes
            .get_mut(..name.len())
            .ok_or(Error::BadKeyName)?
            .copy_from_slice(name.as_bytes());
        Ok(())
    }
}

/// What a value is bound to, and stays bound to.
#[derive(Clone, Copy)]
pub struct Binding<'a> {
    pub context: &'a [u8],
    pub row_id: &'a [u8],
}

/// Moves a value to the active version of the key `to`, or of the key that it is under, behind a copy of `prefix`: format,
/// type, compression, context and row stay. `None` if it is there already.
///
/// The result is opened before it replaces what was read: a value that memory or processor spoilt on the way would be
/// found out when its old key is gone.
pub fn reseal(
    site: &mut ResealSite,
    at: Now,
    envelope: &Envelope<'_>,
    prefix: &[u8],
    to: Option<&[u8]>,
    bound: Binding<'_>,
) -> Result<Option<Datum>, Error> {
    let header = envelope.header();
    let own;
    let to = match to {
        Some(name) => name,
        None => {
            site.name.find(at, header.key_id)?;
            own = site.name;
            &own.bytes[..usize::from(own.len)]
        }
    };
    let privilege = values::privilege_to_seal(header.format);
    // Looking the one up may make the keyring forget the other.
    let mut at = at;
    let (source, target) = loop {
        let target = values::sealing(&mut site.seal, at, to, bound.context, privilege)?;
        if values::key_id(target) == header.key_id {
            return Ok(None);
        }
        let source = values::opening(&mut site.open, at, header.key_id, bound.context)?;
        if at.holds() {
            break (source, target);
        }
        at = at.again();
    };

    let len = envelope.plaintext_len();
    // What is opened first, and what is opened again.
    let mut plaintexts = Zeroizing::new(vec![0; 2 * len]);
    let (opened, again) = plaintexts.split_at_mut(len);
    let (datum, out) = new_varlena(prefix.len() + header.format.overhead() + len)?;
    let (front, sealed) = out.split_at_mut(prefix.len());
    front.copy_from_slice(prefix);
    with(|keyring| -> Result<(), Error> {
        keyring.open(source, envelope, bound.row_id, opened)?;
        let plaintext = Plaintext {
            format: header.format,
            type_code: header.type_code,
            compressed: header.compressed,
            row_id: bound.row_id,
            bytes: opened,
        };
        keyring.seal(target, &plaintext, sealed)?;
        Ok(keyring.open(target, &Envelope::parse(sealed)?, bound.row_id, again)?)
    })?;
    match again == opened {
        true => Ok(Some(datum)),
        false => Err(Error::AuthenticationFailed),
    }
}

//! From a number, a type or a function to the security domain.

use crate::catalog::types::{self, TypeRow};
use crate::error::Error;
use crate::keyring::Now;
use crate::pg::inval::InGeneration;
use crate::pg::modifier::Fitting;
use crate::pg::{proc, typeio};
use crate::plaintext::Codec;
use foldhash::HashMap;
use pg_encrypt_core::key::KeyId;
use pg_encrypt_core::normalize::Normalizer;
use pg_encrypt_core::typed::TypeRef;
use pgrx::pg_sys::{self, Datum, Oid};
use std::cell::RefCell;
use std::io::Write;

/// What all values of one encrypted type have in common. Plain bytes, so that call sites can remember it.
#[derive(Clone, Copy)]
pub struct Domain {
    pub type_ref: TypeRef,
    pub type_oid: Oid,
    /// How the base type's values become bytes.
    pub base: Codec,
    /// What the base type's modifier does to values that are stored. Not to those that are compared with.
    fitting: Option<Fitting>,
    pub normalizer: Normalizer,
    /// The index key of its tokens; `None` if the type is not searchable.
    pub index_key: Option<KeyId>,
    context: [u8; 36],
    key_name: [u8; 63],
    key_name_len: u8,
}

impl Domain {
    fn new(row: &TypeRow) -> Result<Self, Error> {
        let name = row.key_name.as_bytes();
        let mut key_name = [0; 63];
        key_name
            .get_mut(..name.len())
            .ok_or(Error::BadKeyName)?
            .copy_from_slice(name);
        Ok(Self {
            type_ref: row.type_ref,
            type_oid: row.type_oid,
            base: Codec::of(plain_base(row.base))?,
            fitting: Fitting::of(row.base, row.base_modifier),
            normalizer: row.normalizer,
            index_key: row.index_key_id,
            context: uuid_text(row.uuid),
            key_name,
            key_name_len: name.len() as u8,
        })
    }

    /// The context of every value and token: the type's UUID as text.
    #[inline]
    pub fn context(&self) -> &[u8] {
        &self.context
    }

    /// Name of the key that values are encrypted under.
    #[inline]
    pub fn key_name(&self) -> &[u8] {
        &self.key_name[..usize::from(self.key_name_len)]
    }

    /// A base value as a column of the base type with its modifier would store it.
    #[inline]
    pub fn fit(&self, value: Datum) -> Datum {
        match &self.fitting {
            None => value,
            Some(fitting) => fitting.apply(value),
        }
    }

    /// Whether every base value is stored as it is.
    #[inline]
    pub fn fits_all(&self) -> bool {
        self.fitting.is_none()
    }

    #[inline]
    pub fn is_searchable(&self) -> bool {
        self.index_key.is_some()
    }
}

/// The type that values of a base type are handled as: functions and operators for varchar are those for text.
pub fn plain_base(base: Oid) -> Oid {
    match base {
        pg_sys::VARCHAROID => pg_sys::TEXTOID,
        other => other,
    }
}

/// Domains found in this generation; types are watched like keys.
#[derive(Default)]
struct Known {
    by_ref: HashMap<TypeRef, Domain>,
    by_oid: HashMap<Oid, Domain>,
    by_function: HashMap<Oid, Domain>,
    by_operator: HashMap<Oid, (Domain, Codec)>,
}

thread_local! {
    static KNOWN: RefCell<InGeneration<Known>> = RefCell::default();
}

/// The domain of values with this number.
pub fn by_ref(now: Now, type_ref: TypeRef) -> Result<Domain, Error> {
    if let Some(domain) = known(now, |known| known.by_ref.get(&type_ref).copied()) {
        return Ok(domain);
    }
    let row = types::by_ref(type_ref)?.ok_or(Error::NoSuchTypeRef {
        type_ref: type_ref.get(),
    })?;
    let domain = Domain::new(&row)?;
    known(now, |known| known.by_ref.insert(type_ref, domain));
    Ok(domain)
}

/// The domain of a type; `None` if it is no encrypted type of the registry.
pub fn by_oid(now: Now, type_oid: Oid) -> Result<Option<Domain>, Error> {
    if let Some(domain) = known(now, |known| known.by_oid.get(&type_oid).copied()) {
        return Ok(Some(domain));
    }
    match types::by_oid(type_oid)? {
        Some(row) => {
            let domain = Domain::new(&row)?;
            known(now, |known| known.by_oid.insert(type_oid, domain));
            Ok(Some(domain))
        }
        None => Ok(None),
    }
}

/// The domain of a type that must be an encrypted type.
pub fn require(now: Now, type_oid: Oid) -> Result<Domain, Error> {
    by_oid(now, type_oid)?.ok_or_else(|| Error::NotAnEncryptedType {
        type_name: typeio::type_name(type_oid),
    })
}

/// The domain that a cast, operator or support function belongs to: the encrypted type in its signature.
pub fn by_function(now: Now, function: Oid) -> Result<Domain, Error> {
    if let Some(domain) = known(now, |known| known.by_function.get(&function).copied()) {
        return Ok(domain);
    }
    // A comparator of two base values has no encrypted type in its signature, but in its operator family.
    let candidates = proc::signature(function)
        .into_iter()
        .chain(proc::operator_family_types(function)?);
    for type_oid in candidates {
        if let Some(domain) = by_oid(now, type_oid)? {
            known(now, |known| known.by_function.insert(function, domain));
            return Ok(domain);
        }
    }
    Err(Error::NoDomain {
        function: function.to_u32(),
    })
}

/// The domain of an operator or support function with a plain side, and how values of that side's type become bytes.
pub fn by_operator(now: Now, function: Oid) -> Result<(Domain, Codec), Error> {
    if let Some(found) = known(now, |known| known.by_operator.get(&function).copied()) {
        return Ok(found);
    }
    let domain = by_function(now, function)?;
    let plain = proc::arguments(function)
        .into_iter()
        .find(|argument| *argument != domain.type_oid)
        .ok_or(Error::NoDomain {
            function: function.to_u32(),
        })?;
    let found = (domain, Codec::of(plain)?);
    known(now, |known| known.by_operator.insert(function, found));
    Ok(found)
}

/// Runs `body` on what is known in the current generation. It must not call PostgreSQL.
fn known<T>(now: Now, body: impl FnOnce(&mut Known) -> T) -> T {
    KNOWN.with_borrow_mut(|known| body(known.of(now.generation())))
}

/// The text form of RFC 9562: 32 digits in groups of 8, 4, 4, 4 and 12.
fn uuid_text(uuid: [u8; 16]) -> [u8; 36] {
    let mut text = [0; 36];
    let mut rest = &mut text[..];
    for (n, byte) in uuid.iter().enumerate() {
        let hyphen = if matches!(n, 4 | 6 | 8 | 10) { "-" } else { "" };
        // 32 digits and 4 hyphens fill the array exactly.
        let _ = write!(rest, "{hyphen}{byte:02x}");
    }
    text
}

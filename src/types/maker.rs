//! Values on their way in: made of base values, or taken as they are stored.

use super::domain::{self, Domain};
use super::finding::{self, Finding, Kept};
use super::value::{self, Sealing};
use crate::error::Error;
use crate::hex;
use crate::keyring::Now;
use crate::pg::datum::{varlena_bytes, varlena_from};
use crate::pg::typeio;
use pg_encrypt_core::envelope::TypeCode;
use pg_encrypt_core::typed::{FORMAT_TYPED, TypedValue};
use pgrx::pg_sys::{Datum, Oid};
use std::cell::RefCell;
use std::thread::LocalKey;

/// Makes values of one domain.
#[derive(Clone, Copy)]
pub struct Maker {
    now: Now,
    asked: Asked,
    pub domain: Domain,
    sealing: Sealing,
    is_kept: bool,
}

/// By what the domain is known: input functions are told the type, casts belong to one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asked {
    Type(Oid),
    Function(Oid),
}

thread_local! {
    static KEPT: RefCell<Kept<Maker>> = RefCell::default();
}

impl Finding for Maker {
    type Asked = Asked;

    fn find(now: Now, asked: Asked) -> Result<Self, Error> {
        let domain = match asked {
            Asked::Type(type_oid) => domain::require(now, type_oid),
            Asked::Function(function) => domain::by_function(now, function),
        }?;
        Ok(Self {
            now,
            asked,
            domain,
            sealing: Sealing::default(),
            is_kept: false,
        })
    }

    #[inline]
    fn is(&self, now: Now, asked: Asked) -> bool {
        self.now == now && self.asked == asked
    }

    fn kept() -> &'static LocalKey<RefCell<Kept<Self>>> {
        &KEPT
    }
}

impl Maker {
    /// Seals the bytes of a base value.
    #[inline]
    pub fn seal(&mut self, plaintext: &[u8]) -> Result<Datum, Error> {
        let sealed = value::seal(&mut self.sealing, self.now, &self.domain, plaintext)?;
        // The keys are known only now.
        if !self.is_kept {
            self.is_kept = true;
            finding::keep(self.asked, *self);
        }
        Ok(sealed)
    }

    /// Seals a base value, made to fit the base type's modifier.
    #[inline]
    pub fn seal_base(&mut self, base: Datum) -> Result<Datum, Error> {
        let plaintext = self.domain.base.encode(self.domain.fit(base));
        self.seal(&plaintext)
    }

    /// Seals a base value, unless it is what output shows to roles that may not decrypt. Clients that declare their parameters
    /// as text write such a value back through a cast and not through the input function; sealed again, it would be lost to
    /// everybody who reads it.
    pub fn seal_or_adopt(&mut self, base: Datum) -> Result<Datum, Error> {
        match self.domain.base.code {
            TypeCode::Text if self.domain.base.is_plain_text() => {
                let plaintext = varlena_bytes(base);
                if let Some(stored) = hex::decode_typed(plaintext) {
                    return adopt(self.now, self.domain.type_oid, &stored);
                }
            }
            TypeCode::Bytea => {
                let plaintext = varlena_bytes(base);
                if plaintext.first() == Some(&FORMAT_TYPED) && TypedValue::parse(plaintext).is_ok() {
                    return adopt(self.now, self.domain.type_oid, plaintext);
                }
            }
            _ => (),
        }
        self.seal_base(base)
    }
}

/// Takes a stored value as it is, if it is one of this type. A type that is not in the registry yet is being restored:
/// then only the form is checked, which needs no key.
pub fn adopt(now: Now, type_oid: Oid, stored: &[u8]) -> Result<Datum, Error> {
    let value = TypedValue::parse(stored)?;
    match domain::by_oid(now, type_oid).or_else(none_before_install)? {
        Some(domain) if domain.type_ref != value.type_ref => Err(Error::OtherType {
            type_name: typeio::type_name(type_oid),
        }),
        Some(domain) if domain.is_searchable() != value.token.is_some() => Err(Error::OtherType {
            type_name: typeio::type_name(type_oid),
        }),
        _ => Ok(varlena_from(stored)?),
    }
}

/// pg_upgrade restores statistics, most common values included, before it restores our tables: no type is known then.
fn none_before_install(error: Error) -> Result<Option<Domain>, Error> {
    match error {
        Error::NotInstalled => Ok(None),
        other => Err(other),
    }
}

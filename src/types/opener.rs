//! Values on their way out.

use super::domain::{self, Domain};
use super::finding::{self, Finding, Found, Kept};
use super::reveal::{self, Revealing};
use super::value::Opened;
use crate::error::Error;
use crate::keyring::Now;
use crate::keyring::values::{self, OpenInContext};
use crate::pg::call::TooLarge;
use crate::pg::datum::{new_cstring, new_varlena, varlena_bytes};
use crate::plaintext;
use pg_encrypt_core::typed::{TypeRef, TypedValue};
use pgrx::pg_sys::Datum;
use std::cell::RefCell;
use std::thread::LocalKey;

/// Opens values of one domain.
#[derive(Clone, Copy)]
pub struct Opener {
    now: Now,
    pub domain: Domain,
    /// The key of the last value.
    key: OpenInContext,
    revealing: Revealing,
    is_kept: bool,
}

thread_local! {
    static KEPT: RefCell<Kept<Opener>> = RefCell::default();
}

impl Finding for Opener {
    type Asked = TypeRef;

    fn find(now: Now, type_ref: TypeRef) -> Result<Self, Error> {
        Ok(Self {
            now,
            domain: domain::by_ref(now, type_ref)?,
            key: OpenInContext::default(),
            revealing: Revealing::default(),
            is_kept: false,
        })
    }

    #[inline]
    fn is(&self, now: Now, type_ref: TypeRef) -> bool {
        self.now == now && self.domain.type_ref == type_ref
    }

    fn kept() -> &'static LocalKey<RefCell<Kept<Self>>> {
        &KEPT
    }
}

impl Opener {
    /// Whether output shows plaintexts of the domain to the current role.
    #[inline]
    pub fn reveals(&mut self) -> Result<bool, Error> {
        reveal::is_revealed(&mut self.revealing, self.now, &self.domain)
    }

    /// Opens a value that was taken apart already, if the current role may decrypt.
    #[inline]
    pub fn open(&mut self, value: &TypedValue<'_>) -> Result<Opened<'_>, Error> {
        let (datum, bytes) = self.open_as(value, new_varlena)?;
        Ok(Opened {
            domain: &self.domain,
            code: value.envelope.header().type_code,
            datum,
            bytes,
        })
    }

    /// The plaintext of a value whose base is plain text, as a terminated string.
    #[inline]
    pub fn open_cstring(&mut self, value: &TypedValue<'_>) -> Result<Datum, Error> {
        let (datum, bytes) = self.open_as(value, new_cstring)?;
        plaintext::text(bytes)?;
        Ok(datum)
    }

    #[inline]
    fn open_as<'a>(
        &mut self,
        value: &TypedValue<'_>,
        new: impl Fn(usize) -> Result<(Datum, &'a mut [u8]), TooLarge>,
    ) -> Result<(Datum, &'a [u8]), Error> {
        let key_id = value.envelope.header().key_id;
        let handle = values::opening_in(&mut self.key, self.now, key_id, self.domain.context())?;
        let opened = values::open_into_new(handle, &value.envelope, value.prefix, new)?;
        // The key is known only now.
        if !self.is_kept {
            self.is_kept = true;
            // What output reveals can change from statement to statement: as what the client calls itself.
            let revealing = Revealing::default();
            finding::keep(self.domain.type_ref, Self { revealing, ..*self });
        }
        Ok(opened)
    }
}

/// Opens a stored value with the key of the domain it names, if the current role may decrypt.
#[inline]
pub fn open(site: &mut Found<Opener>, now: Now, value: Datum) -> Result<Opened<'_>, Error> {
    let value = TypedValue::parse(varlena_bytes(value))?;
    site.of(now, value.type_ref)?.open(&value)
}

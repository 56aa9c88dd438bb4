//! Columns as such: references to them, and what is done to values of whatever encrypted type they have.

use super::type_io::type_out;
use super::values::is_ciphertext;
use crate::error::Error;
use crate::keyring;
use crate::keyring::reseal::{Binding, ResealSite, reseal};
use crate::pg::call::Call;
use crate::pg::column::ColumnReference;
use crate::pg::datum::{cstring_bytes, cstring_from, varlena_bytes, varlena_head};
use crate::pg::site::Site;
use crate::pg::typeio;
use crate::sql_function;
use crate::types::Found;
use crate::types::domain;
use crate::types::opener::Opener;
use pg_encrypt_core::envelope::HEADER_LEN;
use pg_encrypt_core::typed::{Head, MAX_PREFIX_LEN, TypedValue};

sql_function! {
    fn regcolumn_in(call) {
        let Some(text) = call.datum(0).map(cstring_bytes) else { return Ok(None) };
        Ok(Some(ColumnReference::from_text(text)?.to_datum()))
    }
}

sql_function! {
    fn regcolumn_out(call) {
        let Some(reference) = call.datum(0).map(ColumnReference::from_datum) else { return Ok(None) };
        Ok(Some(cstring_from(&reference.to_text())?))
    }
}

sql_function! {
    /// As `key_id`, for values of encrypted types as well. Reads the first bytes of a value only.
    fn key_id_of(call) {
        let Some(value) = call.datum(0) else { return Ok(None) };
        call.site::<KindSite>().check(call, Kind::Any)?;
        let head = varlena_head(value, MAX_PREFIX_LEN + HEADER_LEN);
        let prefix = Head::parse(head).map_or(0, |head| head.prefix_len());
        let key_id = head
            .get(prefix + 2..)
            .and_then(<[u8]>::first_chunk)
            .map(|bytes| i32::from_be_bytes(*bytes));
        Ok(key_id.map(Into::into))
    }
}

sql_function! {
    /// A value of an encrypted type under the active version of its key; token and type stay.
    fn reencrypt_value(call) {
        let Some(value) = call.datum(0) else { return Ok(None) };
        let site = call.site::<ReencryptSite>();
        site.kind.check(call, Kind::Typed)?;
        let now = keyring::now_moving();
        let stored = TypedValue::parse(varlena_bytes(value))?;
        let domain = &site.opener.of(now, stored.type_ref)?.domain;
        let bound = Binding { context: domain.context(), row_id: stored.prefix };
        let moved = reseal(&mut site.reseal, now, &stored.envelope, stored.prefix, Some(domain.key_name()), bound)?;
        Ok(Some(moved.unwrap_or(value)))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `encrypt.ciphertext` or an encrypted type.
    Any,
    Typed,
}

/// A call site whose argument was found to be of a type that the function reads. Anyone may call these functions with
/// anything; what is no varlena of ours must not be read as one.
#[derive(Default)]
struct KindSite {
    checked: bool,
}

#[derive(Default)]
struct ReencryptSite {
    kind: KindSite,
    opener: Found<Opener>,
    reseal: ResealSite,
}

impl Site for KindSite {}
impl Site for ReencryptSite {}

impl KindSite {
    #[inline]
    fn check(&mut self, call: &Call<'_>, wanted: Kind) -> Result<(), Error> {
        match self.checked {
            true => Ok(()),
            false => self.check_slowly(call, wanted),
        }
    }

    #[cold]
    fn check_slowly(&mut self, call: &Call<'_>, wanted: Kind) -> Result<(), Error> {
        let type_oid = typeio::base_type(call.argument_type(0));
        // Types that are not in the registry yet, in a restore, have the output function already.
        self.checked = (wanted == Kind::Any && is_ciphertext(type_oid))
            || domain::by_oid(keyring::now(), type_oid)?.is_some()
            || typeio::has_output_function(type_oid, type_out);
        match self.checked {
            true => Ok(()),
            false => Err(Error::NotAnEncryptedType {
                type_name: typeio::type_name(type_oid),
            }),
        }
    }
}

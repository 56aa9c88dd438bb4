//! Columns as such: references to them, and what is done to values of whatever encrypted type they have.

use super::type_io::type_out;
use super::values::{is_ciphertext, utf8};
use crate::error::Error;
use crate::keyring;
use crate::keyring::reseal::{Binding, ResealSite, reseal};
use crate::pg::array::{self, int4_contains};
use crate::pg::call::Call;
use crate::pg::column::ColumnReference;
use crate::pg::datum::{cstring_bytes, cstring_from, varlena_bytes, varlena_head};
use crate::pg::site::Site;
use crate::pg::{stored_expression, typeio};
use crate::sql_function;
use crate::types::Found;
use crate::types::domain;
use crate::types::opener::Opener;
use pg_encrypt_core::envelope::{Envelope, HEADER_LEN};
use pg_encrypt_core::typed::{Head, MAX_PREFIX_LEN, TypedValue, values_within};
use pgrx::pg_sys::Datum;

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
        Ok(head_key_id(value).map(Into::into))
    }
}

sql_function! {
    /// Whether a value is under one of some keys. Reads its first bytes only.
    fn is_under(call) {
        let (Some(value), Some(key_ids)) = (call.datum(0), call.datum(1)) else { return Ok(None) };
        call.site::<KindSite>().check(call, Kind::Any)?;
        Ok(Some(is_one_of(key_ids, value).into()))
    }
}

sql_function! {
    /// Ids of the keys that values of encrypted types inside of a value are under: elements of an array, fields of a row.
    fn key_ids_within(call) {
        let Some(value) = call.datum(0) else { return Ok(None) };
        let site = call.site::<WithinSite>();
        if !site.checked {
            let type_oid = typeio::base_type(call.argument_type(0));
            if !typeio::is_varlena(type_oid) {
                return Err(Error::NotAnEncryptedType { type_name: typeio::type_name(type_oid) });
            }
            site.checked = true;
        }
        Ok(Some(array::int4_array(&keys_within(varlena_bytes(value))?)))
    }
}

sql_function! {
    /// Ids of the keys that constants of encrypted types in stored expressions are under.
    fn key_ids_of_constants(call) {
        let Some(tree) = call.datum(0) else { return Ok(None) };
        let mut key_ids = Vec::new();
        for constant in stored_expression::constants(tree) {
            key_ids.extend(keys_within(&constant)?);
        }
        Ok(Some(array::int4_array(&key_ids)))
    }
}

sql_function! {
    /// A value of an encrypted type that is under one of some keys, under the active version of its key; token and type
    /// stay. Any other value is returned as it is.
    fn reencrypt_typed(call) {
        let Some(value) = call.datum(0) else { return Ok(None) };
        let site = call.site::<ReencryptSite>();
        site.kind.check(call, Kind::Typed)?;
        if !is_moved(call, value) {
            return Ok(Some(value));
        }
        let now = keyring::now_moving();
        let stored = TypedValue::parse(varlena_bytes(value))?;
        let domain = &site.opener.of(now, stored.type_ref)?.domain;
        let bound = Binding { context: domain.context(), row_id: stored.prefix };
        let moved = reseal(&mut site.reseal, now, &stored.envelope, stored.prefix, Some(domain.key_name()), bound)?;
        Ok(Some(moved.unwrap_or(value)))
    }
}

sql_function! {
    /// As `reencrypt_typed`, for a ciphertext and what it is bound to.
    fn reencrypt_ciphertext(call) {
        let Some(value) = call.datum(0) else { return Ok(None) };
        if !is_moved(call, value) {
            return Ok(Some(value));
        }
        let context = utf8(call.required(2, "context")?, "context")?;
        let row_id = utf8(call.required(3, "row_id")?, "row_id")?;
        let bound = Binding { context: context.as_bytes(), row_id: row_id.as_bytes() };
        let envelope = Envelope::parse(varlena_bytes(value))?;
        let moved = reseal(call.site::<ResealSite>(), keyring::now_moving(), &envelope, &[], None, bound)?;
        Ok(Some(moved.unwrap_or(value)))
    }
}

/// Id of the key that a value of any encrypted type is under, from its first bytes.
#[inline]
fn head_key_id(value: Datum) -> Option<i32> {
    let head = varlena_head(value, MAX_PREFIX_LEN + HEADER_LEN);
    let prefix = Head::parse(head).map_or(0, |head| head.prefix_len());
    head.get(prefix + 2..)
        .and_then(<[u8]>::first_chunk)
        .map(|bytes| i32::from_be_bytes(*bytes))
}

/// Ids of the keys of all values of known types in bytes that consist of others.
fn keys_within(bytes: &[u8]) -> Result<Vec<i32>, Error> {
    let now = keyring::now();
    let mut key_ids = Vec::new();
    for value in values_within(bytes) {
        match domain::by_ref(now, value.type_ref) {
            Ok(_) => key_ids.push(value.envelope.header().key_id.get()),
            Err(Error::NoSuchTypeRef { .. }) => (),
            Err(error) => return Err(error),
        }
    }
    Ok(key_ids)
}

/// Whether re-encryption is to move a value: it is under one of the keys of argument 1.
#[inline]
fn is_moved(call: &Call<'_>, value: Datum) -> bool {
    call.datum(1).is_some_and(|key_ids| is_one_of(key_ids, value))
}

#[inline]
fn is_one_of(key_ids: Datum, value: Datum) -> bool {
    head_key_id(value).is_some_and(|key_id| int4_contains(key_ids, key_id))
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

/// A call site whose argument was found to be a varlena.
#[derive(Default)]
struct WithinSite {
    checked: bool,
}

impl Site for WithinSite {}
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

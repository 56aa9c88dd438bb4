//! Encrypting and decrypting values.

use crate::error::{self, Error};
use crate::guc;
use crate::keyring;
use crate::keyring::reseal::{Binding, ResealSite, reseal};
use crate::keyring::values::{self, OpenSite, Plaintext, SealSite};
use crate::pg::call::Call;
use crate::pg::datum::{new_varlena, varlena_from};
use crate::pg::site::Site;
use crate::pg::{encoding, typeio, wait};
use crate::plaintext::{self, Codec};
use crate::sql_function;
use pg_encrypt_core::compress::compress;
use pg_encrypt_core::envelope::{Envelope, Format, TypeCode};
use pgrx::pg_sys::{Datum, Oid};
use std::borrow::Cow;
use std::cell::Cell;

/// Values from this length on are worth a look at whether the user has cancelled.
const LARGE: usize = 1 << 20;

sql_function! {
    fn encrypt_column_text(call) {
        encrypt(call, call.site::<SealSite>(), TypeCode::Text, Format::Xaes)
    }
}

sql_function! {
    fn encrypt_column_bytea(call) {
        encrypt(call, call.site::<SealSite>(), TypeCode::Bytea, Format::Xaes)
    }
}

sql_function! {
    fn encrypt_column_any(call) {
        encrypt_any(call, Format::Xaes)
    }
}

sql_function! {
    fn encrypt_deterministic_text(call) {
        encrypt(call, call.site::<SealSite>(), TypeCode::Text, Format::Siv)
    }
}

sql_function! {
    fn encrypt_deterministic_bytea(call) {
        encrypt(call, call.site::<SealSite>(), TypeCode::Bytea, Format::Siv)
    }
}

sql_function! {
    fn encrypt_deterministic_any(call) {
        encrypt_any(call, Format::Siv)
    }
}

sql_function! {
    fn decrypt_column(call) {
        let Some(opened) = open(call, call.site::<OpenSite>(), 1)? else { return Ok(None) };
        match opened.type_code {
            TypeCode::Text => {
                plaintext::text(opened.bytes)?;
                Ok(Some(opened.datum))
            }
            code => Ok(Some(varlena_from(plaintext::text_form(code, opened.bytes)?)?)),
        }
    }
}

sql_function! {
    fn decrypt_bytes(call) {
        Ok(open(call, call.site::<OpenSite>(), 1)?.map(|opened| opened.datum))
    }
}

sql_function! {
    fn decrypt_as(call) {
        let site = call.site::<DecryptAsSite>();
        let codec = match site.codec {
            Some(codec) => codec,
            None => {
                let wanted = typeio::polymorphic_argument(call, 1).ok_or(Error::Null { argument: "as_type" })?;
                *site.codec.insert(Codec::of(wanted)?)
            }
        };
        let Some(opened) = open(call, &mut site.open, 2)? else { return Ok(None) };
        Ok(Some(codec.decode(opened.type_code, opened.bytes)?))
    }
}

sql_function! {
    /// Opens and seals again: type, compression, context and row stay, the key changes.
    fn reencrypt_column(call) {
        let Some(value) = call.datum(0) else { return Ok(None) };
        let envelope = Envelope::parse(call.bytes(0))?;
        let context = utf8(call.required(2, "context")?, "context")?;
        let row_id = utf8(call.required(3, "row_id")?, "row_id")?;
        // Within a key no plaintext comes out. To another key it would, for whoever may decrypt with that.
        let (to, now) = match call.datum(1) {
            Some(_) => (Some(call.bytes(1)), keyring::now()),
            None => (None, keyring::now_moving()),
        };
        let bound = Binding { context: context.as_bytes(), row_id: row_id.as_bytes() };
        let moved = reseal(call.site::<ResealSite>(), now, &envelope, &[], to, bound)?;
        Ok(Some(moved.unwrap_or(value)))
    }
}

/// What a call site of `encrypt_column(anyelement, …)` remembers.
#[derive(Default)]
struct EncryptAnySite {
    codec: Option<Codec>,
    seal: SealSite,
}

#[derive(Default)]
struct DecryptAsSite {
    codec: Option<Codec>,
    open: OpenSite,
}

impl Site for EncryptAnySite {}
impl Site for DecryptAsSite {}

fn encrypt_any(call: &Call<'_>, format: Format) -> Result<Option<Datum>, Error> {
    let Some(value) = call.datum(0) else {
        return Ok(None);
    };
    let site = call.site::<EncryptAnySite>();
    let codec = match site.codec {
        Some(codec) => codec,
        None => {
            let type_oid = call.argument_type(0);
            refuse_encrypted(type_oid)?;
            *site.codec.insert(Codec::of(type_oid)?)
        }
    };
    let bytes = codec.encode(value);
    encrypt_bytes(call, &mut site.seal, codec.code, format, &bytes)
}

#[inline]
fn encrypt(
    call: &Call<'_>,
    site: &mut SealSite,
    code: TypeCode,
    format: Format,
) -> Result<Option<Datum>, Error> {
    match call.datum(0) {
        Some(_) => encrypt_bytes(call, site, code, format, call.bytes(0)),
        None => Ok(None),
    }
}

/// Seals `bytes` under the key, context and row id that are arguments 1 to 3.
#[inline]
fn encrypt_bytes(
    call: &Call<'_>,
    site: &mut SealSite,
    code: TypeCode,
    format: Format,
    bytes: &[u8],
) -> Result<Option<Datum>, Error> {
    let key = call.required(1, "key")?;
    let context = utf8(call.required(2, "context")?, "context")?;
    let row_id = utf8(call.required(3, "row_id")?, "row_id")?;
    if bytes.len() >= LARGE {
        wait::check_for_interrupts();
    }
    let privilege = values::privilege_to_seal(format);
    let handle = values::sealing(site, keyring::now(), key, context.as_bytes(), privilege)?;
    let packed = match format {
        Format::Xaes if guc::compress() => compress(bytes),
        Format::Xaes => None,
        Format::Siv => {
            warn_about_equality();
            None
        }
    };
    let plaintext = Plaintext {
        format,
        type_code: code,
        compressed: packed.is_some(),
        row_id: row_id.as_bytes(),
        bytes: packed.as_deref().unwrap_or(bytes),
    };
    let (datum, out) = new_varlena(format.overhead() + plaintext.bytes.len())?;
    values::seal(handle, &plaintext, out)?;
    Ok(Some(datum))
}

/// A decrypted value.
struct Opened {
    type_code: TypeCode,
    /// A varlena of `bytes`.
    datum: Datum,
    bytes: &'static [u8],
}

/// Opens argument 0; context and row id are arguments `first` and `first + 1`.
#[inline]
fn open(call: &Call<'_>, site: &mut OpenSite, first: usize) -> Result<Option<Opened>, Error> {
    if call.datum(0).is_none() {
        return Ok(None);
    }
    let value = call.bytes(0);
    let context = utf8(call.required(first, "context")?, "context")?;
    let row_id = utf8(call.required(first + 1, "row_id")?, "row_id")?;
    let envelope = Envelope::parse(value)?;
    let header = envelope.header();
    if value.len() >= LARGE {
        wait::check_for_interrupts();
    }
    let handle = values::opening(site, keyring::now(), header.key_id, context.as_bytes())?;
    let (datum, bytes) = values::open_into_new(handle, &envelope, row_id.as_bytes(), new_varlena)?;
    Ok(Some(Opened {
        type_code: header.type_code,
        datum,
        bytes,
    }))
}

/// Contexts and row ids are UTF-8 whatever the database's encoding.
#[inline]
pub(super) fn utf8<'a>(text: &'a [u8], argument: &'static str) -> Result<Cow<'a, str>, Error> {
    encoding::to_utf8(text).map_err(|_| Error::NotTextArgument { argument })
}

pub(super) fn is_ciphertext(type_oid: Oid) -> bool {
    typeio::type_oid(crate::catalog::SCHEMA, c"ciphertext") == Some(typeio::base_type(type_oid))
}

/// Refuses values that are encrypted already, arrays of them too: their text depends on who looks at it.
pub(super) fn refuse_encrypted(type_oid: Oid) -> Result<(), Error> {
    let element = typeio::element_type(type_oid);
    if is_ciphertext(element) {
        return Err(Error::AlreadyEncrypted);
    }
    match typeio::has_output_function(element, super::type_io::type_out) {
        true => Err(Error::EncryptedArgument {
            type_name: typeio::type_name(type_oid),
        }),
        false => Ok(()),
    }
}

/// Once per session: equal values are about to become visible as such.
fn warn_about_equality() {
    thread_local! {
        static WARNED: Cell<bool> = const { Cell::new(false) };
    }
    if !WARNED.replace(true) {
        error::warn(
            "deterministic encryption shows which values are equal",
            "Anyone who sees the ciphertexts can count how often each value occurs. Prefer encrypt_column with a \
             blind index where equality is only needed for search.",
        );
    }
}

//! Blind-index tokens for search by equality.

use super::values::utf8;
use crate::error::Error;
use crate::keyring::tokens::{self, TokenSite};
use crate::keyring::values::{self, OpenSite};
use crate::keyring::{self, Handle};
use crate::pg::array::bytea_array;
use crate::pg::call::Call;
use crate::pg::datum::new_varlena;
use crate::pg::encoding;
use crate::pg::site::Site;
use crate::plaintext;
use crate::sql_function;
use pg_encrypt_core::envelope::{Envelope, TypeCode};
use pg_encrypt_core::normalize::Normalizer;
use pg_encrypt_core::token::TokenBits;
use pgrx::pg_sys::Datum;
use std::borrow::Cow;

sql_function! {
    fn blind_index(call) {
        let Some(request) = Request::read(call)? else { return Ok(None) };
        let handle = tokens::active(call.site::<TokenSite>(), keyring::now(), request.key, request.context.as_bytes())?;
        Ok(Some(request.token(handle, &request.normalized()?)?))
    }
}

sql_function! {
    fn blind_index_all(call) {
        let Some(request) = Request::read(call)? else { return Ok(None) };
        let normalized = request.normalized()?;
        let handles = tokens::all(keyring::now(), request.key, request.context.as_bytes())?;
        let tokens: Result<Vec<Datum>, Error> =
            handles.iter().map(|handle| request.token(*handle, &normalized)).collect();
        Ok(Some(bytea_array(&tokens?)))
    }
}

sql_function! {
    /// The token of an encrypted value without its plaintext: what re-indexing stores.
    fn token_of_ciphertext(call) {
        if call.datum(0).is_none() {
            return Ok(None);
        }
        let envelope = Envelope::parse(call.bytes(0))?;
        let header = envelope.header();
        let key = call.required(1, "key")?;
        let context = utf8(call.required(2, "context")?, "context")?;
        let row_id = utf8(call.required(3, "row_id")?, "row_id")?;
        let normalizer = parse_normalizer(call.required(4, "normalizer")?)?;
        let bits = parse_bits(call.required_int4(5, "bits")?)?;
        let site = call.site::<CiphertextSite>();

        let handle = values::opening(&mut site.open, keyring::now_moving(), header.key_id, context.as_bytes())?;
        let (_, opened) = values::open_into_new(handle, &envelope, row_id.as_bytes(), new_varlena)?;
        let text = match header.type_code {
            TypeCode::Text => plaintext::text(opened)?,
            code => plaintext::text_form(code, opened)?,
        };
        let request = Request { value: utf8(text, "value")?, key, context, normalizer, bits };
        let now = keyring::now_moving();
        let handle = tokens::active(&mut site.token, now, request.key, request.context.as_bytes())?;
        Ok(Some(request.token(handle, &request.normalized()?)?))
    }
}

/// What a call site that makes tokens of encrypted values remembers.
#[derive(Default)]
struct CiphertextSite {
    open: OpenSite,
    token: TokenSite,
}

impl Site for CiphertextSite {}

/// The arguments that both functions have.
struct Request<'a> {
    value: Cow<'a, str>,
    key: &'a [u8],
    context: Cow<'a, str>,
    normalizer: Normalizer,
    bits: TokenBits,
}

impl<'a> Request<'a> {
    /// `None` for a NULL value.
    #[inline]
    fn read(call: &Call<'a>) -> Result<Option<Self>, Error> {
        if call.datum(0).is_none() {
            return Ok(None);
        }
        let utf8 = |n, argument| {
            encoding::to_utf8(call.required(n, argument)?).map_err(|_| Error::NotTextArgument { argument })
        };
        let bits = call
            .datum(4)
            .map(|_| call.int4(4))
            .ok_or(Error::Null { argument: "bits" })?;
        let normalizer = call.required(3, "normalizer")?;
        Ok(Some(Self {
            value: utf8(0, "value")?,
            key: call.required(1, "key")?,
            context: utf8(2, "context")?,
            normalizer: parse_normalizer(normalizer)?,
            bits: parse_bits(bits)?,
        }))
    }

    #[inline]
    fn normalized(&self) -> Result<Cow<'_, str>, Error> {
        Ok(self.normalizer.normalize(&self.value)?)
    }

    #[inline]
    fn token(&self, handle: Handle, normalized: &str) -> Result<Datum, Error> {
        let (datum, out) = new_varlena(self.bits.bytes())?;
        tokens::token(handle, self.normalizer, normalized.as_bytes(), self.bits, out)?;
        Ok(datum)
    }
}

#[inline]
fn parse_bits(bits: i32) -> Result<TokenBits, Error> {
    u32::try_from(bits)
        .ok()
        .and_then(TokenBits::new)
        .ok_or(Error::BadBits { bits })
}

#[inline]
pub(super) fn parse_normalizer(name: &[u8]) -> Result<Normalizer, Error> {
    std::str::from_utf8(name)
        .ok()
        .and_then(|name| name.parse().ok())
        .ok_or_else(|| Error::UnknownNormalizer {
            name: String::from_utf8_lossy(name).into_owned(),
        })
}

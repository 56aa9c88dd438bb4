//! What a value of an encrypted type is: how it is sealed, what an opened one holds, and its token.

use super::domain::Domain;
use crate::catalog::grants::Privilege;
use crate::error::Error;
use crate::guc;
use crate::keyring::Now;
use crate::keyring::tokens::{self, PinnedSite};
use crate::keyring::values::{self, Plaintext, SealInContext};
use crate::pg::datum::{new_varlena, varlena_bytes, varlena_head};
use crate::pg::scratch::with_scratch;
use crate::pg::site::Remembered;
use crate::pg::{encoding, typeio};
use crate::plaintext::{self, Codec};
use pg_encrypt_core::compress::compress;
use pg_encrypt_core::envelope::{Format, TypeCode};
use pg_encrypt_core::token::TokenBits;
use pg_encrypt_core::typed::{Head, MAX_PREFIX_LEN, Prefix, TOKEN_LEN};
use pgrx::pg_sys::Datum;
use std::borrow::Cow;

pub type Token = [u8; TOKEN_LEN];

/// What a call site that seals remembers.
#[derive(Clone, Copy, Default)]
pub struct Sealing {
    seal: SealInContext,
    token: PinnedSite,
}

/// What a call site that searches remembers: the token of the value it was given last.
#[derive(Clone, Copy, Default)]
pub struct Searching {
    site: PinnedSite,
    now: Now,
    plaintext: Remembered<128>,
    token: Token,
}

/// A decrypted value in the current memory context.
pub struct Opened<'site> {
    pub domain: &'site Domain,
    pub code: TypeCode,
    /// A varlena of `bytes`.
    pub datum: Datum,
    pub bytes: &'static [u8],
}

/// Seals the bytes of a base value as a value of the domain.
#[inline]
pub fn seal(site: &mut Sealing, now: Now, domain: &Domain, plaintext: &[u8]) -> Result<Datum, Error> {
    let token = match domain.is_searchable() {
        true => Some(make_token(
            &mut site.token,
            now,
            domain,
            plaintext,
            Privilege::Encrypt,
        )?),
        false => None,
    };
    let handle = values::sealing_in(
        &mut site.seal,
        now,
        domain.key_name(),
        domain.context(),
        Privilege::Encrypt,
    )?;
    let packed = if guc::compress() {
        compress(plaintext)
    } else {
        None
    };
    let sealed = packed.as_deref().unwrap_or(plaintext);

    let prefix = Prefix::new(domain.type_ref, token.as_ref());
    let (datum, out) = new_varlena(prefix.overhead() + sealed.len())?;
    let (front, envelope) = out.split_at_mut(prefix.as_bytes().len());
    front.copy_from_slice(prefix.as_bytes());
    let plaintext = Plaintext {
        format: Format::Xaes,
        type_code: domain.base.code,
        compressed: packed.is_some(),
        row_id: prefix.as_bytes(),
        bytes: sealed,
    };
    values::seal(handle, &plaintext, envelope)?;
    Ok(datum)
}

impl Opened<'_> {
    /// The base type's datum.
    pub fn base_datum(&self) -> Result<Datum, Error> {
        match self.code {
            // The varlena that was decrypted into is the datum already.
            TypeCode::Text if self.domain.base.is_plain_text() => {
                plaintext::text(self.bytes)?;
                Ok(self.datum)
            }
            code => self.domain.base.decode(code, self.bytes),
        }
    }
}

/// The token of a stored value; `None` if its type is not searchable.
#[inline]
pub fn stored_token(value: Datum) -> Result<Option<Token>, Error> {
    Ok(token_in_place(value)?.copied())
}

/// As [`stored_token`], where it is.
#[inline]
pub fn token_in_place<'a>(value: Datum) -> Result<Option<&'a Token>, Error> {
    let bytes = varlena_head(value, MAX_PREFIX_LEN);
    Ok(Head::parse(bytes)?.token(bytes))
}

/// The token of a plain value, for search. Computed once per call site for the same value.
#[inline]
pub fn search_token(
    site: &mut Searching,
    now: Now,
    domain: &Domain,
    codec: &Codec,
    value: Datum,
) -> Result<Token, Error> {
    // An index descent asks for the token of one value again and again: text is recognised where it is.
    let same_bytes = codec.code == domain.base.code;
    if same_bytes
        && site.now == now
        && codec
            .content(value)
            .is_some_and(|content| site.plaintext.is(content))
    {
        return Ok(site.token);
    }
    with_scratch(|| make_search_token(site, now, domain, codec, value))
}

fn make_search_token(
    site: &mut Searching,
    now: Now,
    domain: &Domain,
    codec: &Codec,
    value: Datum,
) -> Result<Token, Error> {
    // Values of the same code have the same bytes; of others, the base type's.
    let plaintext = match codec.code == domain.base.code {
        true => codec.encode(value),
        false => domain.base.encode(as_base(domain, codec, value)?),
    };
    if site.now == now && site.plaintext.is(&plaintext) {
        return Ok(site.token);
    }
    site.token = make_token(&mut site.site, now, domain, &plaintext, Privilege::Search)?;
    site.now = now;
    site.plaintext.set(&plaintext);
    Ok(site.token)
}

/// A plain value as one of the base type.
pub fn as_base(domain: &Domain, codec: &Codec, value: Datum) -> Result<Datum, Error> {
    if codec.type_oid == domain.base.type_oid {
        return Ok(value);
    }
    let converted = typeio::convert(value, codec.type_oid, domain.base.type_oid).map_err(|refused| {
        Error::InvalidInput {
            refused,
            wanted: typeio::type_name(domain.base.type_oid),
        }
    })?;
    // Types that are compared with the base type convert without loss, so never to NULL.
    converted.ok_or(Error::Null { argument: "value" })
}

/// A bigint or double precision from the bytes that integers and floating-point numbers of every width are encrypted as.
pub fn eight_bytes(bytes: &[u8]) -> Result<Datum, Error> {
    let bytes: [u8; 8] = bytes.try_into().map_err(|_| Error::AuthenticationFailed)?;
    Ok(i64::from_be_bytes(bytes).into())
}

#[inline]
fn make_token(
    site: &mut PinnedSite,
    now: Now,
    domain: &Domain,
    plaintext: &[u8],
    privilege: Privilege,
) -> Result<Token, Error> {
    let Some(index_key) = domain.index_key else {
        return Err(Error::NotSearchable);
    };
    let handle = tokens::pinned(
        site,
        now,
        index_key,
        domain.key_name(),
        domain.context(),
        privilege,
    )?;
    let mut token = [0; TOKEN_LEN];
    let equal = equal_form(domain, plaintext)?;
    tokens::token(handle, domain.normalizer, &equal, TokenBits::DEFAULT, &mut token)?;
    Ok(token)
}

/// Bytes that are the same for two plaintexts exactly if the base type, under the type's normalizer, calls them equal.
fn equal_form<'a>(domain: &Domain, plaintext: &'a [u8]) -> Result<Cow<'a, [u8]>, Error> {
    match domain.base.code {
        TypeCode::Text => {
            let text =
                encoding::to_utf8(plaintext).map_err(|_| Error::NotTextArgument { argument: "value" })?;
            Ok(match text {
                Cow::Borrowed(text) => into_bytes(domain.normalizer.normalize(text)?),
                Cow::Owned(text) => Cow::Owned(domain.normalizer.normalize(&text)?.into_owned().into_bytes()),
            })
        }
        // 1.5 and 1.50 are equal and print differently.
        TypeCode::Numeric => Ok(Cow::Borrowed(without_trailing_zeros(plaintext))),
        TypeCode::Float => Ok(Cow::Owned(equal_float(plaintext)?.to_be_bytes().to_vec())),
        _ => Ok(Cow::Borrowed(plaintext)),
    }
}

/// Zero has two signs and NaN many forms; PostgreSQL calls them equal.
fn equal_float(plaintext: &[u8]) -> Result<f64, Error> {
    let bytes: [u8; 8] = plaintext.try_into().map_err(|_| Error::AuthenticationFailed)?;
    Ok(match f64::from_be_bytes(bytes) {
        0.0 => 0.0,
        number if number.is_nan() => f64::from_bits(0x7ff8_0000_0000_0000),
        number => number,
    })
}

fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

fn without_trailing_zeros(numeric: &[u8]) -> &[u8] {
    if !numeric.contains(&b'.') {
        return numeric;
    }
    let end = numeric
        .iter()
        .rposition(|digit| *digit != b'0')
        .map_or(0, |last| last + 1);
    match &numeric[..end] {
        [whole @ .., b'.'] => whole,
        trimmed => trimmed,
    }
}

/// A base value of text normalised as the type's tokens are; other types as they are. For comparisons that must agree
/// with the equality of tokens.
pub fn normalized_datum(domain: &Domain, value: Datum) -> Result<Datum, Error> {
    use pg_encrypt_core::normalize::Normalizer;
    match (domain.base.code, domain.normalizer) {
        (TypeCode::Text, Normalizer::Casefold | Normalizer::Email | Normalizer::Digits) => {
            let text = encoding::to_utf8(varlena_bytes(value))
                .map_err(|_| Error::NotTextArgument { argument: "value" })?;
            let normalized = domain.normalizer.normalize(&text)?;
            Ok(encoding::text_from_utf8(&normalized))
        }
        _ => Ok(value),
    }
}

//! Comparing values.
//!
//! Two orders. The *plaintext order* is the base type's, and serves `<`, ORDER BY and the like; it decrypts. The *token
//! order* is the order of tokens, which tells nothing about the plaintexts but who equals whom; indexes have it. Both
//! agree on equality: tokens are equal exactly where the base type, under the type's normalizer, calls values equal. A
//! nondeterministic collation calls more values equal than that. Then the plaintext order is continued by the tokens: sorts and
//! merge joins take its neighbours for equal, and must not see what `=` does not.

use super::domain::Domain;
use super::finding::Found;
use super::opener::{Opener, open};
use super::value::{self, Searching, Token, normalized_datum, stored_token, token_in_place};
use crate::error::Error;
use crate::keyring::{Now, Recently};
use crate::pg::compare;
use crate::pg::datum::{prefetch, varlena_bytes};
use crate::pg::scratch::with_scratch;
use crate::pg::sort::prefix::PrefixSorting;
use crate::pg::sort::{Identity, Sorting};
use crate::pg::typeio;
use crate::plaintext::Codec;
use pg_encrypt_core::envelope::TypeCode;
use pg_encrypt_core::typed::TypedValue;
use pgrx::pg_sys::{self, Datum, Oid};
use std::cmp::Ordering;

/// What a call site that compares remembers.
#[derive(Clone, Copy, Default)]
pub struct Comparing {
    pub a: Found<Opener>,
    pub b: Found<Opener>,
    pub recently: Recently,
    pub search: Searching,
    /// When the call began, for operators with a plain side.
    pub now: Now,
    /// Of an operator with a plain side: the domain, and how values of the plain type become bytes.
    pub plain: Option<(Domain, Codec)>,
}

/// One side of a comparison.
#[derive(Clone, Copy)]
pub enum Side {
    /// A value of the encrypted type.
    Typed(Datum),
    /// A value of a plain type that the base type is compared with.
    Plain(Datum),
}

/// Whether two stored values are equal, if they have tokens. Needs no memory of the call site's, which an index makes anew
/// for every row that is inserted.
#[inline]
pub fn equal_by_token(a: Side, b: Side) -> Result<Option<bool>, Error> {
    let (Side::Typed(a), Side::Typed(b)) = (a, b) else {
        return Ok(None);
    };
    let tokens = token_in_place(a)?.zip(token_in_place(b)?);
    Ok(tokens.map(|(a, b)| a == b))
}

/// The token order of two stored values; needs no memory of the call site's either.
#[inline]
pub fn stored_token_order(a: Datum, b: Datum) -> Result<Ordering, Error> {
    let tokens = token_in_place(a)?.zip(token_in_place(b)?);
    let Some((a, b)) = tokens else {
        return Err(Error::NotSearchable);
    };
    // A descent of an index waits for the memory that its entries are in. The first half of a token tells nearly all of
    // them apart, and the second may be in the next line of the cache.
    let ([a_first @ .., _, _, _, _, _, _, _, _], [b_first @ .., _, _, _, _, _, _, _, _]) = (a, b);
    let first = u64::from_be_bytes(*a_first).cmp(&u64::from_be_bytes(*b_first));
    Ok(first.then_with(|| a.cmp(b)))
}

/// Whether two sides are equal, of which one is plain or has no token.
#[inline]
pub fn equal(site: &mut Comparing, collation: Oid, a: Side, b: Side) -> Result<bool, Error> {
    if site
        .plain
        .as_ref()
        .is_some_and(|(domain, _)| domain.is_searchable())
    {
        return Ok(token(site, a)? == token(site, b)?);
    }
    with_scratch(|| {
        let (type_oid, a, b) = comparable(site, a, b)?;
        Ok(compare::equal(type_oid, collation, a, b))
    })
}

/// Sorts in the token order.
pub struct TokenOrder;

impl PrefixSorting for TokenOrder {
    type Error = Error;

    fn prefix(value: Datum) -> Result<u64, Error> {
        let token = stored_token(value)?.ok_or(Error::NotSearchable)?;
        let first = token.first_chunk().copied().unwrap_or_default();
        Ok(u64::from_be_bytes(first))
    }

    fn order(a: Datum, b: Datum) -> Result<Ordering, Error> {
        stored_token_order(a, b)
    }
}

/// Sorts in the plaintext order.
#[derive(Clone, Copy)]
pub struct PlaintextOrder {
    domain: Domain,
    comparing: Comparing,
}

impl PlaintextOrder {
    pub fn of(domain: Domain) -> Self {
        Self {
            domain,
            comparing: Comparing::default(),
        }
    }
}

impl Sorting for PlaintextOrder {
    type Error = Error;

    fn key_type(&self) -> Oid {
        widest(self.domain.base.code).unwrap_or(self.domain.base.type_oid)
    }

    fn is_same(&self, a: Datum, b: Datum) -> Result<bool, Error> {
        has_same_token(a, b)
    }

    fn order_of_equal_keys(&self, a: Datum, b: Datum) -> Result<Ordering, Error> {
        order_of_equal_plaintexts(a, b)
    }

    fn identity(&self, value: Datum) -> Result<Identity, Error> {
        let value = TypedValue::parse(varlena_bytes(value))?;
        match (value.envelope.epoch(), value.envelope.counter()) {
            (Some(epoch), Some(counter)) => Ok(Identity {
                epoch: *epoch,
                counter,
            }),
            // Values of encrypted types are never deterministic: the parser refuses them.
            _ => Err(Error::AuthenticationFailed),
        }
    }

    fn key(&mut self, value: Datum) -> Result<Datum, Error> {
        let now = self.comparing.recently.now();
        let key = comparable_side(&mut self.comparing.a, now, None, Side::Typed(value))?;
        key.of_type(self.domain.type_oid)
    }
}

/// The plaintext order. Equal tokens settle it without decrypting.
pub fn order(site: &mut Comparing, collation: Oid, a: Datum, b: Datum) -> Result<Ordering, Error> {
    if has_same_token(a, b)? {
        return Ok(Ordering::Equal);
    }
    let by_plaintext = with_scratch(|| {
        let (type_oid, a, b) = comparable(site, Side::Typed(a), Side::Typed(b))?;
        Ok::<_, Error>(compare::order(type_oid, collation, a, b))
    })?;
    match by_plaintext {
        Ordering::Equal => order_of_equal_plaintexts(a, b),
        order => Ok(order),
    }
}

/// The order of two values that a collation calls equal: that of their tokens, if they have any.
fn order_of_equal_plaintexts(a: Datum, b: Datum) -> Result<Ordering, Error> {
    let tokens = stored_token(a)?.zip(stored_token(b)?);
    Ok(tokens.map_or(Ordering::Equal, |(a, b)| a.cmp(&b)))
}

/// Whether two values have tokens, and equal ones.
fn has_same_token(a: Datum, b: Datum) -> Result<bool, Error> {
    let a = stored_token(a)?;
    Ok(a.is_some() && a == stored_token(b)?)
}

/// The token order of two sides of which one is plain. Both are of one domain, which is searchable.
#[inline]
pub fn token_order(site: &mut Comparing, a: Side, b: Side) -> Result<Ordering, Error> {
    Ok(token(site, a)?.cmp(&token(site, b)?))
}

/// The hash of a stored value that has a token. Needs no memory of the call site's.
#[inline]
pub fn hash_by_token(side: Side, seed: Option<Datum>) -> Result<Option<Datum>, Error> {
    match side {
        Side::Typed(value) => Ok(token_in_place(value)?.map(|token| {
            // The end of it, often in another line of the cache, is read when values with this hash are compared.
            let [.., last] = token;
            prefetch(last);
            hash_of_token(token, seed)
        })),
        Side::Plain(_) => Ok(None),
    }
}

/// 32 bits of hash, or 64 with a seed, of what is plain or has no token: of the token that it would have, or of the base
/// type.
pub fn hash(site: &mut Comparing, collation: Oid, side: Side, seed: Option<Datum>) -> Result<Datum, Error> {
    match (side, site.plain) {
        (Side::Plain(_), Some((domain, _))) if domain.is_searchable() => {
            Ok(hash_of_token(&token(site, side)?, seed))
        }
        _ => with_scratch(|| {
            let now = site.recently.now();
            let side = comparable_side(&mut site.a, now, site.plain.as_ref(), side)?;
            Ok(compare::hash(side.type_oid, collation, side.value, seed))
        }),
    }
}

/// Tokens are uniform, so their bytes serve as they are. The first one is the key's version and is left out. With seed
/// 0 the low 32 bits must be the plain hash, as PostgreSQL requires of extended hash functions.
fn hash_of_token(token: &Token, seed: Option<Datum>) -> Datum {
    let [_, bytes @ ..] = token;
    let low = bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    match seed.map(|seed| seed.value() as u64) {
        None => Datum::from(low),
        Some(seed) => {
            let wide = bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            // Spreads the seed over all bits (the multiplier of Fibonacci hashing); seed 0 changes nothing.
            Datum::from(wide ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        }
    }
}

#[inline]
fn token(site: &mut Comparing, side: Side) -> Result<Token, Error> {
    match side {
        Side::Typed(value) => stored_token(value)?.ok_or(Error::NotSearchable),
        Side::Plain(value) => {
            let (domain, codec) = site.plain.ok_or(Error::NotSearchable)?;
            value::search_token(&mut site.search, site.now, &domain, &codec, value)
        }
    }
}

/// Both sides as values of one type, and that type.
fn comparable(site: &mut Comparing, a: Side, b: Side) -> Result<(Oid, Datum, Datum), Error> {
    let now = site.recently.now();
    let a = comparable_side(&mut site.a, now, site.plain.as_ref(), a)?;
    let b = comparable_side(&mut site.b, now, site.plain.as_ref(), b)?;
    Ok((a.type_oid, a.value, b.of_type(a.encrypted_type)?))
}

/// A side in the form that is compared.
struct Comparable {
    /// The encrypted type that it is compared as one of.
    encrypted_type: Oid,
    /// What it is a value of.
    type_oid: Oid,
    value: Datum,
}

impl Comparable {
    /// The value, if it is of an encrypted type. Values name their types, which need not be those of the columns they are found
    /// in, and what they hold is no datum of another's base.
    fn of_type(self, encrypted_type: Oid) -> Result<Datum, Error> {
        match self.encrypted_type == encrypted_type {
            true => Ok(self.value),
            false => Err(Error::OtherType {
                type_name: typeio::type_name(encrypted_type),
            }),
        }
    }
}

/// The type that numbers of every width are compared as; `None` for what is no integer and no floating-point number.
fn widest(code: TypeCode) -> Option<Oid> {
    match code {
        TypeCode::Int => Some(pg_sys::INT8OID),
        TypeCode::Float => Some(pg_sys::FLOAT8OID),
        _ => None,
    }
}

/// A side in the form that is compared: integers and floating-point numbers in the widest type, text as its type's
/// normalizer leaves it, and otherwise the base type.
fn comparable_side(
    site: &mut Found<Opener>,
    now: Now,
    plain: Option<&(Domain, Codec)>,
    side: Side,
) -> Result<Comparable, Error> {
    let comparable = |domain: &Domain, type_oid, value| Comparable {
        encrypted_type: domain.type_oid,
        type_oid,
        value,
    };
    let (domain, value) = match (side, plain) {
        (Side::Typed(value), _) => {
            let opened = open(site, now, value)?;
            if let Some(widest) = widest(opened.code) {
                return Ok(comparable(
                    opened.domain,
                    widest,
                    value::eight_bytes(opened.bytes)?,
                ));
            }
            (opened.domain, opened.base_datum()?)
        }
        (Side::Plain(value), Some((domain, codec))) => {
            if let Some(widest) = widest(domain.base.code)
                && codec.code == domain.base.code
            {
                return Ok(comparable(
                    domain,
                    widest,
                    value::eight_bytes(&codec.encode(value))?,
                ));
            }
            (domain, value::as_base(domain, codec, value)?)
        }
        (Side::Plain(_), None) => return Err(Error::NotSearchable),
    };
    Ok(comparable(
        domain,
        domain.base.type_oid,
        normalized_datum(domain, value)?,
    ))
}

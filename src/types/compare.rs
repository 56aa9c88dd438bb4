//! Comparing values.
//!
//! Two orders. The *plaintext order* is the base type's, and serves `<`, ORDER BY and the like; it decrypts. The *token
//! order* is the order of tokens, which tells nothing about the plaintexts but who equals whom; indexes have it. Both
//! agree on equality: tokens are equal exactly where the base type, under the type's normalizer, calls values equal.

use super::domain::Domain;
use super::value::{self, Opening, Searching, Token, normalized_datum, open, stored_token};
use crate::error::Error;
use crate::pg::compare;
use crate::pg::scratch::with_scratch;
use pgrx::pg_sys::{Datum, Oid};
use std::cmp::Ordering;

/// What a call site that compares remembers.
#[derive(Default)]
pub struct Comparing {
    pub a: Opening,
    pub b: Opening,
    pub search: Searching,
    pub domain: Option<Domain>,
}

/// One side of a comparison.
#[derive(Clone, Copy)]
pub enum Side {
    /// A value of the encrypted type.
    Typed(Datum),
    /// A value of its base type.
    Base(Datum),
}

/// Whether two sides are equal, by token where there is one.
#[inline]
pub fn equal(site: &mut Comparing, collation: Oid, a: Side, b: Side) -> Result<bool, Error> {
    if let (Side::Typed(a), Side::Typed(b)) = (a, b)
        && let (Some(a), Some(b)) = (stored_token(a)?, stored_token(b)?)
    {
        return Ok(a == b);
    }
    if let Some(domain) = site.domain.filter(Domain::is_searchable) {
        return Ok(token(site, &domain, a)? == token(site, &domain, b)?);
    }
    with_scratch(|| {
        let (domain, a, b) = plain(site, a, b)?;
        Ok(compare::equal(domain.base.type_oid, collation, a, b))
    })
}

/// The plaintext order.
pub fn order(site: &mut Comparing, collation: Oid, a: Datum, b: Datum) -> Result<Ordering, Error> {
    with_scratch(|| {
        let (domain, a, b) = plain(site, Side::Typed(a), Side::Typed(b))?;
        Ok(compare::order(domain.base.type_oid, collation, a, b))
    })
}

/// The token order. All sides are of one domain, which is searchable.
#[inline]
pub fn token_order(site: &mut Comparing, a: Side, b: Side) -> Result<Ordering, Error> {
    if let (Side::Typed(a), Side::Typed(b)) = (a, b) {
        return Ok(required_token(a)?.cmp(&required_token(b)?));
    }
    let domain = site.domain.ok_or(Error::NotSearchable)?;
    Ok(token(site, &domain, a)?.cmp(&token(site, &domain, b)?))
}

/// 32 bits of hash, or 64 with a seed: from the token, or from the base type where there is none.
pub fn hash(site: &mut Comparing, collation: Oid, side: Side, seed: Option<Datum>) -> Result<Datum, Error> {
    let token = match (side, site.domain.filter(Domain::is_searchable)) {
        (Side::Typed(value), _) => stored_token(value)?,
        (Side::Base(_), Some(domain)) => Some(token(site, &domain, side)?),
        (Side::Base(_), None) => None,
    };
    match token {
        Some(token) => Ok(hash_of_token(&token, seed)),
        None => with_scratch(|| {
            let (domain, value, _) = plain(site, side, side)?;
            Ok(compare::hash(domain.base.type_oid, collation, value, seed))
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

fn token(site: &mut Comparing, domain: &Domain, side: Side) -> Result<Token, Error> {
    match side {
        Side::Typed(value) => required_token(value),
        Side::Base(value) => with_scratch(|| value::search_token(&mut site.search, domain, value)),
    }
}

#[inline]
fn required_token(value: Datum) -> Result<Token, Error> {
    stored_token(value)?.ok_or(Error::NotSearchable)
}

/// Both sides as base values, in the form that is compared.
fn plain(site: &mut Comparing, a: Side, b: Side) -> Result<(Domain, Datum, Datum), Error> {
    let (of_a, a) = plain_side(&mut site.a, site.domain, a)?;
    let (of_b, b) = plain_side(&mut site.b, site.domain, b)?;
    let domain = of_a.or(of_b).ok_or(Error::NotSearchable)?;
    Ok((domain, normalized_datum(&domain, a)?, normalized_datum(&domain, b)?))
}

fn plain_side(
    site: &mut Opening,
    declared: Option<Domain>,
    side: Side,
) -> Result<(Option<Domain>, Datum), Error> {
    match side {
        Side::Typed(value) => {
            let opened = open(site, value)?;
            Ok((Some(opened.domain), opened.base_datum()?))
        }
        Side::Base(value) => Ok((declared, value)),
    }
}

//! Operators and support functions of encrypted types.

use crate::error::Error;
use crate::keyring;
use crate::pg::call::Call;
use crate::pg::site::Site;
use crate::pg::sort;
use crate::sql_function;
use crate::types::compare::{self, Comparing, PlaintextOrder, Side, TokenOrder};
use crate::types::domain;
use pgrx::pg_sys::Datum;
use std::cmp::Ordering;

/// `=` and `<>`: by token, or by decrypting.
macro_rules! equality {
    ($($name:ident($a:ident, $b:ident) is $expected:literal;)*) => {$(
        sql_function! {
            fn $name(call) {
                let (Some(a), Some(b)) = (call.datum(0), call.datum(1)) else { return Ok(None) };
                let (a, b) = (Side::$a(a), Side::$b(b));
                let equal = match compare::equal_by_token(a, b)? {
                    Some(equal) => equal,
                    None => compare::equal(site(call, &[a, b])?, call.collation(), a, b)?,
                };
                Ok(Some((equal == $expected).into()))
            }
        }
    )*};
}

equality! {
    type_eq(Typed, Typed) is true;
    type_ne(Typed, Typed) is false;
    type_eq_plain(Typed, Plain) is true;
    type_ne_plain(Typed, Plain) is false;
    plain_eq_type(Plain, Typed) is true;
    plain_ne_type(Plain, Typed) is false;
}

/// Orders of two values of the type, as the boolean of an operator.
macro_rules! order {
    ($($name:ident by $by:ident is $test:ident;)*) => {$(
        sql_function! {
            fn $name(call) {
                Ok($by(call)?.map(|order| order.$test().into()))
            }
        }
    )*};
}

order! {
    type_lt by plaintext_order is is_lt;
    type_le by plaintext_order is is_le;
    type_gt by plaintext_order is is_gt;
    type_ge by plaintext_order is is_ge;
    token_lt by typed_token_order is is_lt;
    token_le by typed_token_order is is_le;
    token_gt by typed_token_order is is_gt;
    token_ge by typed_token_order is is_ge;
}

/// Orders as the support function of a btree class: -1, 0 or 1.
macro_rules! comparator {
    ($($name:ident by $by:ident;)*) => {$(
        sql_function! {
            fn $name(call) {
                Ok($by(call)?.map(|order| (order as i32).into()))
            }
        }
    )*};
}

comparator! {
    type_cmp by plaintext_order;
    token_cmp by typed_token_order;
    token_cmp_plain by typed_plain_token_order;
    plain_cmp_token by plain_typed_token_order;
    plain_token_cmp by plain_token_order;
}

sql_function! {
    /// Sort support of the plaintext order.
    fn type_sort_support(call) {
        if let Some(sort) = call.datum(0) {
            sort::set_up(sort, PlaintextOrder::of(domain::by_function(keyring::now(), call.function())?));
        }
        Ok(Some(Datum::null()))
    }
}

sql_function! {
    /// Sort support of the token order.
    fn token_sort_support(call) {
        if let Some(sort) = call.datum(0) {
            sort::prefix::set_up::<TokenOrder>(sort);
        }
        Ok(Some(Datum::null()))
    }
}

sql_function! {
    fn type_hash(call) {
        hash(call, Side::Typed, false)
    }
}

sql_function! {
    fn type_hash_extended(call) {
        hash(call, Side::Typed, true)
    }
}

sql_function! {
    fn plain_hash(call) {
        hash(call, Side::Plain, false)
    }
}

sql_function! {
    fn plain_hash_extended(call) {
        hash(call, Side::Plain, true)
    }
}

/// What a call site remembers: the domain, and what was computed for the last values.
#[derive(Default)]
struct OperatorSite {
    comparing: Comparing,
}

impl Site for OperatorSite {}

/// The call site's memory. Where a side is plain, the domain comes from the function; values of the type
/// name theirs.
#[inline]
fn site<'call>(call: &Call<'call>, sides: &[Side]) -> Result<&'call mut Comparing, Error> {
    let site = call.site::<OperatorSite>();
    if sides.iter().any(|side| matches!(side, Side::Plain(_))) {
        let now = site.comparing.recently.now();
        if site.comparing.plain.is_none() || site.comparing.now != now {
            site.comparing.plain = Some(domain::by_operator(now, call.function())?);
            site.comparing.now = now;
        }
    }
    Ok(&mut site.comparing)
}

fn plaintext_order(call: &Call<'_>) -> Result<Option<Ordering>, Error> {
    let (Some(a), Some(b)) = (call.datum(0), call.datum(1)) else {
        return Ok(None);
    };
    compare::order(site(call, &[])?, call.collation(), a, b).map(Some)
}

#[inline]
fn token_order(
    call: &Call<'_>,
    a: fn(Datum) -> Side,
    b: fn(Datum) -> Side,
) -> Result<Option<Ordering>, Error> {
    let (Some(left), Some(right)) = (call.datum(0), call.datum(1)) else {
        return Ok(None);
    };
    let (left, right) = (a(left), b(right));
    compare::token_order(site(call, &[left, right])?, left, right).map(Some)
}

#[inline]
fn typed_token_order(call: &Call<'_>) -> Result<Option<Ordering>, Error> {
    let (Some(a), Some(b)) = (call.datum(0), call.datum(1)) else {
        return Ok(None);
    };
    compare::stored_token_order(a, b).map(Some)
}

fn typed_plain_token_order(call: &Call<'_>) -> Result<Option<Ordering>, Error> {
    token_order(call, Side::Typed, Side::Plain)
}

fn plain_typed_token_order(call: &Call<'_>) -> Result<Option<Ordering>, Error> {
    token_order(call, Side::Plain, Side::Typed)
}

fn plain_token_order(call: &Call<'_>) -> Result<Option<Ordering>, Error> {
    token_order(call, Side::Plain, Side::Plain)
}

#[inline]
fn hash(call: &Call<'_>, side: fn(Datum) -> Side, extended: bool) -> Result<Option<Datum>, Error> {
    let Some(value) = call.datum(0) else {
        return Ok(None);
    };
    let value = side(value);
    let seed = if extended { call.datum(1) } else { None };
    match compare::hash_by_token(value, seed)? {
        Some(hash) => Ok(Some(hash)),
        None => compare::hash(site(call, &[value])?, call.collation(), value, seed).map(Some),
    }
}

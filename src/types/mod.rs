//! Encrypted types: what a column of such a type stores, prints, compares, and how a type is made.
//!
//! A type is a security domain: one key, one search domain, one set of grants. All types share the same C symbols;
//! which domain a call is about is known from the value (its number) or from the function's own OID.
//!
//! | module | answers |
//! |---|---|
//! | [`domain`] | which domain is this value, type or function of? |
//! | [`maker`], [`opener`] | how do values come in and go out? |
//! | [`finding`] | what does a statement not find out again? |
//! | [`value`] | what is sealed in a value, and what is its token? |
//! | [`reveal`] | may this role see plaintext in output? |
//! | [`compare`] | how do two values compare, and hash? |
//! | [`analyze`] | what does ANALYZE learn about a column? |
//! | [`ddl`] | which objects does a type consist of, and how are they made and dropped? |

pub mod analyze;
pub mod compare;
pub mod ddl;
pub mod domain;
mod finding;
pub mod maker;
pub mod opener;
pub mod reveal;
pub mod value;

pub use finding::Found;

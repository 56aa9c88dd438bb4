//! Formats, keys and blind indexes of pg_encrypt, without PostgreSQL.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod compress;
pub mod deterministic;
pub mod envelope;
pub mod gcm;
mod hmac;
mod kdf;
pub mod key;
pub mod lifecycle;
pub mod normalize;
pub mod random;
pub mod token;
pub mod typed;
mod wiped;
pub mod wrap;
pub mod xaes;

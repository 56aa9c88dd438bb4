//! Formats, keys and blind indexes of pg_encrypt, without PostgreSQL: no I/O but the operating system's random
//! generator, no clock, no unsafe code. The extension is a shell around this crate.
//!
//! # Contents
//!
//! | module | holds |
//! |---|---|
//! | [`key`] | data keys, their ids, purposes and check values |
//! | [`lifecycle`] | what each state of a key permits, and which state may follow which |
//! | [`wrap`] | wrapping data keys under a local root key; the associated data of remote providers |
//! | [`envelope`] | the value format 0xE1: header, parsing, sealing and opening under nonce epochs |
//! | [`deterministic`] | the value format 0xE2, for joins and uniqueness on the value itself |
//! | [`typed`] | the value format 0xE3: an envelope inside a value of an encrypted type |
//! | [`compress`] | compressed plaintexts |
//! | [`normalize`] | which values a blind index takes for equal |
//! | [`token`] | blind-index tokens |
//! | [`xaes`], [`gcm`] | XAES-256-GCM (C2SP) and AES-256-GCM (NIST SP 800-38D) |
//! | [`random`] | the operating system's generator |
//!
//! # Keys
//!
//! ```text
//! root (32 bytes, held by a provider)
//! ├─ K_wrap  = HKDF-Expand(root, "pg_encrypt/v1/wrap", 32)                                 wraps data keys
//! └─ root_id = HMAC(root, "pg_encrypt/v1/root-id")[0 .. 8]                                 tells roots apart
//!
//! DEK of purpose "column" (32 random bytes, stored wrapped)
//! ├─ KCV     = HMAC(DEK, "pg_encrypt/v1/kcv" ‖ 00 ‖ key_id(4) ‖ purpose(1))                tells wrong keys
//! ├─ K_value = HKDF-Expand(DEK, "pg_encrypt/v1/value" ‖ 00 ‖ context, 32)                  one per context
//! │  └─ XAES-256-GCM: one AES-256-GCM key per nonce epoch                                  seals values
//! └─ K_siv   = HKDF-Expand(DEK, "pg_encrypt/v1/siv" ‖ 00 ‖ context, 64)
//!    └─ AES-256-SIV                                                                        seals deterministically
//!
//! DEK of purpose "index" (32 random bytes, stored wrapped)
//! ├─ KCV     as above
//! └─ K_index = HKDF-Expand(DEK, "pg_encrypt/v1/index" ‖ 00 ‖ kind(1) ‖ context, 32)        one per kind and context
//!    └─ HMAC                                                                               makes tokens
//! ```
//!
//! HKDF and HMAC are with SHA-256, integers are big-endian, `‖` is concatenation.
//!
//! # Secrets
//!
//! Every type that holds key material ([`DataKey`](key::DataKey), [`LocalRoot`](wrap::LocalRoot),
//! [`ValueKey`](envelope::ValueKey), [`EpochKey`](envelope::EpochKey), [`Sealer`](envelope::Sealer),
//! [`SivKey`](deterministic::SivKey), [`IndexKey`](token::IndexKey), [`XaesKey`](xaes::XaesKey),
//! [`MessageKey`](gcm::MessageKey)) is a plain inline value, so that its owner decides which memory holds it; wipes that
//! memory when it is dropped; and is neither `Debug` nor `Clone` nor `Display`. Errors carry lengths, codes and ids, never
//! bytes of a key, plaintext or context. A move copies the value, as everywhere in Rust: put it where it stays, and pass
//! references.
//!
//! # Failures
//!
//! A failed authentication is one opaque [`AuthenticationFailed`](gcm::AuthenticationFailed), whatever its cause;
//! everything that can be told without a key has its own variant.

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

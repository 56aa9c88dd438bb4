//! The envelope of a value: which key sealed it, what it holds, and the ciphertext.
//!
//! ```text
//! off len
//!  0   1   0xE1              XAES-256-GCM; 0xE2: AES-256-SIV (see `deterministic`)
//!  1   1   ttttt r c z       t: type code, r: bound to a row, c: context not empty, z: compressed
//!  2   4   key_id
//!  6  16   R                 nonce epoch
//! 22   2   n                 counter in the epoch
//! 24   m   ciphertext
//! 24+m 16  tag
//!
//! K_value = HKDF-Expand-SHA256(DEK, "pg_encrypt/v1/value" ‖ 00 ‖ context, 32)
//! ciphertext ‖ tag = XAES-256-GCM(K_value, R(16) ‖ 00 00 00 00 00 00 ‖ n(2), header(6) ‖ row_id, plaintext)
//! ```
//!
//! An epoch is one draw of `R`; XAES derives its AES-GCM key from the first 12 bytes of the nonce, so within an epoch
//! that key is computed once.

mod header;
mod parse;
mod seal;

pub use header::{Format, HEADER_LEN, Header, TypeCode, UnknownTypeCode};
pub use parse::{Envelope, FormatError};
pub use seal::{EpochKey, SealError, Sealer, ValueKey};

pub use crate::gcm::AuthenticationFailed;

/// First byte of a value sealed with XAES-256-GCM.
pub const FORMAT_XAES: u8 = 0xE1;
/// First byte of a deterministic value, sealed with AES-256-SIV.
pub const FORMAT_SIV: u8 = 0xE2;
/// Bytes that [`FORMAT_XAES`] adds to the plaintext.
pub const OVERHEAD: usize = 40;
/// Bytes that [`FORMAT_SIV`] adds to the plaintext.
pub const SIV_OVERHEAD: usize = 22;
/// Bytes in a nonce epoch.
pub const EPOCH_LEN: usize = 16;

//! Data keys, their ids and check values.

use core::fmt;
use core::num::NonZeroI32;
use core::str::FromStr;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::hmac::HmacKey;
use crate::random::{self, RandomError};

/// Bytes in a data key, a root key and every key derived for XAES-256-GCM or HMAC.
pub const KEY_LEN: usize = 32;

const CHECK_VALUE_LABEL: &[u8] = b"pg_encrypt/v1/kcv";

/// The id of one key version: 1 to 2^31 - 1.
///
/// Drawn at random, because after point-in-time recovery a sequence would hand out the same id to a different key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(NonZeroI32);

impl KeyId {
    /// `None` for zero and negative numbers.
    #[inline]
    pub const fn new(id: i32) -> Option<Self> {
        match NonZeroI32::new(id) {
            Some(id) if id.get() > 0 => Some(Self(id)),
            _ => None,
        }
    }

    /// The id as PostgreSQL's `integer` holds it.
    #[inline]
    pub const fn get(self) -> i32 {
        self.0.get()
    }

    /// Four bytes, most significant first, as in every format.
    #[inline]
    pub const fn to_be_bytes(self) -> [u8; 4] {
        self.0.get().to_be_bytes()
    }

    /// A fresh id. The caller makes sure that its table does not hold it yet.
    ///
    /// # Errors
    /// [`RandomError`] if the operating system gives no random bytes.
    pub fn random() -> Result<Self, RandomError> {
        loop {
            let bits = i32::from_be_bytes(random::os_random()?) & i32::MAX;
            if let Some(id) = Self::new(bits) {
                return Ok(id);
            }
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a data key is for. Rotating one purpose must not force the other, so they never share a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Encrypts values.
    Column,
    /// Makes blind-index tokens.
    Index,
}

impl Purpose {
    /// Both purposes, in the order of their codes.
    pub const ALL: [Self; 2] = [Self::Column, Self::Index];

    /// The byte that stands for the purpose in check values and associated data.
    pub const fn code(self) -> u8 {
        match self {
            Self::Column => 1,
            Self::Index => 2,
        }
    }

    /// The word that stands for the purpose in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Column => "column",
            Self::Index => "index",
        }
    }
}

/// A word that names no [`Purpose`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownPurpose;

impl fmt::Display for UnknownPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown key purpose")
    }
}

impl std::error::Error for UnknownPurpose {}

impl FromStr for Purpose {
    type Err = UnknownPurpose;

    fn from_str(word: &str) -> Result<Self, UnknownPurpose> {
        Self::ALL
            .into_iter()
            .find(|purpose| purpose.as_str() == word)
            .ok_or(UnknownPurpose)
    }
}

/// The check value does not belong to this key, id and purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckValueMismatch;

impl fmt::Display for CheckValueMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("key check value does not match")
    }
}

impl std::error::Error for CheckValueMismatch {}

/// A data key (DEK): 32 secret, uniformly random bytes, inline, wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; KEY_LEN]);

impl DataKey {
    /// A new key from the operating system's generator.
    ///
    /// # Errors
    /// [`RandomError`] if the operating system gives no random bytes.
    pub fn generate() -> Result<Self, RandomError> {
        let mut key = Self([0; KEY_LEN]);
        random::fill(&mut key.0)?;
        Ok(key)
    }

    /// Takes over bytes that a provider unwrapped. The caller wipes its own copy.
    #[inline]
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The secret bytes, for wrapping by a provider.
    #[inline]
    pub const fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// The secret bytes, to be unwrapped into.
    #[inline]
    pub(crate) const fn expose_mut(&mut self) -> &mut [u8; KEY_LEN] {
        &mut self.0
    }

    /// The key check value
    /// `HMAC-SHA256(DEK, "pg_encrypt/v1/kcv" ‖ 00 ‖ key_id(4) ‖ purpose(1))`, 32 bytes, not secret.
    ///
    /// Stored beside the wrapped key: keys that were swapped between rows fail on it whatever the provider does.
    pub fn check_value(&self, key_id: KeyId, purpose: Purpose) -> [u8; 32] {
        let message = [CHECK_VALUE_LABEL, &[0], &key_id.to_be_bytes(), &[purpose.code()]].concat();
        HmacKey::new(&self.0).mac(&[], &message)
    }

    /// Compares a stored check value with this key's, in constant time.
    ///
    /// # Errors
    /// [`CheckValueMismatch`] for another key, id or purpose, and for a stored value of another length.
    pub fn verify(&self, key_id: KeyId, purpose: Purpose, stored: &[u8]) -> Result<(), CheckValueMismatch> {
        if bool::from(self.check_value(key_id, purpose).ct_eq(stored)) {
            Ok(())
        } else {
            Err(CheckValueMismatch)
        }
    }
}

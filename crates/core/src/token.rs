//! Blind-index tokens.
//!
//! ```text
//! K_index        = HKDF-Expand-SHA256(DEK_index, "pg_encrypt/v1/index" ‖ 00 ‖ kind(1) ‖ context, 32)
//! equality token = v(1) ‖ HMAC-SHA256(K_index, normalizer(1) ‖ normalized value)[0 .. bits/8 - 1]      v = version mod 256
//! integer token  = the first 8 bytes of HMAC-SHA256(K_index, level(2) ‖ piece), as a signed integer
//! ```

use core::fmt;

use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::hmac::HmacKey;
use crate::kdf;
use crate::key::{DataKey, KEY_LEN};
use crate::normalize::Normalizer;

const LABEL: &[u8] = b"pg_encrypt/v1/index";

/// What a token is compared with. Each kind has keys of its own, so tokens of two kinds never match. The extension makes the first
/// only; the numbers of the others are reserved, and their tokens fixed by vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum IndexKind {
    /// The whole value.
    Equality = 1,
    /// Pieces of fixed length anywhere in the value.
    Ngram = 2,
    /// Beginnings of the value.
    Prefix = 3,
    /// Beginnings of a number's digits.
    Range = 4,
    /// The whole value, for deduplication inside one context.
    Fingerprint = 5,
}

impl IndexKind {
    /// The byte that stands for the kind in the derivation of its key.
    #[inline]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// The length of an equality token, version byte included: 16 to 256 bits in steps of 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenBits(u16);

impl TokenBits {
    /// 128 bits, 16 bytes.
    pub const DEFAULT: Self = Self(128);

    /// `None` outside 16 to 256 and for anything but whole bytes.
    #[inline]
    pub const fn new(bits: u32) -> Option<Self> {
        if bits >= 16 && bits <= 256 && bits.is_multiple_of(8) {
            Some(Self(bits as u16))
        } else {
            None
        }
    }

    /// The length in bits.
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }

    /// The length in bytes.
    #[inline]
    pub const fn bytes(self) -> usize {
        (self.0 / 8) as usize
    }
}

/// The output buffer does not have exactly the token's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenLengthMismatch;

impl fmt::Display for TokenLengthMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("output buffer does not have the token's length")
    }
}

impl std::error::Error for TokenLengthMismatch {}

/// The key of one kind and context, with HMAC's two hash states computed. Inline, wiped on drop.
pub struct IndexKey(HmacKey);

impl ZeroizeOnDrop for IndexKey {}

impl IndexKey {
    /// Derives the key of one kind and context (UTF-8, possibly empty) from a data key of purpose `index`.
    pub fn derive(data_key: &DataKey, kind: IndexKind, context: &[u8]) -> Self {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        kdf::expand(
            data_key.expose(),
            &[LABEL, &[0], &[kind.code()], context],
            &mut key,
        );
        Self(HmacKey::new(&key))
    }

    /// Writes the equality token of a value that `normalizer` has normalized. `version` is the index key's; its lowest
    /// byte goes into the token, so that a query can tell keys apart during rotation.
    ///
    /// # Errors
    /// [`TokenLengthMismatch`] unless `out` has [`TokenBits::bytes`] bytes.
    #[inline]
    pub fn equality_token(
        &self,
        version: i32,
        normalizer: Normalizer,
        normalized: &[u8],
        bits: TokenBits,
        out: &mut [u8],
    ) -> Result<(), TokenLengthMismatch> {
        if out.len() != bits.bytes() {
            return Err(TokenLengthMismatch);
        }
        let (v, rest) = out.split_first_mut().ok_or(TokenLengthMismatch)?;
        let mac = self.0.mac(&[normalizer.code()], normalized);
        *v = version.to_be_bytes()[3];
        rest.copy_from_slice(&mac[..rest.len()]);
        Ok(())
    }

    /// The token of one piece of a value (n-gram, prefix, digits of a range) at its level.
    #[inline]
    pub fn integer_token(&self, level: u16, piece: &[u8]) -> i64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0.mac(&level.to_be_bytes(), piece);
        i64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

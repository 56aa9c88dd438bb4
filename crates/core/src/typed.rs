//! Values of encrypted types: an envelope that names its type and carries a token to be found by.
//!
//! ```text
//! E3 ‖ flags(1) ‖ type_ref(4) ‖ [token(16)] ‖ envelope 0xE1     flags: bit 0, has a token; other bits 0
//! ```
//!
//! The envelope's context is the type's UUID as text, and its row id is everything before it, so the type and the
//! token are authenticated with the value: neither can be exchanged without the key.

use core::fmt;

use crate::envelope::{Envelope, FORMAT_XAES, FormatError, OVERHEAD};

/// First byte of a value.
pub const FORMAT_TYPED: u8 = 0xE3;

/// Bytes of a token within a value, its version byte included.
pub const TOKEN_LEN: usize = 16;

const HEAD_LEN: usize = 6;
const HAS_TOKEN: u8 = 1;

/// Longest prefix, that is what comes before the envelope.
pub const MAX_PREFIX_LEN: usize = HEAD_LEN + TOKEN_LEN;

/// Number of an encrypted type: random, positive, the same in every copy of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeRef(i32);

impl TypeRef {
    /// `None` unless `number` is positive.
    pub const fn new(number: i32) -> Option<Self> {
        if number > 0 { Some(Self(number)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> i32 {
        self.0
    }
}

/// Why bytes are no value of an encrypted type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypedError {
    /// The first byte is not [`FORMAT_TYPED`], or a flag is set that has no meaning.
    NotTyped,
    /// Too short for what the flags announce.
    Truncated,
    /// Zero or negative.
    InvalidTypeRef(i32),
    /// What follows the prefix is no randomised envelope.
    Envelope(FormatError),
}

impl fmt::Display for TypedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTyped => f.write_str("not a value of an encrypted type"),
            Self::Truncated => f.write_str("value of an encrypted type is truncated"),
            Self::InvalidTypeRef(number) => write!(f, "value has invalid type number {number}"),
            Self::Envelope(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TypedError {}

/// A well-formed value. Nothing in it is authenticated yet.
#[derive(Debug, Clone, Copy)]
pub struct TypedValue<'a> {
    /// The type it says it is of.
    pub type_ref: TypeRef,
    /// Its token, if it is searchable.
    pub token: Option<&'a [u8; TOKEN_LEN]>,
    /// Everything before the envelope: the envelope's row id.
    pub prefix: &'a [u8],
    /// The encrypted value.
    pub envelope: Envelope<'a>,
}

impl<'a> TypedValue<'a> {
    /// Takes `bytes` apart.
    ///
    /// # Errors
    /// [`TypedError`].
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TypedError> {
        let head = Head::parse(bytes)?;
        let (prefix, rest) = bytes
            .split_at_checked(head.prefix_len())
            .ok_or(TypedError::Truncated)?;
        if rest.first().is_some_and(|format| *format != FORMAT_XAES) {
            return Err(TypedError::Envelope(FormatError::UnknownFormat(rest[0])));
        }
        let envelope = Envelope::parse(rest).map_err(TypedError::Envelope)?;
        let token = if head.has_token {
            prefix.last_chunk::<TOKEN_LEN>()
        } else {
            None
        };
        Ok(Self {
            type_ref: head.type_ref,
            token,
            prefix,
            envelope,
        })
    }
}

/// Values inside of bytes that consist of others: an array, a row, a range, as PostgreSQL stores them once they are out of
/// TOAST. Bytes that only look like a value are found too, so ask whether there is such a type: then a number of 31 bits
/// would have to agree by chance as well.
pub fn values_within(bytes: &[u8]) -> impl Iterator<Item = TypedValue<'_>> {
    (0..bytes.len())
        .filter(|at| bytes[*at] == FORMAT_TYPED)
        .filter_map(|at| TypedValue::parse(&bytes[at..]).ok())
}

/// The first bytes of a value: enough to compare by token without reading the rest.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// The type it says it is of.
    pub type_ref: TypeRef,
    /// Whether a token follows.
    pub has_token: bool,
}

impl Head {
    /// Reads the head.
    ///
    /// # Errors
    /// [`TypedError`].
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, TypedError> {
        let head = match bytes {
            [FORMAT_TYPED, ..] => bytes.first_chunk::<HEAD_LEN>().ok_or(TypedError::Truncated)?,
            _ => return Err(TypedError::NotTyped),
        };
        let [_, flags, number @ ..] = *head;
        if flags & !HAS_TOKEN != 0 {
            return Err(TypedError::NotTyped);
        }
        let number = i32::from_be_bytes(number);
        let type_ref = TypeRef::new(number).ok_or(TypedError::InvalidTypeRef(number))?;
        Ok(Self {
            type_ref,
            has_token: flags & HAS_TOKEN != 0,
        })
    }

    /// The token of a value that has one. `bytes` must reach at least to its end.
    #[inline]
    pub fn token<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8; TOKEN_LEN]> {
        if !self.has_token {
            return None;
        }
        bytes.get(HEAD_LEN..)?.first_chunk()
    }

    /// Bytes before the envelope.
    #[inline]
    pub const fn prefix_len(&self) -> usize {
        HEAD_LEN + if self.has_token { TOKEN_LEN } else { 0 }
    }
}

/// What comes before the envelope of a new value.
#[derive(Clone, Copy)]
pub struct Prefix {
    bytes: [u8; MAX_PREFIX_LEN],
    len: usize,
}

impl Prefix {
    /// The prefix of a value of a type, with its token if the type is searchable.
    #[inline]
    pub fn new(type_ref: TypeRef, token: Option<&[u8; TOKEN_LEN]>) -> Self {
        let head = Head {
            type_ref,
            has_token: token.is_some(),
        };
        let mut bytes = [0; MAX_PREFIX_LEN];
        bytes[0] = FORMAT_TYPED;
        bytes[1] = if head.has_token { HAS_TOKEN } else { 0 };
        bytes[2..HEAD_LEN].copy_from_slice(&type_ref.get().to_be_bytes());
        if let Some(token) = token {
            bytes[HEAD_LEN..].copy_from_slice(token);
        }
        Self {
            bytes,
            len: head.prefix_len(),
        }
    }

    /// Its bytes: the beginning of the value, and the row id of the envelope.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Bytes of a value with this prefix beyond its plaintext: 46, or 62 with a token.
    #[inline]
    pub const fn overhead(&self) -> usize {
        self.len + OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Sealer, TypeCode, ValueKey};
    use crate::key::{DataKey, KeyId};

    const UUID: &[u8] = b"00010203-0405-0607-0809-0a0b0c0d0e0f";

    fn key() -> ValueKey {
        ValueKey::derive(&DataKey::from_bytes([7; 32]), UUID)
    }

    fn sealed(token: Option<&[u8; TOKEN_LEN]>, plaintext: &[u8]) -> Vec<u8> {
        let prefix = Prefix::new(TypeRef::new(0x0102_0304).unwrap(), token);
        let mut value = vec![0; prefix.overhead() + plaintext.len()];
        let (front, envelope) = value.split_at_mut(prefix.as_bytes().len());
        front.copy_from_slice(prefix.as_bytes());
        Sealer::new(key().epoch_key(&[9; 16]))
            .seal_into(
                TypeCode::Text,
                false,
                KeyId::new(7).unwrap(),
                prefix.as_bytes(),
                plaintext,
                envelope,
            )
            .unwrap();
        value
    }

    fn open(value: &[u8]) -> Option<Vec<u8>> {
        let value = TypedValue::parse(value).ok()?;
        let mut out = vec![0; value.envelope.plaintext_len()];
        let key = key().epoch_key(value.envelope.epoch()?);
        key.open_into(&value.envelope, value.prefix, &mut out).ok()?;
        Some(out)
    }

    #[test]
    fn values_are_found_within_what_consists_of_them() {
        let (short, long) = (sealed(None, b""), sealed(Some(&[FORMAT_TYPED; 16]), b"long"));
        let parts: [&[u8]; 5] = [
            &[1, FORMAT_TYPED, 0, 0],
            &short,
            &[0; 3],
            &long,
            &[FORMAT_TYPED; 2],
        ];
        let all = parts.concat();
        let found: Vec<_> = values_within(&all)
            .filter(|value| value.type_ref.get() == 0x0102_0304)
            .map(|value| (value.token.is_some(), value.envelope.header().key_id.get()))
            .collect();
        assert_eq!(found, [(false, 7), (true, 7)]);
        assert_eq!(
            values_within(&long[1..])
                .filter(|value| value.type_ref.get() == 0x0102_0304)
                .count(),
            0
        );
        assert_eq!(values_within(&[]).count(), 0);
    }

    #[test]
    fn overhead_is_46_or_62_bytes() {
        assert_eq!(sealed(None, b"").len(), 46);
        assert_eq!(sealed(Some(&[5; 16]), b"").len(), 62);
    }

    #[test]
    fn values_open_and_every_changed_bit_is_noticed() {
        for token in [None, Some([5; 16])] {
            let value = sealed(token.as_ref(), b"alice@example.com");
            assert_eq!(open(&value).as_deref(), Some(&b"alice@example.com"[..]));
            assert_eq!(TypedValue::parse(&value).unwrap().token, token.as_ref());
            for bit in 0..value.len() * 8 {
                let mut altered = value.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(
                    open(&altered),
                    None,
                    "bit {bit} of a value with token {}",
                    token.is_some()
                );
            }
        }
    }

    #[test]
    fn every_truncation_is_malformed_or_fails_to_authenticate() {
        let value = sealed(Some(&[5; 16]), b"x");
        for len in 0..value.len() {
            assert_eq!(open(&value[..len]), None, "{len} bytes");
        }
        assert_eq!(TypedValue::parse(&[]).unwrap_err(), TypedError::NotTyped);
        assert_eq!(
            TypedValue::parse(&value[..21]).unwrap_err(),
            TypedError::Truncated
        );
    }

    #[test]
    fn the_head_is_enough_for_the_token() {
        let value = sealed(Some(&[5; 16]), b"x");
        let head = Head::parse(&value[..MAX_PREFIX_LEN]).unwrap();
        assert_eq!(head.token(&value[..MAX_PREFIX_LEN]), Some(&[5; 16]));
        assert_eq!(head.token(&value[..MAX_PREFIX_LEN - 1]), None);
    }

    #[test]
    fn unknown_flags_and_bad_type_numbers_are_refused() {
        let mut value = sealed(None, b"x");
        value[1] = 2;
        assert_eq!(TypedValue::parse(&value).unwrap_err(), TypedError::NotTyped);
        value[1] = 0;
        value[2..6].copy_from_slice(&[0; 4]);
        assert_eq!(
            TypedValue::parse(&value).unwrap_err(),
            TypedError::InvalidTypeRef(0)
        );
        value[2..6].copy_from_slice(&[0xff; 4]);
        assert_eq!(
            TypedValue::parse(&value).unwrap_err(),
            TypedError::InvalidTypeRef(-1)
        );
    }
}

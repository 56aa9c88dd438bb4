//! The six bytes in front of every envelope.

use core::fmt;

use super::{FORMAT_SIV, FORMAT_XAES, FormatError, OVERHEAD, SIV_OVERHEAD};
use crate::key::KeyId;

/// Bytes in a header.
pub const HEADER_LEN: usize = 6;

const ROW_BOUND: u8 = 0b100;
const HAS_CONTEXT: u8 = 0b010;
const COMPRESSED: u8 = 0b001;
const TYPE_SHIFT: u8 = 3;

/// How a value is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// XAES-256-GCM under a nonce epoch and counter.
    Xaes,
    /// AES-256-SIV, deterministic.
    Siv,
}

impl Format {
    /// The first byte of an envelope.
    #[inline]
    pub const fn code(self) -> u8 {
        match self {
            Self::Xaes => FORMAT_XAES,
            Self::Siv => FORMAT_SIV,
        }
    }

    /// Bytes that an envelope is longer than its plaintext.
    #[inline]
    pub const fn overhead(self) -> usize {
        match self {
            Self::Xaes => OVERHEAD,
            Self::Siv => SIV_OVERHEAD,
        }
    }

    #[inline]
    pub(super) const fn from_code(code: u8) -> Option<Self> {
        match code {
            FORMAT_XAES => Some(Self::Xaes),
            FORMAT_SIV => Some(Self::Siv),
            _ => None,
        }
    }
}

macro_rules! type_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// The type of the plaintext: what its bytes mean.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum TypeCode { $($(#[$doc])* $name = $code,)* }

        impl TypeCode {
            /// All type codes, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }

        impl TryFrom<u8> for TypeCode {
            type Error = UnknownTypeCode;

            #[inline]
            fn try_from(code: u8) -> Result<Self, UnknownTypeCode> {
                match code {
                    $($code => Ok(Self::$name),)*
                    _ => Err(UnknownTypeCode(code)),
                }
            }
        }
    };
}

type_codes! {
    /// `bytea`, as it is.
    Bytea = 0,
    /// All character types, and every type not listed here in its text form. In the database's encoding.
    Text = 1,
    /// `boolean`, one byte.
    Bool = 2,
    /// `int2`, `int4`, `int8`: 8 bytes.
    Int = 3,
    /// `numeric` in its text form.
    Numeric = 4,
    /// `float4`, `float8`: 8 bytes, IEEE 754.
    Float = 5,
    /// `date`: 4 bytes, days since 2000-01-01.
    Date = 6,
    /// `timestamp`: 8 bytes, microseconds since 2000-01-01.
    Timestamp = 7,
    /// `timestamptz`: 8 bytes, microseconds since 2000-01-01 UTC.
    TimestampTz = 8,
    /// `uuid`: 16 bytes.
    Uuid = 9,
    /// `json` in its text form.
    Json = 10,
    /// `jsonb` in its text form.
    Jsonb = 11,
    /// `inet`, `cidr` in their text form.
    Inet = 12,
}

impl TypeCode {
    /// The five bits that stand for the type.
    #[inline]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// A number that names no [`TypeCode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownTypeCode(
    /// The number.
    pub u8,
);

impl fmt::Display for UnknownTypeCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown type code {}", self.0)
    }
}

impl std::error::Error for UnknownTypeCode {}

/// What an envelope says about itself. Authenticated with the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// How the value is sealed.
    pub format: Format,
    /// What the plaintext's bytes mean.
    pub type_code: TypeCode,
    /// The value is bound to a row: opening it needs that row's id.
    pub row_bound: bool,
    /// The value is bound to a context that is not empty.
    pub has_context: bool,
    /// The plaintext is compressed (see [`compress`](crate::compress)).
    pub compressed: bool,
    /// The key that sealed the value.
    pub key_id: KeyId,
}

impl Header {
    /// `format(1) ‖ ttttt r c z ‖ key_id(4)`.
    #[inline]
    pub const fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut flags = self.type_code.code() << TYPE_SHIFT;
        if self.row_bound {
            flags |= ROW_BOUND;
        }
        if self.has_context {
            flags |= HAS_CONTEXT;
        }
        if self.compressed {
            flags |= COMPRESSED;
        }
        let [a, b, c, d] = self.key_id.to_be_bytes();
        [self.format.code(), flags, a, b, c, d]
    }

    /// The inverse of [`to_bytes`](Self::to_bytes), after the format byte was understood.
    #[inline]
    pub(super) fn from_parts(format: Format, flags: u8, key_id: [u8; 4]) -> Result<Self, FormatError> {
        let type_code =
            TypeCode::try_from(flags >> TYPE_SHIFT).map_err(|error| FormatError::UnknownType(error.0))?;
        let key_id = i32::from_be_bytes(key_id);
        let key_id = KeyId::new(key_id).ok_or(FormatError::InvalidKeyId(key_id))?;
        Ok(Self {
            format,
            type_code,
            row_bound: flags & ROW_BOUND != 0,
            has_context: flags & HAS_CONTEXT != 0,
            compressed: flags & COMPRESSED != 0,
            key_id,
        })
    }
}

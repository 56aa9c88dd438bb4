//! Strict decoding: structure only, no key needed.

use core::fmt;

use super::header::{Format, HEADER_LEN, Header};
use super::{EPOCH_LEN, SIV_OVERHEAD};
use crate::gcm::TAG_LEN;

/// Why bytes are no envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatError {
    /// The first byte names no format.
    UnknownFormat(u8),
    /// Too short for its format.
    Truncated {
        /// Bytes that were given.
        length: usize,
        /// Bytes in the shortest envelope of the format (of any format, if there is no first byte).
        minimum: usize,
    },
    /// The type bits name no type.
    UnknownType(u8),
    /// Zero or negative, so no key has it.
    InvalidKeyId(i32),
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFormat(byte) => write!(f, "unknown envelope format 0x{byte:02x}"),
            Self::Truncated { length, minimum } => {
                write!(
                    f,
                    "envelope of {length} bytes is truncated, at least {minimum} are needed"
                )
            }
            Self::UnknownType(code) => write!(f, "envelope has unknown type code {code}"),
            Self::InvalidKeyId(id) => write!(f, "envelope has invalid key id {id}"),
        }
    }
}

impl std::error::Error for FormatError {}

/// A well-formed envelope. Nothing in it is authenticated yet.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    header: Header,
    header_bytes: &'a [u8; HEADER_LEN],
    /// Epoch and counter; `None` for a deterministic value.
    nonce: Option<(&'a [u8; EPOCH_LEN], u16)>,
    ciphertext: &'a [u8],
    tag: &'a [u8; TAG_LEN],
}

impl<'a> Envelope<'a> {
    /// Takes `bytes` apart. Format first, then length, type, key id; every byte belongs to exactly one part.
    ///
    /// # Errors
    /// [`FormatError`], one variant per cause.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let Some(&first) = bytes.first() else {
            return Err(FormatError::Truncated {
                length: 0,
                minimum: SIV_OVERHEAD,
            });
        };
        let format = Format::from_code(first).ok_or(FormatError::UnknownFormat(first))?;
        let truncated = FormatError::Truncated {
            length: bytes.len(),
            minimum: format.overhead(),
        };

        let (header_bytes, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(truncated)?;
        let (nonce, ciphertext, tag) = match format {
            Format::Xaes => {
                let (epoch, rest) = rest.split_first_chunk::<EPOCH_LEN>().ok_or(truncated)?;
                let (counter, rest) = rest.split_first_chunk::<2>().ok_or(truncated)?;
                let (ciphertext, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(truncated)?;
                (Some((epoch, u16::from_be_bytes(*counter))), ciphertext, tag)
            }
            Format::Siv => {
                let (tag, ciphertext) = rest.split_first_chunk::<TAG_LEN>().ok_or(truncated)?;
                (None, ciphertext, tag)
            }
        };

        let [_, flags, id @ ..] = *header_bytes;
        let header = Header::from_parts(format, flags, id)?;
        Ok(Self {
            header,
            header_bytes,
            nonce,
            ciphertext,
            tag,
        })
    }

    /// What the envelope says about itself.
    #[inline]
    pub const fn header(&self) -> Header {
        self.header
    }

    /// The nonce epoch R, by which a caller finds the derived key again. `None` for a deterministic value.
    #[inline]
    pub fn epoch(&self) -> Option<&'a [u8; EPOCH_LEN]> {
        self.nonce.map(|(epoch, _)| epoch)
    }

    /// The counter in the epoch. `None` for a deterministic value.
    #[inline]
    pub fn counter(&self) -> Option<u16> {
        self.nonce.map(|(_, counter)| counter)
    }

    /// The encrypted plaintext, of the same length.
    #[inline]
    pub const fn ciphertext(&self) -> &'a [u8] {
        self.ciphertext
    }

    /// Bytes in the plaintext (of its compressed form, if it is compressed).
    #[inline]
    pub const fn plaintext_len(&self) -> usize {
        self.ciphertext.len()
    }

    /// The header as it was read, for the associated data.
    #[inline]
    pub(crate) const fn header_bytes(&self) -> &'a [u8; HEADER_LEN] {
        self.header_bytes
    }

    /// GCM's tag or SIV's synthetic IV.
    #[inline]
    pub(crate) const fn tag(&self) -> &'a [u8; TAG_LEN] {
        self.tag
    }
}

//! Sealing and opening under one context's key.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{EPOCH_LEN, Envelope, Format, HEADER_LEN, Header, TypeCode};
use crate::gcm::{AssociatedData, AuthenticationFailed, MessageKey, TAG_LEN};
use crate::kdf;
use crate::key::{DataKey, KEY_LEN, KeyId};
use crate::xaes::{PREFIX_LEN, SUFFIX_LEN, XaesKey};

const LABEL: &[u8] = b"pg_encrypt/v1/value";

/// Why a value was not sealed. Whatever the caller's buffer holds then must not be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealError {
    /// All 65,536 counters of the epoch are used: draw a new epoch.
    EpochExhausted,
    /// The output buffer does not have exactly the plaintext's length and the format's overhead.
    OutputLength,
    /// The plaintext is longer than the cipher allows.
    TooLong,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EpochExhausted => "nonce epoch is used up",
            Self::OutputLength => "output buffer has the wrong length",
            Self::TooLong => "plaintext is too long for the cipher",
        })
    }
}

impl std::error::Error for SealError {}

/// The key of one context, `K_value`, from which each epoch's key is derived. Inline, wiped on drop.
pub struct ValueKey {
    key: XaesKey,
    has_context: bool,
}

impl ZeroizeOnDrop for ValueKey {}

impl ValueKey {
    /// Derives the key of one context (UTF-8, possibly empty) from a data key of purpose `column`.
    pub fn derive(data_key: &DataKey, context: &[u8]) -> Self {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        kdf::expand(data_key.expose(), &[LABEL, &[0], context], &mut key);
        Self {
            key: XaesKey::from_bytes(&key),
            has_context: !context.is_empty(),
        }
    }

    /// The key of one epoch. To seal, `epoch` must come fresh from [`random`](crate::random); to open, it is the
    /// envelope's.
    #[inline]
    pub fn epoch_key(&self, epoch: &[u8; EPOCH_LEN]) -> EpochKey {
        let [prefix @ .., _, _, _, _] = *epoch;
        EpochKey {
            key: self.key.derive(&prefix),
            epoch: *epoch,
            has_context: self.has_context,
        }
    }
}

/// The key of one context and epoch. Inline, wiped on drop.
pub struct EpochKey {
    key: MessageKey,
    epoch: [u8; EPOCH_LEN],
    has_context: bool,
}

impl ZeroizeOnDrop for EpochKey {}

impl EpochKey {
    /// The epoch R that this key belongs to.
    #[inline]
    pub const fn epoch(&self) -> &[u8; EPOCH_LEN] {
        &self.epoch
    }

    /// Opens `envelope` into `out`, which has exactly [`Envelope::plaintext_len`] bytes. `row_id` is the id that the
    /// value was sealed with, empty for none.
    ///
    /// # Errors
    /// [`AuthenticationFailed`] for another key, context, epoch or row, altered bytes, an envelope of the other format
    /// or an `out` of another length; `out` is then wiped.
    #[inline]
    pub fn open_into(
        &self,
        envelope: &Envelope<'_>,
        row_id: &[u8],
        out: &mut [u8],
    ) -> Result<(), AuthenticationFailed> {
        let opened = self.try_open_into(envelope, row_id, out);
        if opened.is_err() {
            out.zeroize();
        }
        opened
    }

    #[inline]
    fn try_open_into(
        &self,
        envelope: &Envelope<'_>,
        row_id: &[u8],
        out: &mut [u8],
    ) -> Result<(), AuthenticationFailed> {
        let (Some(epoch), Some(counter)) = (envelope.epoch(), envelope.counter()) else {
            return Err(AuthenticationFailed);
        };
        if *epoch != self.epoch {
            return Err(AuthenticationFailed);
        }
        self.key.open(
            &self.nonce_suffix(counter),
            AssociatedData::new(envelope.header_bytes(), row_id),
            envelope.ciphertext(),
            envelope.tag(),
            out,
        )
    }

    /// The last 12 bytes of the nonce: `R[12..16] ‖ 00 00 00 00 00 00 ‖ n(2)`.
    #[inline]
    fn nonce_suffix(&self, counter: u16) -> [u8; SUFFIX_LEN] {
        let mut suffix = [0; SUFFIX_LEN];
        suffix[..EPOCH_LEN - PREFIX_LEN].copy_from_slice(&self.epoch[PREFIX_LEN..]);
        suffix[SUFFIX_LEN - 2..].copy_from_slice(&counter.to_be_bytes());
        suffix
    }
}

/// Seals values under one epoch, each with the next counter. Inline, wiped on drop.
///
/// There must be one sealer per epoch: two would use the same nonces.
pub struct Sealer {
    key: EpochKey,
    /// `None` once counter 65,535 was used.
    next: Option<u16>,
}

impl ZeroizeOnDrop for Sealer {}

impl Sealer {
    /// A sealer whose first value has counter 0. `key`'s epoch must be fresh.
    #[inline]
    pub const fn new(key: EpochKey) -> Self {
        Self::with_counter(key, 0)
    }

    /// A sealer that starts at another counter. For test vectors only: a counter that is used twice gives both values
    /// away.
    #[inline]
    pub const fn with_counter(key: EpochKey, counter: u16) -> Self {
        Self {
            key,
            next: Some(counter),
        }
    }

    /// The key, to open values of the same epoch.
    #[inline]
    pub const fn epoch_key(&self) -> &EpochKey {
        &self.key
    }

    /// Seals `plaintext` into `out`, which has room for exactly [`OVERHEAD`](super::OVERHEAD) bytes more. An empty
    /// `row_id` binds the value to no row. `compressed` says that the plaintext comes from
    /// [`compress`](crate::compress::compress).
    ///
    /// # Errors
    /// [`SealError`]. A counter is used up by an attempt that passed the length check, never used again.
    #[inline]
    pub fn seal_into(
        &mut self,
        type_code: TypeCode,
        compressed: bool,
        key_id: KeyId,
        row_id: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<(), SealError> {
        let header = Header {
            format: Format::Xaes,
            type_code,
            row_bound: !row_id.is_empty(),
            has_context: self.key.has_context,
            compressed,
            key_id,
        };
        let header = header.to_bytes();
        let (head, body, tail) = split(out).ok_or(SealError::OutputLength)?;
        if body.len() != plaintext.len() {
            return Err(SealError::OutputLength);
        }
        let counter = self.next.ok_or(SealError::EpochExhausted)?;
        self.next = counter.checked_add(1);

        head[..HEADER_LEN].copy_from_slice(&header);
        head[HEADER_LEN..HEADER_LEN + EPOCH_LEN].copy_from_slice(&self.key.epoch);
        head[HEADER_LEN + EPOCH_LEN..].copy_from_slice(&counter.to_be_bytes());
        let nonce = self.key.nonce_suffix(counter);
        let tag = self
            .key
            .key
            .seal(&nonce, AssociatedData::new(&header, row_id), plaintext, body);
        *tail = tag.map_err(|_| SealError::TooLong)?;
        Ok(())
    }
}

const FRONT_LEN: usize = HEADER_LEN + EPOCH_LEN + 2;

/// Front, body and tag of an envelope that is being written.
#[inline]
fn split(out: &mut [u8]) -> Option<(&mut [u8; FRONT_LEN], &mut [u8], &mut [u8; TAG_LEN])> {
    let (front, rest) = out.split_first_chunk_mut::<FRONT_LEN>()?;
    let (body, tail) = rest.split_last_chunk_mut::<TAG_LEN>()?;
    Some((front, body, tail))
}

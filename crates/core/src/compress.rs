//! Compression inside an envelope: `u32 original length ‖ LZ4 block` takes the plaintext's place.
//!
//! Off by default, because the length of a compressed value tells about its content.

use core::fmt;

/// Shorter values are never compressed.
pub const MIN_LEN: usize = 1024;

const LENGTH_LEN: usize = 4;
/// One byte of an LZ4 block stands for at most 255 bytes of output; a block that claims more is malformed.
const MAX_RATIO: usize = 255;

/// Why an authenticated, compressed plaintext could not be expanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionError {
    /// Shorter than its length field.
    Truncated,
    /// The original is longer than the caller's cap. Nothing was allocated.
    TooLong {
        /// Bytes that the value claims to expand to.
        length: usize,
        /// Bytes that the caller allowed.
        cap: usize,
    },
    /// Not an LZ4 block of the claimed length.
    Malformed,
    /// No memory for the original.
    OutOfMemory {
        /// Bytes that were asked for.
        length: usize,
    },
}

impl fmt::Display for CompressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("compressed value is truncated"),
            Self::TooLong { length, cap } => {
                write!(
                    f,
                    "compressed value expands to {length} bytes, more than the limit of {cap}"
                )
            }
            Self::Malformed => f.write_str("compressed value is malformed"),
            Self::OutOfMemory { length } => write!(f, "no memory for {length} bytes of expanded value"),
        }
    }
}

impl std::error::Error for CompressionError {}

/// Compresses a plaintext of more than [`MIN_LEN`] bytes; `None` if it is shorter, if the result would not save an eighth,
/// or if there is no memory to try.
pub fn compress(plaintext: &[u8]) -> Option<Vec<u8>> {
    if plaintext.len() <= MIN_LEN {
        return None;
    }
    let length = u32::try_from(plaintext.len()).ok()?;
    let most = LENGTH_LEN + lz4_flex::block::get_maximum_output_size(plaintext.len());
    let mut out = Vec::new();
    out.try_reserve_exact(most).ok()?;
    out.resize(most, 0);
    out[..LENGTH_LEN].copy_from_slice(&length.to_be_bytes());
    let block = lz4_flex::block::compress_into(plaintext, &mut out[LENGTH_LEN..]).ok()?;
    out.truncate(LENGTH_LEN + block);
    (out.len() <= plaintext.len() - plaintext.len() / 8).then_some(out)
}

/// Expands what [`compress`] made, to at most `cap` bytes.
///
/// # Errors
/// [`CompressionError`]; the length field is checked against `cap` and against what LZ4 can reach before anything is
/// allocated.
pub fn decompress(compressed: &[u8], cap: usize) -> Result<Vec<u8>, CompressionError> {
    let (length, block) = compressed
        .split_first_chunk::<LENGTH_LEN>()
        .ok_or(CompressionError::Truncated)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > cap {
        return Err(CompressionError::TooLong { length, cap });
    }
    if length > block.len().saturating_mul(MAX_RATIO) {
        return Err(CompressionError::Malformed);
    }
    let mut out = Vec::new();
    out.try_reserve_exact(length)
        .map_err(|_| CompressionError::OutOfMemory { length })?;
    out.resize(length, 0);
    match lz4_flex::block::decompress_into(block, &mut out) {
        Ok(written) if written == length => Ok(out),
        Ok(_) | Err(_) => Err(CompressionError::Malformed),
    }
}

//! `header(6) ‖ row_id` as one slice.

use super::HEADER_LEN;

/// Row ids up to this many bytes are joined with the header on the stack.
const INLINE_ROW_ID: usize = 256;

/// The associated data of a value. Row ids are primary keys and nearly always short, so the common case allocates
/// nothing.
pub(crate) enum AssociatedData {
    Inline {
        bytes: [u8; HEADER_LEN + INLINE_ROW_ID],
        len: usize,
    },
    Heap(Vec<u8>),
}

impl AssociatedData {
    #[inline]
    pub(crate) fn new(header: &[u8; HEADER_LEN], row_id: &[u8]) -> Self {
        let len = HEADER_LEN + row_id.len();
        if row_id.len() <= INLINE_ROW_ID {
            let mut bytes = [0; HEADER_LEN + INLINE_ROW_ID];
            bytes[..HEADER_LEN].copy_from_slice(header);
            bytes[HEADER_LEN..len].copy_from_slice(row_id);
            Self::Inline { bytes, len }
        } else {
            let mut bytes = Vec::with_capacity(len);
            bytes.extend_from_slice(header);
            bytes.extend_from_slice(row_id);
            Self::Heap(bytes)
        }
    }
}

impl AsRef<[u8]> for AssociatedData {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Inline { bytes, len } => &bytes[..*len],
            Self::Heap(bytes) => bytes,
        }
    }
}

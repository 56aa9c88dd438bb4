//! Copies of sort keys in a ring: the newest are there, older ones are overwritten, and of each it is known which.

use pgrx::pg_sys::{self, Datum};

/// A buffer of fixed size in a sort's memory, allocated with the first key.
///
/// Positions count on as if the buffer were endless; the byte is at the position modulo the size. So a key is still
/// there exactly if it begins less than one size behind the end.
pub struct Ring {
    context: pg_sys::MemoryContext,
    start: *mut u8,
    size: u64,
    end: u64,
}

/// The position of a key, counted from 1, so that 0 is no place.
#[derive(Clone, Copy)]
pub struct Place(u64);

/// Keys are aligned as PostgreSQL aligns datums.
const ALIGN: usize = 8;

impl Ring {
    pub fn new(context: pg_sys::MemoryContext, size: usize) -> Self {
        // PostgreSQL allocates less than 1 GB at once.
        let size = (size.min(1 << 29) / ALIGN * ALIGN) as u64;
        Self {
            context,
            start: std::ptr::null_mut(),
            size,
            end: 0,
        }
    }

    /// Copies a key that is passed by reference; `length` is its type's, -1 for a varlena. No place if it is too large.
    pub fn put(&mut self, key: Datum, length: i16) -> Place {
        // SAFETY: a datum of that length, by its type; the copy is within the buffer, since it does not wrap.
        unsafe {
            let source: *const u8 = key.cast_mut_ptr();
            let bytes = match usize::try_from(length) {
                Ok(length) => length,
                Err(_) => pgrx::varlena::varsize_any(source.cast()),
            };
            let room = bytes.next_multiple_of(ALIGN) as u64;
            if room > self.size {
                return Place(0);
            }
            if self.start.is_null() {
                self.start = pg_sys::MemoryContextAlloc(self.context, self.size as usize).cast();
            }
            let left = self.size - self.end % self.size;
            if room > left {
                // Keys are in one piece: the rest of this round stays empty.
                self.end += left;
            }
            let position = self.end;
            self.end += room;
            std::ptr::copy_nonoverlapping(source, self.start.add((position % self.size) as usize), bytes);
            Place(position + 1)
        }
    }

    /// A key that is still there.
    #[inline]
    pub fn get(&self, place: Place) -> Option<Datum> {
        let position = place.0.checked_sub(1)?;
        let is_there = position < self.end && self.end - position <= self.size;
        // SAFETY: whoever has a place got it from `put`, which allocated the buffer and copied a key to it.
        is_there.then(|| Datum::from(unsafe { self.start.add((position % self.size) as usize) }))
    }
}

impl From<Place> for u64 {
    fn from(place: Place) -> Self {
        place.0
    }
}

impl From<u64> for Place {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

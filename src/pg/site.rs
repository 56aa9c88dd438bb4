//! Memory that belongs to one call site: one function in one plan (`FmgrInfo.fn_extra`).

use super::raw;
use pgrx::pg_sys;

/// Something a call site may remember. It is freed with the plan without running `Drop`, hence no drop glue:
/// keep indexes and plain bytes in it, never handles.
pub trait Site: Default + 'static {
    /// Fails to compile for types that would leak.
    const PLAIN: () = assert!(!std::mem::needs_drop::<Self>());
}

/// # Safety
/// `flinfo` must be valid, and every call with it must use the same `T`.
#[inline(always)]
pub(super) unsafe fn of<'a, T: Site>(flinfo: *mut pg_sys::FmgrInfo) -> &'a mut T {
    let () = T::PLAIN;
    // SAFETY: fn_extra is ours alone; fn_mcxt lives as long as flinfo.
    unsafe {
        if (*flinfo).fn_extra.is_null() {
            begin::<T>(flinfo);
        }
        &mut *(*flinfo).fn_extra.cast::<T>()
    }
}

/// # Safety
/// As [`of`].
#[inline(never)]
unsafe fn begin<T: Site>(flinfo: *mut pg_sys::FmgrInfo) {
    // SAFETY: per contract.
    unsafe {
        let place = new::<T>((*flinfo).fn_mcxt);
        place.write(T::default());
        (*flinfo).fn_extra = place.cast();
    }
}

/// Statements of one row have a call site for one value: without the guard, unless memory is short.
///
/// # Safety
/// A memory context.
#[inline]
unsafe fn new<T>(memory: pg_sys::MemoryContext) -> *mut T {
    let size = std::mem::size_of::<T>().max(1);
    // SAFETY: with NO_OOM it returns null for want of memory, and raises for larger sizes only. The other then says so.
    unsafe {
        let place = raw::MemoryContextAllocExtended(memory, size, pg_sys::MCXT_ALLOC_NO_OOM as i32);
        match place.is_null() {
            false => place.cast(),
            true => pg_sys::MemoryContextAlloc(memory, size).cast(),
        }
    }
}

/// Up to `N` bytes remembered for comparison with the next call's argument. Longer ones are not remembered:
/// such a call takes the slow way each time.
#[derive(Clone, Copy)]
pub struct Remembered<const N: usize> {
    len: u16,
    bytes: [u8; N],
}

impl<const N: usize> Default for Remembered<N> {
    fn default() -> Self {
        // A length that no argument has: nothing is remembered yet.
        Self {
            len: u16::MAX,
            bytes: [0; N],
        }
    }
}

impl<const N: usize> Remembered<N> {
    #[inline]
    pub fn is(&self, bytes: &[u8]) -> bool {
        self.len as usize == bytes.len() && self.bytes.get(..bytes.len()) == Some(bytes)
    }

    pub fn set(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.len = bytes.len() as u16;
            }
            None => self.len = u16::MAX,
        }
    }
}

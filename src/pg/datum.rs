//! What a datum holds. Datums come from the executor, with the type that the SQL declaration or the catalog says; that
//! they do is the one thing these functions trust.

use super::call::{MAX_VARLENA, TooLarge};
use super::raw;
use pgrx::datum::{FromDatum, Interval};
use pgrx::pg_sys::{self, Datum};
use std::ffi::CStr;

/// Memory in the current memory context, for no more than [`MAX_VARLENA`] bytes.
#[inline]
fn allocate(size: usize) -> *mut u8 {
    // SAFETY: with NO_OOM it returns null for want of memory, and raises for larger sizes only. Palloc then says so.
    unsafe {
        let place = raw::palloc_extended(size, pg_sys::MCXT_ALLOC_NO_OOM as i32);
        match place.is_null() {
            false => place.cast(),
            true => pg_sys::palloc(size).cast(),
        }
    }
}

/// The content of a varlena (text, bytea, our own types), without its header, out of TOAST if it was there.
#[inline(always)]
pub fn varlena_bytes<'a>(datum: Datum) -> &'a [u8] {
    // SAFETY: a varlena, by its type; only compressed or external values need the (guarded, slower) call.
    unsafe {
        let pointer: *mut pg_sys::varlena = datum.cast_mut_ptr();
        match is_plain(pointer) {
            true => content(pointer),
            false => detoasted(pointer),
        }
    }
}

/// # Safety
/// A varlena.
#[cold]
unsafe fn detoasted<'a>(pointer: *mut pg_sys::varlena) -> &'a [u8] {
    // SAFETY: per contract; what comes back is plain.
    unsafe { content(pg_sys::pg_detoast_datum_packed(pointer)) }
}

/// Whether two varlenas have the same content. A value that is stored out of line and was left alone is the same pointer in the
/// old and in the new row, and is not fetched.
pub fn same_varlenas(a: Datum, b: Datum) -> bool {
    // SAFETY: varlenas, by their type; as many bytes are there as their headers say.
    let stored = |datum: Datum| unsafe {
        let pointer = datum.cast_mut_ptr::<pg_sys::varlena>();
        std::slice::from_raw_parts(pointer.cast::<u8>(), pgrx::varlena::varsize_any(pointer))
    };
    stored(a) == stored(b) || varlena_bytes(a) == varlena_bytes(b)
}

/// The first `len` bytes of a varlena's content, or all if it is shorter; of an external value only those are read.
#[inline]
pub fn varlena_head<'a>(datum: Datum, len: usize) -> &'a [u8] {
    // SAFETY: as above.
    unsafe {
        let mut pointer: *mut pg_sys::varlena = datum.cast_mut_ptr();
        if !is_plain(pointer) {
            pointer = pg_sys::pg_detoast_datum_slice(pointer, 0, len as i32);
        }
        let content = content(pointer);
        content.get(..len).unwrap_or(content)
    }
}

/// Lets the processor fetch what is to be read soon.
#[inline(always)]
pub fn prefetch(byte: &u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which changes nothing.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(byte).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = byte;
}

/// Whether the content can be read where it is.
#[inline]
unsafe fn is_plain(pointer: *const pg_sys::varlena) -> bool {
    // SAFETY: looks at the header only.
    unsafe {
        pgrx::varlena::varatt_is_4b_u(pointer)
            || (pgrx::varlena::varatt_is_1b(pointer) && !pgrx::varlena::varatt_is_1b_e(pointer))
    }
}

#[inline]
unsafe fn content<'a>(pointer: *const pg_sys::varlena) -> &'a [u8] {
    // SAFETY: a plain varlena.
    unsafe {
        let len = pgrx::varlena::varsize_any_exhdr(pointer);
        std::slice::from_raw_parts(pgrx::varlena::vardata_any(pointer).cast::<u8>(), len)
    }
}

/// Allocates a varlena of `len` content bytes in the current memory context. The content must be written in full.
#[inline]
pub fn new_varlena<'a>(len: usize) -> Result<(Datum, &'a mut [u8]), TooLarge> {
    let size = len
        .checked_add(pg_sys::VARHDRSZ)
        .filter(|size| *size <= MAX_VARLENA)
        .ok_or(TooLarge)?;
    // SAFETY: that many bytes were allocated; zeroing large results would cost, so the caller writes all.
    unsafe {
        let pointer = allocate(size);
        pgrx::varlena::set_varsize_4b(pointer.cast(), size as i32);
        let content = std::slice::from_raw_parts_mut(pointer.add(pg_sys::VARHDRSZ), len);
        Ok((Datum::from(pointer), content))
    }
}

/// A varlena with a copy of `content`.
#[inline]
pub fn varlena_from(content: &[u8]) -> Result<Datum, TooLarge> {
    let (datum, out) = new_varlena(content.len())?;
    out.copy_from_slice(content);
    Ok(datum)
}

/// Allocates a terminated string of `len` bytes in the current memory context: what output functions return. The content
/// must be written in full. It is an allocation of its own, because callers (`array_out`) free it.
#[inline]
pub fn new_cstring<'a>(len: usize) -> Result<(Datum, &'a mut [u8]), TooLarge> {
    if len >= MAX_VARLENA {
        return Err(TooLarge);
    }
    // SAFETY: that many bytes were allocated, and one for the end.
    unsafe {
        let pointer = allocate(len + 1);
        pointer.add(len).write(0);
        Ok((Datum::from(pointer), std::slice::from_raw_parts_mut(pointer, len)))
    }
}

/// A terminated string with a copy of `text`.
pub fn cstring_from(text: &[u8]) -> Result<Datum, TooLarge> {
    let (datum, out) = new_cstring(text.len())?;
    out.copy_from_slice(text);
    Ok(datum)
}

/// The bytes of a C string argument, as input functions get it.
#[inline]
pub fn cstring_bytes<'a>(datum: Datum) -> &'a [u8] {
    // SAFETY: a terminated string, by its type.
    unsafe { CStr::from_ptr(datum.cast_mut_ptr()) }.to_bytes()
}

/// All that is left of a message, as receive functions get it; they have to read it to its end.
pub fn message_bytes<'a>(datum: Datum) -> &'a [u8] {
    let buffer: pg_sys::StringInfo = datum.cast_mut_ptr();
    // SAFETY: a StringInfo, by its type; pq_getmsgbytes moves its cursor.
    unsafe {
        let rest = ((*buffer).len - (*buffer).cursor).max(0);
        std::slice::from_raw_parts(pg_sys::pq_getmsgbytes(buffer, rest).cast::<u8>(), rest as usize)
    }
}

/// The 16 bytes of a uuid.
pub fn uuid_bytes(datum: Datum) -> [u8; 16] {
    // SAFETY: a pointer to 16 bytes, by its type.
    unsafe { *datum.cast_mut_ptr::<[u8; 16]>() }
}

/// A uuid in the current memory context.
pub fn uuid_from(bytes: [u8; 16]) -> Datum {
    let place = allocate(16).cast::<[u8; 16]>();
    // SAFETY: 16 bytes were allocated.
    unsafe { place.write(bytes) };
    Datum::from(place)
}

/// An interval.
pub fn interval_from(datum: Datum) -> Option<Interval> {
    // SAFETY: an interval, by its type.
    unsafe { Interval::from_datum(datum, false) }
}

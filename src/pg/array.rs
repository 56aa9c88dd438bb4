//! One-dimensional arrays without NULLs.

use super::datum::varlena_bytes;
use pgrx::pg_sys::{self, Datum};

/// A `bytea[]`.
pub fn bytea_array(elements: &[Datum]) -> Datum {
    // SAFETY: they are varlenas.
    unsafe { construct(elements, pg_sys::BYTEAOID, -1) }
}

/// An `oid[]`.
pub fn oid_array(elements: &[pg_sys::Oid]) -> Datum {
    let elements: Vec<Datum> = elements.iter().map(|element| Datum::from(*element)).collect();
    // SAFETY: they are passed by value, in four bytes.
    unsafe { construct(&elements, pg_sys::OIDOID, 4) }
}

/// An `integer[]`.
pub fn int4_array(elements: &[i32]) -> Datum {
    let elements: Vec<Datum> = elements.iter().map(|element| Datum::from(*element)).collect();
    // SAFETY: they are passed by value, in four bytes.
    unsafe { construct(&elements, pg_sys::INT4OID, 4) }
}

/// An array of a type that is aligned as integers are, of copies of the elements.
///
/// # Safety
///
/// The elements are of the type, and that is passed by value if it has a length and is a varlena if that is -1.
unsafe fn construct(elements: &[Datum], element_type: pg_sys::Oid, length: i32) -> Datum {
    // SAFETY: construct_array reads the elements as the caller says they are, and changes none.
    unsafe {
        let array = pg_sys::construct_array(
            elements.as_ptr().cast_mut(),
            elements.len() as i32,
            element_type,
            length,
            length > 0,
            pg_sys::TYPALIGN_INT as core::ffi::c_char,
        );
        Datum::from(array)
    }
}

/// The elements of an `integer[]`, NULLs left out.
pub fn int4_elements(array: Datum) -> Vec<i32> {
    // SAFETY: integer[], by its declared type.
    let elements = unsafe { <Vec<Option<i32>> as pgrx::datum::FromDatum>::from_datum(array, false) };
    elements.unwrap_or_default().into_iter().flatten().collect()
}

/// Whether `number` is an element of an `integer[]`. Called per value, so that arrays as planners make constants of (one
/// dimension, no NULLs) are read where they are.
#[inline]
pub fn int4_contains(array: Datum, number: i32) -> bool {
    let pointer: *const pg_sys::ArrayType = array.cast_mut_ptr();
    // SAFETY: integer[], by its declared type. One with a long header is aligned as an array; without a bitmap of NULLs
    // (dataoffset 0) the header is followed by length and lower bound of the dimension, and these by the elements.
    unsafe {
        if pgrx::varlena::varatt_is_4b_u(pointer.cast()) && (*pointer).ndim == 1 && (*pointer).dataoffset == 0
        {
            let length = pointer.add(1).cast::<i32>();
            let elements = std::slice::from_raw_parts(length.add(2), *length as usize);
            return elements.contains(&number);
        }
    }
    int4_elements(array).contains(&number)
}

/// The elements of a `text[]` argument.
pub fn text_elements<'a>(array: Datum) -> Vec<Option<&'a [u8]>> {
    let (mut elements, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    // SAFETY: the SQL declaration says text[]; the results are palloc'd arrays of `count` entries.
    unsafe {
        pg_sys::deconstruct_array(
            pg_sys::pg_detoast_datum(array.cast_mut_ptr()).cast(),
            pg_sys::TEXTOID,
            -1,
            false,
            pg_sys::TYPALIGN_INT as core::ffi::c_char,
            &mut elements,
            &mut nulls,
            &mut count,
        );
        (0..count as usize)
            .map(|n| (!*nulls.add(n)).then(|| varlena_bytes(*elements.add(n))))
            .collect()
    }
}

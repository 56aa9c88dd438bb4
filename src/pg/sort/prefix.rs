//! Sorting by bytes whose first eight tell nearly everything: PostgreSQL's abbreviated keys, as they are meant.

use super::guarded;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pg_sys::{self, Datum};
use std::cmp::Ordering;
use std::ffi::c_int;

/// How a type sorts by a key that is a few random bytes.
pub trait PrefixSorting {
    type Error: Into<ErrorReport>;

    /// The key's first eight bytes, the most significant one first. Equal values must have equal ones.
    fn prefix(value: Datum) -> Result<u64, Self::Error>;

    /// The order by the whole key.
    fn order(a: Datum, b: Datum) -> Result<Ordering, Self::Error>;
}

unsafe extern "C-unwind" {
    /// PostgreSQL's own symbol, not a wrapper of it: its sorts know it by its address, and then compare without a call.
    fn ssup_datum_unsigned_cmp(a: Datum, b: Datum, ssup: pg_sys::SortSupport) -> c_int;
}

/// Sets a sort up; what a btree class's sort support function does with its argument.
pub fn set_up<S: PrefixSorting>(argument: Datum) {
    let ssup: pg_sys::SortSupport = argument.cast_mut_ptr();
    // SAFETY: sort support functions get a SortSupport.
    unsafe {
        if (*ssup).abbreviate {
            (*ssup).comparator = Some(ssup_datum_unsigned_cmp);
            (*ssup).abbrev_converter = Some(abbreviate::<S>);
            (*ssup).abbrev_abort = Some(never);
            (*ssup).abbrev_full_comparator = Some(compare::<S>);
        } else {
            (*ssup).comparator = Some(compare::<S>);
        }
    }
}

unsafe extern "C-unwind" fn abbreviate<S: PrefixSorting>(value: Datum, _: pg_sys::SortSupport) -> Datum {
    // SAFETY: reads the value.
    Datum::from(unsafe { guarded(|| S::prefix(value)) })
}

unsafe extern "C-unwind" fn compare<S: PrefixSorting>(a: Datum, b: Datum, _: pg_sys::SortSupport) -> c_int {
    // SAFETY: reads the values.
    unsafe { guarded(|| S::order(a, b)) as c_int }
}

/// Whether to give up on abbreviating. Keys that are equal are so as a whole, and PostgreSQL compares those anyway.
unsafe extern "C-unwind" fn never(_: c_int, _: pg_sys::SortSupport) -> bool {
    false
}

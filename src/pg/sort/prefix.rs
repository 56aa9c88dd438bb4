//! Sorting by bytes whose first eight tell nearly everything: PostgreSQL's abbreviated keys, as they are meant.

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

/// Runs `body`; its error becomes PostgreSQL's.
///
/// # Safety
/// As for every function that PostgreSQL calls: nothing below it may be left half done by an error.
unsafe fn guarded<T: Copy, E: Into<ErrorReport>>(body: impl FnOnce() -> Result<T, E>) -> T {
    // SAFETY: the guard keeps panics from crossing into C.
    unsafe {
        pg_sys::panic::pgrx_extern_c_guard(|| match body() {
            Ok(result) => result,
            Err(error) => {
                let report: ErrorReport = error.into();
                report.report(pgrx::PgLogLevel::ERROR);
                unreachable!("ERROR does not return")
            }
        })
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

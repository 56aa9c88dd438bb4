//! Sorting by something that is expensive to get from a value: once per value, not twice per comparison.
//!
//! PostgreSQL's sorts can replace each value by an abbreviation that fits a datum, compare those first, and compare the
//! values themselves only where abbreviations tie (`utils/sortsupport.h`). Here the abbreviation is the whole sort key:
//! the datum itself where it is passed by value, else the place of a copy in a ring buffer of `work_mem` bytes. A sort
//! writes its tuples out when they exceed `work_mem`, so keys that are overwritten are those of tuples written before;
//! and should one be needed after all, its place tells that it is gone, which ties with everything and so is compared
//! in full. What two keys say is always true, hence the order is consistent.

mod ring;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pg_sys::{self, Datum, Oid};
use ring::{Place, Ring};
use std::cmp::Ordering;

/// How a type sorts.
pub trait Sorting: Copy + 'static {
    type Error: Into<ErrorReport>;

    /// Type of the sort keys.
    fn key_type(&self) -> Oid;

    /// The sort key of a value, in the current memory context.
    fn key(&mut self, value: Datum) -> Result<Datum, Self::Error>;

    /// The order of two values; for ties, and where sort keys are not kept.
    fn order(&mut self, collation: Oid, a: Datum, b: Datum) -> Result<Ordering, Self::Error>;
}

/// What a sort keeps in `ssup_extra`. Freed with the sort's memory, so nothing in it may need dropping.
struct State<S> {
    sorting: S,
    keys: pg_sys::SortSupportData,
    /// How a key is copied; `None` if it is passed by value.
    length: Option<i16>,
    ring: Ring,
}

/// Sets a sort up; what a btree class's sort support function does with its argument.
pub fn set_up<S: Sorting>(argument: Datum, sorting: S) {
    const { assert!(!std::mem::needs_drop::<S>()) };
    let ssup: pg_sys::SortSupport = argument.cast_mut_ptr();
    // SAFETY: sort support functions get a SortSupport; everything allocated lives as long as the sort.
    unsafe {
        let entry = pg_sys::lookup_type_cache(sorting.key_type(), pg_sys::TYPECACHE_LT_OPR as i32);
        let mut keys = pg_sys::SortSupportData {
            ssup_cxt: (*ssup).ssup_cxt,
            ssup_collation: (*ssup).ssup_collation,
            ..pg_sys::SortSupportData::default()
        };
        pg_sys::PrepareSortSupportFromOrderingOp((*entry).lt_opr, &mut keys);
        let by_value = pg_sys::get_typbyval(sorting.key_type());
        let length = (!by_value).then(|| pg_sys::get_typlen(sorting.key_type()));
        let ring = Ring::new(
            (*ssup).ssup_cxt,
            usize::try_from(pg_sys::work_mem).unwrap_or(64) * 1024,
        );

        let place = pg_sys::MemoryContextAlloc((*ssup).ssup_cxt, std::mem::size_of::<State<S>>());
        place.cast::<State<S>>().write(State {
            sorting,
            keys,
            length,
            ring,
        });
        (*ssup).ssup_extra = place;
        if (*ssup).abbreviate {
            (*ssup).comparator = Some(compare_keys::<S>);
            (*ssup).abbrev_converter = Some(abbreviate::<S>);
            (*ssup).abbrev_abort = Some(never_abort);
            (*ssup).abbrev_full_comparator = Some(compare_values::<S>);
        } else {
            (*ssup).comparator = Some(compare_values::<S>);
        }
    }
}

/// # Safety
/// `ssup` must have been set up for `S`.
unsafe fn state<'a, S>(ssup: pg_sys::SortSupport) -> &'a mut State<S> {
    // SAFETY: per contract.
    unsafe { &mut *(*ssup).ssup_extra.cast() }
}

unsafe extern "C-unwind" fn compare_values<S: Sorting>(a: Datum, b: Datum, ssup: pg_sys::SortSupport) -> i32 {
    // SAFETY: called by a sort that `set_up` prepared; the guard keeps panics from crossing into C.
    unsafe {
        pg_sys::panic::pgrx_extern_c_guard(|| {
            or_raise(state::<S>(ssup).sorting.order((*ssup).ssup_collation, a, b)) as i32
        })
    }
}

unsafe extern "C-unwind" fn compare_keys<S: Sorting>(a: Datum, b: Datum, ssup: pg_sys::SortSupport) -> i32 {
    // SAFETY: as above; keys were made by `abbreviate`, and the comparator is that of their type.
    unsafe {
        let state = state::<S>(ssup);
        let (a, b) = match state.length {
            None => (a, b),
            Some(_) => match (state.ring.get(Place::from(a)), state.ring.get(Place::from(b))) {
                (Some(a), Some(b)) => (a, b),
                _ => return 0,
            },
        };
        match state.keys.comparator {
            Some(compare) => compare(a, b, &mut state.keys),
            None => 0,
        }
    }
}

unsafe extern "C-unwind" fn abbreviate<S: Sorting>(value: Datum, ssup: pg_sys::SortSupport) -> Datum {
    // SAFETY: as above.
    unsafe {
        pg_sys::panic::pgrx_extern_c_guard(|| {
            let state = state::<S>(ssup);
            crate::pg::scratch::with_scratch(|| {
                let key = or_raise(state.sorting.key(value));
                match state.length {
                    None => key,
                    Some(length) => state.ring.put(key, length).into(),
                }
            })
        })
    }
}

/// Comparing keys is never slower than comparing values.
unsafe extern "C-unwind" fn never_abort(_: i32, _: pg_sys::SortSupport) -> bool {
    false
}

fn or_raise<T, E: Into<ErrorReport>>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => {
            let report: ErrorReport = error.into();
            report.report(pgrx::PgLogLevel::ERROR);
            unreachable!("ERROR does not return")
        }
    }
}

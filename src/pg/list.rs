//! PostgreSQL's lists.

use pgrx::pg_sys;

/// The elements of a list of nodes.
///
/// # Safety
/// `list` is null or holds nodes of type `T`, and outlives the iterator.
pub(super) unsafe fn nodes<T>(list: *mut pg_sys::List) -> impl Iterator<Item = *mut T> {
    // SAFETY: as the caller vouches.
    unsafe { cells(list) }.map(|cell| unsafe { (*cell).ptr_value.cast() })
}

/// The elements of a list of OIDs.
///
/// # Safety
/// `list` is null or holds OIDs, and outlives the iterator.
pub(super) unsafe fn oids(list: *mut pg_sys::List) -> impl Iterator<Item = pg_sys::Oid> {
    // SAFETY: as the caller vouches: the elements lie where pointers to nodes would.
    unsafe { cells(list) }.map(|cell| unsafe { (*cell).oid_value })
}

/// The places of the elements of a list of nodes, to put others there.
///
/// # Safety
/// As for [`nodes`].
pub(super) unsafe fn places<T>(list: *mut pg_sys::List) -> impl Iterator<Item = *mut *mut T> {
    // SAFETY: as the caller vouches.
    unsafe { cells(list) }.map(|cell| unsafe { (&raw mut (*cell).ptr_value).cast() })
}

/// The elements of a list of integers.
///
/// # Safety
/// `list` is null or holds integers, and outlives the iterator.
pub(super) unsafe fn integers(list: *mut pg_sys::List) -> impl Iterator<Item = i32> {
    // SAFETY: as the caller vouches: the elements lie where pointers to nodes would.
    unsafe { cells(list) }.map(|cell| unsafe { (*cell).int_value })
}

/// # Safety
/// `list` is null or a list that outlives the iterator.
unsafe fn cells(list: *mut pg_sys::List) -> impl Iterator<Item = *mut pg_sys::ListCell> {
    let length = match list.is_null() {
        true => 0,
        // SAFETY: as the caller vouches.
        false => unsafe { (*list).length },
    };
    // SAFETY: as the caller vouches; a list has `length` elements.
    (0..length as usize).map(move |n| unsafe { (*list).elements.add(n) })
}

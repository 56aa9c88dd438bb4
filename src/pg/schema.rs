//! Schemas by name, and the one where new objects go.

use pgrx::pg_sys;
use std::ffi::{CStr, CString};

/// The OID of a schema.
pub fn schema_oid(name: &str) -> Option<pg_sys::Oid> {
    let name = CString::new(name).ok()?;
    // SAFETY: a catalog lookup with a terminated name.
    let oid = unsafe { pg_sys::get_namespace_oid(name.as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// The first schema of the session's path that exists. Asked of the C interface, because a statement would be read under
/// that very path.
pub fn creation_schema() -> Option<String> {
    // SAFETY: a palloc'd list of OIDs; the name is palloc'd or null.
    unsafe {
        let path = pg_sys::fetch_search_path(false);
        let first = (!path.is_null() && (*path).length > 0).then(|| (*(*path).elements).oid_value)?;
        let name = pg_sys::get_namespace_name(first);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}

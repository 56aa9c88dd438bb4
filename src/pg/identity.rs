//! Running statements as somebody else.

use super::{raw, settings};
use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;

/// Settings while statements run as the owner of a table: names that are not qualified are PostgreSQL's, and a policy
/// that would hide rows is an error.
const PINNED: [(&CStr, &CStr); 2] = [
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"row_security", c"off"),
];

/// Runs `body` as `role` in a security-restricted operation with a pinned search path, as PostgreSQL's own maintenance
/// commands run the expressions of a table: what it reaches can't change the session. Settings of `more` hold too.
///
/// After an error the transaction, or the subtransaction that it was begun in, restores user and settings.
pub fn as_owner<T>(role: Oid, more: &[(&CStr, &CStr)], body: impl FnOnce() -> T) -> T {
    let flags = pg_sys::SECURITY_RESTRICTED_OPERATION | pg_sys::SECURITY_LOCAL_USERID_CHANGE;
    switched(role, flags, || settings::with(&[&PINNED, more].concat(), body))
}

/// As [`as_owner`], for a body that only reads the owner's own tables: it sees all rows, where policies are forced on the
/// owner too.
pub fn as_owner_seeing_all_rows<T>(role: Oid, body: impl FnOnce() -> T) -> T {
    let flags = pg_sys::SECURITY_RESTRICTED_OPERATION
        | pg_sys::SECURITY_LOCAL_USERID_CHANGE
        | pg_sys::SECURITY_NOFORCE_RLS;
    switched(role, flags, || settings::with(&PINNED, body))
}

/// Runs `body` as the owner of a table in a trigger on it, as PostgreSQL's own triggers of foreign keys do: with a pinned
/// search path, and no policy hides rows from it.
///
/// Not security-restricted, because such an operation may not queue deferred triggers, and the tables may have deferred
/// constraints. Nothing is lost: what the owner attaches to a table (checks, index expressions) already reaches the
/// sessions of those who write to it by any trigger of the owner's.
pub fn as_owner_in_trigger<T>(role: Oid, body: impl FnOnce() -> T) -> T {
    as_owner_without_names(role, || settings::with(&PINNED[..1], body))
}

/// As [`as_owner_in_trigger`], for a body that looks no names up and calls nothing that does: the search path, which is expensive to
/// set and to set back, stays the session's.
pub fn as_owner_without_names<T>(role: Oid, body: impl FnOnce() -> T) -> T {
    let flags = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_NOFORCE_RLS;
    switched(role, flags, body)
}

/// Runs `body` as `role`, with a pinned search path.
pub fn as_role<T>(role: Oid, body: impl FnOnce() -> T) -> T {
    switched(role, pg_sys::SECURITY_LOCAL_USERID_CHANGE, || {
        settings::with(&PINNED[..1], body)
    })
}

fn switched<T>(role: Oid, flags: u32, body: impl FnOnce() -> T) -> T {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: read and set variables of the backend, and no more.
    unsafe {
        raw::GetUserIdAndSecContext(&mut user, &mut context);
        raw::SetUserIdAndSecContext(role, context | flags as i32);
    }
    let result = body();
    // SAFETY: as it was.
    unsafe { raw::SetUserIdAndSecContext(user, context) };
    result
}

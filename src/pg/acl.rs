//! Roles: who asks, whose privileges that role has.

use crate::error::Error;
use pgrx::pg_sys;
use pgrx::pg_sys::Oid;

mod raw {
    use pgrx::pg_sys::Oid;
    unsafe extern "C-unwind" {
        // Declared again without pgrx's error guard: reads one variable, can't raise, runs once per value.
        pub fn GetUserId() -> Oid;
    }
}

/// The role whose privileges count now (inside a SECURITY DEFINER function: its owner).
#[inline]
pub fn current_user() -> Oid {
    // SAFETY: reads a variable of the backend.
    unsafe { raw::GetUserId() }
}

/// The role that a SECURITY DEFINER function acts for. Nobody in a security-restricted operation (ANALYZE, autovacuum, REINDEX, what
/// runs as a table's owner): code of the owner runs there, in a session of somebody else, who asked for nothing.
pub fn outer_user() -> Result<Oid, Error> {
    // SAFETY: both read variables of the backend.
    unsafe {
        match pg_sys::InSecurityRestrictedOperation() {
            true => Err(Error::RestrictedOperation),
            false => Ok(pg_sys::GetOuterUserId()),
        }
    }
}

/// Whether `role` is a superuser.
pub fn is_superuser(role: Oid) -> bool {
    // SAFETY: a catalog lookup that is false for unknown roles.
    unsafe { pg_sys::superuser_arg(role) }
}

/// Whether `member` has the privileges of `role`: is it, inherits from it, or is a superuser.
pub fn has_privileges_of(member: Oid, role: Oid) -> bool {
    // SAFETY: catalog lookups only.
    unsafe { pg_sys::has_privs_of_role(member, role) }
}

/// Whether `member` is `role` or was made a member of it, superuser or not. Nobody is a member of PUBLIC (0).
pub fn is_member_of(member: Oid, role: Oid) -> bool {
    // SAFETY: catalog lookups only.
    role != pg_sys::InvalidOid && unsafe { pg_sys::is_member_of_role_nosuper(member, role) }
}

/// The name of a role; `None` when it was dropped.
pub fn role_name(role: Oid) -> Option<String> {
    // SAFETY: with `noerr`, returns a palloc'd C string or null.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        (!name.is_null()).then(|| std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}

/// The name of a role for a message; its number when it was dropped.
pub fn display_name(role: Oid) -> String {
    role_name(role).unwrap_or_else(|| role.to_u32().to_string())
}

/// The owner of a table; `None` if there is no such table.
pub fn owner_of_relation(relation: Oid) -> Option<Oid> {
    // SAFETY: a catalog lookup; the tuple is read before it is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(relation),
        );
        if tuple.is_null() {
            return None;
        }
        let owner = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>()).relowner;
        pg_sys::ReleaseSysCache(tuple);
        Some(owner)
    }
}

/// Whether `role` may create objects in a schema.
pub fn may_create_in(role: Oid, schema: Oid) -> bool {
    let create = pg_sys::ACL_CREATE as pg_sys::AclMode;
    // SAFETY: catalog lookups only.
    unsafe {
        #[cfg(feature = "pg15")]
        let result = pg_sys::pg_namespace_aclcheck(schema, role, create);
        #[cfg(not(feature = "pg15"))]
        let result = pg_sys::object_aclcheck(pg_sys::NamespaceRelationId, schema, role, create);
        result == pg_sys::AclResult::ACLCHECK_OK
    }
}

//! Who may do what with a key.

use super::deputy;
use crate::catalog::grants::{self, Privilege};
use crate::error::Error;
use crate::pg::acl;
use pgrx::pg_sys::Oid;

/// Whether `role` was granted `privilege` for the key, itself, through a role it inherits from, or through PUBLIC.
/// Superusers need no grant, nor does a deputy for its key.
pub fn has_privilege(role: Oid, key_name: &[u8], privilege: Privilege) -> Result<bool, Error> {
    let Err(role) = deputy::look_behind(role, key_name) else {
        return Ok(true);
    };
    if acl::is_superuser(role) {
        return Ok(true);
    }
    let grantees = grants::grantees(key_name, privilege)?;
    Ok(grantees
        .iter()
        .any(|grantee| *grantee == Oid::INVALID || acl::has_privileges_of(role, *grantee)))
}

/// As [`has_privilege`], but being a superuser is not enough: the role, or one that it is a member of, was granted it.
pub fn has_own_privilege(role: Oid, key_name: &[u8], privilege: Privilege) -> Result<bool, Error> {
    if !acl::is_superuser(role) {
        return has_privilege(role, key_name, privilege);
    }
    let grantees = grants::grantees(key_name, privilege)?;
    Ok(grantees.iter().any(|grantee| acl::is_member_of(role, *grantee)))
}

/// As [`has_privilege`], or the error with the statement that grants it.
pub fn require(role: Oid, key_name: &str, privilege: Privilege) -> Result<(), Error> {
    match has_privilege(role, key_name.as_bytes(), privilege)? {
        true => Ok(()),
        false => Err(Error::NoPrivilege {
            name: key_name.to_owned(),
            privilege: privilege.as_str(),
            role: acl::display_name(
                deputy::look_behind(role, key_name.as_bytes())
                    .err()
                    .unwrap_or(role),
            ),
        }),
    }
}

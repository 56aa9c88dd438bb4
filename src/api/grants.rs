//! Who may use a key.

use crate::catalog::grants::{self, Privilege};
use crate::catalog::keys;
use crate::error::Error;
use crate::keyring;
use crate::pg::acl;
use crate::pg::array::text_elements;
use crate::pg::call::Call;
use crate::sql_function;
use pgrx::pg_sys::{Datum, Oid};

sql_function! {
    fn grant_key(call) {
        let change = Change::read(call)?;
        // A number that no role has would be granted to whoever gets it one day. Revoking it is welcome.
        if change.grantee != Oid::INVALID && acl::role_name(change.grantee).is_none() {
            return Err(Error::NoSuchRole { oid: change.grantee.to_u32() });
        }
        let granted_by = super::keys::acting_role()?;
        for privilege in &change.privileges {
            grants::grant(&change.name, change.grantee, *privilege, &granted_by)?;
        }
        Ok(Some(Datum::from(0usize)))
    }
}

sql_function! {
    fn revoke_key(call) {
        let change = Change::read(call)?;
        for privilege in &change.privileges {
            grants::revoke(&change.name, change.grantee, *privilege)?;
        }
        Ok(Some(Datum::from(0usize)))
    }
}

sql_function! {
    fn has_key_privilege(call) {
        let name = call.required(0, "name")?;
        let privilege: Privilege = String::from_utf8_lossy(call.required(1, "privilege")?).parse()?;
        let role = call.datum(2).map_or_else(acl::current_user, |_| call.oid(2));
        if keys::by_name(name)?.is_empty() {
            return Err(Error::NoSuchKey { name: String::from_utf8_lossy(name).into_owned() });
        }
        Ok(Some(keyring::has_privilege(role, name, privilege)?.into()))
    }
}

/// The arguments of both functions.
struct Change {
    name: String,
    grantee: Oid,
    privileges: Vec<Privilege>,
}

impl Change {
    fn read(call: &Call<'_>) -> Result<Self, Error> {
        let name = super::keys::key_name(call.required(0, "name")?)?;
        if keys::by_name(name.as_bytes())?.is_empty() {
            return Err(Error::NoSuchKey { name });
        }
        call.required_any(1, "grantee")?;
        let privileges = text_elements(call.required_any(2, "privileges")?)
            .into_iter()
            .map(|privilege| String::from_utf8_lossy(privilege.unwrap_or_default()).parse())
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            name,
            grantee: call.oid(1),
            privileges,
        })
    }
}

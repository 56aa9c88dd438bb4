//! Table `encrypt.key_grants`.

use super::SCHEMA;
use crate::error::Error;
use crate::pg::scan::{Equals, IndexedTable, rows};
use crate::pg::sql;
use pgrx::pg_sys::Oid;
use std::str::FromStr;

const BY_NAME: IndexedTable = IndexedTable {
    schema: SCHEMA,
    table: c"key_grants",
    index: c"key_grants_pkey",
};

/// What may be granted for a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Privilege {
    Encrypt,
    Decrypt,
    Search,
    Deterministic,
}

impl Privilege {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Search => "search",
            Self::Deterministic => "deterministic",
        }
    }
}

impl FromStr for Privilege {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        [Self::Encrypt, Self::Decrypt, Self::Search, Self::Deterministic]
            .into_iter()
            .find(|privilege| privilege.as_str() == name)
            .ok_or_else(|| Error::UnknownPrivilege { name: name.into() })
    }
}

/// Whoever a privilege was granted to; PUBLIC is 0.
pub fn grantees(key_name: &[u8], privilege: Privilege) -> Result<Vec<Oid>, Error> {
    let wanted = [Equals::Text(key_name)];
    let found = rows(&BY_NAME, &wanted, |row| (row.oid(2), row.text(3)))?;
    Ok(found
        .into_iter()
        .filter(|(_, name)| name.as_deref() == Some(privilege.as_str()))
        .map(|(grantee, _)| grantee)
        .collect())
}

pub fn grant(key_name: &str, grantee: Oid, privilege: Privilege, granted_by: &str) -> Result<(), Error> {
    sql::execute(
        "insert into encrypt.key_grants (key_name, grantee, privilege, granted_by)
         values ($1, $2::oid, $3, $4::name) on conflict do nothing",
        &[
            key_name.into(),
            number(grantee).into(),
            privilege.as_str().into(),
            granted_by.into(),
        ],
    )?;
    Ok(())
}

pub fn revoke(key_name: &str, grantee: Oid, privilege: Privilege) -> Result<(), Error> {
    sql::execute(
        "delete from encrypt.key_grants
         where key_name operator(pg_catalog.=) $1 and grantee operator(pg_catalog.=) $2::oid
           and privilege operator(pg_catalog.=) $3",
        &[key_name.into(), number(grantee).into(), privilege.as_str().into()],
    )?;
    Ok(())
}

/// A role as an argument of a statement. Not as an OID: PUBLIC's, 0, would be passed as NULL.
fn number(role: Oid) -> i64 {
    role.to_u32().into()
}

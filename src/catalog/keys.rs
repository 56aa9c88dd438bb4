//! Table `encrypt.keys`.

use super::SCHEMA;
use crate::error::Error;
use crate::pg::scan::{Equals, IndexedTable, Row, relation_oid, rows};
use crate::pg::{lock, sql};
use pg_encrypt_core::key::{KeyId, Purpose};
use pg_encrypt_core::lifecycle::KeyState;
use pgrx::datum::Interval;

const BY_ID: IndexedTable = IndexedTable {
    schema: SCHEMA,
    table: c"keys",
    index: c"keys_pkey",
};
const BY_NAME: IndexedTable = IndexedTable {
    schema: SCHEMA,
    table: c"keys",
    index: c"keys_name_version",
};

/// Columns by number, in the order of the install script.
pub mod column {
    pub const KEY_ID: usize = 1;
    pub const NAME: usize = 2;
    pub const PURPOSE: usize = 3;
    pub const VERSION: usize = 4;
    pub const STATE: usize = 5;
    pub const WRAPPED_KEY: usize = 6;
    pub const CHECK_VALUE: usize = 7;
    pub const ROOT_ID: usize = 8;
    pub const CREATED_AT: usize = 11;
    pub const CREATED_BY: usize = 12;
    pub const ROTATED_AT: usize = 13;
    pub const RETIRED_AT: usize = 14;
    pub const DESTROYED_AT: usize = 15;
    pub const COMPROMISED_AT: usize = 16;
}

/// One version of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRow {
    pub key_id: KeyId,
    pub name: String,
    pub purpose: Purpose,
    pub version: i32,
    pub state: KeyState,
    /// `None` once destroyed.
    pub wrapped: Option<Vec<u8>>,
    pub check_value: Vec<u8>,
    pub root_id: String,
}

impl KeyRow {
    /// `None` for a row that the table's checks would not have let in.
    fn read(row: &Row) -> Option<Self> {
        Some(Self {
            key_id: KeyId::new(row.int4(column::KEY_ID))?,
            name: row.text(column::NAME)?,
            purpose: row.text(column::PURPOSE)?.parse().ok()?,
            version: row.int4(column::VERSION),
            state: row.text(column::STATE)?.parse().ok()?,
            wrapped: row.bytes(column::WRAPPED_KEY),
            check_value: row.bytes(column::CHECK_VALUE)?,
            root_id: row.text(column::ROOT_ID)?,
        })
    }
}

/// The row of one key id, as committed now.
pub fn by_id(key_id: KeyId) -> Result<Option<KeyRow>, Error> {
    let found = rows(&BY_ID, &[Equals::Int4(key_id.get())], KeyRow::read)?;
    Ok(found.into_iter().flatten().next())
}

/// All versions of a key, both purposes; empty when there is none of that name.
pub fn by_name(name: &[u8]) -> Result<Vec<KeyRow>, Error> {
    let found = rows(&BY_NAME, &[Equals::Text(name)], KeyRow::read)?;
    Ok(found.into_iter().flatten().collect())
}

/// How many keys still have material, so need the root key.
pub fn count_wrapped() -> Result<i64, Error> {
    let count = sql::query_first(
        "select count(*) from encrypt.keys where wrapped_key is not null",
        &[],
        |row| row.get::<i64>(1),
    )?;
    Ok(count.flatten().unwrap_or(0))
}

/// Makes every other change of the table wait for the end of this transaction; for what must be decided on the whole
/// table, such as whether it is empty.
pub fn lock_against_changes() -> Result<(), Error> {
    sql::execute("lock table encrypt.keys in share row exclusive mode", &[])?;
    Ok(())
}

/// Takes the right to change the versions of one key until the end of the transaction. At once or not at all: of two
/// rotations one wins, and the other must not make a second version behind it.
///
/// An object lock on the name within our table, which no SQL statement of another role can take, so nobody without the
/// right to manage keys can keep others from it. It is released after the invalidations of the commit were sent, which
/// the proof of `retire_key` relies on.
pub fn lock_name(name: &str) -> Result<(), Error> {
    sql::prevent_if_read_only();
    let table = relation_oid(SCHEMA, c"keys").ok_or(Error::NotInstalled)?;
    match lock::try_lock_object(table, hash(name)) {
        true => Ok(()),
        false => Err(Error::KeyBusy { name: name.into() }),
    }
}

/// Names of keys whose active version is older than its rotation period, or compromised.
pub fn due_for_rotation() -> Result<Vec<String>, Error> {
    let names = sql::query(
        "select name from encrypt.key_status
         where purpose operator(pg_catalog.=) 'column' and rotation_due order by name",
        &[],
        |row| row.get::<String>(1),
    )?;
    Ok(names.into_iter().flatten().collect())
}

/// Rotates a key if it is still due, and makes the job that re-encrypts; its number.
pub fn rotate_due(name: &str) -> Result<Option<i32>, Error> {
    let job_id = sql::query_first("select encrypt._rotate_due_key($1)", &[name.into()], |row| {
        row.get::<i32>(1)
    })?;
    Ok(job_id.flatten())
}

/// 32 bits of a name (FNV-1a). Two names with the same hash merely exclude each other.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// What `insert` writes.
pub struct NewKey<'a> {
    pub key_id: KeyId,
    pub name: &'a str,
    pub purpose: Purpose,
    pub version: i32,
    pub wrapped: Vec<u8>,
    pub check_value: [u8; 32],
    pub root_id: &'a str,
    /// `None`: as the version before it, or the default of the table.
    pub rotation_period: Option<Interval>,
    pub description: Option<&'a str>,
    pub created_by: &'a str,
}

/// Adds an active version.
pub fn insert(key: NewKey<'_>) -> Result<(), Error> {
    sql::execute(
        "insert into encrypt.keys (key_id, name, purpose, version, state, wrapped_key, check_value, root_id,
                                   rotation_period, description, created_by)
         values ($1, $2, $3, $4, 'active', $5, $6, $7,
                 coalesce($8,
                          (select k.rotation_period from encrypt.keys k
                           where k.name operator(pg_catalog.=) $2 and k.purpose operator(pg_catalog.=) $3
                           order by k.version desc limit 1),
                          '90 days'),
                 $9, $10::name)",
        &[
            key.key_id.get().into(),
            key.name.into(),
            key.purpose.as_str().into(),
            key.version.into(),
            key.wrapped.into(),
            key.check_value.to_vec().into(),
            key.root_id.into(),
            key.rotation_period.into(),
            key.description.into(),
            key.created_by.into(),
        ],
    )?;
    Ok(())
}

/// Changes a version's state; `from` guards against a change that happened since it was read.
pub fn set_state(key_id: KeyId, from: KeyState, to: KeyState) -> Result<(), Error> {
    let statement = match to {
        KeyState::Active => {
            "update encrypt.keys set state = 'active', rotated_at = null
             where key_id operator(pg_catalog.=) $1 and state operator(pg_catalog.=) $2"
        }
        KeyState::Rotating => {
            "update encrypt.keys set state = 'rotating', rotated_at = pg_catalog.now()
             where key_id operator(pg_catalog.=) $1 and state operator(pg_catalog.=) $2"
        }
        KeyState::Retired => {
            "update encrypt.keys set state = 'retired', retired_at = pg_catalog.now()
             where key_id operator(pg_catalog.=) $1 and state operator(pg_catalog.=) $2"
        }
    };
    match sql::execute(statement, &[key_id.get().into(), from.as_str().into()])? {
        1 => Ok(()),
        _ => Err(Error::KeyChanged),
    }
}

/// Notes that a version's material may be known to others; the first time counts.
pub fn mark_compromised(key_id: KeyId) -> Result<(), Error> {
    sql::execute(
        "update encrypt.keys set compromised_at = pg_catalog.now()
         where key_id operator(pg_catalog.=) $1 and compromised_at is null",
        &[key_id.get().into()],
    )?;
    Ok(())
}

/// Every version that has material, as committed now whatever the transaction's snapshot shows.
pub fn all_wrapped() -> Result<Vec<KeyRow>, Error> {
    let found = rows(&BY_ID, &[], KeyRow::read)?;
    Ok(found
        .into_iter()
        .flatten()
        .filter(|row| row.wrapped.is_some())
        .collect())
}

/// Stores a version's material as another root key wrapped it.
pub fn set_wrapped(row: &KeyRow, wrapped: Vec<u8>, root_id: &str) -> Result<(), Error> {
    let changed = sql::execute(
        "update encrypt.keys set wrapped_key = $3, root_id = $4
         where key_id operator(pg_catalog.=) $1 and root_id operator(pg_catalog.=) $2 and destroyed_at is null",
        &[
            row.key_id.get().into(),
            row.root_id.as_str().into(),
            wrapped.into(),
            root_id.into(),
        ],
    )?;
    match changed {
        1 => Ok(()),
        _ => Err(Error::KeyChanged),
    }
}

/// Wipes the material of a retired version.
pub fn destroy(key_id: KeyId) -> Result<(), Error> {
    let changed = sql::execute(
        "update encrypt.keys set wrapped_key = null, destroyed_at = pg_catalog.now()
         where key_id operator(pg_catalog.=) $1 and state operator(pg_catalog.=) 'retired' and destroyed_at is null",
        &[key_id.get().into()],
    )?;
    match changed {
        1 => Ok(()),
        _ => Err(Error::KeyChanged),
    }
}

/// A backend whose transaction began before the version was replaced, if there is one.
pub fn transaction_older_than_rotation(key_id: KeyId) -> Result<Option<i32>, Error> {
    let found = sql::query_first(
        "select a.pid
         from pg_catalog.pg_stat_activity a, encrypt.keys k
         where k.key_id operator(pg_catalog.=) $1
           and a.datname operator(pg_catalog.=) pg_catalog.current_database()
           and a.pid operator(pg_catalog.<>) pg_catalog.pg_backend_pid()
           and a.backend_type operator(pg_catalog.<>) 'autovacuum worker'
           and a.xact_start operator(pg_catalog.<=) k.rotated_at
         order by a.xact_start limit 1",
        &[key_id.get().into()],
        |row| row.get::<i32>(1),
    )?;
    Ok(found.flatten())
}

/// A prepared transaction of this database, if there is one. Its rows can't be seen, so nothing can be proved about
/// the keys they use.
pub fn prepared_transaction() -> Result<Option<String>, Error> {
    let found = sql::query_first(
        "select gid from pg_catalog.pg_prepared_xacts
         where database operator(pg_catalog.=) pg_catalog.current_database() order by prepared limit 1",
        &[],
        |row| row.get::<String>(1),
    )?;
    Ok(found.flatten())
}

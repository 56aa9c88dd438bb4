//! Table `encrypt.types`: the encrypted types of this database.

use super::SCHEMA;
use crate::error::Error;
use crate::pg::scan::{Equals, IndexedTable, Row, rows};
use crate::pg::sql;
use pg_encrypt_core::key::KeyId;
use pg_encrypt_core::normalize::Normalizer;
use pg_encrypt_core::typed::TypeRef;
use pgrx::pg_sys::Oid;

const BY_REF: IndexedTable = IndexedTable {
    schema: SCHEMA,
    table: c"types",
    index: c"types_pkey",
};
const BY_OID: IndexedTable = IndexedTable {
    schema: SCHEMA,
    table: c"types",
    index: c"types_type_oid",
};

/// One encrypted type.
pub struct TypeRow {
    pub type_ref: TypeRef,
    pub uuid: [u8; 16],
    pub type_oid: Oid,
    pub base: Oid,
    /// PostgreSQL's type modifier of the base, -1 for none.
    pub base_modifier: i32,
    pub key_name: String,
    pub normalizer: Normalizer,
    /// The index key that all tokens of the type are made with; `None` if it is not searchable.
    pub index_key_id: Option<KeyId>,
}

impl TypeRow {
    fn read(row: &Row) -> Option<Self> {
        Some(Self {
            type_ref: TypeRef::new(row.int4(1))?,
            uuid: row.uuid(2)?,
            type_oid: row.oid(3),
            base: row.oid(4),
            base_modifier: row.int4(5),
            key_name: row.text(6)?,
            normalizer: row.text(7)?.parse().ok()?,
            index_key_id: KeyId::new(row.int4(8)),
        })
    }
}

pub fn by_ref(type_ref: TypeRef) -> Result<Option<TypeRow>, Error> {
    Ok(rows(&BY_REF, &[Equals::Int4(type_ref.get())], TypeRow::read)?
        .into_iter()
        .flatten()
        .next())
}

pub fn by_oid(type_oid: Oid) -> Result<Option<TypeRow>, Error> {
    Ok(rows(&BY_OID, &[Equals::Oid(type_oid)], TypeRow::read)?
        .into_iter()
        .flatten()
        .next())
}

/// How many types make their tokens with an index key.
pub fn count_by_index_key(key_id: KeyId) -> Result<i64, Error> {
    let count = sql::query_first(
        "select pg_catalog.count(*) from encrypt.types where index_key_id operator(pg_catalog.=) $1",
        &[key_id.get().into()],
        |row| row.get::<i64>(1),
    )?;
    Ok(count.flatten().unwrap_or(0))
}

/// What `insert` writes; the UUID is drawn by the table's default.
pub struct NewType<'a> {
    pub type_ref: TypeRef,
    pub type_oid: Oid,
    pub base: Oid,
    pub base_modifier: i32,
    pub key_name: &'a str,
    pub normalizer: Normalizer,
    pub index_key_id: Option<KeyId>,
    pub created_by: &'a str,
}

pub fn insert(new: NewType<'_>) -> Result<(), Error> {
    sql::execute(
        "insert into encrypt.types (type_ref, type_oid, base, base_modifier, key_name, normalizer, index_key_id, created_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8::name)",
        &[
            new.type_ref.get().into(),
            new.type_oid.into(),
            new.base.into(),
            new.base_modifier.into(),
            new.key_name.into(),
            new.normalizer.as_str().into(),
            new.index_key_id.map(KeyId::get).into(),
            new.created_by.into(),
        ],
    )?;
    Ok(())
}

pub fn delete(type_oid: Oid) -> Result<(), Error> {
    sql::execute(
        "delete from encrypt.types where type_oid operator(pg_catalog.=) $1",
        &[type_oid.into()],
    )?;
    Ok(())
}

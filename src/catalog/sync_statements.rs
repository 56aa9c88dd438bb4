//! Table `encrypt.sync_statements`: what the triggers of a migrating table run.

use super::SCHEMA;
use crate::error::Error;
use crate::pg::scan::{Equals, IndexedTable, Row, rows};
use pgrx::pg_sys::Oid;
use std::ffi::CString;

const BY_RELATION: IndexedTable = IndexedTable {
    schema: SCHEMA,
    table: c"sync_statements",
    index: c"sync_statements_pkey",
};

/// The statements of one event at one level.
#[derive(Clone, PartialEq, Eq)]
pub struct SyncRow {
    pub event: String,
    pub level: String,
    pub key_name: Vec<u8>,
    pub key_columns: Vec<CString>,
    pub identity_columns: Vec<CString>,
    pub statements: Vec<CString>,
    pub replacing: Vec<CString>,
    pub direct: Vec<CString>,
    pub bulk: Vec<CString>,
    pub guarded: bool,
    pub shadow: Oid,
    /// Invalid if no keys are recorded any more.
    pub tombstones: Oid,
}

impl SyncRow {
    fn read(row: &Row) -> Option<Self> {
        Some(Self {
            event: row.text(2)?,
            level: row.text(3)?,
            key_name: row.bytes(5)?,
            key_columns: row.texts(6),
            identity_columns: row.texts(7),
            statements: row.texts(8),
            replacing: row.texts(9),
            direct: row.texts(10),
            bulk: row.texts(11),
            guarded: row.bool(12),
            shadow: row.oid(13),
            tombstones: row.oid(14),
        })
    }
}

/// Everything that is run for a table; empty if it does not migrate.
pub fn by_relation(relation: Oid) -> Result<Vec<SyncRow>, Error> {
    let found = rows(&BY_RELATION, &[Equals::Oid(relation)], SyncRow::read)?;
    Ok(found.into_iter().flatten().collect())
}

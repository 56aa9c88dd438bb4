//! What is to be known of a table: how large it is, which file it is in. The caller holds a lock on it.

use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;

/// Number of the file that holds a table's rows; invalid if there is none. Every rewrite makes a new one.
pub fn file(relation: Oid) -> Oid {
    // SAFETY: the relation is locked, so it opens; a number is read.
    unsafe {
        let open = pg_sys::table_open(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        #[cfg(feature = "pg15")]
        let file = (*open).rd_node.relNode;
        #[cfg(not(feature = "pg15"))]
        let file = (*open).rd_locator.relNumber;
        pg_sys::table_close(open, pg_sys::NoLock as pg_sys::LOCKMODE);
        file
    }
}

/// Qualified name of a table, quoted where SQL needs it.
pub fn name(relation: Oid) -> Option<String> {
    // SAFETY: catalog lookups; what they return is palloc'd and copied.
    unsafe {
        let name = pg_sys::get_rel_name(relation);
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relation));
        if name.is_null() || schema.is_null() {
            return None;
        }
        let qualified = pg_sys::quote_qualified_identifier(schema, name);
        Some(CStr::from_ptr(qualified).to_string_lossy().into_owned())
    }
}

/// What there is of a table.
pub struct Size {
    pub blocks: i64,
    rows: f64,
    bytes: f64,
}

impl Size {
    pub fn rows_per_block(&self) -> f64 {
        (self.rows / self.blocks.max(1) as f64).max(1.0)
    }

    /// With what is stored out of line.
    pub fn bytes_per_block(&self) -> f64 {
        (self.bytes / self.blocks.max(1) as f64).max(1.0)
    }
}

pub fn size(relation: Oid) -> Size {
    // SAFETY: the relation is locked, so it opens; what is read is copied before it is closed. The lock stays.
    unsafe {
        let open = pg_sys::table_open(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        let blocks = i64::from(pg_sys::RelationGetNumberOfBlocksInFork(
            open,
            pg_sys::ForkNumber::MAIN_FORKNUM,
        ));
        let class = (*open).rd_rel;
        let (pages, tuples) = ((*class).relpages, (*class).reltuples);
        let toast = (*class).reltoastrelid;
        let mut bytes = blocks as f64 * f64::from(pg_sys::BLCKSZ);
        if toast != Oid::INVALID {
            let open = pg_sys::table_open(toast, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            let blocks = pg_sys::RelationGetNumberOfBlocksInFork(open, pg_sys::ForkNumber::MAIN_FORKNUM);
            bytes += f64::from(blocks) * f64::from(pg_sys::BLCKSZ);
            pg_sys::table_close(open, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        }
        pg_sys::table_close(open, pg_sys::NoLock as pg_sys::LOCKMODE);
        let rows = match pages > 0 && tuples >= 0.0 {
            true => f64::from(tuples) / f64::from(pages) * blocks as f64,
            // Never analyzed: rows of a common width.
            false => 50.0 * blocks as f64,
        };
        Size { blocks, rows, bytes }
    }
}

/// The catalog of constraints, whose number pgrx does not have.
const PG_CONSTRAINT: Oid = Oid::from_u32(2606);

/// Whether a foreign key updates or deletes the rows that refer.
pub fn foreign_key_acts(constraint: Oid) -> bool {
    // SAFETY: a catalog lookup; the tuple is read before it is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::CONSTROID as i32,
            pg_sys::Datum::from(constraint),
        );
        if tuple.is_null() {
            return true;
        }
        let cache = pg_sys::SysCacheIdentifier::CONSTROID as i32;
        let acts = [c"confupdtype", c"confdeltype"]
            .map(|column| {
                let number = pg_sys::get_attnum(PG_CONSTRAINT, column.as_ptr());
                let mut is_null = false;
                let action = pg_sys::SysCacheGetAttr(cache, tuple, number, &mut is_null).value() as u8;
                is_null || !matches!(action, b'a' | b'r')
            })
            .contains(&true);
        pg_sys::ReleaseSysCache(tuple);
        acts
    }
}

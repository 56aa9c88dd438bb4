//! Reads rows of our own tables through an index, as PostgreSQL reads its catalogs.
//!
//! Not through SPI, because what a key's state is must not depend on the caller: not on its privileges, not on its
//! search path, and not on its snapshot. A REPEATABLE READ transaction that began before a rotation still has to
//! encrypt under the new key. A catalog scan takes a snapshot of its own, sees what our transaction wrote, and works
//! in parallel workers and on a standby.

use super::array::text_elements;
use super::datum::{uuid_bytes, varlena_bytes};
use super::inval;
use pgrx::pg_sys;
use std::ffi::{CStr, CString};
use std::num::NonZeroUsize;

/// A table and the index to find rows by.
pub struct IndexedTable {
    pub schema: &'static CStr,
    pub table: &'static CStr,
    pub index: &'static CStr,
}

/// An equality on the n-th column of the index.
pub enum Equals<'a> {
    Int4(i32),
    Oid(pg_sys::Oid),
    /// Text of an index column with collation "C".
    Text(&'a [u8]),
}

/// One row while it is being read. Columns are counted from 1, in the order of the install script.
pub struct Row {
    tuple: *mut pg_sys::HeapTupleData,
    descriptor: pg_sys::TupleDesc,
}

/// The table isn't there: the extension is not created in this database, or is being created.
pub struct NoSuchTable;

/// The OID of a table of ours.
pub fn relation_oid(schema: &CStr, table: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: catalog lookups with terminated names.
    unsafe {
        let namespace = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        let relation = match namespace == pg_sys::InvalidOid {
            true => pg_sys::InvalidOid,
            false => pg_sys::get_relname_relid(table.as_ptr(), namespace),
        };
        (relation != pg_sys::InvalidOid).then_some(relation)
    }
}

/// All rows that match, read by `read`. The table's changes start a new generation from now on.
pub fn rows<T>(
    source: &IndexedTable,
    matches: &[Equals<'_>],
    mut read: impl FnMut(&Row) -> T,
) -> Result<Vec<T>, NoSuchTable> {
    let table = relation_oid(source.schema, source.table).ok_or(NoSuchTable)?;
    let index = relation_oid(source.schema, source.index).ok_or(NoSuchTable)?;
    inval::watch(table);

    let relation = Relation::open(table);
    let mut found = Vec::new();
    // SAFETY: relation and index belong together and stay open for the scan; tuples are read before the next one is
    // fetched. If anything raises, the resource owner closes what is open.
    unsafe {
        let mut keys: Vec<pg_sys::ScanKeyData> = Vec::with_capacity(matches.len());
        for (n, equals) in matches.iter().enumerate() {
            // systable_beginscan translates heap column numbers into index columns, so ask the index for them.
            let heap_column = index_column(index, n);
            let mut key = pg_sys::ScanKeyData::default();
            let (procedure, argument) = match equals {
                Equals::Int4(value) => (pg_sys::F_INT4EQ, pg_sys::Datum::from(*value)),
                Equals::Oid(value) => (pg_sys::F_OIDEQ, pg_sys::Datum::from(*value)),
                Equals::Text(value) => (pg_sys::F_TEXTEQ, text_datum(value)),
            };
            pg_sys::ScanKeyInit(
                &mut key,
                heap_column,
                pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
                procedure.into(),
                argument,
            );
            key.sk_collation = pg_sys::C_COLLATION_OID;
            keys.push(key);
        }
        let scan = pg_sys::systable_beginscan(
            relation.0,
            index,
            true,
            std::ptr::null_mut(),
            keys.len() as i32,
            keys.as_mut_ptr(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            found.push(read(&Row {
                tuple,
                descriptor: (*relation.0).rd_att,
            }));
        }
        pg_sys::systable_endscan(scan);
    }
    Ok(found)
}

impl Row {
    /// `None` too for a column that the table does not have: this library can be newer than the extension's objects, before
    /// ALTER EXTENSION ... UPDATE and after pg_upgrade.
    fn datum(&self, column: usize) -> Option<pg_sys::Datum> {
        // SAFETY: the descriptor is valid while the row is read.
        if column > unsafe { (*self.descriptor).natts } as usize {
            return None;
        }
        let column = NonZeroUsize::new(column)?;
        // SAFETY: tuple and descriptor are valid while the row is read.
        unsafe { pgrx::htup::heap_getattr_raw(self.tuple, column, self.descriptor) }
    }

    /// 0 for NULL.
    pub fn int4(&self, column: usize) -> i32 {
        self.datum(column).map_or(0, |datum| datum.value() as i32)
    }

    /// False for NULL.
    pub fn bool(&self, column: usize) -> bool {
        self.datum(column).is_some_and(|datum| datum.value() & 0xff != 0)
    }

    /// Invalid for NULL.
    pub fn oid(&self, column: usize) -> pg_sys::Oid {
        self.datum(column).map_or(
            pg_sys::InvalidOid,
            |datum| pg_sys::Oid::from(datum.value() as u32),
        )
    }

    /// The 16 bytes of a uuid.
    pub fn uuid(&self, column: usize) -> Option<[u8; 16]> {
        self.datum(column).map(uuid_bytes)
    }

    /// A text or bytea column.
    pub fn bytes(&self, column: usize) -> Option<Vec<u8>> {
        self.datum(column).map(|datum| varlena_bytes(datum).to_vec())
    }

    /// An array of text in the database's encoding, NULLs left out; empty for NULL.
    pub fn texts(&self, column: usize) -> Vec<CString> {
        let elements = self.datum(column).map(text_elements).unwrap_or_default();
        let text = |element: Option<&[u8]>| CString::new(element?).ok();
        elements.into_iter().filter_map(text).collect()
    }

    /// Text; bytes that are no UTF-8 (other database encodings) are replaced, so for messages and fixed words only.
    pub fn text(&self, column: usize) -> Option<String> {
        self.bytes(column)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// An open table with its lock; closed on drop, except while unwinding, where the resource owner does it.
struct Relation(pg_sys::Relation);

impl Relation {
    fn open(oid: pg_sys::Oid) -> Self {
        // SAFETY: raises if the table has just been dropped.
        Self(unsafe { pg_sys::table_open(oid, pg_sys::AccessShareLock as pg_sys::LOCKMODE) })
    }
}

impl Drop for Relation {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened in `open`. The lock goes at once, as for catalogs.
            unsafe { pg_sys::table_close(self.0, pg_sys::AccessShareLock as pg_sys::LOCKMODE) }
        }
    }
}

/// Which column of the table the n-th column of the index (from 0) is.
unsafe fn index_column(index: pg_sys::Oid, n: usize) -> pg_sys::AttrNumber {
    // SAFETY: the index exists and has more than n columns, by the install script.
    unsafe {
        let open = pg_sys::index_open(index, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        let column = (*(*open).rd_index)
            .indkey
            .values
            .as_slice((*(*open).rd_index).indnatts as usize)[n];
        pg_sys::index_close(open, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        column
    }
}

fn text_datum(text: &[u8]) -> pg_sys::Datum {
    // SAFETY: copies `len` bytes into a palloc'd text.
    unsafe {
        pg_sys::Datum::from(pg_sys::cstring_to_text_with_len(
            text.as_ptr().cast(),
            text.len() as i32,
        ))
    }
}

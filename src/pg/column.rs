//! References to columns by the numbers of table and column, written and read as names, as PostgreSQL's own `regclass`
//! does for tables.

use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::{CStr, CString};

/// A column: the table's OID in the upper bits, the column's number in the lowest 16. One number, so that the type is a
/// bigint by storage, order and equality.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ColumnReference {
    pub relation: Oid,
    pub number: i16,
}

/// What was wrong with the text of a reference. That there is no such table, PostgreSQL itself says.
pub enum BadReference {
    /// Not two or three names with dots between them.
    Syntax,
    /// The table has no column of that name.
    NoSuchColumn { relation: String, column: String },
}

impl ColumnReference {
    pub fn from_datum(datum: Datum) -> Self {
        let packed = datum.value() as u64;
        Self {
            relation: Oid::from((packed >> 16) as u32),
            number: packed as u16 as i16,
        }
    }

    pub fn to_datum(self) -> Datum {
        let packed = (u64::from(self.relation.to_u32()) << 16) | u64::from(self.number as u16);
        Datum::from(packed as usize)
    }

    /// `schema.table.column`, quoted where needed; the two numbers if there is no such column any more.
    pub fn to_text(self) -> Vec<u8> {
        // SAFETY: catalog lookups that return null for what is missing, and palloc'd or constant strings otherwise.
        unsafe {
            let column = pg_sys::get_attname(self.relation, self.number, true);
            let table = pg_sys::get_rel_name(self.relation);
            if column.is_null() || table.is_null() {
                return format!("{}.{}", self.relation.to_u32(), self.number).into_bytes();
            }
            let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(self.relation));
            let mut text = CStr::from_ptr(pg_sys::quote_qualified_identifier(schema, table))
                .to_bytes()
                .to_vec();
            text.push(b'.');
            text.extend_from_slice(CStr::from_ptr(pg_sys::quote_identifier(column)).to_bytes());
            text
        }
    }

    /// Reads what [`Self::to_text`] wrote, with or without the schema.
    pub fn from_text(text: &[u8]) -> Result<Self, BadReference> {
        if let Some(numbers) = from_numbers(text) {
            return Ok(numbers);
        }
        let text = CString::new(text).map_err(|_| BadReference::Syntax)?;
        // SAFETY: a terminated text; the lists and names are palloc'd. What is no list of names raises 42602.
        unsafe {
            let names = pg_sys::textToQualifiedNameList(pg_sys::cstring_to_text(text.as_ptr()));
            if !(2..=3).contains(&(*names).length) {
                return Err(BadReference::Syntax);
            }
            let last = (*names).length - 1;
            let column = name_in(names, last);
            let table = pg_sys::list_truncate(names, last);
            let range = pg_sys::makeRangeVarFromNameList(table);
            let relation = pg_sys::RangeVarGetRelidExtended(
                range,
                pg_sys::NoLock as pg_sys::LOCKMODE,
                0,
                None,
                std::ptr::null_mut(),
            );
            match pg_sys::get_attnum(relation, column) {
                number if number > 0 => Ok(Self { relation, number }),
                _ => Err(BadReference::NoSuchColumn {
                    relation: text_of(pg_sys::get_rel_name(relation)),
                    column: text_of(column),
                }),
            }
        }
    }
}

fn from_numbers(text: &[u8]) -> Option<ColumnReference> {
    let (relation, number) = std::str::from_utf8(text).ok()?.split_once('.')?;
    Some(ColumnReference {
        relation: Oid::from(relation.parse::<u32>().ok()?),
        number: number.parse().ok()?,
    })
}

/// Name `n` of a list of String nodes.
unsafe fn name_in(names: *mut pg_sys::List, n: i32) -> *mut core::ffi::c_char {
    // SAFETY: the caller has counted; cells of such a list point to String nodes.
    unsafe {
        let cell = (*names).elements.add(n as usize);
        let node = (*cell).ptr_value.cast::<pg_sys::String>();
        (*node).sval
    }
}

/// A name for a message.
unsafe fn text_of(name: *const core::ffi::c_char) -> String {
    // SAFETY: null or terminated.
    unsafe {
        match name.is_null() {
            true => String::new(),
            false => CStr::from_ptr(name).to_string_lossy().into_owned(),
        }
    }
}

//! CREATE INDEX as the parser leaves it, before anything is done.

use super::list::nodes;
use super::trigger::EventTrigger;
use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;

/// CREATE INDEX CONCURRENTLY.
pub struct ConcurrentIndex {
    /// The table, quoted, as the statement names it.
    pub table: String,
    /// The access method's name.
    pub method: String,
    pub unique: bool,
    /// Columns that are indexed by the default operator class of their type, by name or because none is named.
    pub by_default_class: Vec<IndexedColumn>,
}

pub struct IndexedColumn {
    pub name: String,
    /// What a domain is made of.
    pub type_oid: Oid,
}

impl ConcurrentIndex {
    /// `None` for other statements, and where the table, method or class does not exist, which PostgreSQL reports.
    /// Columns only: what type an expression has is known later.
    pub fn of(trigger: &EventTrigger) -> Option<Self> {
        // SAFETY: the statement's tree is valid for the call; the tag tells which node it is, the grammar what its lists
        // hold: index elements, and names of operator classes as strings. The rest are catalog lookups.
        unsafe {
            let statement: *mut pg_sys::IndexStmt = trigger.statement(pg_sys::NodeTag::T_IndexStmt)?.cast();
            if !(*statement).concurrent {
                return None;
            }
            let range = (*statement).relation;
            let relation = pg_sys::RangeVarGetRelidExtended(
                range,
                pg_sys::NoLock as pg_sys::LOCKMODE,
                pg_sys::RVROption::RVR_MISSING_OK,
                None,
                std::ptr::null_mut(),
            );
            let method = pg_sys::get_index_am_oid((*statement).accessMethod, true);
            if relation == pg_sys::InvalidOid || method == pg_sys::InvalidOid {
                return None;
            }
            let by_default_class = nodes::<pg_sys::IndexElem>((*statement).indexParams)
                .filter_map(|element| column(relation, method, element))
                .collect();
            Some(Self {
                table: table_name(range),
                method: text((*statement).accessMethod),
                unique: (*statement).unique,
                by_default_class,
            })
        }
    }
}

/// A column that the element indexes by its type's default class.
///
/// # Safety
/// `element` is an index element, the others exist.
unsafe fn column(relation: Oid, method: Oid, element: *mut pg_sys::IndexElem) -> Option<IndexedColumn> {
    // SAFETY: as the caller vouches; catalog lookups.
    unsafe {
        let name = column_name(element)?;
        let number = pg_sys::get_attnum(relation, name);
        if number <= 0 {
            return None;
        }
        let type_oid = pg_sys::getBaseType(pg_sys::get_atttype(relation, number));
        let class = (*element).opclass;
        let is_default = class.is_null()
            || pg_sys::get_opclass_oid(method, class, true) == pg_sys::GetDefaultOpClass(type_oid, method);
        is_default.then(|| IndexedColumn {
            name: text(name),
            type_oid,
        })
    }
}

/// The element's column, also if it is in parentheses.
///
/// # Safety
/// `element` is an index element.
unsafe fn column_name(element: *mut pg_sys::IndexElem) -> Option<*const core::ffi::c_char> {
    // SAFETY: as the caller vouches; an element has a name or an expression, and a column reference names as strings.
    unsafe {
        if !(*element).name.is_null() {
            return Some((*element).name);
        }
        let expression = (*element).expr;
        if (*expression).type_ != pg_sys::NodeTag::T_ColumnRef {
            return None;
        }
        let last = nodes::<pg_sys::Node>((*expression.cast::<pg_sys::ColumnRef>()).fields).last()?;
        ((*last).type_ == pg_sys::NodeTag::T_String)
            .then(|| (*last.cast::<pg_sys::String>()).sval.cast_const())
    }
}

/// # Safety
/// `range` is a table's name in a statement.
unsafe fn table_name(range: *const pg_sys::RangeVar) -> String {
    // SAFETY: as the caller vouches; the schema may be missing.
    unsafe {
        match (*range).schemaname.is_null() {
            true => pgrx::spi::quote_identifier(text((*range).relname)),
            false => pgrx::spi::quote_qualified_identifier(text((*range).schemaname), text((*range).relname)),
        }
    }
}

/// # Safety
/// `string` is terminated.
unsafe fn text(string: *const core::ffi::c_char) -> String {
    // SAFETY: as the caller vouches.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

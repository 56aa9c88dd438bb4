//! Stored expressions: those whose results are stored, in indexes, generated columns, statistics, partition bounds; and
//! the constants in any of them.
//!
//! PostgreSQL stores nothing that an expression gets from a function that is not immutable, with gaps. Statistics take any
//! function; a generated column takes any conversion to its own type; and arrays and rows are compared, hashed and written
//! by the functions of what they consist of, which nobody looks at.

use super::datum::varlena_bytes;
use super::list::nodes;
use pgrx::pg_sys::{self, Datum, Node, NodeTag, Oid};
use std::ffi::{CStr, c_void};

/// How an expression gets from a value to what is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// By a function that is not immutable, or by writing it as text.
    Converting,
    /// By the order of its type.
    Ordering,
    /// By the equality or the hash of its type.
    Equating,
}

/// A type that an expression reads values of.
pub struct Read {
    pub reading: Reading,
    pub type_oid: Oid,
}

/// What stored expressions (a `pg_node_tree`: one, or a list) read, other than by immutable functions of its type.
pub fn reads(tree: Datum) -> Vec<Read> {
    let mut found = Vec::new();
    // SAFETY: `visit` takes what is passed on to it here.
    unsafe { visit(parse(tree), (&raw mut found).cast()) };
    found
}

/// The types of the results of stored expressions.
pub fn result_types(tree: Datum) -> Vec<Oid> {
    // SAFETY: the tree is an expression or a list of expressions.
    unsafe {
        let node = parse(tree);
        match !node.is_null() && (*node).type_ == NodeTag::T_List {
            true => nodes::<Node>(node.cast())
                .map(|expression| pg_sys::exprType(expression))
                .collect(),
            false => vec![pg_sys::exprType(node)],
        }
    }
}

/// The bytes of constants with variable length in stored expressions or queries (a `pg_node_tree` of any kind).
pub fn constants(tree: Datum) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    // SAFETY: `visit_constants` takes what is passed on to it here.
    unsafe { visit_constants(parse(tree), (&raw mut found).cast()) };
    found
}

fn parse(tree: Datum) -> *mut Node {
    // SAFETY: a pg_node_tree is a text that PostgreSQL wrote; nobody else can make one.
    unsafe { pg_sys::stringToNode(pg_sys::text_to_cstring(tree.cast_mut_ptr())).cast() }
}

/// # Safety
/// `node` is null or part of an expression; `found` is a `Vec<Read>`.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn visit(node: *mut Node, found: *mut c_void) -> bool {
    // SAFETY: as the caller vouches. The walkers call back with nodes of the same tree.
    unsafe {
        if node.is_null() {
            return false;
        }
        if let Some(reading) = reading_of(node) {
            let mut types: Vec<Oid> = Vec::new();
            pg_sys::expression_tree_walker(node, Some(collect_type), (&raw mut types).cast());
            let reads = types.into_iter().map(|type_oid| Read { reading, type_oid });
            (*found.cast::<Vec<Read>>()).extend(reads);
        }
        pg_sys::expression_tree_walker(node, Some(visit), found)
    }
}

/// # Safety
/// `node` is null or part of an expression or a query; `found` is a `Vec<Vec<u8>>`.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn visit_constants(node: *mut Node, found: *mut c_void) -> bool {
    // SAFETY: as the caller vouches; a node has the type that its tag tells, and a constant of length -1 is a varlena.
    unsafe {
        if node.is_null() {
            return false;
        }
        match (*node).type_ {
            NodeTag::T_Query => pg_sys::query_tree_walker(node.cast(), Some(visit_constants), found, 0),
            tag => {
                if tag == NodeTag::T_Const {
                    let constant: *const pg_sys::Const = node.cast();
                    if (*constant).constlen == -1 && !(*constant).constisnull {
                        let bytes = varlena_bytes((*constant).constvalue).to_vec();
                        (*found.cast::<Vec<Vec<u8>>>()).push(bytes);
                    }
                }
                pg_sys::expression_tree_walker(node, Some(visit_constants), found)
            }
        }
    }
}

/// The types of the operands of a node, and of the fields of rows among them, which have no type of their own.
///
/// # Safety
/// `node` is an operand or a list of operands; `types` is a `Vec<Oid>`.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn collect_type(node: *mut Node, types: *mut c_void) -> bool {
    // SAFETY: as the caller vouches.
    unsafe {
        match node.is_null() {
            true => false,
            false if matches!((*node).type_, NodeTag::T_List | NodeTag::T_RowExpr) => {
                pg_sys::expression_tree_walker(node, Some(collect_type), types)
            }
            false => {
                (*types.cast::<Vec<Oid>>()).push(pg_sys::exprType(node));
                false
            }
        }
    }
}

/// # Safety
/// `node` is part of an expression.
unsafe fn reading_of(node: *mut Node) -> Option<Reading> {
    // SAFETY: as the caller vouches; `reading_by` takes a reading.
    unsafe {
        match (*node).type_ {
            NodeTag::T_MinMaxExpr => return Some(Reading::Ordering),
            NodeTag::T_XmlExpr => return Some(Reading::Converting),
            #[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
            NodeTag::T_JsonConstructorExpr => return Some(Reading::Converting),
            _ => (),
        }
        let mut reading: Option<Reading> = None;
        pg_sys::check_functions_in_node(node, Some(reading_by), (&raw mut reading).cast());
        reading
    }
}

/// # Safety
/// `function` is a function of an expression; `reading` is an `Option<Reading>`.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn reading_by(function: Oid, reading: *mut c_void) -> bool {
    // SAFETY: as the caller vouches; catalog lookups.
    unsafe {
        let found = match pg_sys::func_volatile(function) as u8 == pg_sys::PROVOLATILE_IMMUTABLE {
            false => Some(Reading::Converting),
            true if pg_sys::get_func_namespace(function)
                == pg_sys::Oid::from(pg_sys::PG_CATALOG_NAMESPACE) =>
            {
                let name = pg_sys::get_func_name(function);
                CStr::from_ptr(name).to_str().ok().and_then(comparing)
            }
            true => None,
        };
        let reading = reading.cast::<Option<Reading>>();
        *reading = (*reading).or(found);
        (*reading).is_some()
    }
}

/// PostgreSQL's functions of arrays, rows and anything comparable that are declared immutable and compare by a function of
/// the element's type, which need not be.
fn comparing(function: &str) -> Option<Reading> {
    match function {
        "array_lt" | "array_le" | "array_gt" | "array_ge" | "btarraycmp" | "array_larger"
        | "array_smaller" | "array_sort" | "record_lt" | "record_le" | "record_gt" | "record_ge"
        | "btrecordcmp" | "record_larger" | "record_smaller" | "width_bucket" => Some(Reading::Ordering),
        "array_eq"
        | "array_ne"
        | "arrayoverlap"
        | "arraycontains"
        | "arraycontained"
        | "array_position"
        | "array_positions"
        | "array_remove"
        | "array_replace"
        | "hash_array"
        | "hash_array_extended"
        | "record_eq"
        | "record_ne"
        | "hash_record"
        | "hash_record_extended" => Some(Reading::Equating),
        range if range.starts_with("range_") || range.starts_with("multirange_") => Some(Reading::Ordering),
        _ => None,
    }
}

//! The order in which equal values are brought together.
//!
//! `GROUP BY`, `DISTINCT` and `count(DISTINCT …)` ask for no order. Where PostgreSQL sorts for them (it always does for the
//! last, and for the others when it expects more groups than fit into memory), the order is that of the type's
//! default btree class, chosen when the statement is parsed. A type that has a second class with the same `=` has another
//! order that serves as well, which may be cheaper, and have an index. So the statement's tree is changed before it is planned.
//!
//! Where the order can be seen nothing is changed: what ORDER BY names keeps its order, and so do all other aggregates, whose
//! results show it.

use super::inval::{self, InGeneration};
use super::list;
use super::proc::{self, CFunction};
use foldhash::HashMap;
use pgrx::pg_sys::{self, Node, NodeTag, Oid};
use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

type Hook = unsafe extern "C-unwind" fn(
    *mut pg_sys::Query,
    *const c_char,
    c_int,
    pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt;

/// The hook that another library installed before.
static PREVIOUS: OnceLock<Option<Hook>> = OnceLock::new();
/// The function of the `=` of types with a second order.
static EQUALITY: OnceLock<CFunction> = OnceLock::new();

thread_local! {
    /// The `<` of the second order by the `=`.
    static KNOWN: RefCell<InGeneration<HashMap<Oid, Option<Oid>>>> = RefCell::default();
}

/// `count("any")`.
const COUNT: u32 = 2147;
/// What `<` is in a btree class.
const LESS: pg_sys::int16 = 1;

/// Registers the hook for types whose `=` is this function; once, when the library is loaded. A statement that is planned
/// before that runs in the default order.
pub fn install(equality: CFunction) {
    // SAFETY: the hook has the declared type and lives as long as the process.
    unsafe {
        let _ = EQUALITY.set(equality);
        let _ = PREVIOUS.set(pg_sys::planner_hook);
        pg_sys::planner_hook = Some(plan);
    }
}

unsafe extern "C-unwind" fn plan(
    query: *mut pg_sys::Query,
    text: *const c_char,
    options: c_int,
    parameters: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: the planner is free to change the tree that it is given; the guard keeps panics from crossing into C.
    unsafe {
        pg_sys::panic::pgrx_extern_c_guard(|| {
            visit(query.cast(), std::ptr::null_mut());
            match PREVIOUS.get() {
                Some(Some(previous)) => {
                    pg_sys::ffi::pg_guard_ffi_boundary(|| previous(query, text, options, parameters))
                }
                _ => pg_sys::standard_planner(query, text, options, parameters),
            }
        })
    }
}

/// Goes through a tree, the queries within it included.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn visit(node: *mut Node, context: *mut c_void) -> bool {
    // SAFETY: nodes of a tree have the types that their tags tell.
    unsafe {
        if node.is_null() {
            return false;
        }
        match (*node).type_ {
            NodeTag::T_Query => {
                let query: *mut pg_sys::Query = node.cast();
                regroup(query);
                pg_sys::query_tree_walker(query, Some(visit), context, 0)
            }
            tag => {
                if tag == NodeTag::T_Aggref {
                    recount(node.cast());
                }
                pg_sys::expression_tree_walker(node, Some(visit), context)
            }
        }
    }
}

/// # Safety
/// `query` is a query.
unsafe fn regroup(query: *mut pg_sys::Query) {
    // SAFETY: the lists hold nodes of this type.
    unsafe {
        let clauses = |list| list::nodes::<pg_sys::SortGroupClause>(list);
        let is_shown =
            |group: u32| clauses((*query).sortClause).any(|shown| (*shown).tleSortGroupRef == group);
        // Grouping sets share sorts in ways of their own.
        if (*query).groupingSets.is_null() {
            clauses((*query).groupClause)
                .filter(|clause| !is_shown((**clause).tleSortGroupRef))
                .for_each(|clause| reorder(clause));
        }
        // DISTINCT sorts by what ORDER BY names first; DISTINCT ON shows which row comes first.
        if (*query).sortClause.is_null() && !(*query).hasDistinctOn {
            clauses((*query).distinctClause).for_each(|clause| reorder(clause));
        }
    }
}

/// # Safety
/// `aggregate` is an aggregate's call.
unsafe fn recount(aggregate: *mut pg_sys::Aggref) {
    // SAFETY: the list holds nodes of this type.
    unsafe {
        if (*aggregate).aggfnoid.to_u32() == COUNT && (*aggregate).aggorder.is_null() {
            list::nodes::<pg_sys::SortGroupClause>((*aggregate).aggdistinct)
                .for_each(|clause| reorder(clause));
        }
    }
}

/// # Safety
/// `clause` is a clause that no order is seen by.
unsafe fn reorder(clause: *mut pg_sys::SortGroupClause) {
    // SAFETY: as the caller vouches.
    unsafe {
        if let Some(less) = second_order((*clause).eqop) {
            (*clause).sortop = less;
            #[cfg(feature = "pg18")]
            {
                (*clause).reverse_sort = false;
            }
        }
    }
}

fn second_order(equality: Oid) -> Option<Oid> {
    let generation = inval::generation();
    let known = KNOWN.with_borrow_mut(|known| known.of(generation).get(&equality).copied());
    known.unwrap_or_else(|| {
        let order = find_second_order(equality);
        KNOWN.with_borrow_mut(|known| known.of(generation).insert(equality, order));
        order
    })
}

fn find_second_order(equality: Oid) -> Option<Oid> {
    // SAFETY: catalog lookups.
    unsafe {
        let (mut of, mut other) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        pg_sys::op_input_types(equality, &mut of, &mut other);
        let function = pg_sys::get_opcode(equality);
        if of != other || !EQUALITY.get().is_some_and(|ours| proc::is(function, *ours)) {
            return None;
        }
        let default = (*pg_sys::lookup_type_cache(of, pg_sys::TYPECACHE_BTREE_OPFAMILY as i32)).btree_opf;
        list::oids(pg_sys::get_mergejoin_opfamilies(equality))
            .filter(|family| *family != default)
            .map(|family| pg_sys::get_opfamily_member(family, of, of, LESS))
            .find(|less| *less != pg_sys::InvalidOid)
    }
}

//! A type's own order, equality and hash, by its default operator classes.

use pgrx::pg_sys::{self, Datum, Oid};
use std::cmp::Ordering;

/// The type's default order under a collation.
pub fn order(type_oid: Oid, collation: Oid, a: Datum, b: Datum) -> Ordering {
    // SAFETY: the type cache entry lives as long as the process; both datums are of the type.
    unsafe {
        let entry = pg_sys::lookup_type_cache(type_oid, pg_sys::TYPECACHE_CMP_PROC_FINFO as i32);
        let result = pg_sys::FunctionCall2Coll(&mut (*entry).cmp_proc_finfo, collation, a, b);
        (result.value() as i32).cmp(&0)
    }
}

/// The type's default equality under a collation.
pub fn equal(type_oid: Oid, collation: Oid, a: Datum, b: Datum) -> bool {
    // SAFETY: as above.
    unsafe {
        let entry = pg_sys::lookup_type_cache(type_oid, pg_sys::TYPECACHE_EQ_OPR_FINFO as i32);
        pg_sys::FunctionCall2Coll(&mut (*entry).eq_opr_finfo, collation, a, b).value() & 1 != 0
    }
}

/// The type's default hash: 32 bits, or 64 with a seed.
pub fn hash(type_oid: Oid, collation: Oid, value: Datum, seed: Option<Datum>) -> Datum {
    // SAFETY: as above; hash_extended takes the seed as a bigint.
    unsafe {
        match seed {
            None => {
                let entry = pg_sys::lookup_type_cache(type_oid, pg_sys::TYPECACHE_HASH_PROC_FINFO as i32);
                pg_sys::FunctionCall1Coll(&mut (*entry).hash_proc_finfo, collation, value)
            }
            Some(seed) => {
                let flags = pg_sys::TYPECACHE_HASH_EXTENDED_PROC_FINFO as i32;
                let entry = pg_sys::lookup_type_cache(type_oid, flags);
                pg_sys::FunctionCall2Coll(&mut (*entry).hash_extended_proc_finfo, collation, value, seed)
            }
        }
    }
}

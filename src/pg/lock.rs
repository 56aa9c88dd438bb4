//! Locks on things that are no relations.

use super::server::database_oid;
use pgrx::pg_sys::{self, Oid};

/// Takes an exclusive lock on an object of a class, until the end of the transaction; false if another has it.
pub fn try_lock_object(class: Oid, object: u32) -> bool {
    acquire(class, object, true) != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

/// Takes an exclusive lock on an object of a class, until the end of the transaction; waits for it.
pub fn lock_object(class: Oid, object: u32) {
    acquire(class, object, false);
}

/// Takes the lock that reading a table takes; false if there is no such table.
pub fn lock_table_for_reading(table: Oid) -> bool {
    // SAFETY: a lock on a number; what it is the number of is looked up under the lock.
    unsafe {
        pg_sys::LockRelationOid(table, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        pg_sys::SearchSysCacheExists(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(table),
            pg_sys::Datum::from(0usize),
            pg_sys::Datum::from(0usize),
            pg_sys::Datum::from(0usize),
        )
    }
}

fn acquire(class: Oid, object: u32, at_once: bool) -> pg_sys::LockAcquireResult::Type {
    // As the macro SET_LOCKTAG_OBJECT fills it.
    let tag = pg_sys::LOCKTAG {
        locktag_field1: database_oid().to_u32(),
        locktag_field2: class.to_u32(),
        locktag_field3: object,
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    // SAFETY: the tag is complete; not a session lock.
    unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as pg_sys::LOCKMODE, false, at_once) }
}

//! Locks on things that are no relations.

use super::server::database_oid;
use pgrx::pg_sys::{self, Oid};

/// Takes an exclusive lock on an object of a class, until the end of the transaction; false if another has it.
pub fn try_lock_object(class: Oid, object: u32) -> bool {
    // As the macro SET_LOCKTAG_OBJECT fills it.
    let tag = pg_sys::LOCKTAG {
        locktag_field1: database_oid().to_u32(),
        locktag_field2: class.to_u32(),
        locktag_field3: object,
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    // SAFETY: the tag is complete; not a session lock, and without waiting.
    let result = unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as pg_sys::LOCKMODE, false, true) };
    result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

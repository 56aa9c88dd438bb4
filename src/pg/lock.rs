//! Locks on tables, and on things that are no relations.

use super::server::database_oid;
use pgrx::pg_sys::{self, Oid};

/// How long a lock is held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    EndOfTransaction,
    /// Given back, or the process ends.
    Released,
}

/// Which of PostgreSQL's two kinds of locks; the same object has one of each.
#[derive(Clone, Copy)]
enum Method {
    Ordinary = pg_sys::DEFAULT_LOCKMETHOD as isize,
    /// As advisory locks are. A process that ends between two transactions gives back no others: an ordinary lock would stay with
    /// its place in shared memory, held by nobody whom one could find or end.
    Advisory = pg_sys::USER_LOCKMETHOD as isize,
}

/// Takes an exclusive lock on an object of a class, until the end of the transaction; false if another has it.
pub fn try_lock_object(class: Oid, object: u32) -> bool {
    acquire(
        &tag(class, object, 0, Method::Ordinary),
        Until::EndOfTransaction,
        true,
    )
}

/// Takes an exclusive lock on an object of a class, until the end of the transaction; waits for it.
pub fn lock_object(class: Oid, object: u32) {
    acquire(
        &tag(class, object, 0, Method::Ordinary),
        Until::EndOfTransaction,
        false,
    );
}

/// Takes an exclusive lock on a part of an object until the end of the transaction; false if another has it, for no longer than a
/// transaction either, or holds it ([`try_hold_part`]).
pub fn try_lock_part(class: Oid, object: u32, part: u16) -> bool {
    acquire(
        &tag(class, object, part, Method::Advisory),
        Until::EndOfTransaction,
        true,
    )
}

/// As [`try_lock_part`], until it is released or the process ends.
pub fn try_hold_part(class: Oid, object: u32, part: u16) -> bool {
    acquire(&tag(class, object, part, Method::Advisory), Until::Released, true)
}

/// Gives back what [`try_hold_part`] took.
pub fn release_part(class: Oid, object: u32, part: u16) {
    // SAFETY: the tag is complete; a lock that isn't held is a warning.
    unsafe {
        pg_sys::LockRelease(
            &tag(class, object, part, Method::Advisory),
            pg_sys::ExclusiveLock as pg_sys::LOCKMODE,
            true,
        );
    }
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

/// Takes the lock that writing to a table takes, or emptying it, until the end of the transaction.
pub fn lock_table_for_writing(table: Oid, to_empty: bool) {
    let mode = if to_empty {
        pg_sys::AccessExclusiveLock
    } else {
        pg_sys::RowExclusiveLock
    };
    // SAFETY: a lock on a number, whatever it is the number of.
    unsafe { pg_sys::LockRelationOid(table, mode as pg_sys::LOCKMODE) }
}

/// How long sessions wait for a lock before they look for a deadlock, in milliseconds.
pub fn deadlock_timeout() -> i32 {
    // SAFETY: reads a setting.
    unsafe { pg_sys::DeadlockTimeout }
}

fn acquire(tag: &pg_sys::LOCKTAG, until: Until, at_once: bool) -> bool {
    // SAFETY: the tag is complete.
    let result = unsafe {
        pg_sys::LockAcquire(
            tag,
            pg_sys::ExclusiveLock as pg_sys::LOCKMODE,
            until == Until::Released,
            at_once,
        )
    };
    result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

/// As the macro SET_LOCKTAG_OBJECT fills it.
fn tag(class: Oid, object: u32, part: u16, method: Method) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        locktag_field1: database_oid().to_u32(),
        locktag_field2: class.to_u32(),
        locktag_field3: object,
        locktag_field4: part,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: method as u8,
    }
}

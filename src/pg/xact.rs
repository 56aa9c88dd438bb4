//! Other transactions.

use pgrx::pg_sys;

/// Waits until every transaction that runs in this database at the moment of the call has ended.
///
/// Bounded by the session's `lock_timeout` and `statement_timeout`, and deadlocks are detected, because the waiting
/// is done on the virtual transaction locks that CREATE INDEX CONCURRENTLY waits on.
pub fn wait_for_running_transactions() {
    let mut count = 0;
    // No limit by xmin: a transaction without a snapshot at this moment may still hold what it looked up before. Vacuums
    // run no functions that encrypt, and autovacuum may take hours.
    let vacuums = (pg_sys::PROC_IS_AUTOVACUUM | pg_sys::PROC_IN_VACUUM) as i32;
    // SAFETY: returns a palloc'd array of `count` ids, our own excluded.
    let running = unsafe {
        let list =
            pg_sys::GetCurrentVirtualXIDs(pg_sys::InvalidTransactionId, false, false, vacuums, &mut count);
        std::slice::from_raw_parts(list, count as usize)
    };
    for transaction in running {
        // SAFETY: a valid virtual transaction id; returns when that transaction has ended.
        unsafe { pg_sys::VirtualXactLock(*transaction, true) };
    }
}

/// Whether all statements of the running transaction see the database as it was at its first one.
pub fn has_one_snapshot() -> bool {
    // SAFETY: reads a variable of the backend; as the macro IsolationUsesXactSnapshot.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

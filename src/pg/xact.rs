//! Transactions, and where in its own a session is.

use super::raw;
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

/// The number that the next transaction to write will get. Every transaction that has begun to write has a lower one; a
/// snapshot's xmax is no such bound, as it follows the latest that *ended*.
pub fn next_transaction_id() -> u64 {
    // SAFETY: reads shared memory under its lock.
    unsafe { pg_sys::ReadNextFullTransactionId().value }
}

/// Whether all statements of the running transaction see the database as it was at its first one.
pub fn has_one_snapshot() -> bool {
    // SAFETY: reads a variable of the backend; as the macro IsolationUsesXactSnapshot.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// The number of the command that is running: every statement that writes, and every one that it runs in turn, takes a
/// higher one than all before it in the transaction.
pub fn command() -> u32 {
    // SAFETY: reads a variable of the backend; asked to use the number it might refuse.
    unsafe { raw::GetCurrentCommandId(false) }
}

/// Ends a command: what it wrote is seen from now on.
pub fn next_command() {
    // SAFETY: a trigger may, as SPI does for each statement that it runs.
    unsafe { pg_sys::CommandCounterIncrement() };
}

/// The number that the statement which a trigger fires for began with, or a lower one. `None` without a statement.
pub fn command_of_statement() -> Option<u32> {
    // SAFETY: a statement's triggers fire under its own snapshot, which is valid until it ends.
    // Both read variables of the backend.
    unsafe { raw::ActiveSnapshotSet().then(|| (*raw::GetActiveSnapshot()).curcid) }
}

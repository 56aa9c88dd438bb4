//! Background workers: processes of the server that are no client's.

use super::server::database_oid;
use pgrx::bgworkers::{
    BackgroundWorker, BackgroundWorkerBuilder, BackgroundWorkerStatus, DynamicBackgroundWorker,
};
use pgrx::datum::IntoDatum;
use pgrx::pg_sys::{self, Oid};
use std::time::Duration;

mod raw {
    unsafe extern "C-unwind" {
        // Declared again without pgrx's error guards, which are no place for a signal handler to go through.
        pub fn die(signal: i32);
        pub fn StatementCancelHandler(signal: i32);
        pub fn SignalHandlerForConfigReload(signal: i32);
        pub fn SignalHandlerForShutdownRequest(signal: i32);
    }
}

/// A process to be started.
pub struct Worker {
    /// What the list of processes shows.
    pub name: String,
    pub kind: &'static str,
    /// Symbol of this library where it begins.
    pub function: &'static str,
    pub argument: i32,
    pub number: i32,
}

/// A process that was started.
pub struct Started(DynamicBackgroundWorker);

impl Started {
    pub fn has_ended(&self) -> bool {
        matches!(
            self.0.pid(),
            Err(BackgroundWorkerStatus::Stopped | BackgroundWorkerStatus::PostmasterDied)
        )
    }
}

/// Starts it in the database of this session; `None` if the server has no room for another worker. It is not started
/// again when it ends or crashes.
pub fn start(worker: &Worker) -> Option<Started> {
    start_in(database_oid(), worker)
}

/// Starts it in some database. The process that started it is woken when it has ended.
pub fn start_in(database: Oid, worker: &Worker) -> Option<Started> {
    BackgroundWorkerBuilder::new(&worker.name)
        .set_type(worker.kind)
        .set_library("pg_encrypt")
        .set_function(worker.function)
        .set_argument(worker.argument.into_datum())
        .set_extra(&format!("{} {}", database.to_u32(), worker.number))
        .enable_spi_access()
        .set_restart_time(None)
        // SAFETY: reads a variable of the process.
        .set_notify_pid(unsafe { pg_sys::MyProcPid })
        .load_dynamic()
        .ok()
        .map(Started)
}

/// Declares a process that runs as long as the server does, from the end of recovery on, and is started again
/// `restart_after` it failed. Only while the library is preloaded.
pub fn declare(name: &str, function: &'static str, restart_after: Duration) {
    BackgroundWorkerBuilder::new(name)
        .set_type(name)
        .set_library("pg_encrypt")
        .set_function(function)
        .enable_spi_access()
        .set_restart_time(Some(restart_after))
        .load();
}

/// Connects a worker's process to the database it was started in, as the bootstrap superuser; its number.
///
/// Terminate, cancel and reload act on it as on a session: it ends in the midst of a batch or a lock wait.
pub fn connect() -> i32 {
    let mut parts = BackgroundWorker::get_extra()
        .split(' ')
        .map(|part| part.parse().unwrap_or(0));
    let (database, number) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    // SAFETY: first thing in the process, in the order that PostgreSQL's own workers do it. The handlers are
    // PostgreSQL's.
    unsafe {
        set_handler(libc::SIGTERM, raw::die);
        set_handler(libc::SIGINT, raw::StatementCancelHandler);
        set_handler(libc::SIGHUP, raw::SignalHandlerForConfigReload);
        pg_sys::BackgroundWorkerUnblockSignals();
        pg_sys::BackgroundWorkerInitializeConnectionByOid(Oid::from(database), Oid::INVALID, 0);
        // What pg_stat_activity shows.
        let name = (*pg_sys::MyBgworkerEntry).bgw_name.as_ptr();
        pg_sys::pgstat_report_appname(name);
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, name);
    }
    number as i32
}

/// Connects a declared process to no database: it sees what all databases share. Asked to end, it does so when it looks
/// ([`shall_end`]), without a line in the log.
pub fn connect_to_shared_catalogs() {
    // SAFETY: as in `connect`.
    unsafe {
        set_handler(libc::SIGTERM, raw::SignalHandlerForShutdownRequest);
        set_handler(libc::SIGHUP, raw::SignalHandlerForConfigReload);
        pg_sys::BackgroundWorkerUnblockSignals();
        pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0);
        pg_sys::pgstat_report_appname((*pg_sys::MyBgworkerEntry).bgw_name.as_ptr());
    }
}

/// Whether a process of [`connect_to_shared_catalogs`] was asked to end.
pub fn shall_end() -> bool {
    // SAFETY: a flag that the signal handler sets.
    unsafe { pg_sys::ShutdownRequestPending != 0 }
}

/// Whether this is the server starting, with the library among those that it preloads.
pub fn is_preloading() -> bool {
    // SAFETY: read variables of the process. pg_upgrade's servers have nobody to work for.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress && !pg_sys::IsBinaryUpgrade }
}

/// Databases that take connections, other than templates.
pub fn databases() -> Vec<Oid> {
    let mut found = Vec::new();
    // SAFETY: in a process without a database and outside of transactions, as the autovacuum launcher does it. Rows are
    // read before the next one is fetched.
    unsafe {
        pg_sys::StartTransactionCommand();
        let relation = pg_sys::table_open(
            pg_sys::DatabaseRelationId,
            pg_sys::AccessShareLock as pg_sys::LOCKMODE,
        );
        let scan = pg_sys::systable_beginscan(
            relation,
            Oid::INVALID,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let row = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_database>();
            // A negative limit below -1 marks a database that was dropped by half.
            if (*row).datallowconn && !(*row).datistemplate && (*row).datconnlimit >= -1 {
                found.push((*row).oid);
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        pg_sys::CommitTransactionCommand();
    }
    found
}

/// # Safety
/// `handler` must be safe to run in a signal handler.
unsafe fn set_handler(signal: i32, handler: unsafe extern "C-unwind" fn(i32)) {
    // SAFETY: as the caller vouches.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        pg_sys::pqsignal(signal, Some(handler));
        #[cfg(feature = "pg18")]
        pg_sys::pqsignal_be(signal, Some(handler));
    }
}

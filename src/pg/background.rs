//! Background workers: processes of the server that are no client's.

use super::server::database_oid;
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder};
use pgrx::datum::IntoDatum;
use pgrx::pg_sys::{self, Oid};

mod raw {
    unsafe extern "C-unwind" {
        // Declared again without pgrx's error guards, which are no place for a signal handler to go through.
        pub fn die(signal: i32);
        pub fn StatementCancelHandler(signal: i32);
        pub fn SignalHandlerForConfigReload(signal: i32);
    }
}

/// A process to be started in the database of this session.
pub struct Worker {
    /// What the list of processes shows.
    pub name: String,
    pub kind: &'static str,
    /// Symbol of this library where it begins.
    pub function: &'static str,
    pub argument: i32,
    pub number: i32,
}

/// Starts it; false if the server has no room for another worker. It is not started again when it ends or crashes.
pub fn start(worker: &Worker) -> bool {
    BackgroundWorkerBuilder::new(&worker.name)
        .set_type(worker.kind)
        .set_library("pg_encrypt")
        .set_function(worker.function)
        .set_argument(worker.argument.into_datum())
        .set_extra(&format!("{} {}", database_oid().to_u32(), worker.number))
        .enable_spi_access()
        .set_restart_time(None)
        .load_dynamic()
        .is_ok()
}

/// Connects a worker's process to the database it was started from, as the bootstrap superuser; its number.
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

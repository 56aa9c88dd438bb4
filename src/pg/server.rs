//! Facts about this server and this process.

use pgrx::pg_sys;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The data directory.
pub fn data_directory() -> Option<&'static Path> {
    // SAFETY: set once at server start to a terminated, absolute path.
    unsafe {
        (!pg_sys::DataDir.is_null())
            .then(|| Path::new(OsStr::from_bytes(CStr::from_ptr(pg_sys::DataDir).to_bytes())))
    }
}

/// The database of this session.
pub fn database_oid() -> pg_sys::Oid {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::MyDatabaseId }
}

/// Whether this process replicates. What a sender of WAL prints goes to a replica; what a worker that applies changes prints
/// goes to the server's log, which describes the rows of conflicts.
pub fn is_replicating() -> bool {
    // SAFETY: both read a variable of the process.
    unsafe { pg_sys::am_walsender || pg_sys::IsLogicalWorker() }
}

/// What the client calls itself.
pub fn application_name() -> &'static CStr {
    // SAFETY: the current value of a string setting; valid until the setting changes, and used at once.
    unsafe {
        match pg_sys::application_name.is_null() {
            true => c"",
            false => CStr::from_ptr(pg_sys::application_name),
        }
    }
}

/// Keeps Rust backtraces out of what clients see: with `RUST_BACKTRACE` in the server's environment, pgrx would put
/// them into the DETAIL of every error.
pub fn silence_backtraces() {
    // SAFETY: at load time a backend has one thread. This variable takes precedence, and is read before the first
    // error.
    unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") }
}

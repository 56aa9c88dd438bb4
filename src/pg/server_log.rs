//! What of an error goes to the server's log.
//!
//! PostgreSQL describes the row that violates a constraint, or is there twice in a materialized view that is refreshed, in the
//! error's detail, by the output functions of its columns, and writes that to the log as well. The client may see what its
//! role may see; the log is read by others.

use super::{errcode, inval};
use pgrx::pg_sys;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

type Hook = unsafe extern "C-unwind" fn(*mut pg_sys::ErrorData);

/// The hook that another library installed before.
static PREVIOUS: OnceLock<Option<Hook>> = OnceLock::new();
/// The last transaction of this process in which an output function showed something that is not for the log.
static SHOWN_IN: AtomicU64 = AtomicU64::new(0);

/// What the log has instead.
const INSTEAD: &[u8] = b"Not logged: it may show decrypted values.\0";

/// Registers the hook; once, when the library is loaded. That need not be at server start: nothing can be shown before
/// the library is loaded.
pub fn install() {
    // SAFETY: the hook has the declared type, never raises, and lives as long as the process.
    unsafe {
        let _ = PREVIOUS.set(pg_sys::emit_log_hook);
        pg_sys::emit_log_hook = Some(before_logging);
    }
}

/// To be called by an output function that shows something which is not for the log.
#[inline]
pub fn keep_details_out() {
    SHOWN_IN.store(inval::transaction(), Relaxed);
}

/// Classes of errors whose detail may describe a row: 21, too many of it; 23, it violates a constraint; 44, a view's.
const OF_ROWS: [[u8; 2]; 3] = [*b"21", *b"23", *b"44"];

/// Hides the detail of violated constraints and the like from the log, and only from there: `detail_log` is what the log
/// prints instead of `detail`.
///
/// The catalog can't be asked here which table has encrypted columns: the transaction has failed. So it is every such
/// error in a transaction that showed something. A parallel worker shows it in its own process, and its leader reports
/// the error once more.
unsafe extern "C-unwind" fn before_logging(error: *mut pg_sys::ErrorData) {
    // SAFETY: PostgreSQL passes the error that it is about to log, with its context as the place for what belongs to it.
    // Allocating does not raise: with NO_OOM it returns null.
    unsafe {
        let is_of_row = OF_ROWS
            .iter()
            .any(|class| errcode::is_of_class((*error).sqlerrcode, *class));
        if is_of_row && !(*error).detail.is_null() && (was_shown() || pg_sys::IsInParallelMode()) {
            let flags = pg_sys::MCXT_ALLOC_NO_OOM as i32;
            let place = pg_sys::MemoryContextAllocExtended((*error).assoc_context, INSTEAD.len(), flags);
            if place.is_null() {
                // Nothing about this error in the log, rather than what must not be there.
                (*error).output_to_server = false;
            } else {
                std::ptr::copy_nonoverlapping(INSTEAD.as_ptr(), place.cast(), INSTEAD.len());
                (*error).detail_log = place.cast();
            }
        }
        if let Some(Some(previous)) = PREVIOUS.get() {
            previous(error);
        }
    }
}

fn was_shown() -> bool {
    SHOWN_IN.load(Relaxed) == inval::transaction()
}

//! Settings that differ for a moment.

use pgrx::pg_sys;
use std::ffi::CStr;

/// Runs `body` with some settings changed, and changes them back: also if it raises, since the transaction undoes a
/// level that was left open.
pub fn with<T>(settings: &[(&CStr, &CStr)], body: impl FnOnce() -> T) -> T {
    // SAFETY: names and values are terminated; GUC_ACTION_SAVE is allowed in parallel workers too.
    let level = unsafe {
        let level = pg_sys::NewGUCNestLevel();
        for (name, value) in settings {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                // The extension's own choice, whoever calls.
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
        level
    };
    let result = body();
    // SAFETY: the level made above, with everything set in it.
    unsafe { pg_sys::AtEOXact_GUC(true, level) };
    result
}

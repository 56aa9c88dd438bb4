//! Memory for the length of one comparison: sorts and indexes call comparators in contexts that live long, where
//! what is not freed piles up.

use pgrx::pg_sys;
use std::cell::Cell;

thread_local! {
    static CONTEXT: Cell<pg_sys::MemoryContext> = const { Cell::new(std::ptr::null_mut()) };
    static IN_USE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body` with everything it pallocs freed afterwards; its result must not point there.
pub fn with_scratch<T>(body: impl FnOnce() -> T) -> T {
    // Inside another one, its memory serves: freeing is left to the outermost.
    if IN_USE.get() {
        return body();
    }
    let _in_use = InUse::begin();
    // SAFETY: the context belongs to this module and lives as long as the process. If `body` raises, PostgreSQL
    // restores the current context, and the next use starts with a reset.
    unsafe {
        if CONTEXT.get().is_null() {
            CONTEXT.set(pg_sys::AllocSetContextCreateInternal(
                pg_sys::TopMemoryContext,
                c"pg_encrypt comparison".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            ));
        }
        let caller = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = CONTEXT.get();
        let result = body();
        pg_sys::CurrentMemoryContext = caller;
        pg_sys::MemoryContextReset(CONTEXT.get());
        result
    }
}

/// Marks the context as in use; also unwinding ends the use.
struct InUse;

impl InUse {
    fn begin() -> Self {
        IN_USE.set(true);
        Self
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        IN_USE.set(false);
    }
}

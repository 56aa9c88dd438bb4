//! Which table, column and constraint an error names, on its way through Rust.
//!
//! PostgreSQL has fields for them beside the message, by which applications tell one violated constraint from another. A
//! report of pgrx's has none, so what a statement of ours raises for a client would arrive without. PostgreSQL calls the
//! callbacks of its stack of error contexts while an error is raised: one below the statement copies the error, one below
//! what pgrx raises again puts the names back.

use super::errcode;
use pgrx::pg_sys;
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;

/// The error that was raised last, if it is one that names a constraint or column: a copy in the transaction's memory.
struct Seen(*mut pg_sys::ErrorData);

/// Runs `body`, the whole of an SQL function; errors of statements in it keep the names that they have.
pub fn keeping_names<T>(body: impl FnOnce() -> T) -> T {
    let mut seen = Seen(ptr::null_mut());
    let arg = ptr::from_mut(&mut seen).cast();
    let outcome = {
        let mut frame = frame(copy_names, arg);
        let _copying = Pushed::new(&mut frame);
        catch_unwind(AssertUnwindSafe(body))
    };
    match outcome {
        Ok(result) => {
            // SAFETY: nobody else knows the copy.
            unsafe { forget(arg) };
            result
        }
        // SAFETY: nothing from here to the function manager has a destructor left to run: what there was, the panic owns.
        // The frame is on the stack until the error has been raised; PostgreSQL takes it off as it leaves.
        Err(panic) => unsafe {
            let mut frame = frame(give_names, arg);
            frame.previous = pg_sys::error_context_stack;
            pg_sys::error_context_stack = &mut frame;
            pg_sys::panic::pgrx_extern_c_guard(move || -> () { resume_unwind(panic) });
            unreachable!("ERROR does not return")
        },
    }
}

type Callback = unsafe extern "C-unwind" fn(*mut c_void);

fn frame(callback: Callback, arg: *mut c_void) -> pg_sys::ErrorContextCallback {
    pg_sys::ErrorContextCallback {
        previous: ptr::null_mut(),
        callback: Some(callback),
        arg,
    }
}

/// A frame on the stack of error contexts, as long as it lives.
struct Pushed<'a>(&'a mut pg_sys::ErrorContextCallback);

impl<'a> Pushed<'a> {
    fn new(frame: &'a mut pg_sys::ErrorContextCallback) -> Self {
        // SAFETY: the frame outlives its place on the stack, from which `drop` takes it.
        unsafe {
            frame.previous = pg_sys::error_context_stack;
            pg_sys::error_context_stack = frame;
        }
        Self(frame)
    }
}

impl Drop for Pushed<'_> {
    fn drop(&mut self) {
        // SAFETY: whoever pushed another since has taken it off; after an error, pgrx has.
        unsafe { pg_sys::error_context_stack = self.0.previous };
    }
}

/// Of integrity constraint violations only: no others have names, and to copy an error for want of memory takes memory.
unsafe extern "C-unwind" fn copy_names(seen: *mut c_void) {
    // SAFETY: an error, or a notice, is being raised. Its own memory is current, in which it must not be copied.
    unsafe {
        if errcode::is_of_class(pg_sys::geterrcode(), *b"23") {
            forget(seen);
            let errors = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = pg_sys::TopTransactionContext;
            (*seen.cast::<Seen>()).0 = pg_sys::CopyErrorData();
            pg_sys::CurrentMemoryContext = errors;
        }
    }
}

unsafe extern "C-unwind" fn give_names(seen: *mut c_void) {
    // SAFETY: an error is being raised that pgrx made, with no names. The strings are copied before they are freed.
    unsafe {
        let names = (*seen.cast::<Seen>()).0;
        if !names.is_null() && pg_sys::geterrcode() == (*names).sqlerrcode {
            // PG_DIAG_SCHEMA_NAME and so on.
            give(b's', (*names).schema_name);
            give(b't', (*names).table_name);
            give(b'c', (*names).column_name);
            give(b'd', (*names).datatype_name);
            give(b'n', (*names).constraint_name);
        }
        forget(seen);
    }
}

/// # Safety
/// An error is being raised; `name` is null or a string.
unsafe fn give(field: u8, name: *const c_char) {
    if !name.is_null() {
        // SAFETY: see above.
        unsafe { pg_sys::err_generic_string(field.into(), name) };
    }
}

/// # Safety
/// `seen` points to a [`Seen`], whose copy nobody uses any more.
unsafe fn forget(seen: *mut c_void) {
    // SAFETY: see above.
    unsafe {
        let seen = seen.cast::<Seen>();
        if !(*seen).0.is_null() {
            pg_sys::FreeErrorData((*seen).0);
            (*seen).0 = ptr::null_mut();
        }
    }
}

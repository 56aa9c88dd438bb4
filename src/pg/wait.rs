//! Waiting that a user can cancel, a shutdown can end, and a died postmaster doesn't prolong.

use pg_encrypt_providers::{Interrupted, Patience};
use pgrx::pg_sys;
use std::time::Duration;

/// Raises if the statement was cancelled or the backend shall end.
#[inline]
pub fn check_for_interrupts() {
    pgrx::check_for_interrupts!();
}

/// Sleeps on the backend's latch. It reports interrupts instead of raising, so that the caller can clean up (end a
/// child process, wipe a buffer) and then call [`check_for_interrupts`].
pub struct LatchPatience;

impl Patience for LatchPatience {
    fn pause(&mut self, at_most: Duration) -> Result<(), Interrupted> {
        let events = (pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH) as i32;
        let milliseconds = at_most.as_millis().min(1_000) as core::ffi::c_long;
        // SAFETY: the backend's own latch; waiting is allowed wherever interrupts are.
        unsafe {
            pg_sys::WaitLatch(pg_sys::MyLatch, events, milliseconds, pg_sys::PG_WAIT_EXTENSION);
            pg_sys::ResetLatch(pg_sys::MyLatch);
            match pg_sys::InterruptPending != 0 {
                true => Err(Interrupted),
                false => Ok(()),
            }
        }
    }
}

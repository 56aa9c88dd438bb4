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

/// Sleeps until something wakes the process, a second at most.
pub fn sleep_until_woken() {
    // What woke it is for the caller to find out; interrupts are looked at here.
    let _ = LatchPatience.pause(Duration::from_secs(1));
    check_for_interrupts();
}

/// Sleeps; raises if the statement is cancelled or the process shall end.
pub fn sleep(time: Duration) {
    let end = std::time::Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return;
        }
        // Interrupted or woken early: both are looked at here.
        let _ = LatchPatience.pause(left);
        check_for_interrupts();
    }
}

/// Reads the configuration files again if the server was told to; whether it was. Sessions do that by themselves between
/// statements; background workers, which have none, here.
pub fn reload_settings() -> bool {
    // SAFETY: a flag that the signal handler sets; settings are read between transactions.
    unsafe {
        let told = pg_sys::ConfigReloadPending != 0 && !pg_sys::MyBgworkerEntry.is_null();
        if told {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
        told
    }
}

//! How long a job waits for locks.

use crate::pg::lock;
use std::ffi::{CStr, CString};

pub type Setting<'a> = (&'a CStr, &'a CStr);

/// How a batch waits for locks: a second at most.
///
/// Of two that block each other the one whose `deadlock_timeout` passes first is cancelled;
/// that must be the batch, which is repeated, and not the application's statement, which would fail. So a batch looks for a
/// deadlock almost at once, and if there is none yet, it has given up before somebody who came later looks.
pub struct Waits {
    at_most: CString,
}

impl Waits {
    const LONGEST_MS: i32 = 1_000;

    pub fn shorter_than_others() -> Self {
        let milliseconds = lock::deadlock_timeout().clamp(1, Self::LONGEST_MS);
        Self {
            at_most: CString::new(milliseconds.to_string()).unwrap_or_default(),
        }
    }

    pub fn settings(&self) -> [Setting<'_>; 2] {
        [(c"lock_timeout", &self.at_most), (c"deadlock_timeout", c"10ms")]
    }
}

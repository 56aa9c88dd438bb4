//! What the tests of several modules need.

use std::time::{Duration, Instant};

use crate::{Interrupted, Patience};

/// The root key of the test vectors of the key formats, and its fingerprint.
pub(crate) const ROOT: [u8; 32] = {
    let mut root = [0; 32];
    let mut i = 0;
    while i < 32 {
        root[i] = 0x80 + i as u8;
        i += 1;
    }
    root
};
pub(crate) const ROOT_HEX: &str = "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f";
pub(crate) const ROOT_ID: &str = "78d3e6fa58df86fe";

/// Waits as long as anybody asks, and records the longest time nobody asked.
pub(crate) struct Endless {
    last: Instant,
    pub(crate) longest_gap: Duration,
    pub(crate) calls: u32,
}

impl Endless {
    pub(crate) fn new() -> Self {
        Self {
            last: Instant::now(),
            longest_gap: Duration::ZERO,
            calls: 0,
        }
    }
}

impl Patience for Endless {
    fn pause(&mut self, at_most: Duration) -> Result<(), Interrupted> {
        self.longest_gap = self.longest_gap.max(self.last.elapsed());
        self.calls += 1;
        std::thread::sleep(at_most);
        self.last = Instant::now();
        Ok(())
    }
}

/// Ends at a point in time.
pub(crate) struct Until(pub(crate) Instant);

impl Patience for Until {
    fn pause(&mut self, at_most: Duration) -> Result<(), Interrupted> {
        std::thread::sleep(at_most.min(self.0.saturating_duration_since(Instant::now())));
        if Instant::now() < self.0 {
            Ok(())
        } else {
            Err(Interrupted)
        }
    }
}

/// Whether the tests run as root; says so if a test that needs it can't show what it is about.
pub(crate) fn is_root(needed_for: &str) -> bool {
    runs_as(rustix::process::geteuid().is_root(), needed_for, "root")
}

/// The opposite: root is allowed what some tests see refused.
pub(crate) fn is_ordinary_user(needed_for: &str) -> bool {
    runs_as(
        !rustix::process::geteuid().is_root(),
        needed_for,
        "an ordinary user",
    )
}

#[allow(clippy::print_stderr)]
fn runs_as(right: bool, needed_for: &str, user: &str) -> bool {
    if !right {
        eprintln!("skipped: {needed_for} needs {user}");
    }
    right
}

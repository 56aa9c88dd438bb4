//! Random bytes from the operating system, and from nowhere else.
//!
//! Nothing is buffered: a generator in user space is duplicated by `fork`, and two backends would then draw the same
//! nonces (seen with a generator seeded before fork).

use core::fmt;

use rand::TryRng;
use rand::rngs::{SysError, SysRng};

/// The operating system's generator failed. Nothing was encrypted.
#[derive(Debug, Clone, Copy)]
pub struct RandomError(SysError);

impl fmt::Display for RandomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the operating system's random number generator failed: {}",
            self.0
        )
    }
}

impl std::error::Error for RandomError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// `N` bytes drawn from the operating system by one call of its own.
///
/// # Errors
/// [`RandomError`] if the system has no working generator.
#[inline]
pub fn os_random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// Fills `out` from the operating system.
///
/// # Errors
/// [`RandomError`] as for [`os_random`]; `out` is then unspecified and must not be used.
#[inline]
pub fn fill(out: &mut [u8]) -> Result<(), RandomError> {
    SysRng.try_fill_bytes(out).map_err(RandomError)
}

//! Random bytes from the operating system, and from nowhere else.
//!
//! What is drawn ahead is duplicated by `fork`, and two backends would then draw the same nonces (seen with a generator
//! seeded before fork). So keys are never drawn ahead, and nonces only into memory that a child finds empty: [`Reserve`].

use core::fmt;

use rand::TryRng;
use rand::rngs::{SysError, SysRng};
use zeroize::{Zeroize, ZeroizeOnDrop};

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

/// Bytes of one draw from a [`Reserve`]: a nonce epoch.
pub const DRAW_LEN: usize = 16;

const DRAWS: usize = 16;

/// Draws ahead, for who needs a few bytes with each of many transactions: one call of the system serves sixteen.
///
/// **It has to live in memory that a forked child finds full of zeroes** (`MADV_WIPEONFORK`): zeroes are an empty reserve,
/// so that the child draws its own.
///
/// A virtual machine that is restored twice from one snapshot of its memory has two copies of a reserve. So the time goes
/// into each draw as it is made; bytes that nobody knows stay uniformly random, whatever is added to them.
pub struct Reserve {
    bytes: [[u8; DRAW_LEN]; DRAWS],
    left: usize,
}

impl ZeroizeOnDrop for Reserve {}

impl Drop for Reserve {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl Reserve {
    /// An empty one.
    pub const fn new() -> Self {
        Self {
            bytes: [[0; DRAW_LEN]; DRAWS],
            left: 0,
        }
    }

    /// Bytes that were given to nobody, and will not be given again: the reserve forgets them. `time` is the time of day
    /// in nanoseconds.
    ///
    /// # Errors
    /// [`RandomError`] if the system has no working generator.
    #[inline]
    pub fn draw(&mut self, time: u64) -> Result<[u8; DRAW_LEN], RandomError> {
        if self.left == 0 {
            fill(self.bytes.as_flattened_mut())?;
            self.left = DRAWS;
        }
        self.left -= 1;
        let place = &mut self.bytes[self.left];
        let mut drawn = *place;
        place.zeroize();
        for (byte, time) in drawn.iter_mut().zip(time.to_le_bytes()) {
            *byte ^= time;
        }
        Ok(drawn)
    }
}

impl Default for Reserve {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    // Helpers of tests are tests, too.
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn draws_of_a_reserve_differ_and_are_forgotten() {
        let mut reserve = Reserve::new();
        let draws: HashSet<_> = (0..10_000).map(|_| reserve.draw(7).unwrap()).collect();
        assert_eq!(draws.len(), 10_000);
        assert_eq!(reserve.left, 0, "10,000 draws are whole reserves");
        reserve.draw(7).unwrap();
        for place in &reserve.bytes[reserve.left..] {
            assert_eq!(*place, [0; DRAW_LEN]);
        }
    }

    /// As two machines are after one was copied: the same memory, at two times.
    #[test]
    fn copies_of_a_reserve_draw_differently() {
        let mut one = Reserve::new();
        one.draw(7).unwrap();
        let mut other = Reserve {
            bytes: one.bytes,
            left: one.left,
        };
        for _ in 0..one.left {
            assert_ne!(one.draw(8).unwrap(), other.draw(9).unwrap());
        }
    }

    #[test]
    fn zeroes_are_an_empty_reserve() {
        let mut wiped = Reserve {
            bytes: [[0; DRAW_LEN]; DRAWS],
            left: 0,
        };
        assert_ne!(wiped.draw(0).unwrap(), [0; DRAW_LEN]);
    }
}

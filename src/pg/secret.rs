//! Memory for key material.
//!
//! Pages of their own: locked (not swapped), left out of core dumps, replaced by zeroes in a forked child, and wiped
//! when a value is dropped. Allocation is by size class with free lists; nothing is ever given back to the system,
//! since a backend holds a handful of keys.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use zeroize::Zeroize;

const REGION: usize = 64 * 1024;
const ALIGN: usize = 64;

#[derive(Default)]
struct Arena {
    free: BTreeMap<usize, Vec<NonNull<u8>>>,
    bump: Option<(NonNull<u8>, usize)>,
    protection: Protection,
}

/// What the operating system granted for the memory that holds keys.
#[derive(Clone, Copy, Default)]
pub struct Protection {
    /// Regions that could not be locked (`RLIMIT_MEMLOCK`), so that the system may swap them out.
    pub unlocked_regions: u32,
    /// Regions that a forked child would find as they are: kernels before 4.14 wipe none.
    pub inherited_regions: u32,
    pub regions: u32,
}

thread_local! {
    static ARENA: RefCell<Arena> = RefCell::default();
}

/// Owns one `T` in protected memory.
pub struct SecretBox<T> {
    place: NonNull<T>,
}

impl<T> SecretBox<T> {
    /// `None` when the system gives no memory.
    pub fn new(value: T) -> Option<Self> {
        const { assert!(std::mem::align_of::<T>() <= ALIGN && std::mem::size_of::<T>() <= REGION) };
        let place = ARENA
            .with_borrow_mut(|arena| arena.take(class::<T>()))?
            .cast::<T>();
        // SAFETY: the block is large enough, aligned to ALIGN, and ours.
        unsafe { place.write(value) };
        Some(Self { place })
    }
}

impl<T> std::ops::Deref for SecretBox<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: initialised in `new`, owned until drop.
        unsafe { self.place.as_ref() }
    }
}

impl<T> std::ops::DerefMut for SecretBox<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and borrowed mutably.
        unsafe { self.place.as_mut() }
    }
}

impl<T> Drop for SecretBox<T> {
    fn drop(&mut self) {
        let size = class::<T>();
        // SAFETY: dropped once; afterwards the whole block is wiped, padding and moved-out parts included.
        unsafe {
            self.place.drop_in_place();
            std::slice::from_raw_parts_mut(self.place.cast::<u8>().as_ptr(), size).zeroize();
        }
        // At process exit the thread-local may be gone already; the block is wiped either way.
        let _ = ARENA.try_with(|arena| arena.borrow_mut().give_back(size, self.place.cast()));
    }
}

/// What protection the regions allocated so far have.
pub fn protection() -> Protection {
    ARENA.with_borrow(|arena| arena.protection)
}

const fn class<T>() -> usize {
    let size = std::mem::size_of::<T>();
    size.div_ceil(ALIGN) * ALIGN
}

impl Arena {
    fn take(&mut self, size: usize) -> Option<NonNull<u8>> {
        if let Some(block) = self.free.get_mut(&size).and_then(Vec::pop) {
            return Some(block);
        }
        let (start, left) = match self.bump {
            Some((start, left)) if left >= size => (start, left),
            _ => (self.new_region()?, REGION),
        };
        // SAFETY: `size <= left`, so the next start is within the region or one past its end.
        self.bump = Some((unsafe { start.add(size) }, left - size));
        Some(start)
    }

    fn give_back(&mut self, size: usize, block: NonNull<u8>) {
        self.free.entry(size).or_default().push(block);
    }

    fn new_region(&mut self) -> Option<NonNull<u8>> {
        // SAFETY: plain system calls on a mapping that we have just made.
        unsafe {
            let address = libc::mmap(
                std::ptr::null_mut(),
                REGION,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if address == libc::MAP_FAILED {
                return None;
            }
            // WIPEONFORK is what keeps a child from inheriting keys; a kernel without it (before 4.14) is told apart
            // from one that merely limits locking.
            if libc::madvise(address, REGION, libc::MADV_WIPEONFORK) != 0 {
                self.protection.inherited_regions += 1;
            }
            libc::madvise(address, REGION, libc::MADV_DONTDUMP);
            self.protection.regions += 1;
            if libc::mlock(address, REGION) != 0 {
                self.protection.unlocked_regions += 1;
            }
            NonNull::new(address.cast())
        }
    }
}

//! Wiping a type that does not wipe itself, without unsafe code.

use core::ops::Deref;

use zeroize::{ZeroizeOnDrop, optimization_barrier};

/// A public value of a secret's type.
pub(crate) trait Blank: Clone + 'static {
    fn blank() -> &'static Self;
}

/// A secret that is overwritten with its type's [`Blank`] value when it is dropped.
///
/// For GHASH tables. `ghash` has a `zeroize` feature of its own, but every message hashes with a copy of the table, and
/// clearing each copy byte by byte costs as much as encrypting a short value.
pub(crate) struct Wiped<T: Blank>(T);

impl<T: Blank> Wiped<T> {
    #[inline]
    pub(crate) const fn new(secret: T) -> Self {
        Self(secret)
    }
}

impl<T: Blank> Deref for Wiped<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Blank> Drop for Wiped<T> {
    #[inline]
    fn drop(&mut self) {
        self.0.clone_from(T::blank());
        optimization_barrier(&self.0);
    }
}

impl<T: Blank> ZeroizeOnDrop for Wiped<T> {}

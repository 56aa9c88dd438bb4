//! What is found out once and used for many values.
//!
//! A call site lasts as long as a statement runs, and most statements of an application handle one row: to find out for
//! one value of which domain it is, under which key and whether the role may takes longer than to encrypt it. So what a call
//! site has found out is kept for the next one that asks the same, and serves it if nothing has changed since.

use crate::error::Error;
use crate::keyring::Now;
use foldhash::HashMap;
use std::cell::RefCell;
use std::hash::Hash;
use std::thread::LocalKey;

/// Something that was found out about one domain, under circumstances that it remembers.
pub trait Finding: Copy + 'static {
    /// What identifies the domain to those who ask.
    type Asked: Copy + Eq + Hash + 'static;

    fn find(now: Now, asked: Self::Asked) -> Result<Self, Error>;

    /// Whether it is what [`Self::find`] would find.
    fn is(&self, now: Now, asked: Self::Asked) -> bool;

    fn kept() -> &'static LocalKey<RefCell<Kept<Self>>>;
}

/// The last findings of this session. There are as many as types, and functions of types, that it has used.
pub type Kept<T> = HashMap<<T as Finding>::Asked, T>;

/// A call site's own.
#[derive(Clone, Copy)]
pub struct Found<T>(Option<T>);

impl<T> Default for Found<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Finding> Found<T> {
    #[inline(always)]
    pub fn of(&mut self, now: Now, asked: T::Asked) -> Result<&mut T, Error> {
        if !self.is(now, asked) {
            self.find(now, asked)?;
        }
        match &mut self.0 {
            Some(found) => Ok(found),
            None => Err(Error::KeyChanged),
        }
    }

    #[inline(never)]
    fn find(&mut self, now: Now, asked: T::Asked) -> Result<(), Error> {
        T::kept().with_borrow(|kept| self.0 = kept.get(&asked).copied());
        if !self.is(now, asked) {
            self.0 = Some(T::find(now, asked)?);
        }
        Ok(())
    }

    #[inline]
    fn is(&self, now: Now, asked: T::Asked) -> bool {
        self.0.as_ref().is_some_and(|found| found.is(now, asked))
    }
}

/// Keeps a finding for later call sites.
#[cold]
pub fn keep<T: Finding>(asked: T::Asked, finding: T) {
    T::kept().with_borrow_mut(|kept| kept.insert(asked, finding));
}

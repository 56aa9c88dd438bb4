//! The backend's keys: unwrapped once, found again in nanoseconds, forgotten when in doubt.
//!
//! ```text
//! name, context, role ──resolve──▶ key row ──unwrap──▶ data key ──derive──▶ subkey ──▶ seal, open, token
//!     (call site, or the map          (catalog, fresh)     (root key)          (here)
//!      of this generation)
//! ```
//!
//! **Why a cached answer is never stale.** What was resolved (which version is active, who may use it) is valid for one
//! *generation* ([`crate::pg::inval`]), which ends with every change of `encrypt.keys`, `encrypt.key_grants` or any role
//! that is committed anywhere, with every change of ours, and with every rollback. A key that an aborted transaction
//! had made is therefore looked up again and not found. Unwrapped keys outlive a generation: on next use their row is
//! read again, and material is kept only while the row still has the same check value.
//!
//! **Why no borrow is held across PostgreSQL.** An error unwinds; a held borrow would poison the keyring. So nothing in
//! `with` calls PostgreSQL: rows, privileges and unwrapped keys are fetched before.

mod data_keys;
pub mod deputy;
mod privileges;
pub mod reseal;
mod resolve;
pub mod root;
pub mod tokens;
pub mod values;

pub use privileges::{has_own_privilege, has_privilege};
pub use resolve::{active_index_key, name_of};

use crate::error::Error;
use crate::guc;
use crate::pg::{inval, secret::SecretBox};
use foldhash::HashMap;
use pg_encrypt_core::random::Reserve;
use pgrx::pg_sys::Oid;
use std::cell::RefCell;
use std::time::Instant;

/// More subkeys than this (one per key and context) and all are forgotten: tenants may be many, memory is locked.
const MAX_SUBKEYS: usize = 4096;

#[derive(Default)]
struct Keyring {
    generation: u64,
    transaction: u64,
    /// When the first of the loaded data keys was unwrapped.
    oldest: Option<Instant>,
    data_keys: data_keys::DataKeys,
    values: Vec<SecretBox<values::ValueSubkey>>,
    tokens: Vec<SecretBox<tokens::IndexSubkey>>,
    epochs: values::EpochCache,
    /// Epochs for the transactions to come.
    reserve: Option<SecretBox<Reserve>>,
    /// Subkeys by what they were derived from; valid as long as the data key.
    derived: HashMap<resolve::Derivation, Handle>,
    /// What a role's request led to in this generation.
    resolved: HashMap<resolve::Request, resolve::Answer>,
}

/// A subkey's place in the keyring. Only meaningful within the generation it was resolved in.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Handle(u32);

thread_local! {
    static KEYRING: RefCell<Keyring> = RefCell::default();
}

/// Runs `body` on the keyring. It must not call PostgreSQL.
#[inline]
fn with<T>(body: impl FnOnce(&mut Keyring) -> T) -> T {
    KEYRING.with_borrow_mut(body)
}

/// Under which circumstances a call works: what it, or a call site before it, found out holds for these only.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    generation: u64,
    role: Oid,
}

/// The present circumstances: the generation, with everything that others committed taken in, and the role that asks.
/// Asked for once in each call of an SQL function that uses a key, and again after anything that may have made the
/// keyring forget.
#[inline]
pub fn now() -> Now {
    now_as(deputy::Scope::Everything)
}

/// As [`now`], in functions that show no plaintext: deputies that may only move values ask in them too.
#[inline]
pub fn now_moving() -> Now {
    now_as(deputy::Scope::Moving)
}

#[inline]
fn now_as(scope: deputy::Scope) -> Now {
    let generation = inval::generation();
    let transaction = inval::transaction();
    Now {
        generation: with(|keyring| keyring.enter(generation, transaction)),
        role: deputy::asking_role(scope),
    }
}

/// What a call site that only reads remembers of the circumstances.
#[derive(Clone, Copy, Default)]
pub struct Recently {
    now: Now,
    transaction: u64,
    calls_left: u8,
}

impl Recently {
    /// In how many calls what others committed is taken in once.
    const CALLS: u8 = 64;

    /// As [`now`], for functions that show or compare values that are stored, of which a statement calls one per row.
    ///
    /// Within a statement a role that lost its grant sees a few more rows; PostgreSQL's own privileges, which are checked when a
    /// statement begins, let it see all of them. The next statement has call sites of its own, and asks anew; those that PL/pgSQL
    /// keeps for its simple expressions end with the transaction. What this session did itself counts at once. Who seals
    /// must not do so: that nobody seals under a version from a certain moment on is what retiring it relies on.
    #[inline(always)]
    pub fn now(&mut self) -> Now {
        let transaction = inval::transaction();
        if self.calls_left > 0
            && self.transaction == transaction
            && self.now.generation == inval::generation_heard_of()
            && self.now.role == deputy::asking_role(deputy::Scope::Everything)
        {
            self.calls_left -= 1;
            return self.now;
        }
        self.ask(transaction)
    }

    #[inline(never)]
    fn ask(&mut self, transaction: u64) -> Now {
        *self = Self {
            now: now(),
            transaction,
            calls_left: Self::CALLS - 1,
        };
        self.now
    }
}

impl Now {
    /// Whether every handle that was found under these circumstances is still one: whatever makes the keyring forget ends
    /// the generation.
    #[inline]
    fn holds(self) -> bool {
        inval::generation_heard_of() == self.generation
    }

    /// The circumstances after something that may have made the keyring forget, for the same role.
    pub fn again(self) -> Self {
        Self {
            role: self.role,
            ..now()
        }
    }

    /// The role whose privileges count.
    pub fn role(self) -> Oid {
        self.role
    }

    /// Number of the generation; for caches that don't depend on the role.
    pub fn generation(self) -> u64 {
        self.generation
    }
}

impl Keyring {
    #[inline]
    fn enter(&mut self, generation: u64, transaction: u64) -> u64 {
        if self.generation == generation && self.transaction == transaction {
            return generation;
        }
        self.enter_slowly(generation, transaction)
    }

    #[cold]
    fn enter_slowly(&mut self, mut generation: u64, transaction: u64) -> u64 {
        self.transaction = transaction;
        let expired = match (guc::key_cache_ttl(), self.oldest) {
            (Some(ttl), Some(oldest)) => oldest.elapsed() >= ttl,
            _ => false,
        };
        if expired {
            self.forget_everything();
            // Handles that call sites remember have become meaningless.
            inval::bump();
            generation += 1;
        }
        if self.generation != generation {
            self.generation = generation;
            self.resolved.clear();
        }
        generation
    }

    /// Wipes what was derived from data keys. Handles that call sites remember have become meaningless: they belong to the
    /// generation that ends here.
    fn forget_subkeys(&mut self) {
        self.epochs = values::EpochCache::default();
        self.values.clear();
        self.tokens.clear();
        self.derived.clear();
        self.resolved.clear();
        inval::bump();
    }

    fn forget_everything(&mut self) {
        *self = Self {
            transaction: self.transaction,
            ..Self::default()
        };
    }
}

/// Memory for a secret, or the error a user gets.
fn secret<T>(value: T) -> Result<SecretBox<T>, Error> {
    SecretBox::new(value).ok_or(Error::OutOfSecretMemory)
}

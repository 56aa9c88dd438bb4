//! The two seams of this crate: towards whatever holds the root key, and towards whoever waits for it.

use std::time::Duration;

use pg_encrypt_core::key::{DataKey, KeyId, Purpose};

use crate::ProviderError;

/// The longest time any provider waits without asking its [`Patience`].
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// A holder of one root key.
///
/// Three operations and no more, so that a root key that never leaves its holder (a key service, a hardware
/// token) fits as well as one that is read into memory.
///
/// The caller compares the key check value of every unwrapped key, whatever the provider: a provider may be
/// given the wrapped key of another row, and need not notice.
pub trait RootKeyProvider {
    /// Tells which root key this is; stored beside every key it wraps. For a root key held in memory the 16
    /// hexadecimal digits of its fingerprint, for a remote one the identifier its holder uses.
    fn root_id(&self) -> &str;

    /// Wraps `key` for storage. The result begins with the format byte of the wrapping, and is bound to `id`
    /// and `purpose`.
    ///
    /// # Errors
    /// [`ProviderError::Interrupted`] if `patience` ended, otherwise what the provider could not do.
    fn wrap(
        &self,
        key: &DataKey,
        id: KeyId,
        purpose: Purpose,
        patience: &mut dyn Patience,
    ) -> Result<Vec<u8>, ProviderError>;

    /// Unwraps what [`wrap`](Self::wrap) returned for the same `id` and `purpose`.
    ///
    /// # Errors
    /// [`ProviderError::Interrupted`] if `patience` ended; [`ProviderError::Wrap`] if the wrapped key is
    /// malformed, altered, or was wrapped by another root key or for another `id` or `purpose`.
    fn unwrap(
        &self,
        wrapped: &[u8],
        id: KeyId,
        purpose: Purpose,
        patience: &mut dyn Patience,
    ) -> Result<DataKey, ProviderError>;
}

/// The caller's say in how long an operation may wait.
///
/// Inside PostgreSQL this is a wait on the process latch followed by a check for interrupts. A provider calls
/// it at least every 100 ms while it waits for anything outside the process. The exceptions are calls that
/// the operating system offers no slices for, on local resources: reading a small file, starting a program,
/// computing Argon2id.
pub trait Patience {
    /// Sleeps for `at_most` or less; zero only looks whether to go on.
    ///
    /// # Errors
    /// [`Interrupted`] when the operation has to end. It may also unwind instead: providers hold what they
    /// must release in guards.
    fn pause(&mut self, at_most: Duration) -> Result<(), Interrupted>;
}

/// The caller's [`Patience`] ended: a cancelled statement, a statement timeout, a server shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted while waiting for the root key")]
pub struct Interrupted;

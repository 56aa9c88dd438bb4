//! Wrapping data keys under a root key.
//!
//! ```text
//! K_wrap  = HKDF-Expand-SHA256(root, "pg_encrypt/v1/wrap", 32)
//! ad      = "pg_encrypt/v1/wrap" ‖ 00 ‖ key_id(4) ‖ purpose(1)
//! wrapped = 01 ‖ nonce(24) ‖ XAES-256-GCM(K_wrap, nonce, ad, DEK)                73 bytes
//! ```
//!
//! A remote provider wraps with an operation of its own, is given the same associated data, and its result is stored as
//! `02 ‖ provider blob`.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::gcm::{AssociatedData, TAG_LEN};
use crate::hmac::HmacKey;
use crate::kdf;
use crate::key::{DataKey, KEY_LEN, KeyId, Purpose};
use crate::random::{self, RandomError};
use crate::xaes::{NONCE_LEN, PREFIX_LEN, SUFFIX_LEN, XaesKey};

/// First byte of a key wrapped by a [`LocalRoot`].
pub const WRAPPED_LOCAL: u8 = 0x01;
/// First byte of a key wrapped by a remote provider.
pub const WRAPPED_REMOTE: u8 = 0x02;
/// Bytes in a key wrapped by a [`LocalRoot`].
pub const WRAPPED_LOCAL_LEN: usize = 1 + NONCE_LEN + KEY_LEN + TAG_LEN;

const WRAP_LABEL: &[u8; 18] = b"pg_encrypt/v1/wrap";
const ROOT_ID_LABEL: &[u8; 21] = b"pg_encrypt/v1/root-id";
const KEY_AT: usize = 1 + NONCE_LEN;
const TAG_AT: usize = KEY_AT + KEY_LEN;

/// Bytes of [`associated_data`].
pub const ASSOCIATED_DATA_LEN: usize = WRAP_LABEL.len() + 1 + 4 + 1;

/// Why a data key could not be wrapped or unwrapped.
#[derive(Debug, Clone, Copy)]
pub enum WrapError {
    /// The first byte is not [`WRAPPED_LOCAL`]: another provider wrapped the key, or the bytes are none of ours.
    UnknownFormat(u8),
    /// Not [`WRAPPED_LOCAL_LEN`] bytes.
    Length {
        /// The number of bytes that were given.
        actual: usize,
    },
    /// Another root key, key id or purpose, or altered bytes.
    AuthenticationFailed,
    /// No nonce could be drawn.
    Random(RandomError),
}

impl fmt::Display for WrapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFormat(byte) => write!(f, "wrapped key has unknown format 0x{byte:02x}"),
            Self::Length { actual } => {
                write!(f, "wrapped key has {actual} bytes instead of {WRAPPED_LOCAL_LEN}")
            }
            Self::AuthenticationFailed => {
                f.write_str("wrapped key failed authentication under this root key")
            }
            Self::Random(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WrapError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Random(error) => Some(error),
            Self::UnknownFormat(_) | Self::Length { .. } | Self::AuthenticationFailed => None,
        }
    }
}

impl From<RandomError> for WrapError {
    fn from(error: RandomError) -> Self {
        Self::Random(error)
    }
}

/// `"pg_encrypt/v1/wrap" ‖ 00 ‖ key_id(4) ‖ purpose(1)`: what every provider binds a wrapped key to.
pub fn associated_data(key_id: KeyId, purpose: Purpose) -> [u8; ASSOCIATED_DATA_LEN] {
    let mut data = [0; ASSOCIATED_DATA_LEN];
    data[..WRAP_LABEL.len()].copy_from_slice(WRAP_LABEL);
    data[WRAP_LABEL.len() + 1..ASSOCIATED_DATA_LEN - 1].copy_from_slice(&key_id.to_be_bytes());
    data[ASSOCIATED_DATA_LEN - 1] = purpose.code();
    data
}

/// A root key that is held locally: 32 secret, uniformly random bytes, inline, wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct LocalRoot([u8; KEY_LEN]);

impl LocalRoot {
    /// Takes over the bytes of the root key. The caller wipes its own copy.
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The fingerprint that is stored with each key to tell which root wrapped it: 16 hexadecimal digits, the first
    /// 8 bytes of `HMAC-SHA256(root, "pg_encrypt/v1/root-id")`. Not secret.
    pub fn root_id(&self) -> String {
        let mac = HmacKey::new(&self.0).mac(ROOT_ID_LABEL, &[]);
        mac[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Wraps a data key under a fresh nonce: [`WRAPPED_LOCAL_LEN`] bytes.
    ///
    /// # Errors
    /// [`WrapError::Random`] if the operating system gives no random bytes.
    pub fn wrap(&self, key: &DataKey, key_id: KeyId, purpose: Purpose) -> Result<Vec<u8>, WrapError> {
        Ok(self.wrap_with_nonce(key, key_id, purpose, random::os_random()?))
    }

    /// [`wrap`](Self::wrap) with a given nonce. For test vectors only: a nonce that is used for two keys gives both away.
    pub fn wrap_with_nonce(
        &self,
        key: &DataKey,
        key_id: KeyId,
        purpose: Purpose,
        nonce: [u8; NONCE_LEN],
    ) -> Vec<u8> {
        let (prefix, suffix) = halves(&nonce);
        let mut wrapped = vec![0; WRAPPED_LOCAL_LEN];
        wrapped[0] = WRAPPED_LOCAL;
        wrapped[1..KEY_AT].copy_from_slice(&nonce);
        let tag = self.wrapping_key().derive(&prefix).seal(
            &suffix,
            AssociatedData::from(&associated_data(key_id, purpose)[..]),
            key.expose(),
            &mut wrapped[KEY_AT..TAG_AT],
        );
        // invariant: 32 bytes are within AES-GCM's limit of 2^36 - 32.
        #[allow(clippy::expect_used)]
        wrapped[TAG_AT..].copy_from_slice(&tag.expect("a data key is short enough for AES-GCM"));
        wrapped
    }

    /// Unwraps a data key. The caller compares its check value afterwards ([`DataKey::verify`]).
    ///
    /// # Errors
    /// [`WrapError::UnknownFormat`], [`WrapError::Length`], [`WrapError::AuthenticationFailed`].
    pub fn unwrap(&self, wrapped: &[u8], key_id: KeyId, purpose: Purpose) -> Result<DataKey, WrapError> {
        match wrapped.first() {
            Some(&WRAPPED_LOCAL) => {}
            Some(&other) => return Err(WrapError::UnknownFormat(other)),
            None => return Err(WrapError::Length { actual: 0 }),
        }
        let wrapped: &[u8; WRAPPED_LOCAL_LEN] = wrapped.try_into().map_err(|_| WrapError::Length {
            actual: wrapped.len(),
        })?;

        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&wrapped[1..KEY_AT]);
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&wrapped[TAG_AT..]);

        let (prefix, suffix) = halves(&nonce);
        let mut key = DataKey::from_bytes([0; KEY_LEN]);
        self.wrapping_key()
            .derive(&prefix)
            .open(
                &suffix,
                AssociatedData::from(&associated_data(key_id, purpose)[..]),
                &wrapped[KEY_AT..TAG_AT],
                &tag,
                key.expose_mut(),
            )
            .map_err(|_| WrapError::AuthenticationFailed)?;
        Ok(key)
    }

    fn wrapping_key(&self) -> XaesKey {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        kdf::expand(&self.0, &[WRAP_LABEL], &mut key);
        XaesKey::from_bytes(&key)
    }
}

fn halves(nonce: &[u8; NONCE_LEN]) -> ([u8; PREFIX_LEN], [u8; SUFFIX_LEN]) {
    let mut prefix = [0; PREFIX_LEN];
    let mut suffix = [0; SUFFIX_LEN];
    prefix.copy_from_slice(&nonce[..PREFIX_LEN]);
    suffix.copy_from_slice(&nonce[PREFIX_LEN..]);
    (prefix, suffix)
}

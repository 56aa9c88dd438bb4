//! XAES-256-GCM (C2SP): AES-256-GCM under a key derived from the key and the first half of a 24-byte nonce.
//!
//! ```text
//! L  = AES-256(K, 0^128)          K1 = L << 1, and if L's top bit was set, xor 0x87     (CMAC's first subkey)
//! Kx = AES-256(K, (00 01 'X' 00 ‖ N[..12]) xor K1) ‖ AES-256(K, (00 02 'X' 00 ‖ N[..12]) xor K1)
//! ciphertext ‖ tag = AES-256-GCM(Kx, N[12..], associated data, plaintext)
//! ```
//!
//! Everything that depends on `K` alone is computed once, in [`XaesKey`]; everything that depends on the first half of
//! the nonce once per epoch, in [`MessageKey`]. Both hold the encryption schedule only: GCM never decrypts a block.

use core::fmt;

use aes::Aes256Enc;
use aes::cipher::consts::U12;
use aes::cipher::{Block, BlockCipherEncrypt};
use aes_gcm::{AeadInOut, AesGcm, KeyInit};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::key::KEY_LEN;

/// Bytes of the nonce that select the derived key.
pub const PREFIX_LEN: usize = 12;
/// Bytes of the nonce that AES-256-GCM sees.
pub const SUFFIX_LEN: usize = 12;
/// Bytes in the whole nonce.
pub const NONCE_LEN: usize = PREFIX_LEN + SUFFIX_LEN;
/// Bytes in the authentication tag.
pub const TAG_LEN: usize = 16;

/// The authentication tag does not belong to this ciphertext. The same error for a wrong key, nonce, context or row and
/// for altered bytes, so that it tells an attacker nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthenticationFailed;

impl fmt::Display for AuthenticationFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("authentication failed")
    }
}

impl std::error::Error for AuthenticationFailed {}

/// The plaintext is longer than AES-GCM allows (2^36 - 32 bytes, NIST SP 800-38D section 5.2.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageTooLong;

impl fmt::Display for MessageTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plaintext is longer than AES-GCM allows")
    }
}

impl std::error::Error for MessageTooLong {}

/// An XAES-256-GCM key with its AES schedule and CMAC subkey. Inline, wiped on drop.
pub struct XaesKey {
    cipher: Aes256Enc,
    k1: Zeroizing<[u8; 16]>,
}

impl ZeroizeOnDrop for XaesKey {}

impl XaesKey {
    /// Expands `key`. The caller wipes its own copy.
    pub fn from_bytes(key: &[u8; KEY_LEN]) -> Self {
        let cipher = Aes256Enc::new(key.into());
        let mut l = Block::<Aes256Enc>::default();
        cipher.encrypt_block(&mut l);
        let k1 = Zeroizing::new(double(l.into()));
        l.zeroize();
        Self { cipher, k1 }
    }

    /// The AES-256-GCM key for every nonce that starts with `prefix`.
    #[inline]
    pub fn derive(&self, prefix: &[u8; PREFIX_LEN]) -> MessageKey {
        let mut blocks = [self.derivation_block(1, prefix), self.derivation_block(2, prefix)];
        self.cipher.encrypt_blocks(&mut blocks);
        let mut key = Zeroizing::new([0; KEY_LEN]);
        key[..16].copy_from_slice(&blocks[0]);
        key[16..].copy_from_slice(&blocks[1]);
        for block in &mut blocks {
            block.zeroize();
        }
        MessageKey::from_bytes(&key)
    }

    fn derivation_block(&self, counter: u8, prefix: &[u8; PREFIX_LEN]) -> Block<Aes256Enc> {
        let mut block = Block::<Aes256Enc>::default();
        block[1] = counter;
        block[2] = b'X';
        block[4..].copy_from_slice(prefix);
        for (byte, k1) in block.iter_mut().zip(self.k1.iter()) {
            *byte ^= k1;
        }
        block
    }
}

/// Multiplication by x in CMAC's field (NIST SP 800-38B section 6.1), without a branch on the secret.
fn double(l: [u8; 16]) -> [u8; 16] {
    let l = u128::from_be_bytes(l);
    ((l << 1) ^ ((l >> 127) * 0x87)).to_be_bytes()
}

/// A derived AES-256-GCM key with its schedule and GHASH table. Inline, wiped on drop.
pub struct MessageKey(AesGcm<Aes256Enc, U12>);

impl ZeroizeOnDrop for MessageKey {}

impl MessageKey {
    /// Expands a plain AES-256-GCM key.
    #[inline]
    pub fn from_bytes(key: &[u8; KEY_LEN]) -> Self {
        Self(AesGcm::new(key.into()))
    }

    /// Encrypts `buffer` in place and gives the tag.
    ///
    /// # Errors
    /// [`MessageTooLong`]; `buffer` is then unchanged.
    #[inline]
    pub fn seal_in_place(
        &self,
        nonce: &[u8; SUFFIX_LEN],
        associated_data: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG_LEN], MessageTooLong> {
        self.0
            .encrypt_inout_detached(nonce.into(), associated_data, buffer.into())
            .map(Into::into)
            .map_err(|_| MessageTooLong)
    }

    /// Checks `tag` and then decrypts `buffer` in place.
    ///
    /// # Errors
    /// [`AuthenticationFailed`]; `buffer` then still holds the ciphertext.
    #[inline]
    pub fn open_in_place(
        &self,
        nonce: &[u8; SUFFIX_LEN],
        associated_data: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), AuthenticationFailed> {
        self.0
            .decrypt_inout_detached(nonce.into(), associated_data, buffer.into(), tag.into())
            .map_err(|_| AuthenticationFailed)
    }
}

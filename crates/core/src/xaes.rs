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

use aes::Aes256Enc;
use aes::cipher::array::Array;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::gcm;
pub use crate::gcm::MessageKey;
use crate::key::KEY_LEN;

/// Bytes of the nonce that select the derived key.
pub const PREFIX_LEN: usize = 12;
/// Bytes of the nonce that AES-256-GCM sees.
pub const SUFFIX_LEN: usize = gcm::NONCE_LEN;
/// Bytes in the whole nonce.
pub const NONCE_LEN: usize = PREFIX_LEN + SUFFIX_LEN;

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
        let mut key = Zeroizing::new([0; KEY_LEN]);
        let (halves, _) = key.as_chunks_mut::<16>();
        for (half, counter) in halves.iter_mut().zip(1..) {
            *half = self.derivation_block(counter, prefix);
        }
        self.cipher
            .encrypt_blocks(Array::cast_slice_from_core_mut(halves));
        MessageKey::from_bytes(&key)
    }

    #[inline]
    fn derivation_block(&self, counter: u8, prefix: &[u8; PREFIX_LEN]) -> [u8; 16] {
        let mut block = [0; 16];
        block[1] = counter;
        block[2] = b'X';
        block[4..].copy_from_slice(prefix);
        (u128::from_ne_bytes(block) ^ u128::from_ne_bytes(*self.k1)).to_ne_bytes()
    }
}

/// Multiplication by x in CMAC's field (NIST SP 800-38B section 6.1), without a branch on the secret.
fn double(l: [u8; 16]) -> [u8; 16] {
    let l = u128::from_be_bytes(l);
    ((l << 1) ^ ((l >> 127) * 0x87)).to_be_bytes()
}

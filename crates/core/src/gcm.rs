//! AES-256-GCM (NIST SP 800-38D) with 96-bit nonces, over the block cipher of `aes` and the hash of `ghash`.
//!
//! ```text
//! H = AES(K, 0^128)     J(i) = nonce(12) ‖ i(4)
//! ciphertext = plaintext xor (AES(K, J(2)) ‖ AES(K, J(3)) ‖ …)
//! tag        = AES(K, J(1)) xor GHASH(H, pad(associated data) ‖ pad(ciphertext) ‖ bit lengths(8 + 8))
//! ```
//!
//! `aes-gcm` composes the same two crates and is what the tests compare with. It is not used here because column values
//! are short, and for those most of its time goes into what a composition for short messages can leave out: a second
//! trip into the block cipher, hashing block after block instead of four at once, and wiping a copy of the hash key.
//!
//! What a short message waits for is its own memory. A block that is read whole after it was written in pieces comes out of
//! the cache only when the processor has finished everything before it, so cipher and hash would run one after the other.
//! Hence counter blocks are made in registers, and the hash's input is written before the cipher has anything to do.

use core::fmt;
use std::sync::LazyLock;

use aes::Aes256Enc;
use aes::cipher::array::Array;
use aes::cipher::{
    Block, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit,
};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::key::KEY_LEN;
use crate::wiped::{Blank, Wiped};

/// Bytes in a nonce.
pub const NONCE_LEN: usize = 12;
/// Bytes in a tag.
pub const TAG_LEN: usize = 16;
const BLOCK_LEN: usize = 16;

/// Longest plaintext in bytes (NIST SP 800-38D section 5.2.1.1).
const MAX_LEN: u64 = (1 << 36) - 32;

/// Blocks that `ghash` multiplies at once.
const GROUP: usize = 4;
/// Messages whose hash input (associated data, text, lengths) has at most so many blocks take the short way.
const SHORT: usize = 2 * GROUP;
/// Blocks of key stream made at once on the long way: what the widest backend of `aes` works on in parallel.
const BATCH: usize = 64;

/// Counter of the first block of key stream that meets the text; 1 makes the tag's mask.
const FIRST_COUNTER: u32 = 2;

type AesBlock = Block<Aes256Enc>;

impl Blank for GHash {
    fn blank() -> &'static Self {
        static BLANK: LazyLock<GHash> = LazyLock::new(|| GHash::new(&AesBlock::default()));
        &BLANK
    }
}

/// Associated data in two pieces, which are authenticated as their concatenation.
#[derive(Clone, Copy)]
pub struct AssociatedData<'a> {
    front: &'a [u8],
    rest: &'a [u8],
}

impl<'a> AssociatedData<'a> {
    /// `front` has at most one block, so that the two meet inside the first one.
    #[inline]
    pub const fn new<const N: usize>(front: &'a [u8; N], rest: &'a [u8]) -> Self {
        const { assert!(N <= BLOCK_LEN) };
        Self { front, rest }
    }

    #[inline]
    const fn len(&self) -> usize {
        self.front.len() + self.rest.len()
    }

    #[inline]
    fn write(&self, out: &mut [u8]) {
        out[..self.front.len()].copy_from_slice(self.front);
        out[self.front.len()..self.len()].copy_from_slice(self.rest);
    }

    fn hash(&self, ghash: &mut GHash) {
        let (head, tail) = self
            .rest
            .split_at(self.rest.len().min(BLOCK_LEN - self.front.len()));
        let mut first = AesBlock::default();
        Self {
            front: self.front,
            rest: head,
        }
        .write(&mut first);
        if self.len() > 0 {
            ghash.update(&[first]);
        }
        ghash.update_padded(tail);
    }
}

impl<'a> From<&'a [u8]> for AssociatedData<'a> {
    fn from(data: &'a [u8]) -> Self {
        Self::new(&[], data)
    }
}

/// The tag does not belong to this ciphertext. The same error for a wrong key, nonce, context or row and for altered
/// bytes, so that it tells an attacker nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthenticationFailed;

impl fmt::Display for AuthenticationFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("authentication failed")
    }
}

impl std::error::Error for AuthenticationFailed {}

/// The plaintext is longer than GCM allows (2^36 - 32 bytes), or the output has another length than the plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidLength;

impl fmt::Display for InvalidLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid length of plaintext or output")
    }
}

impl std::error::Error for InvalidLength {}

/// An AES-256-GCM key with its AES schedule and GHASH table. Inline, wiped on drop.
pub struct MessageKey {
    cipher: Aes256Enc,
    ghash: Wiped<GHash>,
}

impl ZeroizeOnDrop for MessageKey {}

impl MessageKey {
    /// Expands a key. The caller wipes its own copy.
    #[inline]
    pub fn from_bytes(key: &[u8; KEY_LEN]) -> Self {
        let cipher = Aes256Enc::new(key.into());
        let mut h = AesBlock::default();
        cipher.encrypt_block(&mut h);
        let ghash = Wiped::new(GHash::new(&h));
        h.zeroize();
        Self { cipher, ghash }
    }

    /// Encrypts `plaintext` into `ciphertext`, which has the same length, and gives the tag.
    ///
    /// # Errors
    /// [`InvalidLength`]; `ciphertext` is then unchanged.
    #[inline]
    pub fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        associated_data: AssociatedData<'_>,
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<[u8; TAG_LEN], InvalidLength> {
        if plaintext.len() != ciphertext.len() || plaintext.len() as u64 > MAX_LEN {
            return Err(InvalidLength);
        }
        if Short::fits(associated_data, plaintext) {
            let mut short = Short::new();
            short.set_stream(&self.cipher, nonce, plaintext.len());
            short.apply_stream(plaintext, ciphertext);
            short.set_input(associated_data, ciphertext);
            return Ok(short.tag(&self.ghash));
        }
        self.apply_key_stream(nonce, plaintext, ciphertext);
        Ok(self.long_tag(nonce, associated_data, ciphertext))
    }

    /// Checks `tag`, then decrypts `ciphertext` into `plaintext`, which has the same length.
    ///
    /// # Errors
    /// [`AuthenticationFailed`], also for a `plaintext` of another length; `plaintext` is then unchanged.
    #[inline]
    pub fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        associated_data: AssociatedData<'_>,
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        plaintext: &mut [u8],
    ) -> Result<(), AuthenticationFailed> {
        if plaintext.len() != ciphertext.len() || ciphertext.len() as u64 > MAX_LEN {
            return Err(AuthenticationFailed);
        }
        if Short::fits(associated_data, ciphertext) {
            let mut short = Short::new();
            short.set_input(associated_data, ciphertext);
            short.set_stream(&self.cipher, nonce, ciphertext.len());
            verify(&short.tag(&self.ghash), tag)?;
            short.apply_stream(ciphertext, plaintext);
            return Ok(());
        }
        verify(&self.long_tag(nonce, associated_data, ciphertext), tag)?;
        self.apply_key_stream(nonce, ciphertext, plaintext);
        Ok(())
    }

    fn long_tag(
        &self,
        nonce: &[u8; NONCE_LEN],
        associated_data: AssociatedData<'_>,
        ciphertext: &[u8],
    ) -> [u8; TAG_LEN] {
        let mut mask = counter_block(nonce_block(nonce), FIRST_COUNTER - 1);
        self.cipher.encrypt_block(&mut mask);
        let mut ghash = GHash::clone(&self.ghash);
        associated_data.hash(&mut ghash);
        ghash.update_padded(ciphertext);
        ghash.update(&[lengths(associated_data.len(), ciphertext.len()).into()]);
        let mut tag = ghash.finalize().into();
        xor(&mut tag, &mask);
        tag
    }

    fn apply_key_stream(&self, nonce: &[u8; NONCE_LEN], input: &[u8], output: &mut [u8]) {
        let nonce = nonce_block(nonce);
        let mut counter = FIRST_COUNTER;
        let mut stream = [AesBlock::default(); BATCH];
        for (input, output) in input
            .chunks(BATCH * BLOCK_LEN)
            .zip(output.chunks_mut(BATCH * BLOCK_LEN))
        {
            let stream = &mut stream[..input.len().div_ceil(BLOCK_LEN)];
            for block in &mut *stream {
                *block = counter_block(nonce, counter);
                counter = counter.wrapping_add(1);
            }
            self.cipher.encrypt_blocks(stream);
            let stream = Array::cast_slice_to_core(stream).as_flattened();
            for ((output, input), stream) in output.iter_mut().zip(input).zip(stream) {
                *output = input ^ stream;
            }
        }
    }
}

/// A message that is short enough to lay out all of its hash input and to make all of its key stream at once.
///
/// Both are filled in place: moving them would read whole blocks that were written in pieces a moment ago.
struct Short {
    /// `0 … 0 ‖ pad(associated data) ‖ pad(text) ‖ lengths`. The zero blocks in front leave GHASH's accumulator at zero and
    /// fill the last group.
    input: [[u8; BLOCK_LEN]; SHORT],
    input_blocks: usize,
    /// The tag's mask, then the key stream of the text.
    stream: [AesBlock; SHORT],
}

impl Short {
    #[inline(always)]
    fn fits(associated_data: AssociatedData<'_>, text: &[u8]) -> bool {
        associated_data.len() <= (SHORT - 1) * BLOCK_LEN
            && text.len() <= (SHORT - 1) * BLOCK_LEN
            && associated_data.len().div_ceil(BLOCK_LEN) + text.len().div_ceil(BLOCK_LEN) < SHORT
    }

    #[inline(always)]
    fn new() -> Self {
        Self {
            input: [[0; BLOCK_LEN]; SHORT],
            input_blocks: 0,
            stream: [AesBlock::default(); SHORT],
        }
    }

    #[inline(always)]
    fn set_input(&mut self, associated_data: AssociatedData<'_>, ciphertext: &[u8]) {
        let front_blocks = associated_data.len().div_ceil(BLOCK_LEN);
        let text_blocks = ciphertext.len().div_ceil(BLOCK_LEN);
        let text_at = SHORT - 1 - text_blocks;
        associated_data.write(self.input[text_at - front_blocks..].as_flattened_mut());
        self.input[text_at..].as_flattened_mut()[..ciphertext.len()].copy_from_slice(ciphertext);
        self.input[SHORT - 1] = lengths(associated_data.len(), ciphertext.len());
        self.input_blocks = front_blocks + text_blocks + 1;
    }

    #[inline(always)]
    fn set_stream(&mut self, cipher: &Aes256Enc, nonce: &[u8; NONCE_LEN], text_len: usize) {
        cipher.encrypt_with_backend(Counters {
            nonce: nonce_block(nonce),
            out: &mut self.stream[..=text_len.div_ceil(BLOCK_LEN)],
        });
    }

    /// Turns plaintext to ciphertext or back.
    #[inline(always)]
    fn apply_stream(&self, input: &[u8], output: &mut [u8]) {
        for ((output, input), stream) in output
            .chunks_mut(BLOCK_LEN)
            .zip(input.chunks(BLOCK_LEN))
            .zip(&self.stream[1..])
        {
            for ((output, input), stream) in output.iter_mut().zip(input).zip(stream) {
                *output = input ^ stream;
            }
        }
    }

    #[inline(always)]
    fn tag(&self, ghash: &GHash) -> [u8; TAG_LEN] {
        let groups = if self.input_blocks <= GROUP {
            &self.input[SHORT - GROUP..]
        } else if self.input_blocks == GROUP + 1 {
            // A group and a block: less than two groups. An e-mail address in a searchable type.
            &self.input[SHORT - GROUP - 1..]
        } else {
            &self.input[..]
        };
        let mut ghash = ghash.clone();
        ghash.update(Array::cast_slice_from_core(groups));
        let mut tag = ghash.finalize().into();
        xor(&mut tag, &self.stream[0]);
        tag
    }
}

/// Encrypts `J(1)`, `J(2)`, … inside the block cipher's own function, where a block goes from register to register.
struct Counters<'a> {
    nonce: u128,
    out: &'a mut [AesBlock],
}

impl BlockSizeUser for Counters<'_> {
    type BlockSize = <Aes256Enc as BlockSizeUser>::BlockSize;
}

impl BlockCipherEncClosure for Counters<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = Self::BlockSize>>(self, cipher: &B) {
        for (out, counter) in self.out.iter_mut().zip(FIRST_COUNTER - 1..) {
            let mut block = counter_block(self.nonce, counter);
            cipher.encrypt_block_inplace(&mut block);
            *out = block;
        }
    }
}

/// The nonce, with zeroes in the counter's place.
#[inline]
fn nonce_block(nonce: &[u8; NONCE_LEN]) -> u128 {
    let mut block = [0; BLOCK_LEN];
    block[..NONCE_LEN].copy_from_slice(nonce);
    u128::from_be_bytes(block)
}

#[inline]
fn counter_block(nonce: u128, counter: u32) -> AesBlock {
    (nonce | u128::from(counter)).to_be_bytes().into()
}

#[inline]
fn lengths(associated_data: usize, text: usize) -> [u8; BLOCK_LEN] {
    let bits = |bytes: usize| u128::from(bytes as u64 * 8);
    (bits(associated_data) << 64 | bits(text)).to_be_bytes()
}

#[inline]
fn xor(block: &mut [u8; BLOCK_LEN], other: &AesBlock) {
    *block = (u128::from_ne_bytes(*block) ^ u128::from_ne_bytes(other.0)).to_ne_bytes();
}

/// In constant time, so that a forger doesn't learn how far a guess was right.
#[inline]
fn verify(expected: &[u8; TAG_LEN], presented: &[u8; TAG_LEN]) -> Result<(), AuthenticationFailed> {
    let equal = u128::from_ne_bytes(*expected).ct_eq(&u128::from_ne_bytes(*presented));
    if bool::from(equal) {
        Ok(())
    } else {
        Err(AuthenticationFailed)
    }
}

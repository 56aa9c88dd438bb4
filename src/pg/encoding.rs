//! Text in the database's encoding, and in UTF-8.
//!
//! Values are encrypted as the bytes they are. Contexts, row ids and what goes into a blind index are UTF-8 whatever
//! the database uses, so that a dump into a database of another encoding keeps its tokens.

use super::raw;
use pgrx::pg_sys;
use std::borrow::Cow;

/// Bytes that are no text in the wanted encoding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NotText;

const UTF8: i32 = pg_sys::pg_enc::PG_UTF8 as i32;

fn database_encoding() -> i32 {
    // SAFETY: reads a variable of the backend.
    unsafe { raw::GetDatabaseEncoding() }
}

/// Text of the database as UTF-8. In an SQL_ASCII database bytes have no declared meaning: they must be UTF-8.
#[inline]
pub fn to_utf8(text: &[u8]) -> Result<Cow<'_, str>, NotText> {
    if text.is_ascii() {
        // SAFETY: ASCII is UTF-8.
        return Ok(Cow::Borrowed(unsafe { std::str::from_utf8_unchecked(text) }));
    }
    if database_encoding() == UTF8 {
        return std::str::from_utf8(text).map(Cow::Borrowed).map_err(|_| NotText);
    }
    // SAFETY: returns `text` itself or a palloc'd, terminated copy; raises if a character has no equivalent.
    let converted = unsafe {
        let input = text.as_ptr().cast::<core::ffi::c_char>();
        let output = pg_sys::pg_server_to_any(input, text.len() as i32, UTF8);
        match std::ptr::eq(output, input) {
            true => text.to_vec(),
            false => std::ffi::CStr::from_ptr(output).to_bytes().to_vec(),
        }
    };
    String::from_utf8(converted).map(Cow::Owned).map_err(|_| NotText)
}

/// Whether `bytes` may become a text datum of this database: valid in its encoding and without a NUL byte.
#[inline]
pub fn check_text(bytes: &[u8]) -> Result<(), NotText> {
    if is_ascii_without_nul(bytes) {
        return Ok(());
    }
    verify(bytes)
}

/// Whether all bytes are from 1 to 127. Looked at by eight: most texts are shorter than what a compiler makes a loop over
/// bytes worth its while for.
#[inline]
fn is_ascii_without_nul(bytes: &[u8]) -> bool {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    // Subtracting 1 from each byte sets the high bit of the lowest one that is zero; a byte that is not lends none.
    let suspicious = words.iter().fold(0, |suspicious, word| {
        let word = u64::from_ne_bytes(*word);
        suspicious | word | word.wrapping_sub(LOW)
    });
    let rest_is_ascii = rest
        .iter()
        .fold(true, |ascii, byte| ascii & (1..=0x7f).contains(byte));
    suspicious & HIGH == 0 && rest_is_ascii
}

#[inline(never)]
fn verify(bytes: &[u8]) -> Result<(), NotText> {
    let len = i32::try_from(bytes.len()).map_err(|_| NotText)?;
    // SAFETY: with noError, only looks at the bytes. It refuses NUL bytes as well.
    match unsafe { pg_sys::pg_verify_mbstr(database_encoding(), bytes.as_ptr().cast(), len, true) } {
        true => Ok(()),
        false => Err(NotText),
    }
}

/// Whether the database's encoding is UTF-8.
pub fn is_utf8_database() -> bool {
    database_encoding() == UTF8
}

/// Whether text goes to the client as it is.
#[inline]
pub fn is_clients() -> bool {
    // SAFETY: reads a variable of the backend.
    database_encoding() == unsafe { raw::pg_get_client_encoding() }
}

/// A text datum in the database's encoding. Raises where the encoding lacks a character.
pub fn text_from_utf8(text: &str) -> pg_sys::Datum {
    // SAFETY: returns the input itself or a palloc'd, terminated copy.
    unsafe {
        let input = text.as_ptr().cast_mut().cast::<core::ffi::c_char>();
        let output = pg_sys::pg_any_to_server(input, text.len() as i32, UTF8);
        let datum = match std::ptr::eq(output, input) {
            true => pg_sys::cstring_to_text_with_len(input, text.len() as i32),
            false => pg_sys::cstring_to_text(output),
        };
        pg_sys::Datum::from(datum)
    }
}

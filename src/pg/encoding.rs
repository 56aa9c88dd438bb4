//! Text in the database's encoding, and in UTF-8.
//!
//! Values are encrypted as the bytes they are. Contexts, row ids and what goes into a blind index are UTF-8 whatever
//! the database uses, so that a dump into a database of another encoding keeps its tokens.

use pgrx::pg_sys;
use std::borrow::Cow;

/// Bytes that are no text in the wanted encoding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NotText;

const UTF8: i32 = pg_sys::pg_enc::PG_UTF8 as i32;

fn database_encoding() -> i32 {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::GetDatabaseEncoding() }
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
    // All ASCII and no NUL, looked at without a branch per byte.
    if bytes
        .iter()
        .fold(true, |ascii, byte| ascii & (1..=0x7f).contains(byte))
    {
        return Ok(());
    }
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

//! Bytes as text, in bytea's hex form.

use pg_encrypt_core::typed::TypedValue;

/// Reads `\x` and pairs of digits, white space between pairs allowed, as bytea's input does. `None` for anything else.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut rest = text.strip_prefix(b"\\x")?;
    let mut bytes = Vec::new();
    bytes.try_reserve(rest.len() / 2).ok()?;
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

/// Reads the hex form of a value of an encrypted type; `None` if the text is anything else, such as a plaintext that
/// happens to begin alike.
pub fn decode_typed(text: &[u8]) -> Option<Vec<u8>> {
    // Cheap, as every plaintext goes through here. Clients may have made the digits upper case.
    if !text
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"\\xe3"))
    {
        return None;
    }
    decode(text).filter(|bytes| TypedValue::parse(bytes).is_ok())
}

/// Writes `\x` and pairs of digits.
pub fn encode(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = Vec::with_capacity(2 + 2 * bytes.len());
    text.extend_from_slice(b"\\x");
    for byte in bytes {
        text.extend_from_slice(&[DIGITS[(byte >> 4) as usize], DIGITS[(byte & 15) as usize]]);
    }
    text
}

fn nibble(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

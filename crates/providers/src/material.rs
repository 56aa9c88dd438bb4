//! From the bytes a file, a program or a variable holds to the 32 bytes of a root key.

use zeroize::Zeroizing;

/// Length of a root key in bytes.
pub(crate) const ROOT_LEN: usize = 32;
/// Longest accepted form: 64 hexadecimal digits and a newline.
pub(crate) const MAX_MATERIAL_LEN: usize = 2 * ROOT_LEN + 1;

/// Why some bytes are not a root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MaterialProblem {
    /// Nothing at all.
    #[error("is empty")]
    Empty,
    /// A length that none of the accepted forms has.
    #[error("is neither 32 raw bytes nor 64 hexadecimal digits long")]
    Length,
    /// The length of the hexadecimal form, with other characters in it.
    #[error("has 64 characters, but not all of them are hexadecimal digits")]
    NotHex,
    /// 32 characters of ASCII text. A random key looks like this once in 10^13 times; a password, or 16 bytes
    /// in hexadecimal, always. Neither is uniform over 256 bits, which the key derivation relies on.
    #[error("holds 32 characters of text, which is not a key of 32 random bytes")]
    Text,
    /// 32 times the same byte: a placeholder, or a file that was allocated but never written.
    #[error("holds one byte repeated, which is not a random key")]
    Constant,
}

impl MaterialProblem {
    /// What to do about it.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::Empty | Self::Length | Self::NotHex => {
                "provide 64 hexadecimal digits, as \"openssl rand -hex 32\" prints them, or 32 raw bytes"
            }
            Self::Text => {
                "write 64 hexadecimal digits (\"openssl rand -hex 32\"), or use \"passphrase-file:\""
            }
            Self::Constant => "make a random key, for example with \"openssl rand -hex 32\"",
        }
    }
}

/// Reads 32 raw bytes or 64 hexadecimal digits, either followed by at most one newline. The four lengths
/// differ, so a raw key that ends in the byte of a newline is still read as what it is.
pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Zeroizing<[u8; ROOT_LEN]>, MaterialProblem> {
    let without_newline = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if let Ok(raw) = <&[u8; ROOT_LEN]>::try_from(bytes) {
        return from_raw(raw);
    }
    match <&[u8; ROOT_LEN]>::try_from(without_newline) {
        Ok(raw) => from_raw(raw),
        Err(_) => from_hex(without_newline),
    }
}

/// Reads exactly 64 hexadecimal digits, of either case.
pub(crate) fn from_hex(digits: &[u8]) -> Result<Zeroizing<[u8; ROOT_LEN]>, MaterialProblem> {
    if digits.is_empty() {
        return Err(MaterialProblem::Empty);
    }
    if digits.len() != 2 * ROOT_LEN {
        return Err(MaterialProblem::Length);
    }
    let mut root = Zeroizing::new([0; ROOT_LEN]);
    base16ct::mixed::decode(digits, root.as_mut_slice()).map_err(|_| MaterialProblem::NotHex)?;
    refuse_constant(root)
}

fn from_raw(raw: &[u8; ROOT_LEN]) -> Result<Zeroizing<[u8; ROOT_LEN]>, MaterialProblem> {
    let root = refuse_constant(Zeroizing::new(*raw))?;
    if raw
        .iter()
        .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
    {
        return Err(MaterialProblem::Text);
    }
    Ok(root)
}

fn refuse_constant(root: Zeroizing<[u8; ROOT_LEN]>) -> Result<Zeroizing<[u8; ROOT_LEN]>, MaterialProblem> {
    if root.iter().all(|byte| *byte == root[0]) {
        Err(MaterialProblem::Constant)
    } else {
        Ok(root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ROOT, ROOT_HEX};

    fn with_newline(bytes: &[u8]) -> Vec<u8> {
        [bytes, b"\n"].concat()
    }

    #[test]
    fn every_accepted_form_gives_the_same_key() {
        let upper = ROOT_HEX.to_ascii_uppercase();
        for form in [
            ROOT.to_vec(),
            with_newline(&ROOT),
            ROOT_HEX.into(),
            with_newline(ROOT_HEX.as_bytes()),
            upper.into(),
        ] {
            assert_eq!(*from_bytes(&form).unwrap(), ROOT);
        }
    }

    #[test]
    fn a_raw_key_may_end_in_a_newline() {
        let mut key = ROOT;
        key[31] = b'\n';
        assert_eq!(*from_bytes(&key).unwrap(), key);
        assert_eq!(*from_bytes(&with_newline(&key)).unwrap(), key);
    }

    #[test]
    fn no_other_length_is_a_key() {
        for length in 0..=130 {
            let digits: Vec<u8> = b"0123456789abcdef".iter().copied().cycle().take(length).collect();
            let expected = match length {
                0 => Some(MaterialProblem::Empty),
                32 => Some(MaterialProblem::Text),
                64 => None,
                _ => Some(MaterialProblem::Length),
            };
            assert_eq!(from_bytes(&digits).err(), expected, "{length} digits");
            // 31 and a newline are 32 bytes.
            let expected = if length == 31 {
                Some(MaterialProblem::Text)
            } else {
                expected
            };
            assert_eq!(
                from_bytes(&with_newline(&digits)).err(),
                expected,
                "{length} digits and a newline"
            );
        }
        assert_eq!(
            from_bytes(&with_newline(&with_newline(&ROOT))).err(),
            Some(MaterialProblem::Length)
        );
    }

    #[test]
    fn the_hexadecimal_form_takes_nothing_but_digits() {
        for other in [b'g', b' ', b'\n', b'x', 0, 0xff] {
            let mut digits = ROOT_HEX.as_bytes().to_vec();
            digits[20] = other;
            assert_eq!(
                from_bytes(&digits).err(),
                Some(MaterialProblem::NotHex),
                "byte {other:#04x}"
            );
        }
        assert_eq!(
            from_hex(&with_newline(ROOT_HEX.as_bytes())).err(),
            Some(MaterialProblem::Length)
        );
        assert_eq!(from_hex(&ROOT).err(), Some(MaterialProblem::Length));
    }

    #[test]
    fn a_placeholder_is_not_a_key() {
        for byte in [0x00, 0x0a, 0x80, 0xff] {
            assert_eq!(
                from_bytes(&[byte; 32]).err(),
                Some(MaterialProblem::Constant),
                "byte {byte:#04x}"
            );
        }
        assert_eq!(from_bytes(&[b'0'; 64]).err(), Some(MaterialProblem::Constant));
        assert_eq!(
            from_bytes(b"correct horse battery staple ...").err(),
            Some(MaterialProblem::Text)
        );
    }
}

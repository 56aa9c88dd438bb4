//! Which values a blind index takes for equal.
//!
//! Done with Unicode tables that are compiled in, never with the database's `lower()`, whose result depends on the
//! collation library of the machine: a standby or a restored dump would compute other tokens.

mod casefold;

use core::fmt;
use core::str::FromStr;
use std::borrow::Cow;

/// A way to normalize. Part of every token it made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Normalizer {
    /// The value as it is.
    Exact = 1,
    /// Without regard to case, compatibility forms, invisible characters and white space at the ends.
    Casefold = 2,
    /// [`Casefold`](Self::Casefold), also without white space on both sides of the last `@`.
    Email = 3,
    /// ASCII digits only.
    Digits = 4,
}

/// Why a value could not be normalized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormalizeError {
    /// The normalized value would exceed [`MAX_LEN`].
    TooLong,
}

impl fmt::Display for NormalizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("value is too long to normalize"),
        }
    }
}

impl std::error::Error for NormalizeError {}

/// A word that names no [`Normalizer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownNormalizer;

impl fmt::Display for UnknownNormalizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown normalizer")
    }
}

impl std::error::Error for UnknownNormalizer {}

impl Normalizer {
    /// All normalizers, in the order of their codes.
    pub const ALL: [Self; 4] = [Self::Exact, Self::Casefold, Self::Email, Self::Digits];

    /// The byte that stands for the normalizer in a token's input.
    #[inline]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The word that stands for the normalizer in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Casefold => "casefold",
            Self::Email => "email",
            Self::Digits => "digits",
        }
    }

    /// Normalizes `value`.
    ///
    /// # Errors
    /// [`NormalizeError::TooLong`].
    #[inline]
    pub fn normalize<'a>(&self, value: &'a str) -> Result<Cow<'a, str>, NormalizeError> {
        match self {
            Self::Exact => Ok(Cow::Borrowed(value)),
            Self::Casefold => casefold::casefold(value),
            Self::Email => Ok(email(casefold::casefold(value)?)),
            Self::Digits => Ok(digits(value)),
        }
    }
}

impl FromStr for Normalizer {
    type Err = UnknownNormalizer;

    fn from_str(word: &str) -> Result<Self, UnknownNormalizer> {
        Self::ALL
            .into_iter()
            .find(|normalizer| normalizer.as_str() == word)
            .ok_or(UnknownNormalizer)
    }
}

/// Longest normalized value in bytes: the longest value PostgreSQL can hold. One character can grow to 33 bytes
/// (U+FDFA), so a value that is short enough itself may not be when it is normalized.
pub const MAX_LEN: usize = (1 << 30) - 1;

/// Trims around the last `@` of a folded value. A quoted local part may hold others (RFC 5321 section 4.1.2).
///
/// This is not validation: a value without `@`, or with nothing on one of its sides, is what it is. Nothing is done that
/// depends on the mail provider or the resolver: dots and `+tags` of the local part stay, so do a final dot of the domain
/// and the difference between an internationalized domain and its ASCII form. Folding comes before splitting, because a
/// full-width `@` becomes one.
fn email(folded: Cow<'_, str>) -> Cow<'_, str> {
    match folded.rsplit_once('@') {
        Some((local, domain))
            if local.ends_with(char::is_whitespace) || domain.starts_with(char::is_whitespace) =>
        {
            Cow::Owned(format!("{}@{}", local.trim_end(), domain.trim_start()))
        }
        _ => folded,
    }
}

fn digits(value: &str) -> Cow<'_, str> {
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(value.chars().filter(char::is_ascii_digit).collect())
    }
}

//! `trim(toNFKC_Casefold(NFD(trim(value))))`: identifier caseless matching (The Unicode Standard, section 3.13, D147) of
//! values whose outer white space does not count.
//!
//! NFD comes first because of U+0345, a combining mark whose case folding is a letter: without it, canonically
//! equivalent values fold apart. Trimming comes last as well because dropping invisible characters and spelling out
//! compatibility forms can bring white space to the ends; otherwise a normalized value could change when it is
//! normalized again.

use std::borrow::Cow;

use icu_casemap::{CaseMapper, CaseMapperBorrowed};
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::props::DefaultIgnorableCodePoint;
use icu_properties::{CodePointSetData, CodePointSetDataBorrowed};

use super::{MAX_LEN, NormalizeError};

const CASES: CaseMapperBorrowed<'static> = CaseMapper::new();
const NFC: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfc();
const NFD: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizerBorrowed::new_nfd();
const NFKD: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizerBorrowed::new_nfkd();
const IGNORABLE: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<DefaultIgnorableCodePoint>();

#[inline]
pub(super) fn casefold(value: &str) -> Result<Cow<'_, str>, NormalizeError> {
    if value.is_ascii() {
        Ok(ascii(value))
    } else {
        unicode(value, MAX_LEN).map(Cow::Owned)
    }
}

/// On ASCII, all of Unicode's steps but lower-casing do nothing.
#[inline]
fn ascii(value: &str) -> Cow<'_, str> {
    let value = value.trim();
    if value.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(value.to_ascii_lowercase())
    } else {
        Cow::Borrowed(value)
    }
}

fn unicode(value: &str, limit: usize) -> Result<String, NormalizeError> {
    let mut mapped = String::with_capacity(value.len());
    let mut mapping = Mapping::default();
    for character in NFD.normalize_iter(value.trim().chars()) {
        if character.is_ascii() {
            mapped.push(character.to_ascii_lowercase());
        } else {
            mapped.push_str(mapping.nfkc_casefold(character));
        }
        if mapped.len() > limit {
            return Err(NormalizeError::TooLong);
        }
    }
    Ok(NFC.normalize(&mapped).trim().to_owned())
}

/// Buffers for mapping one character after the other.
#[derive(Default)]
struct Mapping {
    current: String,
    next: String,
}

impl Mapping {
    /// The property NFKC_Casefold of one character, decomposed; the caller composes the whole value.
    ///
    /// By its definition (UAX #44, DerivedNormalizationProps.txt) it is compatibility normalization, case folding and
    /// removal of default-ignorable characters, repeated until nothing changes: U+037A for one folds only after it was
    /// normalized.
    fn nfkc_casefold(&mut self, character: char) -> &str {
        self.current.clear();
        self.current.push(character);
        loop {
            self.next.clear();
            let folded = CASES.fold_string(&self.current);
            self.next.extend(
                NFKD.normalize_iter(folded.chars())
                    .filter(|&folded| !IGNORABLE.contains(folded)),
            );
            if self.next == self.current {
                return &self.current;
            }
            core::mem::swap(&mut self.current, &mut self.next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U+FDFA, one character of 3 bytes, becomes 33: the limit is on what comes out.
    #[test]
    fn values_that_grow_beyond_the_limit_are_refused() {
        let value = "\u{fdfa}".repeat(10);
        assert_eq!(unicode(&value, 330).map(|folded| folded.len()), Ok(330));
        assert_eq!(unicode(&value, 329), Err(NormalizeError::TooLong));
        assert_eq!(unicode(&value, value.len()), Err(NormalizeError::TooLong));
    }
}

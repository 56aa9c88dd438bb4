//! `trim(toNFKC_Casefold(NFD(trim(value))))`: Unicode 3.13, D147 (identifier caseless matching), with white space
//! trimmed.

use std::borrow::Cow;

use icu_casemap::{CaseMapper, CaseMapperBorrowed};
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::props::DefaultIgnorableCodePoint;
use icu_properties::{CodePointSetData, CodePointSetDataBorrowed};

use super::{MAX_LEN, NormalizeError};

const CASES: CaseMapperBorrowed<'static> = CaseMapper::new();
const NFC: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfc();
const NFKC: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfkc();
const NFD: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizerBorrowed::new_nfd();
const IGNORABLE: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<DefaultIgnorableCodePoint>();

#[inline]
pub(super) fn casefold(value: &str) -> Result<Cow<'_, str>, NormalizeError> {
    if value.is_ascii() {
        Ok(ascii(value))
    } else {
        unicode(value).map(Cow::Owned)
    }
}

/// On ASCII all of Unicode's steps but lower-casing do nothing.
#[inline]
fn ascii(value: &str) -> Cow<'_, str> {
    let value = value.trim();
    if value.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(value.to_ascii_lowercase())
    } else {
        Cow::Borrowed(value)
    }
}

fn unicode(value: &str) -> Result<String, NormalizeError> {
    let mut mapped = String::with_capacity(value.len());
    for character in NFD.normalize_iter(value.trim().chars()) {
        push_nfkc_casefold(character, &mut mapped);
        if mapped.len() > MAX_LEN {
            return Err(NormalizeError::TooLong);
        }
    }
    // Trimmed again: dropping invisible characters and spelling out compatibility forms bring white space to the ends.
    let folded = NFC.normalize(&mapped);
    Ok(folded.trim().to_owned())
}

/// Appends `NFKC_Casefold(character)`. By its definition (UAX #44, DerivedNormalizationProps.txt): NFKC, case folding
/// and removal of default-ignorable characters, repeated until nothing changes.
fn push_nfkc_casefold(character: char, out: &mut String) {
    if character.is_ascii() {
        out.push(character.to_ascii_lowercase());
        return;
    }
    let mut current = String::from(character);
    loop {
        let folded = CASES.fold_string(&current);
        let mut next = NFKC.normalize(&folded).into_owned();
        next.retain(|character| !IGNORABLE.contains(character));
        if next == current {
            break;
        }
        current = next;
    }
    out.push_str(&current);
}

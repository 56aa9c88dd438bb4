//! Normalizers: laws that hold for every value, and the pinned Unicode tables.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::borrow::Cow;

use pg_encrypt_core::normalize::{Normalizer, UnknownNormalizer};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn normalize(normalizer: Normalizer, value: &str) -> Cow<'_, str> {
    normalizer.normalize(value).unwrap()
}

/// Planes 0 to 3 and the tags and variation selectors of plane 14: beyond them Unicode has assigned nothing but private use.
fn characters() -> impl Iterator<Item = char> {
    ('\0'..='\u{3ffff}').chain('\u{e0000}'..='\u{e0fff}')
}

/// Tokens are stored: a change of Unicode's tables would silently separate old tokens from new ones. If this test fails
/// after an update of the `icu_*` crates, the update needs a normalizer of a new code, not a new digest here.
#[test]
fn the_tables_are_the_ones_that_stored_tokens_were_made_with() {
    let mut digest = Sha256::new();
    for character in characters() {
        let value = character.to_string();
        digest.update(normalize(Normalizer::Casefold, &value).as_bytes());
        digest.update([0xff]);
    }
    assert_eq!(
        hex::encode(digest.finalize()),
        "af242faf73492c2dd77769a5fea77fce1435fa71018dc2a158bff1e8ff33da4a"
    );
}

#[test]
fn every_character_folds_once_and_for_all() {
    for character in characters() {
        // Between letters, so that white space stays.
        let value = format!("x{character}x");
        let folded = normalize(Normalizer::Casefold, &value);
        assert_eq!(
            normalize(Normalizer::Casefold, &folded),
            folded,
            "U+{:04X}",
            u32::from(character)
        );
    }
}

#[test]
fn ascii_takes_no_part_in_the_tables() {
    for byte in 0..128_u8 {
        let value = char::from(byte).to_string();
        // A letter outside ASCII sends the value the other way.
        let other = normalize(Normalizer::Casefold, &format!("x{value}xé")).into_owned();
        assert_eq!(
            format!("{}é", normalize(Normalizer::Casefold, &format!("x{value}x"))),
            other,
            "{byte}"
        );
    }
}

#[test]
fn what_needs_no_change_is_borrowed() {
    for (normalizer, value) in [
        (Normalizer::Exact, "As It Is "),
        (Normalizer::Casefold, "alice smith"),
        (Normalizer::Casefold, " alice "),
        (Normalizer::Email, "alice@example.org"),
        (Normalizer::Digits, "0123"),
    ] {
        assert!(
            matches!(normalize(normalizer, value), Cow::Borrowed(_)),
            "{normalizer:?} {value:?}"
        );
    }
}

#[test]
fn normalizers_have_words_and_codes() {
    assert_eq!(Normalizer::ALL.map(Normalizer::code), [1, 2, 3, 4]);
    assert_eq!(
        Normalizer::ALL.map(Normalizer::as_str),
        ["exact", "casefold", "email", "digits"]
    );
    for normalizer in Normalizer::ALL {
        assert_eq!(normalizer.as_str().parse(), Ok(normalizer));
    }
    for word in ["", "Exact", "exact ", "lower"] {
        assert_eq!(word.parse::<Normalizer>(), Err(UnknownNormalizer));
    }
}

/// Characters that exercise the tables: marks that reorder, compose and fold to letters, invisible ones, compatibility
/// forms of white space and `@`.
fn tricky() -> impl Strategy<Value = String> {
    let characters = vec![
        'a',
        'A',
        '@',
        ' ',
        '.',
        '\t',
        'ß',
        'İ',
        'ı',
        'Σ',
        'ς',
        'Å',
        '\u{212b}',
        '\u{30a}',
        '\u{301}',
        '\u{308}',
        '\u{345}',
        '\u{37a}',
        '\u{a8}',
        '\u{a0}',
        '\u{ad}',
        '\u{200b}',
        '\u{200d}',
        '\u{feff}',
        '\u{3000}',
        '\u{ff20}',
        '\u{fe6b}',
        '\u{1fc3}',
        '\u{1112}',
        '\u{1161}',
        '\u{11ab}',
        '\u{fb01}',
        '\u{fdfa}',
        '\u{1e9e}',
        '\u{93c}',
        '\u{2028}',
        '\u{e0041}',
    ];
    prop::collection::vec(prop::sample::select(characters), 0..12)
        .prop_map(|characters| characters.into_iter().collect())
}

proptest! {
    #[test]
    fn normalizing_is_idempotent(value in prop_oneof![any::<String>(), tricky()]) {
        for normalizer in Normalizer::ALL {
            let once = normalize(normalizer, &value).into_owned();
            prop_assert_eq!(normalize(normalizer, &once), &once[..], "{:?} {:?}", normalizer, value);
        }
    }

    #[test]
    fn canonically_equivalent_values_are_equal(value in prop_oneof![any::<String>(), tricky()]) {
        let decomposed = icu_normalizer::DecomposingNormalizerBorrowed::new_nfd().normalize(&value).into_owned();
        let composed = icu_normalizer::ComposingNormalizerBorrowed::new_nfc().normalize(&value).into_owned();
        for normalizer in [Normalizer::Casefold, Normalizer::Email] {
            let expected = normalize(normalizer, &value);
            prop_assert_eq!(&normalize(normalizer, &decomposed), &expected);
            prop_assert_eq!(&normalize(normalizer, &composed), &expected);
        }
    }

    #[test]
    fn ascii_folds_like_any_other_text(value in "[ -~\t\r\n]{0,40}") {
        let expected = value.trim().to_ascii_lowercase();
        prop_assert_eq!(normalize(Normalizer::Casefold, &value), &expected[..]);
        // The same value on the way through the tables: a soft hyphen is invisible.
        let invisible = format!("{value}\u{ad}");
        prop_assert_eq!(normalize(Normalizer::Casefold, &invisible), &expected[..]);
    }

    #[test]
    fn emails_are_casefolded_and_trimmed_around_the_last_at(local in "[ -~]{0,10}", domain in "[ -?A-~]{0,10}") {
        let expected = format!("{}@{}", local.trim(), domain.trim()).to_ascii_lowercase();
        let value = format!("{local}@{domain}");
        prop_assert_eq!(normalize(Normalizer::Email, &value), &expected[..]);
    }

    #[test]
    fn digits_are_the_ascii_digits(value: String) {
        let expected: String = value.chars().filter(char::is_ascii_digit).collect();
        prop_assert_eq!(normalize(Normalizer::Digits, &value), &expected[..]);
    }
}

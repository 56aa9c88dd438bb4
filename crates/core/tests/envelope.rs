//! Envelopes of both formats under hostile hands: every altered bit, every truncation, every extension, every mix-up.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod common;

use common::{EPOCH, KEY, key_id, sealed, sealed_deterministic};
use pg_encrypt_core::deterministic::SivKey;
use pg_encrypt_core::envelope::{
    AuthenticationFailed, Envelope, Format, FormatError, HEADER_LEN, Header, OVERHEAD, SIV_OVERHEAD,
    SealError, Sealer, TypeCode, ValueKey,
};
use pg_encrypt_core::key::{DataKey, KeyId};
use proptest::prelude::*;

const CONTEXT: &str = "users.ssn";
const ROW_ID: &[u8] = b"42";
/// Texts that take the short way through GCM, with and without a second group of hash blocks, and the long one.
const TEXTS: [&[u8]; 5] = [b"", b"a", b"alice@example.com", &[0x61; 80], &[0x61; 200]];

#[derive(Debug, PartialEq)]
enum OpenError {
    Format(FormatError),
    Authentication,
}

/// Opens as the extension does: parse, look at the format, open with the presented key, context and row.
fn open_with(key: [u8; 32], context: &str, row_id: &[u8], bytes: &[u8]) -> Result<Vec<u8>, OpenError> {
    let envelope = Envelope::parse(bytes).map_err(OpenError::Format)?;
    let key = DataKey::from_bytes(key);
    let mut out = vec![0xee; envelope.plaintext_len()];
    let opened = match envelope.header().format {
        Format::Xaes => ValueKey::derive(&key, context.as_bytes())
            .epoch_key(envelope.epoch().unwrap())
            .open_into(&envelope, row_id, &mut out),
        Format::Siv => SivKey::derive(&key, context.as_bytes()).open_into(&envelope, row_id, &mut out),
    };
    match opened {
        Ok(()) => Ok(out),
        Err(AuthenticationFailed) => {
            assert!(
                out.iter().all(|&byte| byte == 0),
                "output of a failed open must be wiped"
            );
            Err(OpenError::Authentication)
        }
    }
}

fn open(bytes: &[u8]) -> Result<Vec<u8>, OpenError> {
    open_with(KEY, CONTEXT, ROW_ID, bytes)
}

fn both_formats(text: &[u8]) -> [Vec<u8>; 2] {
    [
        sealed(CONTEXT, ROW_ID, text),
        sealed_deterministic(CONTEXT, ROW_ID, text),
    ]
}

#[test]
fn opens_what_was_sealed() {
    for text in TEXTS {
        for envelope in both_formats(text) {
            assert_eq!(open(&envelope).unwrap(), text);
        }
    }
}

/// What a flipped bit must lead to, by where it is.
fn expected_error(altered: &[u8], at: usize) -> OpenError {
    match at {
        // Format 0xE2 differs from 0xE1 in two bits, so no flip turns one into the other.
        0 => OpenError::Format(FormatError::UnknownFormat(altered[0])),
        1 if altered[1] >> 3 > 12 => OpenError::Format(FormatError::UnknownType(altered[1] >> 3)),
        2..6 => {
            let id = i32::from_be_bytes(altered[2..6].try_into().unwrap());
            match KeyId::new(id) {
                Some(_) => OpenError::Authentication,
                None => OpenError::Format(FormatError::InvalidKeyId(id)),
            }
        }
        _ => OpenError::Authentication,
    }
}

#[test]
fn every_flipped_bit_fails() {
    for text in TEXTS {
        for original in both_formats(text) {
            for at in 0..original.len() {
                for bit in 0..8 {
                    let mut altered = original.clone();
                    altered[at] ^= 1 << bit;
                    assert_eq!(
                        open(&altered),
                        Err(expected_error(&altered, at)),
                        "byte {at} bit {bit}"
                    );
                }
            }
        }
    }
}

/// Key id 7 becomes 0 by no single flip.
#[test]
fn key_ids_that_no_key_has_are_refused() {
    for original in both_formats(b"alice") {
        for id in [0, -1, i32::MIN] {
            let mut altered = original.clone();
            altered[2..6].copy_from_slice(&id.to_be_bytes());
            assert_eq!(
                open(&altered),
                Err(OpenError::Format(FormatError::InvalidKeyId(id)))
            );
        }
    }
}

#[test]
fn every_truncation_fails() {
    for text in TEXTS {
        for original in both_formats(text) {
            let minimum = original.len() - text.len();
            for length in 0..original.len() {
                let expected = match length {
                    0 => OpenError::Format(FormatError::Truncated {
                        length: 0,
                        minimum: SIV_OVERHEAD,
                    }),
                    _ if length < minimum => OpenError::Format(FormatError::Truncated { length, minimum }),
                    _ => OpenError::Authentication,
                };
                assert_eq!(
                    open(&original[..length]),
                    Err(expected),
                    "{length} of {}",
                    original.len()
                );
                // From the front as well: what is left must not be taken for an envelope of its own.
                assert!(
                    open(&original[original.len() - length..]).is_err(),
                    "last {length}"
                );
            }
        }
    }
}

#[test]
fn every_extension_and_concatenation_fails() {
    for text in TEXTS {
        for original in both_formats(text) {
            for extra in 1..50 {
                for byte in [0x00, 0xff] {
                    let extended = [&original[..], &vec![byte; extra]].concat();
                    assert_eq!(open(&extended), Err(OpenError::Authentication), "{extra} bytes");
                }
            }
            let other = sealed(CONTEXT, ROW_ID, b"other");
            assert_eq!(
                open(&[&original[..], &original].concat()),
                Err(OpenError::Authentication)
            );
            assert_eq!(
                open(&[&original[..], &other].concat()),
                Err(OpenError::Authentication)
            );
        }
    }
}

#[test]
fn another_key_context_or_row_fails() {
    for envelope in both_formats(b"alice") {
        let mut other_key = KEY;
        other_key[31] ^= 1;
        assert_eq!(
            open_with(other_key, CONTEXT, ROW_ID, &envelope),
            Err(OpenError::Authentication)
        );
        for context in ["", "users", "users.ssn2", "users.ssn\0"] {
            assert_eq!(
                open_with(KEY, context, ROW_ID, &envelope),
                Err(OpenError::Authentication),
                "{context:?}"
            );
        }
        for row_id in [&b""[..], b"4", b"43", b"42\0", &[b'4'; 300]] {
            assert_eq!(
                open_with(KEY, CONTEXT, row_id, &envelope),
                Err(OpenError::Authentication),
                "{row_id:?}"
            );
        }
    }
}

/// A value that is bound to nothing must not open when something is presented: the caller would believe it bound.
#[test]
fn an_unbound_value_opens_only_unbound() {
    for envelope in [sealed("", b"", b"alice"), sealed_deterministic("", b"", b"alice")] {
        let header = Envelope::parse(&envelope).unwrap().header();
        assert!(!header.row_bound && !header.has_context);
        assert_eq!(open_with(KEY, "", b"", &envelope).unwrap(), b"alice");
        assert_eq!(
            open_with(KEY, CONTEXT, b"", &envelope),
            Err(OpenError::Authentication)
        );
        assert_eq!(
            open_with(KEY, "", ROW_ID, &envelope),
            Err(OpenError::Authentication)
        );
    }
}

/// Bytes that move between context, row id and text must not give the same value.
#[test]
fn context_row_and_text_do_not_run_into_each_other() {
    let envelopes = [
        sealed("ab", b"c", b"d"),
        sealed("a", b"bc", b"d"),
        sealed("abc", b"", b"d"),
        sealed("", b"abc", b"d"),
    ];
    let openers = [("ab", &b"c"[..]), ("a", b"bc"), ("abc", b""), ("", b"abc")];
    for (i, envelope) in envelopes.iter().enumerate() {
        for (j, (context, row_id)) in openers.iter().enumerate() {
            assert_eq!(
                open_with(KEY, context, row_id, envelope).is_ok(),
                i == j,
                "{i} {j}"
            );
        }
    }
}

#[test]
fn a_key_refuses_envelopes_of_other_epochs_and_of_the_other_format() {
    let key = DataKey::from_bytes(KEY);
    let [xaes, siv] = both_formats(b"alice");
    let (xaes, siv) = (Envelope::parse(&xaes).unwrap(), Envelope::parse(&siv).unwrap());
    let value_key = ValueKey::derive(&key, CONTEXT.as_bytes());
    let siv_key = SivKey::derive(&key, CONTEXT.as_bytes());
    let mut out = [0xee; 5];

    let mut epoch = EPOCH;
    epoch[15] ^= 1;
    assert_eq!(
        value_key.epoch_key(&epoch).open_into(&xaes, ROW_ID, &mut out),
        Err(AuthenticationFailed)
    );
    assert_eq!(
        value_key.epoch_key(&EPOCH).open_into(&siv, ROW_ID, &mut out),
        Err(AuthenticationFailed)
    );
    assert_eq!(
        siv_key.open_into(&xaes, ROW_ID, &mut out),
        Err(AuthenticationFailed)
    );
    assert_eq!(out, [0; 5]);
    for mut short_or_long in [vec![0xee; 4], vec![0xee; 6]] {
        let epoch_key = value_key.epoch_key(&EPOCH);
        assert_eq!(
            epoch_key.open_into(&xaes, ROW_ID, &mut short_or_long),
            Err(AuthenticationFailed)
        );
        assert_eq!(
            siv_key.open_into(&siv, ROW_ID, &mut short_or_long),
            Err(AuthenticationFailed)
        );
        assert!(short_or_long.iter().all(|&byte| byte == 0));
    }
}

#[test]
fn an_epoch_seals_65536_values_under_distinct_counters() {
    let key = ValueKey::derive(&DataKey::from_bytes(KEY), b"");
    let mut sealer = Sealer::new(key.epoch_key(&EPOCH));
    let mut out = [0; OVERHEAD];
    for counter in 0..=u16::MAX {
        sealer
            .seal_into(TypeCode::Text, false, key_id(), b"", b"", &mut out)
            .unwrap();
        let envelope = Envelope::parse(&out).unwrap();
        assert_eq!(
            (envelope.epoch(), envelope.counter()),
            (Some(&EPOCH), Some(counter))
        );
    }
    let last = out;
    for _ in 0..2 {
        let refused = sealer.seal_into(TypeCode::Text, false, key_id(), b"", b"", &mut out);
        assert_eq!(refused, Err(SealError::EpochExhausted));
    }
    let envelope = Envelope::parse(&last).unwrap();
    assert_eq!(sealer.epoch_key().open_into(&envelope, b"", &mut []), Ok(()));
}

#[test]
fn an_output_of_another_length_is_refused_and_uses_no_counter() {
    let key = ValueKey::derive(&DataKey::from_bytes(KEY), b"");
    let siv_key = SivKey::derive(&DataKey::from_bytes(KEY), b"");
    let mut sealer = Sealer::new(key.epoch_key(&EPOCH));
    for length in (0..OVERHEAD + 5).chain(OVERHEAD + 6..OVERHEAD + 20) {
        let refused = sealer.seal_into(
            TypeCode::Text,
            false,
            key_id(),
            b"",
            b"alice",
            &mut vec![0; length],
        );
        assert_eq!(refused, Err(SealError::OutputLength), "{length}");
    }
    for length in (0..SIV_OVERHEAD + 5).chain(SIV_OVERHEAD + 6..OVERHEAD) {
        let refused = siv_key.seal_into(TypeCode::Text, key_id(), b"", b"alice", &mut vec![0; length]);
        assert_eq!(refused, Err(SealError::OutputLength), "{length}");
    }
    let mut out = [0; OVERHEAD + 5];
    sealer
        .seal_into(TypeCode::Text, false, key_id(), b"", b"alice", &mut out)
        .unwrap();
    assert_eq!(Envelope::parse(&out).unwrap().counter(), Some(0));
}

#[test]
fn deterministic_values_are_equal_exactly_if_all_inputs_are() {
    let base = sealed_deterministic("c", b"r", b"alice");
    assert_eq!(base, sealed_deterministic("c", b"r", b"alice"));
    for other in [
        sealed_deterministic("d", b"r", b"alice"),
        sealed_deterministic("c", b"s", b"alice"),
        sealed_deterministic("c", b"r", b"alicf"),
        sealed_deterministic("", b"r", b"alice"),
        sealed_deterministic("c", b"", b"alice"),
    ] {
        // Not even the synthetic IV.
        assert_ne!(base[HEADER_LEN..22], other[HEADER_LEN..22]);
    }
}

/// All second bytes: 13 types times 8 flags are understood, the other 152 are not.
#[test]
fn headers_round_trip_and_unknown_types_are_refused() {
    let mut understood = 0;
    for flags in 0..=u8::MAX {
        let mut bytes = sealed("", b"", b"alice");
        bytes[1] = flags;
        match Envelope::parse(&bytes) {
            Ok(envelope) => {
                let header = envelope.header();
                assert_eq!(header.to_bytes(), bytes[..HEADER_LEN]);
                assert_eq!(header.type_code.code(), flags >> 3);
                understood += 1;
            }
            Err(error) => assert_eq!(error, FormatError::UnknownType(flags >> 3)),
        }
    }
    assert_eq!(understood, 13 * 8);
    assert_eq!(TypeCode::ALL.len(), 13);
    for (code, type_code) in (0..).zip(TypeCode::ALL) {
        assert_eq!(TypeCode::try_from(code), Ok(*type_code));
    }
}

#[test]
fn only_two_first_bytes_are_understood() {
    let rest = &sealed("", b"", b"alice")[1..];
    for first in 0..=u8::MAX {
        let bytes = [&[first], rest].concat();
        match Envelope::parse(&bytes) {
            Ok(envelope) => assert_eq!(envelope.header().format.code(), first),
            Err(error) => {
                assert_eq!(error, FormatError::UnknownFormat(first));
                assert!(first != 0xe1 && first != 0xe2);
            }
        }
    }
}

proptest! {
    #[test]
    fn values_round_trip(
        key: [u8; 32],
        epoch: [u8; 16],
        counter: u16,
        id in 1..=i32::MAX,
        type_code in prop::sample::select(TypeCode::ALL),
        compressed: bool,
        context in ".{0,20}",
        row_id in prop::collection::vec(any::<u8>(), 0..300),
        text in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let data_key = DataKey::from_bytes(key);
        let key_id = KeyId::new(id).unwrap();
        let expected = Header {
            format: Format::Xaes,
            type_code,
            row_bound: !row_id.is_empty(),
            has_context: !context.is_empty(),
            compressed,
            key_id,
        };

        let value_key = ValueKey::derive(&data_key, context.as_bytes());
        let mut sealed = vec![0; text.len() + OVERHEAD];
        Sealer::with_counter(value_key.epoch_key(&epoch), counter)
            .seal_into(type_code, compressed, key_id, &row_id, &text, &mut sealed).unwrap();
        let envelope = Envelope::parse(&sealed).unwrap();
        prop_assert_eq!(envelope.header(), expected);
        let mut opened = vec![0; text.len()];
        value_key.epoch_key(&epoch).open_into(&envelope, &row_id, &mut opened).unwrap();
        prop_assert_eq!(&opened, &text);

        let siv_key = SivKey::derive(&data_key, context.as_bytes());
        let mut sealed = vec![0; text.len() + SIV_OVERHEAD];
        siv_key.seal_into(type_code, key_id, &row_id, &text, &mut sealed).unwrap();
        let envelope = Envelope::parse(&sealed).unwrap();
        prop_assert_eq!(envelope.header(), Header { format: Format::Siv, compressed: false, ..expected });
        siv_key.open_into(&envelope, &row_id, &mut opened).unwrap();
        prop_assert_eq!(&opened, &text);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_open(mut bytes in prop::collection::vec(any::<u8>(), 0..200), format: u8) {
        if let Some(first) = bytes.first_mut() {
            *first = [0xe1, 0xe2, *first][usize::from(format % 3)];
        }
        prop_assert!(open(&bytes).is_err());
    }
}

//! Bytes that claim to be an envelope: parsing doesn't panic, what parses has a header that writes itself back, nothing
//! opens under a key that didn't seal it, and what is sealed opens.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pg_encrypt_core::deterministic::SivKey;
use pg_encrypt_core::envelope::{Envelope, Format, HEADER_LEN, OVERHEAD, SIV_OVERHEAD, Sealer, ValueKey};
use pg_encrypt_core::key::DataKey;

fuzz_target!(|bytes: &[u8]| {
    let Ok(envelope) = Envelope::parse(bytes) else {
        return;
    };
    let header = envelope.header();
    assert_eq!(header.to_bytes(), bytes[..HEADER_LEN]);
    assert_eq!(envelope.plaintext_len() + header.format.overhead(), bytes.len());

    let data_key = DataKey::from_bytes([0x17; 32]);
    let text = envelope.ciphertext();
    let mut opened = vec![0xee; text.len()];
    match (header.format, envelope.epoch()) {
        (Format::Xaes, Some(epoch)) => {
            let key = ValueKey::derive(&data_key, b"fuzz");
            assert!(
                key.epoch_key(epoch)
                    .open_into(&envelope, b"", &mut opened)
                    .is_err()
            );
            assert!(opened.iter().all(|&byte| byte == 0));

            let mut sealed = vec![0; text.len() + OVERHEAD];
            let mut sealer = Sealer::new(key.epoch_key(epoch));
            sealer
                .seal_into(
                    header.type_code,
                    header.compressed,
                    header.key_id,
                    epoch,
                    text,
                    &mut sealed,
                )
                .unwrap();
            let envelope = Envelope::parse(&sealed).unwrap();
            sealer
                .epoch_key()
                .open_into(&envelope, epoch, &mut opened)
                .unwrap();
        }
        (Format::Siv, None) => {
            let key = SivKey::derive(&data_key, b"fuzz");
            assert!(key.open_into(&envelope, b"", &mut opened).is_err());
            assert!(opened.iter().all(|&byte| byte == 0));

            let mut sealed = vec![0; text.len() + SIV_OVERHEAD];
            key.seal_into(header.type_code, header.key_id, text, text, &mut sealed)
                .unwrap();
            key.open_into(&Envelope::parse(&sealed).unwrap(), text, &mut opened)
                .unwrap();
        }
        (format, epoch) => panic!("{format:?} with epoch {epoch:?}"),
    }
    assert_eq!(opened, text);
});

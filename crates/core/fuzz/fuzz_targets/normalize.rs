//! Every normalizer is idempotent: a token of a normalized value is the token of the value.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pg_encrypt_core::normalize::Normalizer;

fuzz_target!(|value: &str| {
    for normalizer in Normalizer::ALL {
        let once = normalizer.normalize(value).unwrap();
        let twice = normalizer.normalize(&once).unwrap();
        assert_eq!(once, twice, "{normalizer:?}");
    }
});

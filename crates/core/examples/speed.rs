//! Prints what the operations cost: `cargo run --release -p pg_encrypt_core --example speed [FILTER]`.
//!
//! Each figure is the fastest of many short runs, so that other work on the machine disturbs it little.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use pg_encrypt_core::deterministic::SivKey;
use pg_encrypt_core::envelope::{Envelope, OVERHEAD, SIV_OVERHEAD, Sealer, TypeCode, ValueKey};
use pg_encrypt_core::key::{DataKey, KeyId};
use pg_encrypt_core::normalize::Normalizer;
use pg_encrypt_core::random::os_random;
use pg_encrypt_core::token::{IndexKey, IndexKind, TokenBits};
use pg_encrypt_core::typed::{Prefix, TOKEN_LEN, TypeRef, TypedValue};

type Fallible = Result<(), Box<dyn Error>>;

const RUN: Duration = Duration::from_micros(100);
const RUNS: u32 = 2000;

struct Bench {
    filter: String,
}

impl Bench {
    fn run(&self, name: &str, bytes: usize, mut operation: impl FnMut() -> Fallible) -> Fallible {
        if !name.contains(&self.filter) {
            return Ok(());
        }
        let mut times = 1_u32;
        while measure(times, &mut operation)? < RUN {
            times *= 2;
        }
        let runs = if times == 1 { RUNS / 10 } else { RUNS };
        let mut best = Duration::MAX;
        for _ in 0..runs {
            best = best.min(measure(times, &mut operation)?);
        }
        let nanoseconds = best.as_secs_f64() * 1e9 / f64::from(times);
        if bytes < 1024 {
            println!("{name:<36} {nanoseconds:>12.1} ns");
        } else {
            println!(
                "{name:<36} {nanoseconds:>12.1} ns {:>8.2} GB/s",
                bytes as f64 / nanoseconds
            );
        }
        Ok(())
    }
}

fn measure(times: u32, operation: &mut impl FnMut() -> Fallible) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    for _ in 0..times {
        operation()?;
    }
    Ok(start.elapsed())
}

fn values(bench: &Bench, key_id: KeyId) -> Fallible {
    let data_key = DataKey::generate()?;
    let key = ValueKey::derive(&data_key, b"users.ssn");
    let epoch = os_random()?;
    for (name, length) in [("9 B", 9), ("50 B", 50), ("8 KiB", 8 << 10), ("1 MiB", 1 << 20)] {
        let plaintext = vec![b'a'; length];
        let mut sealed = vec![0; length + OVERHEAD];
        let mut opened = vec![0; length];
        let mut sealer = Sealer::new(key.epoch_key(&epoch));
        let mut left = 1 << 16;
        bench.run(&format!("seal {name}"), length, || {
            if left == 0 {
                sealer = Sealer::new(key.epoch_key(&epoch));
                left = 1 << 16;
            }
            left -= 1;
            Ok(sealer.seal_into(
                TypeCode::Text,
                false,
                key_id,
                b"",
                black_box(&plaintext),
                &mut sealed,
            )?)
        })?;
        sealer = Sealer::new(key.epoch_key(&epoch));
        sealer.seal_into(TypeCode::Text, false, key_id, b"", &plaintext, &mut sealed)?;
        bench.run(&format!("open {name}"), length, || {
            let envelope = Envelope::parse(black_box(&sealed))?;
            Ok(sealer.epoch_key().open_into(&envelope, b"", &mut opened)?)
        })?;
        bench.run(&format!("open {name}, unseen epoch"), length, || {
            let envelope = Envelope::parse(black_box(&sealed))?;
            let epoch = envelope.epoch().ok_or("no epoch")?;
            Ok(key.epoch_key(epoch).open_into(&envelope, b"", &mut opened)?)
        })?;
    }

    typed_values(bench, key_id, Sealer::new(key.epoch_key(&os_random()?)))?;

    let key = SivKey::derive(&data_key, b"users.ssn");
    let mut sealed = [0; 9 + SIV_OVERHEAD];
    let mut opened = [0; 9];
    bench.run("seal 9 B, deterministic", 9, || {
        Ok(key.seal_into(TypeCode::Text, key_id, b"", black_box(b"123456789"), &mut sealed)?)
    })?;
    bench.run("open 9 B, deterministic", 9, || {
        Ok(key.open_into(&Envelope::parse(black_box(&sealed))?, b"", &mut opened)?)
    })
}

/// What output of a searchable type does, for e-mail addresses of 18 to 25 bytes.
fn typed_values(bench: &Bench, key_id: KeyId, mut sealer: Sealer) -> Fallible {
    let prefix = Prefix::new(TypeRef::new(7).ok_or("no type")?, Some(&[3; TOKEN_LEN]));
    let mut values = Vec::new();
    for length in [18, 22, 20, 25, 19, 23, 21, 24] {
        let mut value = prefix.as_bytes().to_vec();
        value.resize(prefix.overhead() + length, 0);
        let (row_id, envelope) = value.split_at_mut(prefix.as_bytes().len());
        let plaintext = vec![b'a'; length];
        sealer.seal_into(TypeCode::Text, false, key_id, row_id, &plaintext, envelope)?;
        values.push(value);
    }
    let mut opened = [0; 32];
    bench.run("open 8 typed values", 0, || {
        for value in &values {
            let value = TypedValue::parse(black_box(value))?;
            let out = opened
                .get_mut(..value.envelope.plaintext_len())
                .ok_or("too long")?;
            sealer.epoch_key().open_into(&value.envelope, value.prefix, out)?;
        }
        Ok(())
    })
}

fn tokens(bench: &Bench) -> Fallible {
    let key = IndexKey::derive(&DataKey::generate()?, IndexKind::Equality, b"users.email");
    let mut token = [0; 16];
    for (name, normalizer, value) in [
        ("token exact", Normalizer::Exact, "Alice@example.com"),
        ("token casefold", Normalizer::Casefold, "Alice@example.com"),
        (
            "token casefold, in lower case",
            Normalizer::Casefold,
            "alice@example.com",
        ),
        ("token casefold, German", Normalizer::Casefold, "Jürgen Müller"),
        ("token casefold, Greek", Normalizer::Casefold, "Οδυσσέας Ελύτης"),
        ("token email", Normalizer::Email, "Alice@example.com"),
        ("token digits", Normalizer::Digits, "078-05-1120"),
    ] {
        bench.run(name, 0, || {
            let normalized = normalizer.normalize(black_box(value))?;
            Ok(key.equality_token(
                1,
                normalizer,
                normalized.as_bytes(),
                TokenBits::DEFAULT,
                &mut token,
            )?)
        })?;
    }
    bench.run("integer token", 0, || {
        black_box(key.integer_token(3, black_box(b"ali")));
        Ok(())
    })
}

fn keys(bench: &Bench) -> Fallible {
    let data_key = DataKey::generate()?;
    let value_key = ValueKey::derive(&data_key, b"users.ssn");
    let mut epoch: [u8; 16] = os_random()?;
    bench.run("random epoch", 0, || {
        epoch = os_random()?;
        Ok(())
    })?;
    bench.run("key of an epoch", 0, || {
        black_box(value_key.epoch_key(black_box(&epoch)));
        Ok(())
    })?;
    bench.run("key of a context, values", 0, || {
        black_box(ValueKey::derive(&data_key, black_box(b"users.ssn")));
        Ok(())
    })?;
    bench.run("key of a context, tokens", 0, || {
        black_box(IndexKey::derive(
            &data_key,
            IndexKind::Equality,
            black_box(b"users.ssn"),
        ));
        Ok(())
    })
}

fn main() -> Fallible {
    let bench = Bench {
        filter: std::env::args().nth(1).unwrap_or_default(),
    };
    let key_id = KeyId::new(7).ok_or("no key id")?;
    values(&bench, key_id)?;
    tokens(&bench)?;
    keys(&bench)
}

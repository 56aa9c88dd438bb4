#![allow(clippy::print_stdout, clippy::unwrap_used)]
use pg_encrypt_core::deterministic::SivKey;
use pg_encrypt_core::envelope::*;
use pg_encrypt_core::key::*;
use pg_encrypt_core::normalize::Normalizer;
use pg_encrypt_core::token::*;
use std::hint::black_box;
use std::time::Instant;
fn bench(name: &str, mut f: impl FnMut()) {
    let mut best = f64::MAX;
    let mut n = 1u32;
    loop {
        let t = Instant::now();
        for _ in 0..n {
            f()
        }
        if t.elapsed().as_micros() > 100 {
            break;
        }
        n *= 2;
    }
    for _ in 0..3000 {
        let t = Instant::now();
        for _ in 0..n {
            f()
        }
        best = best.min(t.elapsed().as_nanos() as f64 / f64::from(n));
    }
    println!("{name:40} {best:12.1} ns");
}
fn main() {
    let dek = DataKey::from_bytes([7; 32]);
    let vk = ValueKey::derive(&dek, b"ctx");
    let id = KeyId::new(7).unwrap();
    println!(
        "sizes {} {} {}",
        size_of::<ValueKey>(),
        size_of::<Sealer>(),
        size_of::<IndexKey>()
    );
    let mut r = [0u8; 16];
    bench("epoch_key + drop", || {
        r[0] = r[0].wrapping_add(1);
        black_box(vk.epoch_key(black_box(&r)));
    });
    for len in [9usize, 50, 8192, 1 << 20] {
        let pt = vec![b'a'; len];
        let mut out = vec![0; len + OVERHEAD];
        let mut sealer = Sealer::new(vk.epoch_key(&[1; 16]));
        let mut i = 0u32;
        bench(&format!("seal {len}"), || {
            i += 1;
            if i == 65536 {
                sealer = Sealer::new(vk.epoch_key(&[1; 16]));
                i = 1
            }
            sealer
                .seal_into(TypeCode::Text, false, id, b"", black_box(&pt), &mut out)
                .unwrap();
        });
        let mut back = vec![0; len];
        let ek = vk.epoch_key(&[1; 16]);
        bench(&format!("open {len}"), || {
            let e = Envelope::parse(black_box(&out)).unwrap();
            ek.open_into(&e, b"", &mut back).unwrap();
        });
        bench(&format!("fresh-epoch open {len}"), || {
            let e = Envelope::parse(black_box(&out)).unwrap();
            vk.epoch_key(e.epoch().unwrap())
                .open_into(&e, b"", &mut back)
                .unwrap();
        });
    }
    let siv = SivKey::derive(&dek, b"ctx");
    let mut out = vec![0; 9 + SIV_OVERHEAD];
    bench("siv seal 9", || {
        siv.seal_into(TypeCode::Text, id, b"", black_box(b"alice@exa"), &mut out)
            .unwrap()
    });
    let ik = IndexKey::derive(&dek, IndexKind::Equality, b"ctx");
    let mut t = [0; 16];
    for n in [Normalizer::Exact, Normalizer::Casefold, Normalizer::Email] {
        bench(&format!("token {}", n.as_str()), || {
            let v = n.normalize(black_box("Alice@example.com")).unwrap();
            ik.equality_token(1, n, v.as_bytes(), TokenBits::DEFAULT, &mut t)
                .unwrap();
        });
    }
    bench("casefold unicode", || {
        black_box(
            Normalizer::Casefold
                .normalize(black_box("Jürgen Müller"))
                .unwrap(),
        );
    });
    bench("integer_token", || {
        black_box(ik.integer_token(3, black_box(b"ali")));
    });
    bench("ValueKey::derive", || {
        black_box(ValueKey::derive(&dek, black_box(b"ctx")));
    });
    bench("IndexKey::derive", || {
        black_box(IndexKey::derive(&dek, IndexKind::Equality, black_box(b"ctx")));
    });
}

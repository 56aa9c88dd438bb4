//! The vectors that all implementations of the formats share.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod common;

use common::{array, bytes, index_kind, type_code, vectors};
use pg_encrypt_core::compress::decompress;
use pg_encrypt_core::deterministic::SivKey;
use pg_encrypt_core::envelope::{Envelope, Sealer, ValueKey};
use pg_encrypt_core::key::{KeyId, Purpose};
use pg_encrypt_core::normalize::Normalizer;
use pg_encrypt_core::token::{IndexKey, IndexKind, TokenBits};
use pg_encrypt_core::typed::{Prefix, TOKEN_LEN, TypeRef, TypedValue};
use pg_encrypt_core::wrap::LocalRoot;
use sha2::{Digest, Sha256};

#[test]
fn keys() {
    let vectors = vectors();
    let root = LocalRoot::from_bytes(array(&vectors.root.key));
    assert_eq!(root.root_id(), vectors.root.root_id);
    for key in [&vectors.column_key, &vectors.index_key] {
        let (id, purpose) = (key.id(), key.purpose());
        let data_key = key.data_key();
        assert_eq!(hex::encode(data_key.check_value(id, purpose)), key.check_value);
        let wrapped = root.wrap_with_nonce(&data_key, id, purpose, array(&key.wrap_nonce));
        assert_eq!(hex::encode(&wrapped), key.wrapped);
        assert_eq!(
            root.unwrap(&wrapped, id, purpose).unwrap().expose(),
            data_key.expose()
        );
    }
    assert_eq!(vectors.column_key.purpose(), Purpose::Column);
    assert_eq!(vectors.index_key.purpose(), Purpose::Index);
}

#[test]
fn values() {
    let vectors = vectors();
    let data_key = vectors.column_key.data_key();
    assert!(!vectors.values.is_empty());
    for vector in &vectors.values {
        let note = &vector.note;
        let (plaintext, expected) = (bytes(&vector.plaintext), bytes(&vector.envelope));
        let key = ValueKey::derive(&data_key, vector.context.as_bytes());
        let key_id = KeyId::new(vector.key_id).unwrap();

        let mut sealed = vec![0; expected.len()];
        Sealer::with_counter(key.epoch_key(&array(&vector.epoch)), vector.counter)
            .seal_into(
                type_code(&vector.type_name),
                vector.compressed,
                key_id,
                vector.row_id.as_bytes(),
                &plaintext,
                &mut sealed,
            )
            .unwrap();
        assert_eq!(hex::encode(&sealed), vector.envelope, "{note}");

        let envelope = Envelope::parse(&expected).unwrap();
        let header = envelope.header();
        assert_eq!(header.type_code, type_code(&vector.type_name), "{note}");
        assert_eq!(header.row_bound, !vector.row_id.is_empty(), "{note}");
        assert_eq!(header.has_context, !vector.context.is_empty(), "{note}");
        assert_eq!(header.compressed, vector.compressed, "{note}");
        assert_eq!(header.key_id, key_id, "{note}");
        assert_eq!(envelope.counter(), Some(vector.counter), "{note}");
        assert_eq!(envelope.plaintext_len(), plaintext.len(), "{note}");

        let mut opened = vec![0xff; plaintext.len()];
        key.epoch_key(envelope.epoch().unwrap())
            .open_into(&envelope, vector.row_id.as_bytes(), &mut opened)
            .unwrap();
        assert_eq!(opened, plaintext, "{note}");
    }
}

#[test]
fn deterministic_values() {
    let vectors = vectors();
    let data_key = vectors.column_key.data_key();
    assert!(!vectors.deterministic.is_empty());
    for vector in &vectors.deterministic {
        let note = &vector.note;
        let (plaintext, expected) = (bytes(&vector.plaintext), bytes(&vector.envelope));
        let key = SivKey::derive(&data_key, vector.context.as_bytes());
        let key_id = KeyId::new(vector.key_id).unwrap();

        let mut sealed = vec![0; expected.len()];
        key.seal_into(
            type_code(&vector.type_name),
            key_id,
            vector.row_id.as_bytes(),
            &plaintext,
            &mut sealed,
        )
        .unwrap();
        assert_eq!(hex::encode(&sealed), vector.envelope, "{note}");

        let envelope = Envelope::parse(&expected).unwrap();
        assert_eq!((envelope.epoch(), envelope.counter()), (None, None), "{note}");
        let mut opened = vec![0xff; plaintext.len()];
        key.open_into(&envelope, vector.row_id.as_bytes(), &mut opened)
            .unwrap();
        assert_eq!(opened, plaintext, "{note}");
    }
}

#[test]
fn typed_values() {
    let vectors = vectors();
    let (data_key, index_data_key) = (vectors.column_key.data_key(), vectors.index_key.data_key());
    assert!(vectors.typed_values.iter().any(|vector| vector.token.is_some()));
    assert!(vectors.typed_values.iter().any(|vector| vector.token.is_none()));
    for vector in &vectors.typed_values {
        let note = &vector.note;
        let (plaintext, expected) = (bytes(&vector.plaintext), bytes(&vector.value));
        let context = vector.uuid.as_bytes();

        let token: Option<[u8; TOKEN_LEN]> = vector.token.as_deref().map(array);
        if let Some(token) = &token {
            let mut made = [0; TOKEN_LEN];
            IndexKey::derive(&index_data_key, IndexKind::Equality, context)
                .equality_token(
                    1,
                    vector.normalizer.as_deref().unwrap().parse().unwrap(),
                    &bytes(vector.normalized.as_deref().unwrap()),
                    TokenBits::DEFAULT,
                    &mut made,
                )
                .unwrap();
            assert_eq!(made, *token, "{note}");
        }

        let prefix = Prefix::new(TypeRef::new(vector.type_ref).unwrap(), token.as_ref());
        let key = ValueKey::derive(&data_key, context);
        let mut sealed = vec![0; prefix.overhead() + plaintext.len()];
        let (front, envelope) = sealed.split_at_mut(prefix.as_bytes().len());
        front.copy_from_slice(prefix.as_bytes());
        Sealer::with_counter(key.epoch_key(&array(&vector.epoch)), vector.counter)
            .seal_into(
                type_code(&vector.type_name),
                vector.compressed,
                KeyId::new(vector.key_id).unwrap(),
                prefix.as_bytes(),
                &plaintext,
                envelope,
            )
            .unwrap();
        assert_eq!(hex::encode(&sealed), vector.value, "{note}");

        let value = TypedValue::parse(&expected).unwrap();
        assert_eq!(value.type_ref.get(), vector.type_ref, "{note}");
        assert_eq!(value.token, token.as_ref(), "{note}");
        let mut opened = vec![0xff; plaintext.len()];
        key.epoch_key(value.envelope.epoch().unwrap())
            .open_into(&value.envelope, value.prefix, &mut opened)
            .unwrap();
        assert_eq!(opened, plaintext, "{note}");
    }
}

#[test]
fn tokens() {
    let vectors = vectors();
    let data_key = vectors.index_key.data_key();
    assert!(!vectors.tokens.is_empty());
    for vector in &vectors.tokens {
        let normalizer: Normalizer = vector.normalizer.parse().unwrap();
        let bits = TokenBits::new(vector.bits).unwrap();
        let mut token = vec![0; bits.bytes()];
        IndexKey::derive(&data_key, index_kind(&vector.kind), vector.context.as_bytes())
            .equality_token(
                vector.version,
                normalizer,
                normalizer.normalize(&vector.value).unwrap().as_bytes(),
                bits,
                &mut token,
            )
            .unwrap();
        assert_eq!(
            hex::encode(&token),
            vector.token,
            "{} {:?}",
            vector.normalizer,
            vector.value
        );
    }
}

#[test]
fn integer_tokens() {
    let vectors = vectors();
    let data_key = vectors.index_key.data_key();
    assert!(!vectors.integer_tokens.is_empty());
    for vector in &vectors.integer_tokens {
        let key = IndexKey::derive(&data_key, index_kind(&vector.kind), vector.context.as_bytes());
        let token = key.integer_token(vector.level, vector.piece.as_bytes());
        assert_eq!(
            token.to_string(),
            vector.token,
            "{} {:?}",
            vector.kind,
            vector.piece
        );
    }
}

#[test]
fn normalized_values() {
    let vectors = vectors();
    for normalizer in Normalizer::ALL {
        assert!(
            vectors
                .normalized
                .iter()
                .any(|vector| vector.normalizer == normalizer.as_str())
        );
    }
    for vector in &vectors.normalized {
        let normalizer: Normalizer = vector.normalizer.parse().unwrap();
        let normalized = normalizer.normalize(&vector.value).unwrap();
        assert_eq!(
            normalized, vector.normalized,
            "{} {:?}",
            vector.normalizer, vector.value
        );
    }
}

#[test]
fn compressed_values() {
    let vectors = vectors();
    assert!(!vectors.compressed.is_empty());
    for vector in &vectors.compressed {
        let plaintext = decompress(&bytes(&vector.compressed), vector.length).unwrap();
        assert_eq!(plaintext.len(), vector.length);
        assert_eq!(hex::encode(Sha256::digest(&plaintext)), vector.plaintext_sha256);
    }
}

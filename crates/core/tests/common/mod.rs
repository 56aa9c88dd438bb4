//! The shared vectors of `tests/vectors/format.json`, and what several tests need.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pg_encrypt_core::envelope::{EPOCH_LEN, OVERHEAD, SIV_OVERHEAD, Sealer, TypeCode, ValueKey};
use pg_encrypt_core::key::{DataKey, KeyId, Purpose};
use pg_encrypt_core::token::IndexKind;
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Vectors {
    pub root: Root,
    pub column_key: Key,
    pub index_key: Key,
    pub values: Vec<Value>,
    pub deterministic: Vec<Deterministic>,
    pub typed_values: Vec<TypedVector>,
    pub tokens: Vec<Token>,
    pub integer_tokens: Vec<IntegerToken>,
    pub normalized: Vec<Normalized>,
    pub compressed: Vec<Compressed>,
}

#[derive(Deserialize)]
pub struct Root {
    pub key: String,
    pub root_id: String,
}

#[derive(Deserialize)]
pub struct Key {
    pub key_id: i32,
    pub purpose: String,
    pub key: String,
    pub check_value: String,
    pub wrap_nonce: String,
    pub wrapped: String,
}

impl Key {
    pub fn id(&self) -> KeyId {
        KeyId::new(self.key_id).unwrap()
    }

    pub fn purpose(&self) -> Purpose {
        self.purpose.parse().unwrap()
    }

    pub fn data_key(&self) -> DataKey {
        DataKey::from_bytes(array(&self.key))
    }
}

#[derive(Deserialize)]
pub struct Value {
    pub note: String,
    #[serde(rename = "type")]
    pub type_name: String,
    pub context: String,
    pub row_id: String,
    pub epoch: String,
    pub counter: u16,
    pub compressed: bool,
    pub key_id: i32,
    pub plaintext: String,
    pub envelope: String,
}

#[derive(Deserialize)]
pub struct Deterministic {
    pub note: String,
    #[serde(rename = "type")]
    pub type_name: String,
    pub context: String,
    pub row_id: String,
    pub key_id: i32,
    pub plaintext: String,
    pub envelope: String,
}

/// A value of an encrypted type. Without a token, the fields about it are null.
#[derive(Deserialize)]
pub struct TypedVector {
    pub note: String,
    #[serde(rename = "type")]
    pub type_name: String,
    pub type_ref: i32,
    pub uuid: String,
    pub key_id: i32,
    pub normalizer: Option<String>,
    pub normalized: Option<String>,
    pub epoch: String,
    pub counter: u16,
    pub compressed: bool,
    pub plaintext: String,
    pub token: Option<String>,
    pub value: String,
}

#[derive(Deserialize)]
pub struct Token {
    pub kind: String,
    pub normalizer: String,
    pub version: i32,
    pub bits: u32,
    pub context: String,
    pub value: String,
    pub token: String,
}

#[derive(Deserialize)]
pub struct IntegerToken {
    pub kind: String,
    pub level: u16,
    pub context: String,
    pub piece: String,
    pub token: String,
}

#[derive(Deserialize)]
pub struct Normalized {
    pub normalizer: String,
    pub value: String,
    pub normalized: String,
}

#[derive(Deserialize)]
pub struct Compressed {
    pub compressed: String,
    pub plaintext_sha256: String,
    pub length: usize,
}

pub fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../../tests/vectors/format.json"))
        .expect("format.json has the expected shape")
}

pub fn bytes(hexadecimal: &str) -> Vec<u8> {
    hex::decode(hexadecimal).unwrap()
}

pub fn array<const N: usize>(hexadecimal: &str) -> [u8; N] {
    bytes(hexadecimal).try_into().unwrap()
}

pub fn type_code(name: &str) -> TypeCode {
    match name {
        "bytea" => TypeCode::Bytea,
        "text" => TypeCode::Text,
        "bool" => TypeCode::Bool,
        "int" => TypeCode::Int,
        "numeric" => TypeCode::Numeric,
        "float" => TypeCode::Float,
        "date" => TypeCode::Date,
        "timestamp" => TypeCode::Timestamp,
        "timestamptz" => TypeCode::TimestampTz,
        "uuid" => TypeCode::Uuid,
        "json" => TypeCode::Json,
        "jsonb" => TypeCode::Jsonb,
        "inet" => TypeCode::Inet,
        other => panic!("no type {other}"),
    }
}

pub fn index_kind(name: &str) -> IndexKind {
    match name {
        "equality" => IndexKind::Equality,
        "ngram" => IndexKind::Ngram,
        "prefix" => IndexKind::Prefix,
        "range" => IndexKind::Range,
        "fingerprint" => IndexKind::Fingerprint,
        other => panic!("no index kind {other}"),
    }
}

pub const KEY: [u8; 32] = [0x17; 32];
pub const EPOCH: [u8; EPOCH_LEN] = [0x2e; EPOCH_LEN];

pub fn key_id() -> KeyId {
    KeyId::new(7).unwrap()
}

/// A value under [`KEY`] and [`EPOCH`], counter 0.
pub fn sealed(context: &str, row_id: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let key = ValueKey::derive(&DataKey::from_bytes(KEY), context.as_bytes());
    let mut out = vec![0; plaintext.len() + OVERHEAD];
    Sealer::new(key.epoch_key(&EPOCH))
        .seal_into(TypeCode::Text, false, key_id(), row_id, plaintext, &mut out)
        .unwrap();
    out
}

/// A deterministic value under [`KEY`].
pub fn sealed_deterministic(context: &str, row_id: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let key = pg_encrypt_core::deterministic::SivKey::derive(&DataKey::from_bytes(KEY), context.as_bytes());
    let mut out = vec![0; plaintext.len() + SIV_OVERHEAD];
    key.seal_into(TypeCode::Text, key_id(), row_id, plaintext, &mut out)
        .unwrap();
    out
}

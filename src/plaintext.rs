//! From a value of any type to the bytes that are encrypted, and back: format.md's type codes.

use crate::error::Error;
use crate::hex;
use crate::pg::datum::{uuid_bytes, uuid_from, varlena_bytes, varlena_from};
use crate::pg::{encoding, typeio};
use pg_encrypt_core::envelope::TypeCode;
use pgrx::pg_sys::{self, Oid};
use std::borrow::Cow;

/// How values of one SQL type are encrypted. Found once per call site.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Codec {
    pub type_oid: Oid,
    pub code: TypeCode,
    form: Form,
    is_domain: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The varlena's content as it is.
    Content,
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Date,
    /// timestamp and timestamptz: microseconds.
    Micros,
    Uuid,
    /// What the output function prints; it depends on no setting.
    Printed,
    /// What the output function prints under canonical settings.
    PrintedCanonically,
}

impl Codec {
    /// The codec of a type; refuses those whose values could not be read back.
    pub fn of(type_oid: Oid) -> Result<Self, Error> {
        use Form::*;
        let base = typeio::base_type(type_oid);
        let (code, form) = match base {
            pg_sys::BYTEAOID => (TypeCode::Bytea, Content),
            pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => (TypeCode::Text, Content),
            pg_sys::BOOLOID => (TypeCode::Bool, Bool),
            pg_sys::INT2OID => (TypeCode::Int, Int2),
            pg_sys::INT4OID => (TypeCode::Int, Int4),
            pg_sys::INT8OID => (TypeCode::Int, Int8),
            pg_sys::NUMERICOID => (TypeCode::Numeric, Printed),
            pg_sys::FLOAT4OID => (TypeCode::Float, Float4),
            pg_sys::FLOAT8OID => (TypeCode::Float, Float8),
            pg_sys::DATEOID => (TypeCode::Date, Date),
            pg_sys::TIMESTAMPOID => (TypeCode::Timestamp, Micros),
            pg_sys::TIMESTAMPTZOID => (TypeCode::TimestampTz, Micros),
            pg_sys::UUIDOID => (TypeCode::Uuid, Uuid),
            pg_sys::JSONOID => (TypeCode::Json, Printed),
            pg_sys::JSONBOID => (TypeCode::Jsonb, Printed),
            pg_sys::INETOID | pg_sys::CIDROID => (TypeCode::Inet, Printed),
            // What these print depends on no setting.
            pg_sys::NAMEOID | pg_sys::TIMEOID => (TypeCode::Text, Printed),
            // money's text depends on the server's locale, and an anonymous row can't be read back.
            pg_sys::MONEYOID | pg_sys::RECORDOID => return Err(unsupported(type_oid)),
            base if typeio::is_pseudo_type(base) => return Err(unsupported(type_oid)),
            _ => (TypeCode::Text, PrintedCanonically),
        };
        let is_domain = base != type_oid;
        Ok(Self {
            type_oid,
            code,
            form,
            is_domain,
        })
    }

    /// The bytes to encrypt, where they are the value's own content and nothing has to be made.
    #[inline]
    pub fn content<'a>(&self, datum: pg_sys::Datum) -> Option<&'a [u8]> {
        (self.form == Form::Content).then(|| varlena_bytes(datum))
    }

    /// The bytes to encrypt.
    pub fn encode(&self, datum: pg_sys::Datum) -> Cow<'static, [u8]> {
        match self.form {
            Form::Content => Cow::Borrowed(varlena_bytes(datum)),
            Form::Bool => Cow::Owned(vec![u8::from(datum.value() & 0xff != 0)]),
            Form::Int2 => Cow::Owned(i64::from(datum.value() as i16).to_be_bytes().to_vec()),
            Form::Int4 => Cow::Owned(i64::from(datum.value() as i32).to_be_bytes().to_vec()),
            Form::Int8 | Form::Micros => Cow::Owned((datum.value() as i64).to_be_bytes().to_vec()),
            Form::Float4 => Cow::Owned(
                f64::from(f32::from_bits(datum.value() as u32))
                    .to_be_bytes()
                    .to_vec(),
            ),
            Form::Float8 => Cow::Owned((datum.value() as u64).to_be_bytes().to_vec()),
            Form::Date => Cow::Owned((datum.value() as i32).to_be_bytes().to_vec()),
            Form::Uuid => Cow::Owned(uuid_bytes(datum).to_vec()),
            Form::Printed => Cow::Borrowed(typeio::output(datum, self.type_oid)),
            Form::PrintedCanonically => Cow::Borrowed(typeio::with_canonical_settings(|| {
                typeio::output(datum, self.type_oid)
            })),
        }
    }

    /// A value of this type from decrypted bytes that were encrypted as `stored`.
    pub fn decode(&self, stored: TypeCode, bytes: &[u8]) -> Result<pg_sys::Datum, Error> {
        if stored != self.code || self.is_domain {
            return self.decode_from_text(stored, bytes);
        }
        Ok(match self.form {
            Form::Content if stored == TypeCode::Bytea => varlena_from(bytes)?,
            Form::Content => varlena_from(text(bytes)?)?,
            Form::Bool => (fixed::<1>(bytes)?[0] != 0).into(),
            Form::Int2 => i16::try_from(int(bytes)?)
                .map_err(|_| self.out_of_range())?
                .into(),
            Form::Int4 => i32::try_from(int(bytes)?)
                .map_err(|_| self.out_of_range())?
                .into(),
            Form::Int8 | Form::Micros => int(bytes)?.into(),
            Form::Float4 => self.float4(f64::from_be_bytes(fixed(bytes)?))?,
            Form::Float8 => f64::from_be_bytes(fixed(bytes)?).to_bits().into(),
            Form::Date => i32::from_be_bytes(fixed(bytes)?).into(),
            Form::Uuid => uuid_from(fixed(bytes)?),
            Form::Printed => self.input(text(bytes)?)?,
            Form::PrintedCanonically => {
                let text = text(bytes)?;
                typeio::with_canonical_settings(|| self.input(text))?
            }
        })
    }

    /// Through the text form: another type than the one that was encrypted, or a domain, whose constraints the input
    /// function checks.
    fn decode_from_text(&self, stored: TypeCode, bytes: &[u8]) -> Result<pg_sys::Datum, Error> {
        if stored == TypeCode::Bytea || self.code == TypeCode::Bytea {
            return match stored == self.code && !bytes.is_empty() {
                true => self.input(&hex::encode(bytes)),
                false if stored == self.code => self.input(b""),
                false => Err(Error::WrongType {
                    stored: type_name(stored),
                    wanted: typeio::type_name(self.type_oid),
                }),
            };
        }
        typeio::with_canonical_settings(|| self.input(text_form(stored, bytes)?))
    }

    /// Reads a value of this type from text. What the input function says about text that it refuses is not passed on:
    /// it quotes the text, which would put a decrypted value into the server's log.
    fn input(&self, text: &[u8]) -> Result<pg_sys::Datum, Error> {
        typeio::input(text, self.type_oid).map_err(|refused| Error::RefusedByType {
            refused,
            wanted: typeio::type_name(self.type_oid),
        })
    }

    /// Whether a varlena of the decrypted bytes is the datum.
    #[inline]
    pub fn is_plain_text(&self) -> bool {
        self.code == TypeCode::Text && self.form == Form::Content && !self.is_domain
    }

    fn float4(&self, value: f64) -> Result<pg_sys::Datum, Error> {
        let narrow = value as f32;
        // Widening was exact, so narrowing is, unless the value was a double.
        match narrow.is_infinite() && value.is_finite() {
            true => Err(self.out_of_range()),
            false => Ok(narrow.to_bits().into()),
        }
    }

    fn out_of_range(&self) -> Error {
        Error::OutOfRange {
            wanted: typeio::type_name(self.type_oid),
        }
    }
}

/// The text form of decrypted bytes: what the type's output function prints in this session.
pub fn text_form(stored: TypeCode, bytes: &[u8]) -> Result<&[u8], Error> {
    let (type_oid, datum) = match stored {
        TypeCode::Bytea
        | TypeCode::Text
        | TypeCode::Numeric
        | TypeCode::Json
        | TypeCode::Jsonb
        | TypeCode::Inet => {
            return text(bytes);
        }
        TypeCode::Bool => (pg_sys::BOOLOID, (fixed::<1>(bytes)?[0] != 0).into()),
        TypeCode::Int => (pg_sys::INT8OID, int(bytes)?.into()),
        TypeCode::Float => (pg_sys::FLOAT8OID, u64::from_be_bytes(fixed(bytes)?).into()),
        TypeCode::Date => (pg_sys::DATEOID, i32::from_be_bytes(fixed(bytes)?).into()),
        TypeCode::Timestamp => (pg_sys::TIMESTAMPOID, int(bytes)?.into()),
        TypeCode::TimestampTz => (pg_sys::TIMESTAMPTZOID, int(bytes)?.into()),
        TypeCode::Uuid => (pg_sys::UUIDOID, uuid_from(fixed(bytes)?)),
    };
    Ok(typeio::output(datum, type_oid))
}

/// Bytes that are valid text of this database.
#[inline]
pub fn text(bytes: &[u8]) -> Result<&[u8], Error> {
    encoding::check_text(bytes)
        .map(|()| bytes)
        .map_err(|_| Error::NotText)
}

/// An authenticated value whose length contradicts its type was not made by us.
fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Error> {
    bytes.try_into().map_err(|_| Error::AuthenticationFailed)
}

fn int(bytes: &[u8]) -> Result<i64, Error> {
    Ok(i64::from_be_bytes(fixed(bytes)?))
}

fn unsupported(type_oid: Oid) -> Error {
    Error::UnsupportedType {
        type_name: typeio::type_name(type_oid),
    }
}

fn type_name(code: TypeCode) -> &'static str {
    match code {
        TypeCode::Bytea => "bytea",
        TypeCode::Text => "text",
        TypeCode::Bool => "boolean",
        TypeCode::Int => "an integer",
        TypeCode::Numeric => "numeric",
        TypeCode::Float => "a floating-point number",
        TypeCode::Date => "date",
        TypeCode::Timestamp => "timestamp without time zone",
        TypeCode::TimestampTz => "timestamp with time zone",
        TypeCode::Uuid => "uuid",
        TypeCode::Json => "json",
        TypeCode::Jsonb => "jsonb",
        TypeCode::Inet => "inet",
    }
}

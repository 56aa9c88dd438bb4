//! Base types: which there are, and what PostgreSQL does with each of them.

use super::Wish;
use crate::error::Error;
use crate::pg::{modifier, typeio};
use crate::plaintext::Codec;
use crate::types::domain::plain_base;
use pg_encrypt_core::envelope::TypeCode;
use pg_encrypt_core::normalize::Normalizer;
use pgrx::pg_sys::{self, Oid};

/// A base type that was checked, with its modifier.
#[derive(Clone, Copy)]
pub struct Base {
    /// As it is declared.
    pub declared: Oid,
    /// As functions and operators know it: text for varchar.
    pub plain: Oid,
    pub modifier: i32,
}

impl Base {
    /// A base without modifier.
    pub fn new(declared: Oid) -> Self {
        Self {
            declared,
            plain: plain_base(declared),
            modifier: modifier::NONE,
        }
    }

    pub fn name(&self) -> String {
        modifier::type_name(self.declared, self.modifier)
    }

    pub fn is_text(&self) -> bool {
        self.plain == pg_sys::TEXTOID
    }
}

/// The base that is asked for, if there can be a type over it.
pub fn check(wish: &Wish<'_>) -> Result<Base, Error> {
    let type_name = || typeio::type_name(wish.base);
    if wish.base == pg_sys::BPCHAROID {
        return Err(Error::PaddedBase);
    }
    let mut base = Base::new(wish.base);
    if typeio::base_type(base.plain) != base.plain || sources(base.plain).is_none() {
        return Err(Error::BaseNotSupported {
            type_name: type_name(),
        });
    }
    let code = Codec::of(base.plain)?.code;
    if wish.normalizer != Normalizer::Exact && !base.is_text() {
        return Err(Error::NormalizerNeedsText);
    }
    let unequal_forms = match base.plain {
        pg_sys::JSONBOID => Some("equal documents can differ in how their numbers are written"),
        pg_sys::INTERVALOID => Some("equal intervals can differ in how they are written"),
        _ => None,
    };
    if let (true, Some(why)) = (wish.searchable, unequal_forms) {
        return Err(Error::NotSearchableBase {
            type_name: type_name(),
            why,
        });
    }
    // How often each token occurs is visible. With two, or some thousand, possible values that tells which is which.
    let few_values = matches!(code, TypeCode::Bool | TypeCode::Date) || base.plain == pg_sys::INT2OID;
    if wish.searchable && few_values && !wish.accept_leakage {
        return Err(Error::LowEntropy {
            type_name: type_name(),
        });
    }
    if let Some(text) = wish.modifier {
        // Text takes no limit of its own; with one it is varchar.
        if base.is_text() {
            base.declared = pg_sys::VARCHAROID;
        }
        base.modifier = modifier::parse(base.declared, text).ok_or_else(|| Error::NoModifier {
            type_name: type_name(),
        })?;
    }
    Ok(base)
}

/// Types that PostgreSQL assigns to a base type, other than the base type itself; `None` if it is no base type of ours.
/// Everything is assigned to text by way of output: what is here becomes another text by its cast.
pub fn sources(base: Oid) -> Option<&'static [&'static str]> {
    Some(match base {
        pg_sys::TEXTOID => &["character varying", "character", "boolean", "inet", "cidr"],
        pg_sys::INT2OID => &["integer", "bigint", "numeric", "real", "double precision"],
        pg_sys::INT4OID => &["smallint", "bigint", "numeric", "real", "double precision", "oid"],
        pg_sys::INT8OID => &[
            "smallint",
            "integer",
            "numeric",
            "real",
            "double precision",
            "oid",
        ],
        pg_sys::NUMERICOID => &[
            "smallint",
            "integer",
            "bigint",
            "real",
            "double precision",
            "money",
        ],
        pg_sys::FLOAT4OID => &["smallint", "integer", "bigint", "numeric", "double precision"],
        pg_sys::FLOAT8OID => &["smallint", "integer", "bigint", "numeric", "real"],
        pg_sys::DATEOID => &["timestamp without time zone", "timestamp with time zone"],
        pg_sys::TIMEOID => &[
            "time with time zone",
            "timestamp without time zone",
            "timestamp with time zone",
            "interval",
        ],
        pg_sys::TIMESTAMPOID => &["date", "timestamp with time zone"],
        pg_sys::TIMESTAMPTZOID => &["date", "timestamp without time zone"],
        pg_sys::INTERVALOID => &["time without time zone"],
        pg_sys::JSONBOID => &["json"],
        pg_sys::BYTEAOID | pg_sys::UUIDOID | pg_sys::BOOLOID => &[],
        _ => return None,
    })
}

/// Types other than the base type that PostgreSQL compares with it directly. Only those from which every value converts
/// without loss, or whose values have the same bytes: a date is not compared with a timestamp by token, nor a timestamp
/// without time zone with one that has it.
pub fn compared(base: Oid) -> &'static [&'static str] {
    match base {
        // current_user is a name.
        pg_sys::TEXTOID => &["name"],
        pg_sys::INT2OID => &["integer", "bigint"],
        pg_sys::INT4OID => &["smallint", "bigint"],
        pg_sys::INT8OID => &["smallint", "integer"],
        pg_sys::NUMERICOID => &["smallint", "integer", "bigint"],
        pg_sys::FLOAT4OID => &["double precision"],
        pg_sys::FLOAT8OID => &["real"],
        pg_sys::TIMESTAMPOID => &["date"],
        pg_sys::TIMESTAMPTZOID => &["date", "timestamp without time zone"],
        _ => &[],
    }
}

/// Types other than the base type, and JSON, that PostgreSQL assigns it to and that values are converted to by way of it.
pub fn targets(base: Oid) -> &'static [&'static str] {
    match base {
        // To varchar and character by decrypting alone: see cast_to.sql.
        pg_sys::TEXTOID => &["name", "\"char\""],
        pg_sys::INT2OID => &["integer", "bigint", "numeric", "real", "double precision", "oid"],
        pg_sys::INT4OID => &[
            "smallint",
            "bigint",
            "numeric",
            "real",
            "double precision",
            "oid",
            "money",
        ],
        pg_sys::INT8OID => &[
            "smallint",
            "integer",
            "numeric",
            "real",
            "double precision",
            "oid",
            "money",
        ],
        pg_sys::NUMERICOID => &[
            "smallint",
            "integer",
            "bigint",
            "real",
            "double precision",
            "money",
        ],
        pg_sys::FLOAT4OID => &["smallint", "integer", "bigint", "numeric", "double precision"],
        pg_sys::FLOAT8OID => &["smallint", "integer", "bigint", "numeric", "real"],
        pg_sys::DATEOID => &["timestamp without time zone", "timestamp with time zone"],
        pg_sys::TIMEOID => &["time with time zone", "interval"],
        pg_sys::TIMESTAMPOID => &["date", "time without time zone", "timestamp with time zone"],
        pg_sys::TIMESTAMPTZOID => &[
            "date",
            "time without time zone",
            "time with time zone",
            "timestamp without time zone",
        ],
        pg_sys::INTERVALOID => &["time without time zone"],
        _ => &[],
    }
}

/// Types that PostgreSQL assigns everything to: where there is no cast, by the output function. That shows a stored value's hex
/// to who may not decrypt, who would store it as if it were the value; and a base type with a cast of its own, as boolean, can
/// become another text by it than by its output.
pub const STRINGS: [&str; 4] = ["text", "character varying", "character", "name"];

/// Whether to_json makes something else of the base type than a string of its text.
pub fn has_json_form(base: Oid) -> bool {
    [
        pg_sys::BOOLOID,
        pg_sys::INT2OID,
        pg_sys::INT4OID,
        pg_sys::INT8OID,
        pg_sys::NUMERICOID,
        pg_sys::FLOAT4OID,
        pg_sys::FLOAT8OID,
        pg_sys::JSONBOID,
        pg_sys::DATEOID,
        pg_sys::TIMESTAMPOID,
        pg_sys::TIMESTAMPTZOID,
    ]
    .contains(&base)
}

//! Values of any type as text, in a form that doesn't depend on the session's settings, and back.

use super::call::Call;
use super::proc::{self, CFunction};
use super::{errcode, settings};
use pgrx::pg_sys;
use pgrx::pg_sys::PgTryBuilder;
use pgrx::pg_sys::panic::CaughtError;
use std::ffi::{CStr, CString};
use std::panic::AssertUnwindSafe;

/// Settings that change what output functions print or input functions read, and what they are set to meanwhile: ISO
/// dates, one time zone, floats that read back exactly, hex bytea, names with their schema; NULL in arrays as such, XML
/// fragments, and money (inside arrays and rows) with the decimals of one locale. pg_dump and postgres_fdw have the same
/// concern.
const CANONICAL: [(&CStr, &CStr); 9] = [
    (c"datestyle", c"ISO, YMD"),
    (c"intervalstyle", c"postgres"),
    (c"timezone", c"UTC"),
    (c"extra_float_digits", c"3"),
    (c"bytea_output", c"hex"),
    (c"search_path", c"pg_catalog"),
    (c"array_nulls", c"on"),
    (c"xmloption", c"content"),
    (c"lc_monetary", c"C"),
];

/// Runs `body` with the settings that stored text is written and read under.
pub fn with_canonical_settings<T>(body: impl FnOnce() -> T) -> T {
    settings::with(&CANONICAL, body)
}

/// A value in its type's text form, under the session's settings.
pub fn output<'a>(datum: pg_sys::Datum, type_oid: pg_sys::Oid) -> &'a [u8] {
    // SAFETY: datum is of that type; the result is palloc'd and terminated.
    unsafe {
        let (mut function, mut is_varlena) = (pg_sys::InvalidOid, false);
        pg_sys::getTypeOutputInfo(type_oid, &mut function, &mut is_varlena);
        CStr::from_ptr(pg_sys::OidOutputFunctionCall(function, datum)).to_bytes()
    }
}

/// Whether the type's output function is this C function.
pub fn has_output_function(type_oid: pg_sys::Oid, function: CFunction) -> bool {
    // SAFETY: catalog lookups; fmgr_info fills the structure.
    unsafe {
        let (mut output, mut is_varlena) = (pg_sys::InvalidOid, false);
        pg_sys::getTypeOutputInfo(type_oid, &mut output, &mut is_varlena);
        proc::is(output, function)
    }
}

/// A text was no value of the type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The input function's SQLSTATE, in PostgreSQL's encoding. Not its message, which quotes the text.
    pub sqlstate: i32,
}

/// Reads a value from its text form, by the type's input function, domains' constraints included.
///
/// `text` must be valid in the database's encoding and free of NUL bytes. The error must be raised by the caller: the
/// transaction can't go on.
pub fn input(text: &[u8], type_oid: pg_sys::Oid) -> Result<pg_sys::Datum, Refused> {
    PgTryBuilder::new(AssertUnwindSafe(|| Ok(input_or_raise(text, type_oid))))
        .catch_others(|error| match &error {
            CaughtError::PostgresError(report) if quotes_input(report.sql_error_code() as i32) => {
                Err(Refused {
                    sqlstate: report.sql_error_code() as i32,
                })
            }
            _ => error.rethrow(),
        })
        .execute()
}

/// Whether errors of this SQLSTATE's class tell what was read: 22, data exception, and 42, where names and expressions
/// are looked up (regclass, tsquery). Others, such as a domain's violated constraint or a cancelled statement, do not.
fn quotes_input(sqlstate: i32) -> bool {
    [*b"22", *b"42"]
        .iter()
        .any(|class| errcode::is_of_class(sqlstate, *class))
}

fn input_or_raise(text: &[u8], type_oid: pg_sys::Oid) -> pg_sys::Datum {
    // SAFETY: a terminated copy in the current context, which the value may point into.
    unsafe {
        let copy = pg_sys::pnstrdup(text.as_ptr().cast(), text.len() as pg_sys::Size);
        let (mut function, mut io_parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        pg_sys::getTypeInputInfo(type_oid, &mut function, &mut io_parameter);
        pg_sys::OidInputFunctionCall(function, copy, io_parameter, -1)
    }
}

/// What a domain is made of; the type itself for all others.
pub fn base_type(type_oid: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: a catalog lookup.
    unsafe { pg_sys::getBaseType(type_oid) }
}

/// The type of an array's elements, or of a domain over one; what a domain is made of; the type itself for all others.
pub fn element_type(type_oid: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: catalog lookups; invalid for what is no array.
    unsafe {
        match pg_sys::get_element_type(pg_sys::getBaseType(type_oid)) {
            pg_sys::InvalidOid => pg_sys::getBaseType(type_oid),
            element => pg_sys::getBaseType(element),
        }
    }
}

/// A type's name for a message, qualified where needed.
pub fn type_name(type_oid: pg_sys::Oid) -> String {
    // SAFETY: the result is palloc'd and terminated.
    unsafe {
        CStr::from_ptr(pg_sys::format_type_be(type_oid))
            .to_string_lossy()
            .into_owned()
    }
}

/// Schema and name of a type; `None` if there is none.
pub fn schema_and_name(type_oid: pg_sys::Oid) -> Option<(String, String)> {
    // SAFETY: a row of pg_type from the cache, copied before it is released; the schema's name is palloc'd or null.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::TYPEOID as i32,
            pg_sys::Datum::from(type_oid),
        );
        if tuple.is_null() {
            return None;
        }
        let row: *const pg_sys::FormData_pg_type = pg_sys::GETSTRUCT(tuple).cast();
        let text = |name| CStr::from_ptr(name).to_string_lossy().into_owned();
        let (schema, name) = ((*row).typnamespace, text((*row).typname.data.as_ptr()));
        pg_sys::ReleaseSysCache(tuple);
        let schema = pg_sys::get_namespace_name(schema);
        (!schema.is_null()).then(|| (text(schema), name))
    }
}

/// Whether values of a type have variable length.
pub fn is_varlena(type_oid: pg_sys::Oid) -> bool {
    // SAFETY: a catalog lookup.
    unsafe { pg_sys::get_typlen(type_oid) == -1 }
}

/// Whether a type only exists in function signatures.
pub fn is_pseudo_type(type_oid: pg_sys::Oid) -> bool {
    // SAFETY: a catalog lookup.
    unsafe { pg_sys::get_typtype(type_oid) == pg_sys::TYPTYPE_PSEUDO as core::ffi::c_char }
}

/// The declared type of a polymorphic argument, with a domain's own OID.
pub fn polymorphic_argument(call: &Call<'_>, n: usize) -> Option<pg_sys::Oid> {
    Some(call.argument_type(n)).filter(|oid| *oid != pg_sys::InvalidOid)
}

/// The OID of a type by schema and name.
pub fn type_oid(schema: &CStr, name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: a catalog lookup with a terminated name.
    let namespace = unsafe { pg_sys::get_namespace_oid(schema.as_ptr(), true) };
    find_type(namespace, name)
}

/// The OID of a type in a schema.
pub fn type_oid_in(namespace: pg_sys::Oid, name: &str) -> Option<pg_sys::Oid> {
    find_type(namespace, &CString::new(name).ok()?)
}

fn find_type(namespace: pg_sys::Oid, name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: a catalog lookup with a terminated name.
    let oid = unsafe {
        pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::TYPENAMENSP as i32,
            pg_sys::Anum_pg_type_oid as pg_sys::AttrNumber,
            pg_sys::Datum::from(name.as_ptr()),
            pg_sys::Datum::from(namespace),
            pg_sys::Datum::from(0usize),
            pg_sys::Datum::from(0usize),
        )
    };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// Converts a value as an assignment to another type would: by the cast there is, else through the text form. `None` where
/// that cast makes NULL of it, as of the time of day of an infinite timestamp.
pub fn convert(
    datum: pg_sys::Datum,
    from: pg_sys::Oid,
    to: pg_sys::Oid,
) -> Result<Option<pg_sys::Datum>, Refused> {
    // SAFETY: looks up the cast that assignment would use; all built-in ones are functions of one argument.
    unsafe {
        let mut function = pg_sys::InvalidOid;
        let path = pg_sys::find_coercion_pathway(
            to,
            from,
            pg_sys::CoercionContext::COERCION_ASSIGNMENT,
            &mut function,
        );
        match path {
            pg_sys::CoercionPathType::COERCION_PATH_RELABELTYPE => Ok(Some(datum)),
            pg_sys::CoercionPathType::COERCION_PATH_FUNC => Ok(proc::apply(function, datum)),
            _ => input(output(datum, from), to).map(Some),
        }
    }
}

/// Reads a value from a binary message by the type's receive function.
///
/// `None` if it leaves bytes unread, which PostgreSQL itself would refuse in a message.
pub fn receive(message: &[u8], type_oid: pg_sys::Oid) -> Option<pg_sys::Datum> {
    // SAFETY: a StringInfo over a copy.
    unsafe {
        let (mut function, mut io_parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        pg_sys::getTypeBinaryInputInfo(type_oid, &mut function, &mut io_parameter);
        let mut buffer = pg_sys::StringInfoData::default();
        pg_sys::initStringInfo(&mut buffer);
        pg_sys::appendBinaryStringInfo(&mut buffer, message.as_ptr().cast(), message.len() as i32);
        let datum = pg_sys::OidReceiveFunctionCall(function, &mut buffer, io_parameter, -1);
        (buffer.cursor == buffer.len).then_some(datum)
    }
}

/// A value in its type's binary form, as a bytea.
pub fn send(datum: pg_sys::Datum, type_oid: pg_sys::Oid) -> pg_sys::Datum {
    // SAFETY: datum is of that type; the result is a palloc'd bytea.
    unsafe {
        let (mut function, mut is_varlena) = (pg_sys::InvalidOid, false);
        pg_sys::getTypeBinaryOutputInfo(type_oid, &mut function, &mut is_varlena);
        pg_sys::Datum::from(pg_sys::OidSendFunctionCall(function, datum))
    }
}

/// Whether a type exists.
pub fn exists(type_oid: pg_sys::Oid) -> bool {
    // SAFETY: a catalog lookup.
    unsafe { pg_sys::get_typtype(type_oid) != 0 }
}

/// A value as PostgreSQL's `to_json` writes it.
pub fn to_json(datum: pg_sys::Datum, type_oid: pg_sys::Oid) -> pg_sys::Datum {
    // SAFETY: to_json takes a value of any type and learns which from the expression that calls it; here a call with a
    // null of that type, of which only the type is looked at.
    unsafe {
        let function = pg_sys::Oid::from(pg_sys::F_TO_JSON);
        let argument = pg_sys::makeNullConst(type_oid, -1, pg_sys::InvalidOid);
        let expression = pg_sys::makeFuncExpr(
            function,
            pg_sys::JSONOID,
            pg_sys::lappend(std::ptr::null_mut(), argument.cast()),
            pg_sys::InvalidOid,
            pg_sys::InvalidOid,
            pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
        );
        let mut info = pg_sys::FmgrInfo::default();
        pg_sys::fmgr_info(function, &mut info);
        info.fn_expr = expression.cast();
        pg_sys::FunctionCall1Coll(&mut info, pg_sys::InvalidOid, datum)
    }
}

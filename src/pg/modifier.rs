//! Type modifiers: what `(10,2)` in `numeric(10,2)` means, and values made to fit it.

use super::proc;
use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::CString;

/// No modifier, in PostgreSQL's terms.
pub const NONE: i32 = -1;

/// First element of interval's modifier as the grammar passes it: all fields.
const INTERVAL_FULL_RANGE: i32 = 0x7fff;

/// The modifier of a type from its text, as between the parentheses. Raises what the type says about a wrong one. `None`
/// if the type takes no modifiers.
pub fn parse(type_oid: Oid, text: &str) -> Option<i32> {
    let mut parts: Vec<CString> = Vec::new();
    if type_oid == pg_sys::INTERVALOID {
        parts.extend(CString::new(INTERVAL_FULL_RANGE.to_string()).ok());
    }
    // Text from SQL holds no NUL; a part that did would be missing, and the type refuses the number of parts.
    parts.extend(text.split(',').filter_map(|part| CString::new(part.trim()).ok()));
    let mut elements: Vec<Datum> = parts.iter().map(|part| Datum::from(part.as_ptr())).collect();
    let function = modifier_input(type_oid)?;
    // SAFETY: the array copies the strings; typmodin functions take an array of cstring and return an integer.
    unsafe {
        let array = pg_sys::construct_array(
            elements.as_mut_ptr(),
            elements.len() as i32,
            pg_sys::CSTRINGOID,
            -2,
            false,
            b'c' as core::ffi::c_char,
        );
        let modifier = pg_sys::OidFunctionCall1Coll(function, pg_sys::InvalidOid, Datum::from(array));
        Some(modifier.value() as i32)
    }
}

fn modifier_input(type_oid: Oid) -> Option<Oid> {
    // SAFETY: a row of pg_type from the cache, released once read.
    unsafe {
        let tuple =
            pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::TYPEOID as i32, Datum::from(type_oid));
        if tuple.is_null() {
            return None;
        }
        let row: *const pg_sys::FormData_pg_type = pg_sys::GETSTRUCT(tuple).cast();
        let function = (*row).typmodin;
        pg_sys::ReleaseSysCache(tuple);
        (function != pg_sys::InvalidOid).then_some(function)
    }
}

/// A type's name with its modifier, as `format_type` writes it.
pub fn type_name(type_oid: Oid, modifier: i32) -> String {
    // SAFETY: the result is palloc'd and terminated.
    unsafe {
        std::ffi::CStr::from_ptr(pg_sys::format_type_with_typemod(type_oid, modifier))
            .to_string_lossy()
            .into_owned()
    }
}

/// How a column of a type with a modifier makes values fit: rounds, cuts spaces, or refuses. Found once per type.
#[derive(Clone, Copy)]
pub struct Fitting {
    function: Oid,
    arguments: u8,
    modifier: i32,
}

impl Fitting {
    /// `None` where every value fits.
    pub fn of(type_oid: Oid, modifier: i32) -> Option<Self> {
        if modifier == NONE {
            return None;
        }
        let mut function = pg_sys::InvalidOid;
        // SAFETY: a catalog lookup.
        let path = unsafe { pg_sys::find_typmod_coercion_function(type_oid, &mut function) };
        (path == pg_sys::CoercionPathType::COERCION_PATH_FUNC).then(|| Self {
            function,
            arguments: proc::arguments(function).len() as u8,
            modifier,
        })
    }

    /// The value as an assignment to such a column stores it. Raises the type's own error if it does not fit; those
    /// name the limit and not the value.
    pub fn apply(&self, value: Datum) -> Datum {
        let modifier = Datum::from(self.modifier);
        // SAFETY: by PostgreSQL's convention such functions take the value, the modifier and, if they want it, whether
        // the cast is explicit; the value is of their type.
        unsafe {
            match self.arguments {
                2 => pg_sys::OidFunctionCall2Coll(self.function, pg_sys::InvalidOid, value, modifier),
                _ => {
                    let explicit = Datum::from(false);
                    pg_sys::OidFunctionCall3Coll(self.function, pg_sys::InvalidOid, value, modifier, explicit)
                }
            }
        }
    }
}

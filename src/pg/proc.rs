//! What the catalog says about functions.

use pgrx::pg_sys::{self, Oid};
use pgrx::spi::{Spi, SpiError};

/// An SQL function written in C.
pub type CFunction = unsafe extern "C-unwind" fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum;

/// Result type and argument types of a function.
pub fn signature(function: Oid) -> Vec<Oid> {
    let (mut arguments, mut count) = (std::ptr::null_mut(), 0);
    // SAFETY: raises for an unknown function; the array is palloc'd and has `count` entries.
    unsafe {
        let result = pg_sys::get_func_signature(function, &mut arguments, &mut count);
        let arguments = std::slice::from_raw_parts(arguments, count as usize);
        std::iter::once(result).chain(arguments.iter().copied()).collect()
    }
}

/// Result type of a function.
pub fn result(function: Oid) -> Oid {
    // SAFETY: a catalog lookup.
    unsafe { pg_sys::get_func_rettype(function) }
}

/// Argument types of a function.
pub fn arguments(function: Oid) -> Vec<Oid> {
    let mut signature = signature(function);
    signature.remove(0);
    signature
}

/// What a function makes of a value. PostgreSQL's own way to call one by its OID raises an error where that is NULL.
///
/// # Safety
/// It takes one argument, of the value's type.
pub unsafe fn apply(function: Oid, value: pg_sys::Datum) -> Option<pg_sys::Datum> {
    // SAFETY: what the function manager makes of a call; the arguments follow the structure. The guard keeps errors from
    // jumping over frames of Rust.
    unsafe {
        let mut info = pg_sys::FmgrInfo::default();
        pg_sys::fmgr_info(function, &mut info);
        let size = size_of::<pg_sys::FunctionCallInfoBaseData>() + size_of::<pg_sys::NullableDatum>();
        let call: pg_sys::FunctionCallInfo = pg_sys::palloc0(size).cast();
        (*call).flinfo = &raw mut info;
        (*call).nargs = 1;
        let isnull = false;
        (*call)
            .args
            .as_mut_ptr()
            .write(pg_sys::NullableDatum { value, isnull });
        let run = info.fn_addr?;
        let result = pg_sys::ffi::pg_guard_ffi_boundary(|| run(call));
        (!(*call).isnull).then_some(result)
    }
}

/// Whether an SQL function is this function written in C.
pub fn is(sql_function: Oid, function: CFunction) -> bool {
    // SAFETY: fmgr_info fills the structure.
    unsafe {
        let mut info = pg_sys::FmgrInfo::default();
        pg_sys::fmgr_info(sql_function, &mut info);
        info.fn_addr
            .is_some_and(|address| std::ptr::fn_addr_eq(address, function))
    }
}

/// The languages of compiled code, whose numbers pgrx does not have.
const INTERNAL: Oid = Oid::from_u32(12);
const C: Oid = Oid::from_u32(13);

/// Whether what a function makes of its arguments depends on no name and no setting of the session: immutable code of
/// PostgreSQL or of a library, or any function of the library that `ours` is in. SQL and procedural languages look names up.
pub fn ignores_names(function: Oid, ours: Oid) -> bool {
    let (language, volatility, library) = described(function);
    [INTERNAL, C].contains(&language)
        && (volatility == pg_sys::PROVOLATILE_IMMUTABLE
            || (library.is_some() && library == described(ours).2))
}

/// Language, volatility and library of a function.
fn described(function: Oid) -> (Oid, u8, Option<Vec<u8>>) {
    let cache = pg_sys::SysCacheIdentifier::PROCOID as i32;
    // SAFETY: a catalog lookup; the tuple is read, and the name copied, before it is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(function));
        if tuple.is_null() {
            return (Oid::INVALID, pg_sys::PROVOLATILE_VOLATILE, None);
        }
        let row = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>();
        let mut is_null = false;
        let library = pg_sys::SysCacheGetAttr(
            cache,
            tuple,
            pg_sys::Anum_pg_proc_probin as pg_sys::AttrNumber,
            &mut is_null,
        );
        let library = (!is_null).then(|| super::datum::varlena_bytes(library).to_vec());
        let described = ((*row).prolang, (*row).provolatile.cast_unsigned(), library);
        pg_sys::ReleaseSysCache(tuple);
        described
    }
}

/// The types that the operator families of a support function are about.
pub fn operator_family_types(function: Oid) -> Result<Vec<Oid>, SpiError> {
    // Read-only, so that it works in parallel workers.
    Spi::connect(|client| {
        let types = client.select(
            "select distinct other.amproclefttype
             from pg_catalog.pg_amproc this
             join pg_catalog.pg_amproc other on other.amprocfamily operator(pg_catalog.=) this.amprocfamily
             where this.amproc operator(pg_catalog.=) $1",
            None,
            &[function.into()],
        )?;
        let mut found = Vec::with_capacity(types.len());
        for row in types {
            found.extend(row.get::<Oid>(1)?);
        }
        Ok(found)
    })
}

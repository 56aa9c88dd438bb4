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

//! The border between SQL and Rust: one macro, one type.
//!
//! `#[pg_extern]` would box every argument and build a result twice; the functions here run once per value of a
//! table, so they take `FunctionCallInfo` as C functions do, behind [`Call`].

use super::datum::varlena_bytes;
use super::site::Site;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The largest value PostgreSQL stores in one datum, header included (`MaxAllocSize`).
pub const MAX_VARLENA: usize = 0x3fff_ffff;

/// A result of more than [`MAX_VARLENA`] bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

/// An argument that must not be NULL; its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NullArgument(pub &'static str);

/// One call of an SQL function.
pub struct Call<'call> {
    fcinfo: pg_sys::FunctionCallInfo,
    _call: PhantomData<&'call ()>,
}

/// Runs `body` as an SQL function: errors and panics become PostgreSQL errors, `None` becomes NULL.
///
/// # Safety
/// `fcinfo` must be what the function manager passed to a version 1 function.
#[inline(always)]
pub unsafe fn enter<E: Into<ErrorReport>>(
    fcinfo: pg_sys::FunctionCallInfo,
    body: impl FnOnce(&Call<'_>) -> Result<Option<pg_sys::Datum>, E>,
) -> pg_sys::Datum {
    let call = Call {
        fcinfo,
        _call: PhantomData,
    };
    match catch_unwind(AssertUnwindSafe(|| body(&call))) {
        Ok(Ok(Some(datum))) => datum,
        Ok(Ok(None)) => {
            // SAFETY: the caller vouches for fcinfo.
            unsafe { (*fcinfo).isnull = true };
            pg_sys::Datum::null()
        }
        Ok(Err(error)) => raise(move || error.into().report(pgrx::PgLogLevel::ERROR)),
        Err(panic) => raise(move || resume_unwind(panic)),
    }
}

/// Makes a PostgreSQL error of what `body` ends with. Only here pgrx's guard is needed, which is felt in a call per value.
#[cold]
fn raise(body: impl FnOnce()) -> ! {
    // SAFETY: nothing on the way to the function manager has a destructor left to run: what there was, `body` owns.
    unsafe { pg_sys::panic::pgrx_extern_c_guard(body) };
    unreachable!("ERROR does not return")
}

/// Exports a version 1 SQL function: `sql_function!(name(call) { body })`, where the body returns
/// `Result<Option<Datum>, Error>`. The install script names the symbol.
#[macro_export]
macro_rules! sql_function {
    ($(#[$doc:meta])* fn $name:ident($call:ident) $body:block) => {
        $(#[$doc])*
        #[unsafe(no_mangle)]
        #[allow(clippy::missing_safety_doc)]
        pub unsafe extern "C-unwind" fn $name(
            fcinfo: pgrx::pg_sys::FunctionCallInfo,
        ) -> pgrx::pg_sys::Datum {
            fn body($call: &$crate::pg::call::Call<'_>) -> Result<Option<pgrx::pg_sys::Datum>, $crate::error::Error> $body
            // SAFETY: only the function manager calls this symbol, with a valid fcinfo.
            unsafe { $crate::pg::call::enter(fcinfo, body) }
        }

        const _: () = {
            #[unsafe(export_name = concat!("pg_finfo_", stringify!($name)))]
            extern "C" fn finfo() -> &'static pgrx::pg_sys::Pg_finfo_record {
                const VERSION_1: pgrx::pg_sys::Pg_finfo_record = pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
                &VERSION_1
            }
        };
    };
}

impl<'call> Call<'call> {
    /// Argument `n`, counted from 0; `None` for NULL.
    #[inline]
    pub fn datum(&self, n: usize) -> Option<pg_sys::Datum> {
        // SAFETY: the declared SQL signature fixes the number of arguments; out of range is a bug caught here.
        unsafe {
            assert!(n < (*self.fcinfo).nargs as usize, "argument number out of range");
            let argument = *(*self.fcinfo).args.as_ptr().add(n);
            (!argument.isnull).then_some(argument.value)
        }
    }

    /// An argument of a type with variable length (text, bytea and their kin), out of TOAST if it was there.
    /// Empty for NULL: functions for which the difference matters ask [`Self::datum`].
    #[inline]
    pub fn bytes(&self, n: usize) -> &'call [u8] {
        match self.datum(n) {
            Some(datum) => varlena_bytes(datum),
            None => &[],
        }
    }

    /// As [`Self::bytes`], but NULL is an error: silence would lose data.
    #[inline]
    pub fn required(&self, n: usize, name: &'static str) -> Result<&'call [u8], NullArgument> {
        match self.datum(n) {
            Some(datum) => Ok(varlena_bytes(datum)),
            None => Err(NullArgument(name)),
        }
    }

    /// Checks that an argument of any type is not NULL.
    pub fn required_any(&self, n: usize, name: &'static str) -> Result<pg_sys::Datum, NullArgument> {
        self.datum(n).ok_or(NullArgument(name))
    }

    /// An argument of type integer that must not be NULL.
    pub fn required_int4(&self, n: usize, name: &'static str) -> Result<i32, NullArgument> {
        Ok(self.required_any(n, name)?.value() as i32)
    }

    /// An argument of type integer; 0 for NULL.
    #[inline]
    pub fn int4(&self, n: usize) -> i32 {
        self.datum(n).map_or(0, |datum| datum.value() as i32)
    }

    /// An argument of type oid or one of its aliases; invalid for NULL.
    #[inline]
    pub fn oid(&self, n: usize) -> pg_sys::Oid {
        self.datum(n).map_or(
            pg_sys::InvalidOid,
            |datum| pg_sys::Oid::from(datum.value() as u32),
        )
    }

    /// The declared type of argument `n` in the statement that calls; what a polymorphic function has to work on.
    pub fn argument_type(&self, n: usize) -> pg_sys::Oid {
        // SAFETY: flinfo is valid for the call.
        unsafe { pg_sys::get_fn_expr_argtype((*self.fcinfo).flinfo, n as i32) }
    }

    /// Whether a statement calls, and not C code that looked the function up by itself.
    pub fn is_in_expression(&self) -> bool {
        // SAFETY: flinfo is valid for the call.
        unsafe { !(*(*self.fcinfo).flinfo).fn_expr.is_null() }
    }

    /// Whether a boolean argument is true; false for NULL.
    pub fn bool(&self, n: usize) -> bool {
        self.datum(n).is_some_and(|datum| datum.value() & 0xff != 0)
    }

    /// The collation of the call; invalid if it has none.
    #[inline]
    pub fn collation(&self) -> pg_sys::Oid {
        // SAFETY: fcinfo is valid for the call.
        unsafe { (*self.fcinfo).fncollation }
    }

    /// The OID of the function that is called, which tells functions apart that share a symbol.
    #[inline]
    pub fn function(&self) -> pg_sys::Oid {
        // SAFETY: flinfo is valid for the call.
        unsafe { (*(*self.fcinfo).flinfo).fn_oid }
    }

    /// What this call site remembers between calls. One type per function.
    #[inline(always)]
    pub fn site<T: Site>(&self) -> &'call mut T {
        // SAFETY: flinfo is valid for the call, and each SQL function uses one type of site only.
        unsafe { super::site::of::<T>((*self.fcinfo).flinfo) }
    }

    /// The raw call, for pgrx's own helpers.
    pub fn fcinfo(&self) -> pg_sys::FunctionCallInfo {
        self.fcinfo
    }
}

//! Making and dropping encrypted types, and what ANALYZE does with them.

use crate::error::Error;
use crate::pg::analyze;
use crate::sql_function;
use crate::types::analyze::ByToken;
use crate::types::ddl::{self, Wish};
use pgrx::pg_sys::Datum;

sql_function! {
    fn create_type(call) {
        let name = call.required(0, "name")?;
        call.required_any(1, "base")?;
        let key = call.required(2, "key")?;
        call.required_any(3, "searchable")?;
        let normalizer = call.required(4, "normalizer")?;
        call.required_any(5, "accept_leakage")?;
        let modifier = call.datum(6).map(|_| String::from_utf8_lossy(call.bytes(6)));
        let type_oid = ddl::create(&Wish {
            name: &String::from_utf8_lossy(name),
            base: call.oid(1),
            key_name: &String::from_utf8_lossy(key),
            searchable: call.bool(3),
            normalizer: super::search::parse_normalizer(normalizer)?,
            accept_leakage: call.bool(5),
            modifier: modifier.as_deref(),
        })?;
        Ok(Some(Datum::from(type_oid)))
    }
}

sql_function! {
    fn drop_type(call) {
        ddl::drop(call.oid(0))?;
        Ok(Some(Datum::from(0usize)))
    }
}

sql_function! {
    /// Called by the install script for the types that come with the extension.
    fn create_builtin_type(call) {
        let name = String::from_utf8_lossy(call.required(0, "name")?);
        ddl::create_builtin(&name, call.oid(1), call.bool(2))?;
        Ok(Some(Datum::from(0usize)))
    }
}

sql_function! {
    /// What `CREATE TYPE … (analyze = …)` names.
    fn typanalyze(call) {
        let stats = call.datum(0).ok_or(Error::Null { argument: "stats" })?;
        analyze::set_up::<ByToken>(stats);
        Ok(Some(true.into()))
    }
}

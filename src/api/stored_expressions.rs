//! What expressions read that the catalogs hold.

use crate::error::Error;
use crate::pg::array;
use crate::pg::call::Call;
use crate::pg::stored_expression::{self, Reading};
use crate::sql_function;
use pgrx::pg_sys::Datum;

sql_function! {
    /// Types whose values stored expressions turn into something that tells of their plaintexts, if the types are encrypted.
    fn opened_types(call) {
        types_read(call, |reading| reading != Reading::Equating)
    }
}

sql_function! {
    /// Types that stored expressions compare for equality, which tells of plaintexts where it is not that of tokens.
    fn equated_types(call) {
        types_read(call, |reading| reading == Reading::Equating)
    }
}

sql_function! {
    fn result_types(call) {
        let Some(expressions) = call.datum(0) else { return Ok(None) };
        Ok(Some(array::oid_array(&stored_expression::result_types(expressions))))
    }
}

fn types_read(call: &Call<'_>, wanted: fn(Reading) -> bool) -> Result<Option<Datum>, Error> {
    let Some(expressions) = call.datum(0) else {
        return Ok(None);
    };
    let types: Vec<_> = stored_expression::reads(expressions)
        .into_iter()
        .filter(|read| wanted(read.reading))
        .map(|read| read.type_oid)
        .collect();
    Ok(Some(array::oid_array(&types)))
}

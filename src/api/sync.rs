//! Triggers of migrating tables. Anyone may attach them to a table; on one that does not migrate they refuse.

use crate::error::Error;
use crate::migrate::sync;
use crate::pg::trigger::Trigger;
use crate::sql_function;
use pgrx::pg_sys::Datum;

sql_function! {
    /// After INSERT and UPDATE, and for every change of a row in replication.
    fn encrypt_and_sync_row(call) {
        sync::apply(&Trigger::of(call).ok_or(Error::NotATrigger)?)?;
        Ok(Some(Datum::from(0usize)))
    }
}

sql_function! {
    /// After DELETE and TRUNCATE.
    fn delete_encrypted_row(call) {
        sync::apply(&Trigger::of(call).ok_or(Error::NotATrigger)?)?;
        Ok(Some(Datum::from(0usize)))
    }
}

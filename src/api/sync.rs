//! Triggers of migrating tables, and of views over them. Anyone may attach them; where nothing migrates they refuse.

use crate::error::Error;
use crate::migrate::{sync, writes};
use crate::pg::error_names::keeping_names;
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

sql_function! {
    /// Instead of INSERT, UPDATE and DELETE of a row of a view.
    fn write_encrypted_row(call) {
        let trigger = Trigger::of(call).ok_or(Error::NotATrigger)?;
        let row = keeping_names(|| writes::write(&trigger))?;
        // A trigger returns no row with a pointer that is null.
        Ok(Some(row.unwrap_or(Datum::from(0usize))))
    }
}

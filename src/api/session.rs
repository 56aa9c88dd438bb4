//! What SQL can't find out about a session and its transactions, or do.

use crate::error::Error;
use crate::pg::transaction::may_commit;
use crate::pg::{acl, xact};
use crate::sql_function;
use pgrx::pg_sys::Datum;

sql_function! {
    /// The role for which a SECURITY DEFINER function acts.
    fn outer_user(_call) {
        Ok(Some(Datum::from(acl::outer_user()?)))
    }
}

sql_function! {
    /// The number that the next transaction to write will get.
    fn next_transaction_id(_call) {
        Ok(Some(Datum::from(xact::next_transaction_id())))
    }
}

sql_function! {
    /// Waits until every transaction of this database that runs now has ended.
    fn wait_for_running_transactions(_call) {
        xact::wait_for_running_transactions();
        Ok(Some(Datum::from(0usize)))
    }
}

sql_function! {
    /// Refuses to be called where the procedures that call it could not commit.
    fn require_own_transactions(call) {
        match may_commit(call) {
            true => Ok(None),
            false => Err(Error::NeedsOwnTransactions),
        }
    }
}

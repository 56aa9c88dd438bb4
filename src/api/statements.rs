//! Statements that a function of ours composes and that must run with a user's rights.

use crate::pg::{identity, sql};
use crate::sql_function;
use pgrx::pg_sys::{Datum, INT4ARRAYOID};

sql_function! {
    /// Runs a statement as a role, security-restricted and with a pinned path. What a table's owner put into its
    /// definition (defaults, checks, index expressions) is evaluated when the definition is repeated, for instance
    /// where a planner folds constants: that must not happen with the rights of a SECURITY DEFINER function.
    fn execute_as(call) {
        let (role, statement) = (call.oid(0), call.required(1, "statement")?);
        identity::as_owner(role, &[], || sql::execute_text(statement))?;
        Ok(Some(Datum::from(0usize)))
    }
}

sql_function! {
    /// Runs a statement that counts something in a table, as the table's owner, and returns its one `bigint[]`. Planning alone
    /// evaluates what the owner wrote: predicates of indexes and expressions of statistics.
    fn count_as(call) {
        let (role, statement) = (call.oid(0), call.required(1, "statement")?);
        Ok(identity::as_owner_seeing_all_rows(role, || {
            sql::query_text(statement, INT4ARRAYOID, call.datum(2))
        })?)
    }
}

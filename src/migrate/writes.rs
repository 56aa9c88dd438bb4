//! Writes through the view that stands in for an encrypted table: one trigger for all such views.
//!
//! It runs with the rights of whoever writes: their privileges on the table, its policies, and their grants for the key
//! count, and triggers of the table see their role and search path. So it changes no setting while a statement of the view
//! runs; the statements qualify every name.
//!
//! - *Insert.* Columns that were left out have their default, which is the view's; an identity column's number, generated
//!   columns and what triggers of the table change come back for RETURNING.
//! - *Update and delete.* A view's rows are not locked, and not looked at again after somebody else's change, as those of a
//!   table are. To go on would undo that change (`set n = n + 1`, twice at once). So the row must be what the statement saw,
//!   else it ends with a serialization failure. Not so if it was this transaction that changed it: then the statement met one
//!   row twice, of which a table, too, heeds the first time only.
//! - Only what an update changed is set: the rest may be without privilege, or have triggers.

use super::write_statements::{self, Purpose, WriteStatements};
use crate::error::Error;
use crate::pg::plan::{Connection, Outcome, Parameter, connected};
use crate::pg::trigger::{Event, Trigger};
use pgrx::pg_sys::Datum;
use std::ffi::{CStr, CString};

/// Parts of an update.
const UPDATE: usize = 0;
const WHERE: usize = 1;
const NOTHING: usize = 2;
/// The assignments of column 1, followed by those of the others.
const COLUMNS: usize = 3;

/// Writes the row that the trigger fired for; the row as it is now, or none if nothing was written.
pub fn write(trigger: &Trigger) -> Result<Option<Datum>, Error> {
    if !trigger.is_for_row() {
        return Err(Error::NotATrigger);
    }
    connected(trigger, |connection| match trigger.event() {
        Event::Insert => insert(trigger, connection),
        Event::Update => update(trigger, connection),
        Event::Delete => delete(trigger, connection),
        Event::Truncate => Err(Error::NotATrigger),
    })?
}

fn insert(trigger: &Trigger, connection: &Connection<'_>) -> Result<Option<Datum>, Error> {
    let statements = write_statements::of(trigger, connection, Purpose::Insert)?;
    let new = trigger.old_row();
    if statements.fixed.iter().any(|column| !new.is_null(*column)) {
        return Err(Error::NotDefault {
            view: trigger.relation_name(),
        });
    }
    // Without a number, and with one.
    let given = usize::from(statements.identity.iter().any(|column| !new.is_null(*column)));
    let plan = statements.plan(connection, vec![given], |statements| {
        statements.text(given).to_owned()
    })?;
    let outcome = connection.execute_as_client(&plan, &[None, Some(new.composite())])?;
    returned(trigger, &outcome)
}

fn update(trigger: &Trigger, connection: &Connection<'_>) -> Result<Option<Datum>, Error> {
    let statements = write_statements::of(trigger, connection, Purpose::Update)?;
    let (old, new) = (trigger.old_row(), trigger.new_row());
    let changed: Vec<usize> = (1..=trigger.column_types().count())
        .filter(|column| !old.same(&new, *column))
        // DEFAULT, which generated columns may be set to, comes here as null.
        .filter(|column| !new.is_null(*column) || !statements.fixed.contains(column))
        .collect();
    let plan = statements.plan(connection, changed.clone(), |statements| {
        update_text(statements, &changed)
    })?;
    let rows = [Some(old.composite()), Some(new.composite())];
    let outcome = connection.execute_as_client(&plan, &rows)?;
    if outcome.rows == 0 {
        check_conflict(trigger, connection, &rows)?;
    }
    returned(trigger, &outcome)
}

fn update_text(statements: &WriteStatements, changed: &[usize]) -> CString {
    let assigned: Vec<&CStr> = changed
        .iter()
        .map(|column| statements.text(COLUMNS + column - 1))
        // A column that the view computes can't be written; it has what the table makes of it.
        .filter(|text| !text.is_empty())
        .collect();
    let assigned = match assigned.is_empty() {
        true => vec![statements.text(NOTHING)],
        false => assigned,
    };
    let assigned: Vec<&[u8]> = assigned.into_iter().map(CStr::to_bytes).collect();
    let parts = [
        statements.text(UPDATE).to_bytes(),
        &assigned.join(&b", "[..]),
        statements.text(WHERE).to_bytes(),
    ];
    // invariant: parts of terminated strings have no zero byte
    CString::new(parts.concat()).unwrap_or_default()
}

fn delete(trigger: &Trigger, connection: &Connection<'_>) -> Result<Option<Datum>, Error> {
    let statements = write_statements::of(trigger, connection, Purpose::Delete)?;
    let old = trigger.old_row();
    let plan = statements.plan(connection, vec![], |statements| statements.text(0).to_owned())?;
    let rows = [Some(old.composite()), None];
    if connection.execute_as_client(&plan, &rows)?.rows == 0 {
        check_conflict(trigger, connection, &rows)?;
        return Ok(None);
    }
    Ok(Some(old.pass()))
}

/// After a statement that found no row as it was: fails if somebody else has changed it.
fn check_conflict(trigger: &Trigger, connection: &Connection<'_>, rows: &[Parameter]) -> Result<(), Error> {
    let statements = write_statements::of(trigger, connection, Purpose::Conflict)?;
    let plan = statements.plan(connection, vec![], |statements| statements.text(0).to_owned())?;
    match connection.execute_as_client(&plan, rows)?.first {
        Some(row) if row.bool(1) => Err(Error::RowChanged {
            view: trigger.relation_name(),
        }),
        _ => Ok(()),
    }
}

/// The row that was written; none if a trigger of the table suppressed it.
fn returned(trigger: &Trigger, outcome: &Outcome<'_>) -> Result<Option<Datum>, Error> {
    let Some(row) = &outcome.first else {
        return Ok(None);
    };
    let row = row.as_row_of(trigger).ok_or_else(|| Error::NoRowOfView {
        view: trigger.relation_name(),
    })?;
    Ok(Some(row))
}

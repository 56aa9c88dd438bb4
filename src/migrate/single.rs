//! One row of a statement, written past the executor.
//!
//! Applications write row by row, and starting and ending a statement on the shadow costs several times what the
//! row itself does. So where the shadow permits it ([`RowWriter`] says when), the row is made of the
//! statement's values by the expressions of the INSERT of [`Way::Direct`], and written as the same INSERT, UPDATE or DELETE would.
//! It runs as the owner, but under the session's search path: nothing that is called looks names up.
//!
//! **What did not change stays.** Values of the statement's old row and its new one are compared, and only what
//! differs is encrypted; nothing is decrypted for that. It is right as long as the shadow has what the old row
//! has, and it does:
//! - Every change of a row brings the shadow up to date at the end of its statement, and the old row is what the last statement
//!   on it left. The shadow may lack it, if it is not copied yet: then the row is made anew.
//! - A batch of the backfill adds a row only where the shadow has none with that key. If what it adds is out of date, the row
//!   was deleted since, or changed its key; who inserts it again, or moves another to that key, finds the shadow's row in the
//!   way and replaces it.
//! - If a statement that is not at its end yet changed the row, the shadow is behind the old row. Its own trigger is yet to fire,
//!   knows that this one fired meanwhile ([`super::direct`]), and looks the row up and compares it with the shadow's.
//!
//! For the same reason an UPDATE that changed nothing needs nothing, once all rows are copied. Before that it needs the row: its
//! new version may lie behind the end of what the backfill copies, or in blocks that are done, and then nobody else brings it.

use super::statements::{Case, Statements, Way};
use crate::error::Error;
use crate::keyring::deputy::{Deputy, Scope};
use crate::pg::plan::{Connection, Parameter, Plan, connected};
use crate::pg::row_values::RowValues;
use crate::pg::row_writer::{RowWriter, Written};
use crate::pg::transition::TransitionRows;
use crate::pg::trigger::Trigger;
use crate::pg::{identity, proc, xact};
use pgrx::pg_sys::Datum;
use std::ffi::CStr;
use std::rc::Rc;

/// The only row that a statement changed, and the key of which stayed as it was.
pub enum Change<'a> {
    Insert(&'a TransitionRows),
    Update(&'a TransitionRows, &'a TransitionRows),
    Delete(&'a TransitionRows),
}

/// What is left to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Nothing,
    /// What the shadow has of the key has to be replaced.
    Replace,
    /// Everything: it is not to be done this way.
    All,
}

/// Writers for the tables of one migrating table.
pub struct Writers {
    shadow: Writer,
    /// Where keys that are deleted are recorded, if they are.
    tombstones: Option<Writer>,
}

/// Of one table; none if that needs the executor.
struct Writer {
    writer: Option<RowWriter>,
    /// Tells when to think again.
    plan: Rc<Plan>,
}

impl Writers {
    /// For the current user, who owns the tables.
    pub fn of(
        statements: &Statements,
        connection: &Connection<'_>,
        trigger: &Trigger,
    ) -> Result<Self, Error> {
        let key: Vec<&CStr> = statements.key_names();
        let writer = |event, n: usize, key: &[&CStr]| {
            let case = Case { event, level: "row" };
            let prepared = statements.prepare_one(connection, case, Way::Direct, n)?;
            prepared
                .map(|plan| Writer::of(connection, plan, trigger, key))
                .transpose()
        };
        Ok(Self {
            shadow: writer("insert", 0, &key)?.ok_or(Error::NotATrigger)?,
            tombstones: writer("delete", 1, &[])?,
        })
    }

    pub fn are_current(&self) -> bool {
        self.shadow.is_current() && self.tombstones.as_ref().is_none_or(Writer::is_current)
    }
}

impl Writer {
    fn of(connection: &Connection<'_>, plan: Plan, trigger: &Trigger, key: &[&CStr]) -> Result<Self, Error> {
        let plan = Rc::new(plan);
        let ours = trigger.function();
        let is_simple = |function| proc::ignores_names(function, ours);
        let values = RowValues::of(connection, &plan, is_simple);
        let writer = values.and_then(|values| RowWriter::of(values, key, is_simple));
        Ok(Self { writer, plan })
    }

    fn is_current(&self) -> bool {
        match &self.writer {
            Some(writer) => writer.is_valid(),
            None => self.plan.is_valid(),
        }
    }
}

/// Does to the shadow what the statement did to the table.
pub fn write(statements: &Statements, trigger: &Trigger, change: &Change<'_>) -> Result<Left, Error> {
    if !statements.is_copying
        && let Change::Update(before, after) = change
        && before.same_in(after, statements.numbers())
    {
        return Ok(Left::Nothing);
    }
    let owner = trigger.owner();
    let writers = match statements.writers() {
        Some(writers) => writers,
        None => identity::as_owner_in_trigger(owner, || {
            connected(trigger, |connection| {
                statements.learn_writers(connection, trigger)
            })
        })??,
    };
    Ok(identity::as_owner_without_names(owner, || {
        let _deputy = Deputy::appoint(&statements.key_name, owner, Scope::Everything);
        // As SPI does before and after a statement: what this transaction wrote to the shadow is to be seen.
        xact::next_command();
        let left = writers.write(statements, change).unwrap_or(Left::All);
        xact::next_command();
        left
    }))
}

impl Writers {
    /// `None` if it is not to be done this way, and nothing has been done.
    fn write(&self, statements: &Statements, change: &Change<'_>) -> Option<Left> {
        let shadow = self.shadow.writer.as_ref()?.open()?;
        let written = match change {
            Change::Insert(row) => shadow.insert(&statements.values(row)),
            Change::Update(before, after) => {
                let changed = |number| !before.same_in(after, &[number]);
                shadow.update(&key(statements, after)?, &statements.values(after), changed)
            }
            Change::Delete(row) => {
                let tombstones = match &self.tombstones {
                    Some(tombstones) => Some(tombstones.writer.as_ref()?.open()?),
                    None => None,
                };
                let written = shadow.delete(&key(statements, row)?);
                if let (Written::Done | Written::Absent, Some(tombstones)) = (written, tombstones) {
                    tombstones.insert(&statements.values(row));
                }
                written
            }
        };
        Some(match (written, change) {
            (Written::Done, _) | (Written::Absent, Change::Delete(_)) => Left::Nothing,
            (Written::Absent | Written::Colliding, _) => Left::Replace,
            (Written::Contended, _) => Left::All,
        })
    }
}

fn key(statements: &Statements, row: &TransitionRows) -> Option<Vec<Datum>> {
    let value = |number: &usize| -> Parameter { row.datum(*number) };
    statements.key_numbers.iter().map(value).collect()
}

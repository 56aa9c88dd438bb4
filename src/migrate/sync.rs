//! Dual write: what a trigger of a migrating table does.
//!
//! **One rule.** Whatever a statement did, afterwards the shadow has for each key that it touched what the table has: the
//! row, encrypted, or none. Rows are looked up by the keys in the transition tables, because
//! those may hold rows that are history already: a trigger of the application's, a cascading foreign key or a
//! function that the statement calls can have changed them again, and its own statement fired first. Looked up, a
//! change may be applied twice, or late, or in another order, and the result is the same. The rows are this
//! transaction's own (it changed them, or deleted them), so what it sees of them is what there is.
//!
//! **The exception** ([`direct`]), which is the usual case: rows are taken from the transition tables as they are where
//! nothing can have changed them since.
//!
//! **Ways, the shortest that suffices.**
//! - Insert: the rows are added. If not all could be, the keys are *replaced*: what the shadow has of them is deleted, and
//!   what the table has is inserted.
//! - Update that left the key and everything else that is unique as it was: the rows are updated; an encrypted value whose
//!   plaintext did not change stays as it is, so its index entries and TOAST stay too. If not all were there (not yet copied,
//!   or twice in the transition table), the keys are replaced.
//! - Any other update, such as a shift of all keys or two rows that swap theirs: the old and the new keys are replaced.
//!   Updated one by one they would collide on their way, as they did not in the table, which took them in another order.
//! - Delete: what the table no longer has is deleted.
//!
//! One row is written past the executor where that is right ([`single`]). Otherwise it goes by parameters: its key, which needs no more
//! than an index lookup in each table, or directly all its values. Several go through the transition tables; very many
//! get a plan of their own.

use super::direct;
use super::single::{self, Change, Left};
use super::statements::{self, Case, Statements, Way};
use crate::error::Error;
use crate::keyring::deputy::{Deputy, Scope};
use crate::pg::plan::{Connection, Parameter, connected};
use crate::pg::transaction::in_subtransaction;
use crate::pg::transition::{TransitionRows, TransitionTable};
use crate::pg::trigger::{Event, Trigger};
use crate::pg::{identity, wait};

/// Statements on as many rows are planned for themselves: that takes less than a thousandth of their time, and the
/// right plan for them may read whole tables.
const MANY: u64 = 1000;

/// Each attempt waits for those who are in the way, so a second one is rare. What still collides then does so by a rule that
/// the table does not have.
const REPLACE_ATTEMPTS: usize = 100;

/// The key of a row, without NULLs.
type Key = Vec<Parameter>;

/// What is run: for one row by its key, or for all rows of the transition tables.
struct Work<'a> {
    statements: &'a Statements,
    connection: &'a Connection<'a>,
    event: &'static str,
    rows: u64,
    /// Whether the rows of the transition tables are what the table has.
    is_direct: bool,
    /// What is left of a single row.
    left: Left,
}

/// Brings the shadow of the trigger's table up to date with what the trigger fired for.
pub fn apply(trigger: &Trigger) -> Result<(), Error> {
    let (old, new) = (trigger.old_table(), trigger.new_table());
    let rows = [old, new].into_iter().flatten().map(TransitionTable::count).max();
    // Statements that touched no row; a TRUNCATE has no transition table.
    if rows == Some(0) {
        return Ok(());
    }
    let is_direct = direct::nothing_came_between(trigger);
    let statements = statements::of(trigger)?;
    let owner = trigger.owner();
    let left = match is_direct {
        true => single_row(trigger, &statements)?,
        false => Left::All,
    };
    if left == Left::Nothing {
        return Ok(());
    }
    identity::as_owner_in_trigger(owner, || {
        let _deputy = Deputy::appoint(&statements.key_name, owner, Scope::Everything);
        connected(trigger, |connection| {
            let work = Work {
                statements: &statements,
                connection,
                event: match trigger.event() {
                    Event::Insert => "insert",
                    Event::Update => "update",
                    Event::Delete => "delete",
                    Event::Truncate => "truncate",
                },
                rows: rows.unwrap_or(0),
                is_direct,
                left,
            };
            let apply = || match (trigger.event(), old, new) {
                (Event::Truncate, ..) => work.all(Way::Lookup).map(drop),
                _ if trigger.is_for_row() => row(&work, trigger),
                (Event::Insert, _, Some(new)) => inserted(&work, new),
                (Event::Update, Some(old), Some(new)) => updated(&work, old, new),
                (Event::Delete, Some(old), _) => deleted(&work, old),
                _ => Err(Error::NotATrigger),
            };
            if !statements.guarded || trigger.event() == Event::Delete || trigger.event() == Event::Truncate {
                return apply();
            }
            // A batch of the backfill can have brought back a row that is gone, until it is reconciled. Who takes over what
            // was unique in it must not hear of that: rows that collide with it are replaced, which removes it. And where a
            // constraint is deferrable, rows that collide by another can't be passed over.
            match in_subtransaction(apply) {
                Ok(()) => Ok(()),
                Err(failure) if failure.is_unique_violation() => work.replace_touched(trigger),
                Err(failure) => failure.raise(),
            }
        })?
    })
}

/// Writes the only row that a statement changed, past the executor.
fn single_row(trigger: &Trigger, statements: &Statements) -> Result<Left, Error> {
    let (old, new) = (trigger.old_table().map(one), trigger.new_table().map(one));
    let change = match (trigger.event(), &old, &new) {
        (Event::Insert, _, Some(Some(row))) => Change::Insert(row),
        (Event::Update, Some(Some(before)), Some(Some(after)))
            if before.same_in(after, &statements.key_numbers) =>
        {
            Change::Update(before, after)
        }
        (Event::Delete, Some(Some(row)), _) => Change::Delete(row),
        _ => return Ok(Left::All),
    };
    single::write(statements, trigger, &change)
}

fn inserted(work: &Work<'_>, new: TransitionTable) -> Result<(), Error> {
    if let Some(row) = one(new) {
        let direct = work.direct_one(&row)?;
        if direct == Some(1) {
            return Ok(());
        }
        let key = work.key(|column| row.datum(column))?;
        return match direct {
            // Looked up, it would fail alike.
            Some(_) => work.replace(|| work.one(Way::Replace, &key)),
            None => work.insert(&key),
        };
    }
    if work.direct()? == Some(work.rows) {
        return Ok(());
    }
    if work.all(Way::Lookup)? < work.rows {
        work.replace(|| work.all(Way::Replace))?;
    }
    Ok(())
}

fn updated(work: &Work<'_>, old: TransitionTable, new: TransitionTable) -> Result<(), Error> {
    if let (Some(before), Some(after)) = (one(old), one(new)) {
        let moved = !before.same_in(&after, &work.statements.key_numbers);
        let direct = if moved { None } else { work.direct_one(&after)? };
        if direct == Some(1) {
            return Ok(());
        }
        let key = work.key(|column| after.datum(column))?;
        return match direct {
            _ if moved => work.move_key(&work.key(|column| before.datum(column))?, &key),
            // Not copied yet. Looked up, it would not be there either.
            Some(_) => work.replace(|| work.one(Way::Replace, &key)),
            None => work.update(&key),
        };
    }
    let same = old.same_in(new, &work.statements.identity);
    if same && work.direct()? == Some(work.rows) {
        return Ok(());
    }
    if !same || work.all(Way::Lookup)? < work.rows {
        work.replace(|| work.all(Way::Replace))?;
    }
    Ok(())
}

fn deleted(work: &Work<'_>, old: TransitionTable) -> Result<(), Error> {
    // However many the shadow had: what was not there need not be deleted.
    if let Some(row) = one(old) {
        return match work.direct_one(&row)? {
            Some(_) => Ok(()),
            None => work.delete(&work.key(|column| row.datum(column))?),
        };
    }
    match work.direct()? {
        Some(_) => Ok(()),
        None => work.all(Way::Lookup).map(drop),
    }
}

/// A collision undoes the attempt, which counts as one row that is missing.
fn uncollided(once: impl FnOnce() -> Result<u64, Error>) -> Result<u64, Error> {
    match in_subtransaction(once) {
        Ok(missing) => Ok(missing),
        Err(failure) if failure.is_unique_violation() => Ok(1),
        Err(failure) => failure.raise(),
    }
}

/// The only row of a table that has one.
fn one(table: TransitionTable) -> Option<TransitionRows> {
    (table.count() == 1).then(|| table.first()).flatten()
}

/// Row triggers fire where statement triggers don't: in the apply workers of logical replication, and wherever
/// `session_replication_role` is `replica`.
fn row(work: &Work<'_>, trigger: &Trigger) -> Result<(), Error> {
    let row = trigger.old_row();
    let key = work.key(|column| row.datum(column))?;
    match trigger.event() {
        Event::Insert => work.insert(&key),
        Event::Delete => work.delete(&key),
        _ => {
            let after = trigger.new_row();
            let same = work
                .statements
                .key_numbers
                .iter()
                .all(|column| row.same(&after, *column));
            let after = work.key(|column| after.datum(column))?;
            match same {
                true => work.update(&after),
                false => work.move_key(&key, &after),
            }
        }
    }
}

impl Work<'_> {
    fn key(&self, value: impl Fn(usize) -> Parameter) -> Result<Key, Error> {
        let values: Key = self
            .statements
            .key_numbers
            .iter()
            .map(|column| value(*column))
            .collect();
        match values.iter().all(Option::is_some) {
            true => Ok(values),
            false => Err(Error::NullKey),
        }
    }

    fn insert(&self, key: &Key) -> Result<(), Error> {
        match self.one(Way::Lookup, key)? {
            0 => self.replace(|| self.one(Way::Replace, key)),
            _ => Ok(()),
        }
    }

    /// A single row collides with no other on its way, whatever it changes: the shadow has all others as the table had them
    /// when it let the change happen.
    fn update(&self, key: &Key) -> Result<(), Error> {
        self.insert(key)
    }

    /// The old key first: what it leaves behind would be in the way of the new one.
    fn move_key(&self, from: &Key, to: &Key) -> Result<(), Error> {
        self.replace(|| self.one(Way::Replace, from))?;
        self.replace(|| self.one(Way::Replace, to))
    }

    fn delete(&self, key: &Key) -> Result<(), Error> {
        self.one(Way::Lookup, key).map(drop)
    }

    /// Replaces until nothing is missing. What was in the way, and is out of date, was not committed when room was made,
    /// and is by the time that adding has waited for it.
    fn replace(&self, once: impl Fn() -> Result<u64, Error>) -> Result<(), Error> {
        for _ in 0..REPLACE_ATTEMPTS {
            if once()? == 0 {
                return Ok(());
            }
            wait::check_for_interrupts();
        }
        Err(Error::ShadowCollision)
    }

    /// Replaces the rows with the keys that the trigger fired for, until nothing collides.
    fn replace_touched(&self, trigger: &Trigger) -> Result<(), Error> {
        if !trigger.is_for_row() {
            return self.replace(|| uncollided(|| self.all(Way::Replace)));
        }
        let row = trigger.old_row();
        let key = self.key(|column| row.datum(column))?;
        self.replace(|| uncollided(|| self.one(Way::Replace, &key)))?;
        if trigger.event() == Event::Update {
            let after = trigger.new_row();
            let key = self.key(|column| after.datum(column))?;
            self.replace(|| uncollided(|| self.one(Way::Replace, &key)))?;
        }
        Ok(())
    }

    fn one(&self, way: Way, values: &[Parameter]) -> Result<u64, Error> {
        let case = Case {
            event: self.event,
            level: "row",
        };
        self.statements.run(self.connection, case, way, values)
    }

    /// One row of a transition table, if that is right; how many rows the first statement changed.
    fn direct_one(&self, row: &TransitionRows) -> Result<Option<u64>, Error> {
        if !self.is_direct {
            return Ok(None);
        }
        if self.left == Left::Replace {
            return Ok(Some(0));
        }
        self.one(Way::Direct, &self.statements.values(row)).map(Some)
    }

    /// The rows of the transition tables, if that is right; how many the first statement changed.
    fn direct(&self) -> Result<Option<u64>, Error> {
        if !self.is_direct {
            return Ok(None);
        }
        if self.rows < MANY {
            return self.all(Way::Direct).map(Some);
        }
        // Without ON CONFLICT, which looks into every unique index before it inserts, and again when it does. What it
        // would have passed over is a failure here, for which a subtransaction is worth its price with many rows only.
        match in_subtransaction(|| self.all(Way::Bulk)) {
            Ok(count) => Ok(Some(count)),
            Err(failure) if failure.is_unique_violation() => Ok(None),
            Err(failure) => failure.raise(),
        }
    }

    fn all(&self, way: Way) -> Result<u64, Error> {
        let case = Case {
            event: self.event,
            level: "statement",
        };
        self.connection.make_tables_known()?;
        match self.rows < MANY {
            true => self.statements.run(self.connection, case, way, &[]),
            false => self.statements.run_once(self.connection, case, way),
        }
    }
}

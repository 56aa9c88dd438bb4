//! Statements of migrating tables, prepared once per session.

use super::single::Writers;
use crate::catalog::sync_statements::{self, SyncRow};
use crate::error::Error;
use crate::pg::plan::{Connection, Parameter, Plan, Refused};
use crate::pg::transition::TransitionRows;
use crate::pg::trigger::{Column, Event, Trigger};
use crate::pg::{inval, lock};
use foldhash::HashMap;
use pgrx::pg_sys::{self, Oid};
use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::rc::Rc;

/// Which statements of a table.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Case {
    pub event: &'static str,
    pub level: &'static str,
}

/// Where they take rows from, and what they make of those that are there.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the table, by the keys that were touched.
    Lookup,
    /// From the table; the shadow's rows with these keys are made anew. Tells how many could not be.
    Replace,
    /// From the transition tables; one row, from parameters that have the numbers of its columns.
    Direct,
    /// The same for many rows: fails if one is there.
    Bulk,
}

/// Plans by case and way.
type Prepared = HashMap<(Case, Way), Rc<Vec<Plan>>>;

impl Way {
    /// Of what its statements did: the rows of the first, which is the one that writes rows, or of the last, which looks
    /// for those that are missing.
    fn told(self, counts: &[u64]) -> u64 {
        let count = match self {
            Self::Replace => counts.last(),
            _ => counts.first(),
        };
        count.copied().unwrap_or(0)
    }
}

/// What the triggers of one table run.
pub struct Statements {
    pub key_name: Vec<u8>,
    /// The columns that identify a row.
    pub key: Vec<Column>,
    /// Their numbers.
    pub key_numbers: Vec<usize>,
    /// Those and all others that are unique.
    pub identity: Vec<usize>,
    /// Whether the shadow may hold rows that are gone, which others can collide with.
    pub guarded: bool,
    /// Whether rows are still being copied: then the shadow may lack some.
    pub is_copying: bool,
    /// The numbers of all columns.
    numbers: Vec<usize>,
    /// The types of all columns by their numbers.
    columns: Vec<Option<Oid>>,
    rows: Vec<SyncRow>,
    prepared: RefCell<Prepared>,
    writers: RefCell<Option<Rc<Writers>>>,
}

thread_local! {
    /// By table, with the generation in which the table's rows were read last.
    static KNOWN: RefCell<HashMap<Oid, (u64, Rc<Statements>)>> = RefCell::default();
}

/// The statements of the trigger's table.
///
/// A session that has not heard of newer ones yet does no harm with older ones, because they change in two ways only. The
/// backfill is over: then they stop recording deleted keys, which are read no more. The tables are exchanged: that
/// takes a lock which no statement on the table is under, and the next one hears of it when it takes its own.
pub fn of(trigger: &Trigger) -> Result<Rc<Statements>, Error> {
    let relation = trigger.relation();
    let known = KNOWN.with_borrow(|known| known.get(&relation).cloned());
    if let Some((_, statements)) = &known {
        lock_written(&statements.rows, trigger);
    }
    let mut generation = inval::generation();
    if let Some((read_in, statements)) = &known
        && *read_in == generation
        // Plans that take a row's values as parameters don't mention the table, so nothing else tells them of a new type.
        && statements.has_columns_of(trigger)
    {
        return Ok(Rc::clone(statements));
    }
    let rows = loop {
        let rows = sync_statements::by_relation(relation)?;
        lock_written(&rows, trigger);
        match inval::generation() {
            now if now == generation => break rows,
            now => generation = now,
        }
    };
    let statements = match known {
        // A generation ends with every rollback; plans are worth keeping.
        Some((_, statements)) if statements.rows == rows && statements.fits(trigger) => statements,
        _ => Rc::new(Statements::of(trigger, rows)?),
    };
    KNOWN.with_borrow_mut(|known| known.insert(relation, (generation, Rc::clone(&statements))));
    Ok(statements)
}

/// Locks what statements write to, before their texts are believed: those name it, and who renames it lets go of it when the
/// new texts are committed. They are heard of with the lock.
fn lock_written(rows: &[SyncRow], trigger: &Trigger) {
    let Some(first) = rows.first() else { return };
    lock::lock_table_for_writing(first.shadow, trigger.event() == Event::Truncate);
    if first.tombstones != Oid::INVALID {
        lock::lock_table_for_writing(first.tombstones, false);
    }
}

impl Statements {
    fn of(trigger: &Trigger, rows: Vec<SyncRow>) -> Result<Self, Error> {
        let unknown = || Error::NotMigrating {
            relation: trigger.relation().to_u32(),
        };
        let first = rows.first().ok_or_else(unknown)?;
        let columns = |names: &[CString]| -> Option<Vec<Column>> {
            names.iter().map(|name| trigger.column(name)).collect()
        };
        let key = columns(&first.key_columns).ok_or_else(unknown)?;
        let identity = columns(&first.identity_columns).ok_or_else(unknown)?;
        Ok(Self {
            key_name: first.key_name.clone(),
            key_numbers: key.iter().map(|column| column.number).collect(),
            key,
            numbers: std::iter::zip(1.., trigger.column_types())
                .filter_map(|(number, column)| column.map(|_| number))
                .collect(),
            columns: trigger.column_types().collect(),
            guarded: first.guarded,
            // Keys that are deleted are recorded as long as there is something to copy.
            is_copying: rows.iter().any(|row| {
                (row.event.as_str(), row.level.as_str()) == ("delete", "row") && row.direct.len() > 1
            }),
            identity: identity.iter().map(|column| column.number).collect(),
            rows,
            prepared: RefCell::default(),
            writers: RefCell::default(),
        })
    }

    /// Whether the columns are still where they were, and what they were.
    fn fits(&self, trigger: &Trigger) -> bool {
        self.has_columns_of(trigger)
            && self.rows.first().is_some_and(|row| {
                let now = |name: &CString| trigger.column(name);
                row.key_columns
                    .iter()
                    .map(now)
                    .eq(self.key.iter().copied().map(Some))
                    && row
                        .identity_columns
                        .iter()
                        .map(|name| now(name).map(|column| column.number))
                        .eq(self.identity.iter().copied().map(Some))
            })
    }

    fn has_columns_of(&self, trigger: &Trigger) -> bool {
        self.columns.iter().copied().eq(trigger.column_types())
    }

    /// The numbers of all columns, without those that were dropped.
    pub fn numbers(&self) -> &[usize] {
        &self.numbers
    }

    /// The values of a row, by the numbers of its columns.
    pub fn values(&self, row: &TransitionRows) -> Vec<Parameter> {
        (1..=self.columns.len()).map(|column| row.datum(column)).collect()
    }

    pub fn key_names(&self) -> Vec<&CStr> {
        let first = self.rows.first();
        first
            .into_iter()
            .flat_map(|row| &row.key_columns)
            .map(CString::as_c_str)
            .collect()
    }

    /// What writes single rows, if that is known and nothing has changed since.
    pub fn writers(&self) -> Option<Rc<Writers>> {
        let writers = self.writers.borrow();
        writers.as_ref().filter(|writers| writers.are_current()).cloned()
    }

    /// Finds out what writes single rows from now on.
    pub fn learn_writers(
        &self,
        connection: &Connection<'_>,
        trigger: &Trigger,
    ) -> Result<Rc<Writers>, Error> {
        let writers = Rc::new(Writers::of(self, connection, trigger)?);
        *self.writers.borrow_mut() = Some(Rc::clone(&writers));
        Ok(writers)
    }

    fn texts(&self, case: Case, way: Way) -> &[CString] {
        let row = self
            .rows
            .iter()
            .find(|row| row.event == case.event && row.level == case.level);
        match (row, way) {
            (None, _) => &[],
            (Some(row), Way::Lookup) => &row.statements,
            (Some(row), Way::Replace) => &row.replacing,
            (Some(row), Way::Direct) => &row.direct,
            (Some(row), Way::Bulk) => &row.bulk,
        }
    }

    /// Runs the statements of a case in their order, with plans that are kept; how many rows the first changed.
    pub fn run(
        &self,
        connection: &Connection<'_>,
        case: Case,
        way: Way,
        values: &[Parameter],
    ) -> Result<u64, Error> {
        let kept = self.prepared.borrow().get(&(case, way)).cloned();
        // Held by this call, since a trigger within it may drop what is kept.
        let plans = match kept.filter(|plans| plans.iter().all(Plan::is_valid)) {
            Some(plans) => plans,
            None => {
                let plans = self.prepare(connection, case, way)?;
                self.prepared.borrow_mut().insert((case, way), Rc::clone(&plans));
                plans
            }
        };
        let counts = plans.iter().map(|plan| connection.execute(plan, values));
        Ok(way.told(&counts.collect::<Result<Vec<u64>, _>>()?))
    }

    /// The types of the parameters that statements take.
    fn types(&self, case: Case, way: Way) -> Vec<Oid> {
        match (case.level, way) {
            ("row", Way::Direct) => {
                // No statement mentions a column that was dropped.
                let types = self.columns.iter();
                types.map(|column| column.unwrap_or(pg_sys::BOOLOID)).collect()
            }
            ("row", _) => self.key.iter().map(|column| column.type_oid).collect(),
            _ => vec![],
        }
    }

    /// A plan of the caller's own of one of the statements, if there are as many.
    pub fn prepare_one(
        &self,
        connection: &Connection<'_>,
        case: Case,
        way: Way,
        n: usize,
    ) -> Result<Option<Plan>, Refused> {
        let text = self.texts(case, way).get(n);
        text.map(|text| connection.prepare(text, &self.types(case, way))?.keep())
            .transpose()
    }

    fn prepare(&self, connection: &Connection<'_>, case: Case, way: Way) -> Result<Rc<Vec<Plan>>, Error> {
        let types = self.types(case, way);
        let plans = self
            .texts(case, way)
            .iter()
            .map(|text| {
                let plan = connection.prepare(text, &types)?.keep()?;
                connection.plan_by_index(&plan);
                Ok(plan)
            })
            .collect::<Result<Vec<_>, Refused>>()?;
        Ok(Rc::new(plans))
    }

    /// As [`Self::run`], planned for the very rows that the transition tables hold now.
    pub fn run_once(&self, connection: &Connection<'_>, case: Case, way: Way) -> Result<u64, Error> {
        let mut counts = Vec::new();
        for text in self.texts(case, way) {
            let plan = connection.prepare(text, &[])?;
            counts.push(connection.execute(&plan, &[])?);
        }
        Ok(way.told(&counts))
    }
}

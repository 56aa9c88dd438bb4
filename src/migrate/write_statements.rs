//! Statements that write the rows of a decrypting view, written and prepared once per session.

use crate::error::Error;
use crate::pg::array::{int4_elements, text_elements};
use crate::pg::plan::{Connection, Plan};
use crate::pg::trigger::Trigger;
use crate::pg::{acl, inval};
use foldhash::HashMap;
use pgrx::pg_sys::{self, Datum, Oid};
use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::rc::Rc;

/// For what statements are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    Insert,
    Update,
    Delete,
    /// To tell why the statement found no row.
    Conflict,
}

/// Views and roles a session remembers, and sets of changed columns of one view. More than sessions meet; beyond that all are
/// learnt again.
const MOST: usize = 256;

/// The statements for a view and a role. What they consist of, see `encrypt._write_statements`.
pub struct WriteStatements {
    texts: Vec<Option<CString>>,
    /// The identity column, if there is one.
    pub identity: Vec<usize>,
    /// Columns that nobody may give a value.
    pub fixed: Vec<usize>,
    /// The type of the parameters: the old row and the new one.
    row_type: Oid,
    /// By what is special about the statement.
    plans: RefCell<HashMap<Vec<usize>, Rc<Plan>>>,
}

/// By view, role and purpose, with the shape in which they were written.
type Known = HashMap<(Oid, Oid, Purpose), (u64, Rc<WriteStatements>)>;

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// The statements for the trigger's view and whoever writes. Privileges are asked for when they are written, and again, by
/// PostgreSQL, whenever they run.
pub fn of(
    trigger: &Trigger,
    connection: &Connection<'_>,
    purpose: Purpose,
) -> Result<Rc<WriteStatements>, Error> {
    let place = (trigger.relation(), acl::current_user(), purpose);
    let mut shape = inval::shape();
    let known = KNOWN.with_borrow(|known| known.get(&place).cloned());
    if let Some((written_in, statements)) = &known
        && *written_in == shape
    {
        return Ok(Rc::clone(statements));
    }
    // Before it is read. A view's columns never change their types.
    if inval::watch_shape(trigger.relation(), trigger.column_types().flatten()) {
        shape = inval::shape();
    }
    let (mut table, mut statements) = WriteStatements::read(trigger, connection, purpose)?;
    // Which table it is was not known before, so what happened to it while we read was not heard.
    while inval::watch_shape(table, std::iter::empty()) {
        shape = inval::shape();
        (table, statements) = WriteStatements::read(trigger, connection, purpose)?;
    }
    let statements = match known {
        // Plans are worth keeping.
        Some((_, known)) if known.says_the_same(&statements) => known,
        _ => Rc::new(statements),
    };
    KNOWN.with_borrow_mut(|known| {
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(place, (shape, Rc::clone(&statements)));
    });
    Ok(statements)
}

impl Purpose {
    const fn query(self) -> &'static CStr {
        match self {
            Self::Insert => c"select w.below, w.statements, w.identity, w.fixed from encrypt._write_statements($1, current_user, 'INSERT') w",
            Self::Update => c"select w.below, w.statements, w.identity, w.fixed from encrypt._write_statements($1, current_user, 'UPDATE') w",
            Self::Delete => c"select w.below, w.statements, w.identity, w.fixed from encrypt._write_statements($1, current_user, 'DELETE') w",
            Self::Conflict => c"select w.below, w.statements, w.identity, w.fixed from encrypt._write_statements($1, current_user, 'CONFLICT') w",
        }
    }
}

impl WriteStatements {
    /// What the catalogs say now, whatever the transaction's snapshot: it is remembered longer than that. And the table.
    fn read(trigger: &Trigger, connection: &Connection<'_>, purpose: Purpose) -> Result<(Oid, Self), Error> {
        let plan = connection.prepare(purpose.query(), &[pg_sys::REGCLASSOID])?;
        let found = connection.execute_newest(&plan, &[Some(Datum::from(trigger.relation()))])?;
        let row = found.first.ok_or_else(|| Error::NotMigrating {
            relation: trigger.relation().to_u32(),
        })?;
        let columns = |n| {
            let numbers = row.datum(n).map(int4_elements).unwrap_or_default();
            numbers
                .into_iter()
                .filter_map(|number| usize::try_from(number).ok())
                .collect()
        };
        let texts = row.datum(2).map(text_elements).unwrap_or_default();
        let statements = Self {
            texts: texts.into_iter().map(|text| CString::new(text?).ok()).collect(),
            identity: columns(3),
            fixed: columns(4),
            row_type: trigger.row_type(),
            plans: RefCell::default(),
        };
        let table = row
            .datum(1)
            .map_or(Oid::INVALID, |datum| Oid::from(datum.value() as u32));
        Ok((table, statements))
    }

    /// Whether nothing has changed but what plans take in by themselves.
    fn says_the_same(&self, other: &Self) -> bool {
        (&self.texts, &self.identity, &self.fixed) == (&other.texts, &other.identity, &other.fixed)
    }

    /// The part with this number, from 0 on; empty if there is none.
    pub fn text(&self, part: usize) -> &CStr {
        self.texts
            .get(part)
            .and_then(Option::as_deref)
            .unwrap_or_default()
    }

    /// The plan for what is special about the statement; `text` makes it up.
    pub fn plan(
        &self,
        connection: &Connection<'_>,
        special: Vec<usize>,
        text: impl FnOnce(&Self) -> CString,
    ) -> Result<Rc<Plan>, Error> {
        let kept = self.plans.borrow().get(&special).cloned();
        if let Some(plan) = kept.filter(|plan| plan.is_valid()) {
            return Ok(plan);
        }
        let plan = connection
            .prepare(&text(self), &[self.row_type, self.row_type])?
            .keep()?;
        connection.plan_by_index(&plan);
        let plan = Rc::new(plan);
        let mut plans = self.plans.borrow_mut();
        if plans.len() >= MOST {
            plans.clear();
        }
        plans.insert(special, Rc::clone(&plan));
        Ok(plan)
    }
}

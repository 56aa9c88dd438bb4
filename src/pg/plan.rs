//! Statements that are planned once per session and run often.

use super::trigger::Trigger;
use super::{settings, xact};
use pgrx::pg_sys::{self, Datum, Oid};
use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::num::NonZeroUsize;

/// A connection to SPI, for the statements of one trigger.
pub struct Connection<'a> {
    trigger: &'a Trigger,
    has_tables: Cell<bool>,
}

/// A value for a statement's parameter; `None` is NULL.
pub type Parameter = Option<Datum>;

/// A statement whose plan outlives the transaction. Freed when dropped.
pub struct Plan(pub(super) pg_sys::SPIPlanPtr);

/// What a statement came to.
pub struct Outcome<'a> {
    /// How many rows it changed or returned.
    pub rows: u64,
    /// The first that it returned.
    pub first: Option<Returned<'a>>,
}

/// A row that a statement returned; it lives as long as the connection.
pub struct Returned<'a> {
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
    _connection: PhantomData<&'a ()>,
}

/// SPI refused, with its own number for the reason. Everything that has to do with the statement raises.
pub struct Refused(pub i32);

/// Lookups by key, whatever the planner may believe of a table that was empty when the plan was made: a kept plan must
/// not go through a whole table once that has a billion rows.
const BY_INDEX: [(&CStr, &CStr); 3] = [
    (c"enable_seqscan", c"off"),
    (c"enable_hashjoin", c"off"),
    (c"enable_mergejoin", c"off"),
];

/// Runs `body` with a connection.
pub fn connected<T>(trigger: &Trigger, body: impl FnOnce(&Connection<'_>) -> T) -> Result<T, Refused> {
    // SAFETY: closed below; if `body` raises, the transaction closes it.
    accepted(unsafe { pg_sys::SPI_connect() })?;
    let result = body(&Connection {
        trigger,
        has_tables: Cell::new(false),
    });
    // SAFETY: opened above.
    accepted(unsafe { pg_sys::SPI_finish() })?;
    Ok(result)
}

impl Connection<'_> {
    /// Lets statements read the trigger's transition tables, if it has any, by their names.
    pub fn make_tables_known(&self) -> Result<(), Refused> {
        if !self.has_tables.replace(true) {
            // SAFETY: the trigger's call outlives the connection.
            accepted(unsafe { pg_sys::SPI_register_trigger_data(self.trigger.data()) })?;
        }
        Ok(())
    }

    /// Prepares a statement with parameters of these types, for any values of them.
    pub fn prepare(&self, statement: &CStr, types: &[Oid]) -> Result<Plan, Refused> {
        // SAFETY: the statement is terminated, the types are copied.
        let plan = unsafe {
            pg_sys::SPI_prepare_cursor(
                statement.as_ptr(),
                types.len() as i32,
                types.as_ptr().cast_mut(),
                pg_sys::CURSOR_OPT_GENERIC_PLAN as i32,
            )
        };
        match plan.is_null() {
            // SAFETY: reads a variable of the backend.
            true => Err(Refused(unsafe { pg_sys::SPI_result })),
            false => Ok(Plan(plan)),
        }
    }

    /// Runs a statement that was prepared; the number of rows it changed.
    ///
    /// In a transaction with one snapshot it sees the newest state nevertheless, as the triggers of foreign keys do: the
    /// rows that the transaction itself wrote are locked by it, so there is one truth about them, and it is that.
    pub fn execute(&self, plan: &Plan, values: &[Parameter]) -> Result<u64, Refused> {
        Ok(self.execute_newest(plan, values)?.rows)
    }

    /// As [`Self::execute`], with the row that it returns.
    pub fn execute_newest(&self, plan: &Plan, values: &[Parameter]) -> Result<Outcome<'_>, Refused> {
        let snapshot = match xact::has_one_snapshot() {
            // SAFETY: within a transaction; SPI copies the snapshot.
            true => unsafe { pg_sys::GetLatestSnapshot() },
            false => std::ptr::null_mut(),
        };
        self.run(plan, values, snapshot)
    }

    /// Runs a statement that was prepared as the transaction would run it: in a transaction with one snapshot it fails on
    /// rows that others have changed since.
    pub fn execute_as_client(&self, plan: &Plan, values: &[Parameter]) -> Result<Outcome<'_>, Refused> {
        self.run(plan, values, std::ptr::null_mut())
    }

    fn run(
        &self,
        plan: &Plan,
        values: &[Parameter],
        snapshot: pg_sys::Snapshot,
    ) -> Result<Outcome<'_>, Refused> {
        let nulls: Vec<c_char> = values
            .iter()
            .map(|value| if value.is_some() { b' ' } else { b'n' } as c_char)
            .collect();
        let mut values: Vec<Datum> = values
            .iter()
            .map(|value| value.unwrap_or(Datum::null()))
            .collect();
        // SAFETY: the plan is valid; values and nulls are as many as its types. Without a snapshot SPI takes that of the
        // transaction. The table of rows is null for a statement that returns none, and is freed with the connection.
        unsafe {
            accepted(pg_sys::SPI_execute_snapshot(
                plan.0,
                values.as_mut_ptr(),
                nulls.as_ptr(),
                snapshot,
                std::ptr::null_mut(),
                false,
                true,
                0,
            ))?;
            let (rows, table) = (pg_sys::SPI_processed, pg_sys::SPI_tuptable);
            Ok(Outcome {
                rows,
                first: (rows > 0 && !table.is_null()).then(|| Returned {
                    tuple: *(*table).vals,
                    descriptor: (*table).tupdesc,
                    _connection: PhantomData,
                }),
            })
        }
    }

    /// Plans a statement that is kept, for lookups by index, without running it: the triggers that it fires have the
    /// session's settings.
    pub fn plan_by_index(&self, plan: &Plan) {
        settings::with(&BY_INDEX, || {
            // SAFETY: a valid plan of one statement, which is kept, so the resource owner counts the use that ends here.
            unsafe {
                let planned = pg_sys::SPI_plan_get_cached_plan(plan.0);
                if !planned.is_null() {
                    pg_sys::ReleaseCachedPlan(planned, pg_sys::CurrentResourceOwner);
                }
            }
        });
    }
}

impl Returned<'_> {
    pub fn datum(&self, column: usize) -> Option<Datum> {
        let column = NonZeroUsize::new(column)?;
        // SAFETY: tuple and descriptor are valid while the connection is open.
        unsafe { pgrx::htup::heap_getattr_raw(self.tuple, column, self.descriptor) }
    }

    /// False for NULL.
    pub fn bool(&self, column: usize) -> bool {
        self.datum(column).is_some_and(|datum| datum.value() & 0xff != 0)
    }

    /// A copy that outlives the connection, for a row trigger to return. `None` if it is no row of the trigger's relation.
    pub fn as_row_of(&self, trigger: &Trigger) -> Option<Datum> {
        // SAFETY: the descriptor is valid, and has as many attributes.
        let types = unsafe {
            (0..(*self.descriptor).natts as usize)
                .map(|n| Some((*super::tuple_attribute(self.descriptor, n)).atttypid))
        };
        types
            .eq(trigger.column_types())
            // SAFETY: copies into the memory that was current when the connection was opened.
            .then(|| unsafe { Datum::from(pg_sys::SPI_copytuple(self.tuple)) })
    }
}

impl Plan {
    /// Keeps the plan after the connection.
    pub fn keep(self) -> Result<Self, Refused> {
        // SAFETY: prepared and not kept before.
        accepted(unsafe { pg_sys::SPI_keepplan(self.0) })?;
        Ok(self)
    }

    /// Whether nothing that the statement is about has changed since it was planned.
    pub fn is_valid(&self) -> bool {
        // SAFETY: a valid plan.
        unsafe { pg_sys::SPI_plan_is_valid(self.0) }
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: a valid plan that nobody else has.
            unsafe { pg_sys::SPI_freeplan(self.0) };
        }
    }
}

fn accepted(code: i32) -> Result<(), Refused> {
    match code < 0 {
        true => Err(Refused(code)),
        false => Ok(()),
    }
}

//! Fixed statements through SPI, one connection each, so that nothing piles up.

use foldhash::HashMap;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::spi::{OwnedPreparedStatement, Spi, SpiClient, SpiError, SpiHeapTupleData};
use std::cell::RefCell;
use std::rc::Rc;

pub type Argument<'a> = DatumWithOid<'a>;

/// Raises PostgreSQL's own error in a read-only transaction and on a standby. Asked first, because pgrx assigns a
/// transaction id before it runs a statement that may write, and on a standby that is an internal error.
pub fn prevent_if_read_only() {
    // SAFETY: raises or returns; the name is copied into the message.
    unsafe { pg_sys::PreventCommandIfReadOnly(c"a function that changes data".as_ptr()) }
}

/// Runs a statement that changes something; the number of rows it touched.
pub fn execute(statement: &str, arguments: &[Argument<'_>]) -> Result<usize, SpiError> {
    prevent_if_read_only();
    Spi::connect_mut(|client| Ok(client.update(statement, None, arguments)?.len()))
}

/// Runs one or more statements whose text is in the database's encoding, as names from the catalog are: that need not be
/// UTF-8.
pub fn execute_text(statement: &[u8]) -> Result<(), SpiError> {
    prevent_if_read_only();
    let text: Vec<u8> = statement.iter().copied().chain([0]).collect();
    Spi::connect_mut(|_| {
        // SAFETY: SPI is connected, the text is terminated; not read-only, no limit of rows.
        Spi::check_status(unsafe { pg_sys::SPI_execute(text.as_ptr().cast(), false, 0) }).map(|_| ())
    })
}

/// Runs one statement that only reads, whose text is in the database's encoding, with one parameter: the value in the one
/// column of its first row, of a type that is passed by reference. It sees what the calling statement sees.
pub fn query_text(
    statement: &[u8],
    parameter_type: Oid,
    parameter: Option<Datum>,
) -> Result<Option<Datum>, SpiError> {
    let text: Vec<u8> = statement.iter().copied().chain([0]).collect();
    let mut types = [parameter_type];
    let mut values = [parameter.unwrap_or(Datum::from(0usize))];
    let nulls = [if parameter.is_some() { b' ' } else { b'n' }];
    Spi::connect(|_| {
        // SAFETY: SPI is connected, the text is terminated, and there is one of everything; read-only, no limit of rows,
        // which would forbid parallel workers.
        Spi::check_status(unsafe {
            pg_sys::SPI_execute_with_args(
                text.as_ptr().cast(),
                1,
                types.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_ptr().cast(),
                true,
                0,
            )
        })?;
        // SAFETY: the table of results is there, as the statement returned rows, and is that of the statement above. The
        // value is copied into the memory of SPI's caller.
        unsafe {
            let table = pg_sys::SPI_tuptable;
            if table.is_null() || (*table).numvals == 0 {
                return Ok(None);
            }
            let mut is_null = false;
            let value = pg_sys::SPI_getbinval(*(*table).vals, (*table).tupdesc, 1, &mut is_null);
            Ok((!is_null).then(|| pg_sys::SPI_datumTransfer(value, false, -1)))
        }
    })
}

/// Runs a statement that is part of a change and reads every row that it returns. It sees what our transaction and,
/// under READ COMMITTED, others have committed so far.
pub fn query<T>(
    statement: &str,
    arguments: &[Argument<'_>],
    mut read: impl FnMut(&SpiHeapTupleData<'_>) -> Result<T, SpiError>,
) -> Result<Vec<T>, SpiError> {
    prevent_if_read_only();
    Spi::connect_mut(|client| {
        let table = client.update(statement, None, arguments)?;
        let mut rows = Vec::with_capacity(table.len());
        for tuple in table {
            rows.push(read(&tuple)?);
        }
        Ok(rows)
    })
}

/// The first row, if there is one.
pub fn query_first<T>(
    statement: &str,
    arguments: &[Argument<'_>],
    read: impl FnMut(&SpiHeapTupleData<'_>) -> Result<T, SpiError>,
) -> Result<Option<T>, SpiError> {
    Ok(query(statement, arguments, read)?.into_iter().next())
}

/// More statements than this and all plans are forgotten: those of jobs are as many as their tables.
const MAX_PLANS: usize = 32;

thread_local! {
    static PLANS: RefCell<HashMap<String, Rc<OwnedPreparedStatement>>> = RefCell::default();
}

/// The plan of a statement, kept for the session: parsing and planning what a batch of a job runs takes as long as updating
/// some hundred rows. PostgreSQL makes it anew when tables, their statistics, the search path or settings of row-level
/// security change.
fn plan(
    client: &SpiClient<'_>,
    statement: &str,
    arguments: &[Argument<'_>],
) -> Result<Rc<OwnedPreparedStatement>, SpiError> {
    if let Some(plan) = PLANS.with_borrow(|plans| plans.get(statement).cloned()) {
        return Ok(plan);
    }
    let types: Vec<pg_sys::PgOid> = arguments.iter().map(|argument| argument.oid().into()).collect();
    let plan = Rc::new(client.prepare_mut(statement, &types)?.keep());
    // Only now: preparing runs code of PostgreSQL, which may come here again.
    PLANS.with_borrow_mut(|plans| {
        if plans.len() >= MAX_PLANS {
            plans.clear();
        }
        plans.insert(statement.to_owned(), Rc::clone(&plan));
    });
    Ok(plan)
}

/// What a statement that was run came to.
pub enum Outcome<T> {
    /// It returns no rows, and changed so many.
    Changed(usize),
    /// The first row that it returned.
    Returned(Option<T>),
}

/// Runs a statement whose plan is kept: one that is run often, always with arguments of the same types.
pub fn run_often<T>(
    statement: &str,
    arguments: &[Argument<'_>],
    read: impl FnOnce(&SpiHeapTupleData<'_>) -> Result<T, SpiError>,
) -> Result<Outcome<T>, SpiError> {
    prevent_if_read_only();
    Spi::connect_mut(|client| {
        let plan = plan(client, statement, arguments)?;
        let mut table = client.update(&*plan, None, arguments)?;
        if let Err(SpiError::NoTupleTable) = table.columns() {
            return Ok(Outcome::Changed(table.len()));
        }
        Ok(Outcome::Returned(table.next().map(|row| read(&row)).transpose()?))
    })
}

/// As [`execute`], for a statement that is run often.
pub fn execute_often(statement: &str, arguments: &[Argument<'_>]) -> Result<(), SpiError> {
    run_often(statement, arguments, |_| Ok(())).map(|_| ())
}

/// As [`query_first`], for a statement that is run often.
pub fn query_first_often<T>(
    statement: &str,
    arguments: &[Argument<'_>],
    read: impl FnOnce(&SpiHeapTupleData<'_>) -> Result<T, SpiError>,
) -> Result<Option<T>, SpiError> {
    match run_often(statement, arguments, read)? {
        Outcome::Returned(first) => Ok(first),
        Outcome::Changed(_) => Ok(None),
    }
}

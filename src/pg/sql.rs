//! Fixed statements through SPI, one connection each, so that nothing piles up.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::spi::{Spi, SpiError, SpiHeapTupleData};

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

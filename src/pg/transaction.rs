//! Many transactions in a row, and parts of one that may fail.

use super::call::Call;
use crate::error::{Error, Failure};
use pgrx::PgTryBuilder;
use pgrx::pg_sys;
use std::panic::AssertUnwindSafe;

/// Who runs the transactions: a procedure that SQL called, or a background worker.
///
/// All of them are READ COMMITTED, whatever the database's default is: each statement has to see what others have
/// committed, and a job has nothing to gain from failing with a serialization error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transactions {
    Procedure,
    Worker,
}

/// Whether a procedure may end the transaction that it was called in.
pub fn may_commit(call: &Call<'_>) -> bool {
    // SAFETY: the context of a CALL is a CallContext; it says whether a COMMIT is possible.
    unsafe {
        let context = (*call.fcinfo()).context;
        !context.is_null()
            && (*context).type_ == pg_sys::NodeTag::T_CallContext
            && !(*context.cast::<pg_sys::CallContext>()).atomic
    }
}

impl Transactions {
    /// Runs `body` as a procedure that commits; `None` where the caller's transaction is not ours to end.
    pub fn of_procedure<T>(call: &Call<'_>, body: impl FnOnce(Self) -> T) -> Option<T> {
        if !may_commit(call) {
            return None;
        }
        // SAFETY: this level of SPI is what SPI_commit belongs to; levels opened by statements come and go above it.
        unsafe { pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32) };
        // The transaction of the CALL itself has its snapshot, and with it its isolation level.
        Self::commit_procedure();
        let result = body(Self::Procedure);
        // SAFETY: the level opened above.
        unsafe { pg_sys::SPI_finish() };
        Some(result)
    }

    /// Runs `body` in a transaction of its own, and commits it. After an `Err` nothing is committed: the caller has to
    /// raise it, which ends the transaction.
    pub fn run<T, E>(self, body: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        match self {
            Self::Procedure => Self::run_in_procedure(body),
            Self::Worker => Self::run_in_worker(body),
        }
    }

    fn run_in_procedure<T, E>(body: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        // What a batch allocates would stay until the CALL returns: a procedure's memory survives its transactions. The
        // snapshot is for values that are stored out of line, which are fetched after their statement.
        //
        // SAFETY: context and snapshot are put back in the order they were taken. After an error both go with the
        // transaction and the procedure's level of SPI.
        unsafe {
            let scratch = pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"pg_encrypt transaction".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            );
            let outer = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = scratch;
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            let result = body();
            pg_sys::PopActiveSnapshot();
            pg_sys::CurrentMemoryContext = outer;
            pg_sys::MemoryContextDelete(scratch);
            if result.is_ok() {
                Self::commit_procedure();
            }
            result
        }
    }

    fn commit_procedure() {
        // SAFETY: a procedure's own level of SPI is the innermost. The next transaction begins at once and has no
        // snapshot yet: its level is set as COMMIT AND CHAIN does.
        unsafe {
            pg_sys::SPI_commit();
            pg_sys::XactIsoLevel = pg_sys::XACT_READ_COMMITTED as i32;
        }
    }

    fn run_in_worker<T, E>(body: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        // SAFETY: a worker is between transactions here; the snapshot is for values that are stored out of line.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            pg_sys::XactIsoLevel = pg_sys::XACT_READ_COMMITTED as i32;
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        }
        let result = body();
        if result.is_ok() {
            // SAFETY: ends what was begun above.
            unsafe {
                pg_sys::PopActiveSnapshot();
                pg_sys::CommitTransactionCommand();
                pg_sys::pgstat_report_stat(true);
            }
        }
        result
    }
}

/// Runs `body` in a subtransaction. If it fails, what it did is undone, its locks are released, and the transaction goes
/// on. Cancellation is not a failure: it is raised again.
pub fn in_subtransaction<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Failure> {
    // SAFETY: as PL/pgSQL does for a block with an exception clause: memory context and resource owner are put back by
    // us, everything else by the end of the subtransaction.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::CurrentMemoryContext = context;

        let result = PgTryBuilder::new(AssertUnwindSafe(|| body().map_err(Failure::from)))
            .catch_others(|caught| Err(Failure::caught(caught)))
            .execute();
        match &result {
            Ok(_) => pg_sys::ReleaseCurrentSubTransaction(),
            Err(_) => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::CurrentMemoryContext = context;
        pg_sys::CurrentResourceOwner = owner;
        match result {
            Err(failure) if failure.is_cancellation() => failure.raise(),
            other => other,
        }
    }
}

//! Running jobs.

use crate::catalog::jobs as table;
use crate::error::Error;
use crate::jobs;
use crate::pg::transaction::Transactions;
use crate::pg::{acl, xact};
use crate::sql_function;
use pgrx::pg_sys::Datum;

sql_function! {
    fn run_job(call) {
        let job_id = call.required_int4(0, "job")?;
        Transactions::of_procedure(call, |transactions| jobs::run_in_foreground(transactions, job_id))
            .ok_or(Error::NeedsOwnTransactions)??;
        Ok(None)
    }
}

sql_function! {
    /// As `run_job`, for the job of a migration and the owner of its table, who need not be able to run others.
    fn run_own_job(call) {
        let job_id = call.required_int4(0, "job")?;
        Transactions::of_procedure(call, |transactions| {
            transactions.run(|| table::require_own(job_id))?;
            jobs::run_in_foreground(transactions, job_id)
        })
        .ok_or(Error::NeedsOwnTransactions)??;
        Ok(None)
    }
}

sql_function! {
    fn start_workers(call) {
        let job_id = call.required_int4(0, "job")?;
        let workers = call.required_int4(1, "workers")?;
        if !(1..=jobs::worker::MOST).contains(&workers) {
            return Err(Error::BadWorkers { workers });
        }
        let job = table::find(job_id)?.ok_or(Error::NoSuchJob { job_id })?;
        if job.state != "running" {
            return match job.state.as_str() {
                "paused" => Err(Error::JobPaused { job_id }),
                _ => Err(Error::JobEnded { job_id, state: job.state }),
            };
        }
        table::set_workers(job_id, workers)?;
        Ok(Some(jobs::worker::start(job_id, workers)?.into()))
    }
}

sql_function! {
    fn outer_user(_call) {
        Ok(Some(Datum::from(acl::outer_user()?)))
    }
}

sql_function! {
    /// The number that the next transaction to write will get.
    fn next_transaction_id(_call) {
        Ok(Some(Datum::from(xact::next_transaction_id())))
    }
}

sql_function! {
    /// Waits until every transaction of this database that runs now has ended.
    fn wait_for_running_transactions(_call) {
        xact::wait_for_running_transactions();
        Ok(Some(Datum::from(0usize)))
    }
}

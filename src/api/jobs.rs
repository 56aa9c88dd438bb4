//! Running jobs.

use crate::catalog::jobs as table;
use crate::error::Error;
use crate::jobs;
use crate::pg::transaction::Transactions;
use crate::sql_function;

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

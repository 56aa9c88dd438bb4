//! Background workers of a job, started from SQL or by the launcher.

use super::runner::{self, Patience};
use crate::catalog::jobs;
use crate::error::{self, Error};
use crate::pg::background::{self, Worker};
use crate::pg::identity;
use crate::pg::transaction::Transactions;
use pgrx::pg_sys::Datum;

/// More than this many processes for one job only wait for each other.
pub const MOST: i32 = 64;

const TYPE: &str = "pg_encrypt worker";

/// Makes `wanted` the number of workers of a job: starts what is missing, and a surplus ends after its batch. They begin
/// when this transaction has committed. Returns how many were started.
pub fn start(job_id: i32, wanted: i32) -> Result<i32, Error> {
    jobs::lock_start(job_id)?;
    start_missing(job_id, wanted)
}

/// As [`start`], for one who has the lock that it takes.
pub(super) fn start_missing(job_id: i32, wanted: i32) -> Result<i32, Error> {
    let mut started = 0;
    for number in 1..=wanted {
        if !jobs::is_place_free(job_id, number)? {
            continue;
        }
        let worker = Worker {
            name: jobs::worker_name(job_id, number),
            kind: TYPE,
            function: "job_worker_main",
            argument: job_id,
            number,
        };
        if background::start(&worker).is_none() {
            return Err(Error::NoWorkerSlot { started, wanted });
        }
        started += 1;
    }
    Ok(started)
}

/// Where a worker's process begins.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn job_worker_main(job: Datum) {
    let job_id = job.value() as i32;
    let number = background::connect();
    if let Err(error) = serve(job_id, number) {
        error::raise(error);
    }
}

/// Works on a job for as long as it is running and wants a worker of this number.
///
/// Having stopped, it looks once more: somebody who resumed the job just then has seen this worker, and started no other.
fn serve(job_id: i32, number: i32) -> Result<(), Error> {
    let transactions = Transactions::Worker;
    let owner = transactions.run(jobs::owner)?;
    let mut patience = Patience::default();
    loop {
        match transactions.run(|| identity::as_role(owner, || begin(job_id, number)))? {
            Begin::Later => patience.wait(),
            Begin::Never => return Ok(()),
            Begin::Now => {
                runner::run_as_worker(transactions, owner, job_id, number)?;
                transactions.run(|| jobs::leave_place(job_id, number))?;
            }
        }
    }
}

enum Begin {
    Now,
    /// The one who starts workers has not committed yet.
    Later,
    /// The job is not there, not running, or has enough workers.
    Never,
}

fn begin(job_id: i32, number: i32) -> Result<Begin, Error> {
    if !jobs::try_lock_start(job_id)? {
        return Ok(Begin::Later);
    }
    let wanted = jobs::find(job_id)?.is_some_and(|job| job.state == "running" && number <= job.workers);
    if wanted && jobs::take_place(job_id, number)? {
        return Ok(Begin::Now);
    }
    Ok(Begin::Never)
}

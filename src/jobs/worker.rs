//! Background workers of a job, started from SQL.

use super::runner;
use crate::catalog::jobs;
use crate::error::{self, Error};
use crate::pg::background::{self, Worker};
use pgrx::pg_sys::Datum;
use std::collections::HashSet;

/// More than this many processes for one job only wait for each other.
pub const MOST: i32 = 64;

const TYPE: &str = "pg_encrypt worker";

/// Makes `wanted` the number of workers of a job: starts what is missing, and a surplus ends after its batch. They begin
/// when this transaction has committed. Returns how many were started.
pub fn start(job_id: i32, wanted: i32) -> Result<i32, Error> {
    jobs::lock_start(job_id)?;
    let running: HashSet<i32> = jobs::running_workers(job_id)?.into_iter().collect();
    let mut started = 0;
    for number in (1..=wanted).filter(|number| !running.contains(number)) {
        let worker = Worker {
            name: jobs::worker_name(job_id, number),
            kind: TYPE,
            function: "job_worker_main",
            argument: job_id,
            number,
        };
        if !background::start(&worker) {
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
    if let Err(error) = runner::run_as_worker(job_id, number) {
        error::raise(error);
    }
}

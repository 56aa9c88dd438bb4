//! Batch after batch, until there is nothing left to do.

use super::batch::{self, Mine, Outcome};
use crate::catalog::jobs::{self, Job};
use crate::error::{self, Error};
use crate::pg::transaction::{Transactions, in_subtransaction};
use crate::pg::{identity, wait};
use pgrx::pg_sys::Oid;
use std::time::{Duration, Instant};

/// How long to wait when others have all that is left, or a replica is behind.
const PATIENCE: Duration = Duration::from_millis(100);

/// How often a session that runs a job is told how far it is.
const NOTICES: Duration = Duration::from_secs(2);

/// Why a runner stops.
enum Stop {
    /// The job is not running any more; its state.
    Ended(Job),
    /// Fewer workers are wanted now.
    Surplus,
}

enum Step {
    Next,
    /// Later, for the time given.
    Pause(Duration),
    Stop(Stop),
}

/// Runs a job in this session until it ends, with a NOTICE now and then.
pub fn run_in_foreground(transactions: Transactions, job_id: i32) -> Result<(), Error> {
    let owner = jobs::owner()?;
    let started = identity::as_role(owner, || jobs::find(job_id))?.ok_or(Error::NoSuchJob { job_id })?;
    let subject = format!("job {job_id} ({} {})", started.kind, started.subject);
    match started.state.as_str() {
        "running" => {}
        "paused" => return Err(Error::JobPaused { job_id }),
        _ => {
            return Err(Error::JobEnded {
                job_id,
                state: started.state,
            });
        }
    }
    let mut told = Instant::now();
    let stop = run(transactions, owner, job_id, None, || {
        if told.elapsed() >= NOTICES {
            told = Instant::now();
            let (done, total) = jobs::progress(job_id)?;
            let percent = 100 * done / total.max(done).max(1);
            error::notice(format!("{subject}: {percent} % of {total} rows"));
        }
        Ok(())
    })?;
    match stop {
        Stop::Ended(job) if job.state == "failed" => Err(Error::JobFailed {
            job_id,
            why: job.last_error.unwrap_or_default(),
        }),
        Stop::Ended(job) => {
            error::notice(format!("{subject}: {}", job.state));
            Ok(())
        }
        Stop::Surplus => Ok(()),
    }
}

/// Runs a job as worker `number` of it.
pub(super) fn run_as_worker(job_id: i32, number: i32) -> Result<(), Error> {
    let transactions = Transactions::Worker;
    let owner = transactions.run(|| {
        // Until the one who started us has committed the job, or rolled it back.
        jobs::lock_start(job_id)?;
        jobs::owner()
    })?;
    run(transactions, owner, job_id, Some(number), || Ok(()))?;
    Ok(())
}

fn run(
    transactions: Transactions,
    owner: Oid,
    job_id: i32,
    number: Option<i32>,
    mut after_batch: impl FnMut() -> Result<(), Error>,
) -> Result<Stop, Error> {
    let mut mine = None;
    loop {
        wait::check_for_interrupts();
        wait::reload_settings();
        let step = transactions.run(|| {
            identity::as_role(owner, || {
                let step = step(job_id, number, &mut mine)?;
                after_batch()?;
                Ok::<_, Error>(step)
            })
        })?;
        match step {
            Step::Next => {}
            Step::Pause(time) => wait::sleep(time),
            Step::Stop(stop) => return Ok(stop),
        }
    }
}

/// What one transaction does: a batch, or the end of the round if nothing is left.
fn step(job_id: i32, number: Option<i32>, mine: &mut Mine) -> Result<Step, Error> {
    let job = jobs::find(job_id)?.ok_or(Error::NoSuchJob { job_id })?;
    if job.state != "running" {
        return Ok(Step::Stop(Stop::Ended(job)));
    }
    if number.is_some_and(|number| number > job.workers) {
        return Ok(Step::Stop(Stop::Surplus));
    }
    if let Some(limit) = job.max_replica_lag
        && jobs::replica_lag()? > limit
    {
        return Ok(Step::Pause(PATIENCE));
    }
    match batch::work(&job, mine)? {
        Outcome::Done => Ok(match job.pause_between.is_zero() {
            true => Step::Next,
            false => Step::Pause(job.pause_between),
        }),
        Outcome::Failed { why, fatal: true } => {
            jobs::end(job_id, "failed", Some(&why))?;
            Ok(Step::Next)
        }
        // The chunk has its time of rest; others go on.
        Outcome::Failed { .. } => Ok(Step::Next),
        Outcome::Nothing if jobs::has_unfinished(job_id)? => Ok(Step::Pause(PATIENCE)),
        Outcome::Nothing => finish_round(job_id),
    }
}

fn finish_round(job_id: i32) -> Result<Step, Error> {
    if !jobs::try_lock_round(job_id)? {
        return Ok(Step::Pause(PATIENCE));
    }
    // Another may have ended the round, and begun the next, before we had the lock.
    let running = jobs::find(job_id)?.is_some_and(|job| job.state == "running");
    if !running || jobs::has_unfinished(job_id)? {
        return Ok(Step::Next);
    }
    match in_subtransaction(|| jobs::finish_round(job_id)) {
        Ok(true) => jobs::end(job_id, "finished", None)?,
        Ok(false) => {}
        Err(failure) if failure.is_contention() => return Ok(Step::Pause(PATIENCE)),
        Err(failure) => jobs::end(job_id, "failed", Some(&failure.public_message()))?,
    }
    Ok(Step::Next)
}

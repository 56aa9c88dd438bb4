//! Batch after batch, until there is nothing left to do.

use super::batch::{self, Mine, Outcome};
use super::waits::Waits;
use crate::catalog::jobs::{self, Job};
use crate::error::{self, Error};
use crate::pg::transaction::{Transactions, in_subtransaction};
use crate::pg::{identity, settings, wait};
use pgrx::pg_sys::Oid;
use std::time::{Duration, Instant};

/// How long to wait when others have all that is left, or a replica is behind: twice as long each time, because most waits
/// are for the end of a batch or of a short transaction, and some for that of a long one.
pub(super) struct Patience(Duration);

impl Patience {
    const SHORTEST: Duration = Duration::from_millis(2);
    const LONGEST: Duration = Duration::from_millis(64);

    pub(super) fn wait(&mut self) {
        wait::sleep(self.0);
        self.0 = (2 * self.0).min(Self::LONGEST);
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self(Self::SHORTEST)
    }
}

/// The longest sleep without a look at the job. In a procedure a transaction is open all the time, if only an empty one:
/// those who wait for the end of all that run now wait no longer than this for it.
const SLICE: Duration = Duration::from_secs(1);

/// So that a time in the future can be computed.
const LONGEST_REST: Duration = Duration::from_secs(365 * 24 * 3600);

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
    /// Others have all that is left, or a replica is behind.
    Wait,
    /// The pause after a batch.
    Rest(Duration),
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
            kind: started.kind,
            subject: started.subject,
        }),
        Stop::Ended(job) => {
            error::notice(format!("{subject}: {}", job.state));
            Ok(())
        }
        Stop::Surplus => Ok(()),
    }
}

/// Runs a job as worker `number` of it.
pub(super) fn run_as_worker(
    transactions: Transactions,
    owner: Oid,
    job_id: i32,
    number: i32,
) -> Result<(), Error> {
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
    let mut rests_until = Instant::now();
    let mut patience = Patience::default();
    loop {
        wait::check_for_interrupts();
        wait::reload_settings();
        let rests = Instant::now() < rests_until;
        let step = transactions.run(|| {
            identity::as_role(owner, || {
                let step = step(job_id, number, &mut mine, rests)?;
                after_batch()?;
                Ok::<_, Error>(step)
            })
        })?;
        if !matches!(step, Step::Wait) {
            patience = Patience::default();
        }
        match step {
            Step::Next => {}
            Step::Wait => patience.wait(),
            Step::Rest(time) => rests_until = Instant::now() + time.min(LONGEST_REST),
            Step::Stop(stop) => return Ok(stop),
        }
        wait::sleep(rests_until.saturating_duration_since(Instant::now()).min(SLICE));
    }
}

/// What one transaction does: a batch, or the end of the round if nothing is left; only a look at the job if it rests.
fn step(job_id: i32, number: Option<i32>, mine: &mut Mine, rests: bool) -> Result<Step, Error> {
    let job = jobs::find(job_id)?.ok_or(Error::NoSuchJob { job_id })?;
    if job.state != "running" {
        return Ok(Step::Stop(Stop::Ended(job)));
    }
    if number.is_some_and(|number| number > job.workers) {
        return Ok(Step::Stop(Stop::Surplus));
    }
    if rests {
        return Ok(Step::Next);
    }
    if let Some(limit) = job.max_replica_lag
        && jobs::replica_lag()? > limit
    {
        return Ok(Step::Wait);
    }
    match batch::work(&job, mine)? {
        Outcome::Done => Ok(Step::Rest(job.pause_between)),
        Outcome::Failed { why, fatal: true } => fail(job_id, number, &why),
        // The chunk has its time of rest; others go on.
        Outcome::Failed { .. } => Ok(Step::Next),
        Outcome::Nothing if jobs::has_unfinished(job_id)? => Ok(Step::Wait),
        Outcome::Nothing => finish_round(job_id, number),
    }
}

/// Ends the job. A session that runs it raises the reason; in the background only the server's log can tell it.
fn fail(job_id: i32, number: Option<i32>, why: &str) -> Result<Step, Error> {
    jobs::end(job_id, "failed", Some(why))?;
    if number.is_some() {
        error::warn(&format!("job {job_id} failed"), why);
    }
    Ok(Step::Next)
}

fn finish_round(job_id: i32, number: Option<i32>) -> Result<Step, Error> {
    if !jobs::try_lock_round(job_id)? {
        return Ok(Step::Wait);
    }
    // Another may have ended the round, and begun the next, before we had the lock.
    let running = jobs::find(job_id)?.is_some_and(|job| job.state == "running");
    if !running || jobs::has_unfinished(job_id)? {
        return Ok(Step::Next);
    }
    let waits = Waits::shorter_than_others();
    match in_subtransaction(|| settings::with(&waits.settings(), || jobs::finish_round(job_id))) {
        Ok(true) => jobs::end(job_id, "finished", None)?,
        Ok(false) => {}
        Err(failure) if failure.is_contention() => return Ok(Step::Wait),
        Err(failure) => return fail(job_id, number, &failure.public_message()),
    }
    Ok(Step::Next)
}

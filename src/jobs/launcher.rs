//! The launcher: brings jobs back to work after a crash, and rotates keys that are due. Only where the library is
//! preloaded.
//!
//! A worker that the server lost, with all others in a crash or alone, is not started again by the server: a job that was
//! cancelled meanwhile, or has all the workers that it wants, must not get one. So one process lists the databases every
//! minute and has each of them looked at by a short-lived process, since a process can't change its database.

use super::worker;
use crate::catalog::{jobs, keys};
use crate::error::{self, Error};
use crate::guc;
use crate::pg::background::{self, Worker};
use crate::pg::transaction::{Transactions, in_subtransaction};
use crate::pg::{identity, wait};
use pgrx::pg_sys::{Datum, Oid};
use std::time::{Duration, Instant};

const NAME: &str = "pg_encrypt launcher";

/// How often every database is looked at; also when the launcher itself is started again after an error.
const INTERVAL: Duration = Duration::from_secs(60);

/// Declares the launcher if the library is being preloaded.
pub fn declare() {
    if background::is_preloading() {
        background::declare(NAME, "launcher_main", INTERVAL);
    }
}

/// Where the launcher's process begins.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn launcher_main(_argument: Datum) {
    background::connect_to_shared_catalogs();
    let mut next = Instant::now();
    while !background::shall_end() {
        // Whoever changes settings may want to see what comes of it.
        if wait::reload_settings() || Instant::now() >= next {
            next = Instant::now() + INTERVAL;
            visit_all();
        }
        wait::sleep_until_woken();
    }
}

/// One database after the other, so that a server of many needs one process more, not many.
fn visit_all() {
    for database in background::databases() {
        let visitor = Worker {
            name: "pg_encrypt visitor".into(),
            kind: "pg_encrypt visitor",
            function: "visitor_main",
            argument: 0,
            number: 0,
        };
        let Some(started) = background::start_in(database, &visitor) else {
            error::warn(
                "no background worker slot is free for pg_encrypt's launcher",
                "It looks for jobs again in a minute. Raise max_worker_processes.",
            );
            return;
        };
        let patience = Instant::now() + INTERVAL;
        while !started.has_ended() && Instant::now() < patience {
            if background::shall_end() {
                return;
            }
            wait::sleep_until_woken();
        }
    }
}

/// Where the process begins that looks at one database.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn visitor_main(_argument: Datum) {
    background::connect();
    if let Err(error) = visit() {
        error::raise(error);
    }
}

fn visit() -> Result<(), Error> {
    let transactions = Transactions::Worker;
    let owner = match transactions.run(|| Ok::<_, Error>(jobs::owner().ok()))? {
        Some(owner) => owner,
        // The extension is not in this database.
        None => return Ok(()),
    };
    if guc::rotate_due_keys() {
        // Before the workers, which a rotation makes work for.
        rotate_due_keys(transactions, owner)?;
    }
    transactions.run(|| identity::as_role(owner, start_workers))
}

fn start_workers() -> Result<(), Error> {
    for (job_id, workers) in jobs::wanting_workers()? {
        // Else somebody is starting workers, or one of them begins or ends.
        if !jobs::try_lock_start(job_id)? {
            continue;
        }
        match worker::start_missing(job_id, workers) {
            Ok(0) => {}
            Ok(started) => error::log(&format!("started {started} workers of job {job_id}")),
            Err(full @ Error::NoWorkerSlot { .. }) => {
                error::warn_of(full);
                return Ok(());
            }
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

/// Each key in a transaction of its own: one that can't be rotated keeps no other from it.
fn rotate_due_keys(transactions: Transactions, owner: Oid) -> Result<(), Error> {
    let due = transactions.run(|| identity::as_role(owner, keys::due_for_rotation))?;
    for name in due {
        transactions.run(|| {
            identity::as_role(owner, || {
                if !jobs::try_lock_visit()? {
                    return Ok(());
                }
                match in_subtransaction(|| keys::rotate_due(&name)) {
                    Ok(Some(job_id)) => {
                        error::log(&format!("key \"{name}\" was due and was rotated: job {job_id}"))
                    }
                    Ok(None) => {}
                    Err(failure) => error::warn(
                        &format!("key \"{name}\" is due and could not be rotated"),
                        &failure.public_message(),
                    ),
                }
                Ok::<_, Error>(())
            })
        })?;
    }
    Ok(())
}

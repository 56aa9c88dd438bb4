//! Tables `encrypt.jobs`, `encrypt.job_tasks`, `encrypt.job_chunks`.

use super::SCHEMA;
use crate::error::Error;
use crate::pg::scan::relation_oid;
use crate::pg::{acl, lock, sql};
use pgrx::pg_sys::Oid;
use std::ffi::CStr;
use std::time::Duration;

/// What of a job every batch needs to know.
pub struct Job {
    pub job_id: i32,
    pub kind: String,
    pub subject: String,
    pub state: String,
    pub workers: i32,
    pub batch_rows: i64,
    pub batch_bytes: i64,
    pub pause_between: Duration,
    pub max_replica_lag: Option<i64>,
    pub max_attempts: i32,
    pub last_error: Option<String>,
}

impl Job {
    /// Whether it moves values to another version of their key, and looks for what is left after every round.
    pub fn is_rotation(&self) -> bool {
        matches!(self.kind.as_str(), "reencrypt" | "reindex")
    }
}

/// A range of blocks that this transaction has for itself.
pub struct Chunk {
    pub task: i32,
    pub chunk: i32,
    pub next_block: i64,
    pub end_block: Option<i64>,
    /// Failures less successes: how much smaller than usual batches are, in powers of two.
    pub caution: i32,
    /// Whether the table's rows were met twice: batches begin with the fallback.
    pub collided: bool,
    pub relation: Oid,
    pub filenode: Oid,
    pub statement: String,
    pub fallback: Option<String>,
    pub key_name: Option<String>,
}

/// The role that owns the tables of jobs, and the extension.
pub fn owner() -> Result<Oid, Error> {
    relation_oid(SCHEMA, c"jobs")
        .and_then(acl::owner_of_relation)
        .ok_or(Error::NotInstalled)
}

/// Raises an error unless the job is of a migration, and the table that of the current user.
pub fn require_own(job_id: i32) -> Result<(), Error> {
    sql::execute("select encrypt._require_own_job($1)", &[job_id.into()])?;
    Ok(())
}

pub fn find(job_id: i32) -> Result<Option<Job>, Error> {
    Ok(sql::query_first_often(
        "select kind, subject, state, workers, batch_rows::bigint, batch_bytes,
                pg_catalog.date_part('epoch', pause_between)::double precision, max_replica_lag, max_attempts, last_error
         from encrypt.jobs where job_id operator(pg_catalog.=) $1",
        &[job_id.into()],
        |row| {
            Ok(Job {
                job_id,
                kind: row.get(1)?.unwrap_or_default(),
                subject: row.get(2)?.unwrap_or_default(),
                state: row.get(3)?.unwrap_or_default(),
                workers: row.get(4)?.unwrap_or_default(),
                batch_rows: row.get(5)?.unwrap_or_default(),
                batch_bytes: row.get(6)?.unwrap_or_default(),
                pause_between: Duration::try_from_secs_f64(row.get(7)?.unwrap_or_default()).unwrap_or_default(),
                max_replica_lag: row.get(8)?,
                max_attempts: row.get(9)?.unwrap_or_default(),
                last_error: row.get(10)?,
            })
        },
    )?)
}

/// Takes a chunk with work left, for the length of the transaction: preferably `mine`, else the first that nobody has.
pub fn claim(job_id: i32, mine: Option<(i32, i32)>) -> Result<Option<Chunk>, Error> {
    const COLUMNS: &str =
        "select c.task, c.chunk, c.next_block, c.end_block, c.caution, c.collided, t.relation, t.filenode,
                                  t.statement, t.fallback, t.key_name
                           from encrypt.job_chunks c join encrypt.job_tasks t using (job_id, task)
                           where c.job_id operator(pg_catalog.=) $1 and c.finished_at is null
                               and (c.not_before is null
                                    or c.not_before operator(pg_catalog.<=) pg_catalog.clock_timestamp())";
    const TAKE: &str = "order by c.task, c.chunk limit 1 for update of c skip locked";
    let read = |row: &pgrx::spi::SpiHeapTupleData<'_>| {
        Ok(Chunk {
            task: row.get(1)?.unwrap_or_default(),
            chunk: row.get(2)?.unwrap_or_default(),
            next_block: row.get(3)?.unwrap_or_default(),
            end_block: row.get(4)?,
            caution: row.get(5)?.unwrap_or_default(),
            collided: row.get(6)?.unwrap_or_default(),
            relation: row.get(7)?.unwrap_or(Oid::INVALID),
            filenode: row.get(8)?.unwrap_or(Oid::INVALID),
            statement: row.get(9)?.unwrap_or_default(),
            fallback: row.get(10)?,
            key_name: row.get(11)?,
        })
    };
    if let Some((task, chunk)) = mine {
        let statement = format!(
            "{COLUMNS} and c.task operator(pg_catalog.=) $2 and c.chunk operator(pg_catalog.=) $3 {TAKE}"
        );
        let arguments = [job_id.into(), task.into(), chunk.into()];
        if let Some(chunk) = sql::query_first_often(&statement, &arguments, read)? {
            return Ok(Some(chunk));
        }
    }
    Ok(sql::query_first_often(
        &format!("{COLUMNS} {TAKE}"),
        &[job_id.into()],
        read,
    )?)
}

/// Whether a chunk is left, with somebody else or waiting for its next attempt.
pub fn has_unfinished(job_id: i32) -> Result<bool, Error> {
    let found = sql::query_first_often(
        "select true from encrypt.job_chunks
         where job_id operator(pg_catalog.=) $1 and finished_at is null limit 1",
        &[job_id.into()],
        |row| row.get::<bool>(1),
    )?;
    Ok(found.is_some())
}

/// What a batch did, in its own transaction.
pub fn record(
    job_id: i32,
    chunk: &Chunk,
    next_block: i64,
    counts: Vec<i64>,
    collided: bool,
    finished: bool,
) -> Result<(), Error> {
    sql::execute_often(
        "update encrypt.job_chunks
         set next_block = $4, counts = encrypt._add_counts(counts, $5), collided = $6, attempts = 0,
             caution = greatest(caution operator(pg_catalog.-) 1, 0), not_before = null, last_error = null,
             finished_at = case when $7 then pg_catalog.clock_timestamp() end
         where job_id operator(pg_catalog.=) $1 and task operator(pg_catalog.=) $2
             and chunk operator(pg_catalog.=) $3",
        &[
            job_id.into(),
            chunk.task.into(),
            chunk.chunk.into(),
            next_block.into(),
            counts.into(),
            collided.into(),
            finished.into(),
        ],
    )?;
    Ok(())
}

/// A batch that failed: the next attempt is made later, twice as late each time, up to six seconds, and with half as many
/// blocks each time, so that a row that somebody else holds for long costs less and less work that is thrown away.
pub fn record_failure(job_id: i32, chunk: &Chunk, why: &str, counts_as_attempt: bool) -> Result<i32, Error> {
    let attempts = sql::query_first(
        "update encrypt.job_chunks
         set attempts = attempts operator(pg_catalog.+) $5::integer, retries = retries operator(pg_catalog.+) 1,
             caution = least(caution operator(pg_catalog.+) 1, 12), last_error = $4,
             not_before = pg_catalog.clock_timestamp() operator(pg_catalog.+)
                 (interval '0.1 s' operator(pg_catalog.*) pg_catalog.power(2, least(caution, 6)))
         where job_id operator(pg_catalog.=) $1 and task operator(pg_catalog.=) $2
             and chunk operator(pg_catalog.=) $3
         returning attempts",
        &[
            job_id.into(),
            chunk.task.into(),
            chunk.chunk.into(),
            why.into(),
            i32::from(counts_as_attempt).into(),
        ],
        |row| row.get::<i32>(1),
    )?;
    Ok(attempts.flatten().unwrap_or(0))
}

/// Leaves a chunk to the next round.
pub fn leave(job_id: i32, chunk: &Chunk, why: &str) -> Result<(), Error> {
    sql::execute(
        "update encrypt.job_chunks
         set last_error = $4, retries = retries operator(pg_catalog.+) 1, finished_at = pg_catalog.clock_timestamp()
         where job_id operator(pg_catalog.=) $1 and task operator(pg_catalog.=) $2
             and chunk operator(pg_catalog.=) $3",
        &[job_id.into(), chunk.task.into(), chunk.chunk.into(), why.into()],
    )?;
    Ok(())
}

/// Makes the chunks of a task anew, for a table that was rewritten.
pub fn remake_chunks(job_id: i32, task: i32) -> Result<(), Error> {
    sql::query_first(
        "select encrypt._remake_chunks($1, $2)",
        &[job_id.into(), task.into()],
        |_| Ok(()),
    )?;
    Ok(())
}

/// Ends a job that is running; `why` for one that failed.
pub fn end(job_id: i32, state: &str, why: Option<&str>) -> Result<(), Error> {
    sql::execute(
        "update encrypt.jobs set state = $2, ended_at = pg_catalog.clock_timestamp(), last_error = $3
         where job_id operator(pg_catalog.=) $1 and state operator(pg_catalog.=) 'running'",
        &[job_id.into(), state.into(), why.into()],
    )?;
    Ok(())
}

/// Ends a round: true if the job is finished with it.
pub fn finish_round(job_id: i32) -> Result<bool, Error> {
    let finished = sql::query_first("select encrypt._finish_round($1)", &[job_id.into()], |row| {
        row.get::<bool>(1)
    })?;
    Ok(finished.flatten().unwrap_or(false))
}

/// Bytes of WAL that the slowest replica has not replayed yet; 0 without replicas.
pub fn replica_lag() -> Result<i64, Error> {
    let lag = sql::query_first_often(
        "select pg_catalog.max(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), replay_lsn))::bigint
         from pg_catalog.pg_stat_replication",
        &[],
        |row| row.get::<i64>(1),
    )?;
    Ok(lag.flatten().unwrap_or(0))
}

/// Rows done, and estimated in all, of the current round.
pub fn progress(job_id: i32) -> Result<(i64, i64), Error> {
    let progress = sql::query_first(
        "select rows_done, rows_total from encrypt.job_progress where job_id operator(pg_catalog.=) $1",
        &[job_id.into()],
        |row| Ok((row.get::<i64>(1)?, row.get::<i64>(2)?)),
    )?;
    let (done, total) = progress.unwrap_or_default();
    Ok((done.unwrap_or(0), total.unwrap_or(0)))
}

/// The right to end a round or to remake chunks of a job, until the end of the transaction; false if another has it.
///
/// An object lock besides that on the job's row: who doesn't get it has something better to do than to wait.
pub fn try_lock_round(job_id: i32) -> Result<bool, Error> {
    Ok(lock::try_lock_object(class(c"job_tasks")?, job_id as u32))
}

/// A lock that the one who starts workers holds until its transaction ends, and that a worker takes when it begins and
/// before it leaves: by then the job is committed or will never be, and nobody counts on a worker that is about to go.
pub fn lock_start(job_id: i32) -> Result<(), Error> {
    lock::lock_object(class(c"jobs")?, job_id as u32);
    Ok(())
}

/// As [`lock_start`]; false if another has it. Workers ask again and again: one that waited in a transaction would hold
/// back VACUUM for as long as the transaction that started it is open.
pub fn try_lock_start(job_id: i32) -> Result<bool, Error> {
    Ok(lock::try_lock_object(class(c"jobs")?, job_id as u32))
}

/// Whether nobody is worker `number` of a job. Nobody becomes it before this transaction ends.
pub fn is_place_free(job_id: i32, number: i32) -> Result<bool, Error> {
    Ok(lock::try_lock_part(
        class(c"job_chunks")?,
        job_id as u32,
        number as u16,
    ))
}

/// Makes this process worker `number` of a job until [`leave_place`]; false if another is.
pub fn take_place(job_id: i32, number: i32) -> Result<bool, Error> {
    Ok(lock::try_hold_part(
        class(c"job_chunks")?,
        job_id as u32,
        number as u16,
    ))
}

pub fn leave_place(job_id: i32, number: i32) -> Result<(), Error> {
    lock::release_part(class(c"job_chunks")?, job_id as u32, number as u16);
    Ok(())
}

/// The right to look after the jobs of this database, until the end of the transaction; false if another does.
pub fn try_lock_visit() -> Result<bool, Error> {
    // No job has the number 0.
    Ok(lock::try_lock_object(class(c"jobs")?, 0))
}

/// A table of ours in its second role, as what the numbers of an object lock belong to.
fn class(table: &CStr) -> Result<Oid, Error> {
    relation_oid(SCHEMA, table).ok_or(Error::NotInstalled)
}

/// Name of a worker's process: how `encrypt._job_workers` and the views know it.
pub fn worker_name(job_id: i32, number: i32) -> String {
    format!("pg_encrypt job {job_id} worker {number}")
}

/// Running jobs that want workers, and how many.
pub fn wanting_workers() -> Result<Vec<(i32, i32)>, Error> {
    let jobs = sql::query(
        "select job_id, workers from encrypt.jobs
         where state operator(pg_catalog.=) 'running' and workers operator(pg_catalog.>) 0 order by job_id",
        &[],
        |row| Ok((row.get::<i32>(1)?, row.get::<i32>(2)?)),
    )?;
    Ok(jobs
        .into_iter()
        .filter_map(|(job_id, workers)| job_id.zip(workers))
        .collect())
}

/// How many workers a job shall have.
pub fn set_workers(job_id: i32, workers: i32) -> Result<(), Error> {
    sql::execute(
        "update encrypt.jobs set workers = $2 where job_id operator(pg_catalog.=) $1",
        &[job_id.into(), workers.into()],
    )?;
    Ok(())
}

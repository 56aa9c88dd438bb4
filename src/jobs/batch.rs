//! One transaction's work on one chunk.

use crate::catalog::jobs::{self, Chunk, Job};
use crate::error::{Error, Failure};
use crate::keyring::deputy::{Deputy, Scope};
use crate::pg::transaction::in_subtransaction;
use crate::pg::{acl, identity, lock, relation, sql};
use pgrx::pg_sys::{BlockIdData, ItemPointerData};
use std::ffi::CStr;

/// Which chunk a runner goes on with.
pub type Mine = Option<(i32, i32)>;

/// A lock that a batch waits for longer than this is given up, and with it the rows that others wait for.
const LOCK_TIMEOUT: (&CStr, &CStr) = (c"lock_timeout", c"1s");

/// Re-encryption changes no value that anybody could see, so the application's triggers have nothing to do with it.
const NO_TRIGGERS: (&CStr, &CStr) = (c"session_replication_role", c"replica");

pub enum Outcome {
    Done,
    Failed {
        why: String,
        fatal: bool,
    },
    /// No chunk is free.
    Nothing,
}

/// Works on one batch of a chunk, preferably of `mine`, which becomes the one that it was. Runs in a transaction that the
/// caller commits.
pub fn work(job: &Job, mine: &mut Mine) -> Result<Outcome, Error> {
    let Some(chunk) = jobs::claim(job.job_id, *mine)? else {
        return Ok(Outcome::Nothing);
    };
    *mine = Some((chunk.task, chunk.chunk));
    // Under this lock the table can't be dropped, truncated or rewritten before the batch is committed.
    if !lock::lock_table_for_reading(chunk.relation) {
        jobs::record(job.job_id, &chunk, chunk.next_block, vec![], false, true)?;
        return Ok(Outcome::Done);
    }
    if relation::file(chunk.relation) != chunk.filenode {
        if jobs::try_lock_round(job.job_id)? {
            jobs::remake_chunks(job.job_id, chunk.task)?;
        }
        *mine = None;
        return Ok(Outcome::Done);
    }
    let Some(range) = Range::next(job, &chunk) else {
        jobs::record(job.job_id, &chunk, chunk.next_block, vec![], chunk.collided, true)?;
        *mine = None;
        return Ok(Outcome::Done);
    };
    match range.process(job, &chunk) {
        Ok((counts, collided)) => {
            jobs::record(job.job_id, &chunk, range.end, counts, collided, range.is_last)?;
            Ok(Outcome::Done)
        }
        Err(failure) => {
            let why = failure.public_message();
            let attempts = jobs::record_failure(job.job_id, &chunk, &why, !failure.is_contention())?;
            *mine = None;
            Ok(Outcome::Failed {
                why,
                fatal: attempts >= job.max_attempts,
            })
        }
    }
}

/// Blocks from `start` up to `end`, which is not among them.
struct Range {
    start: i64,
    end: i64,
    /// Whether the chunk ends here.
    is_last: bool,
}

impl Range {
    /// As many blocks as hold about the wanted number of rows and no more than the wanted number of bytes, values that are
    /// stored out of line included.
    fn next(job: &Job, chunk: &Chunk) -> Option<Self> {
        let size = relation::size(chunk.relation);
        let end_of_chunk = chunk.end_block.unwrap_or(size.blocks).min(size.blocks);
        if chunk.next_block >= end_of_chunk {
            return None;
        }
        let by_rows = job.batch_rows as f64 / size.rows_per_block();
        let by_bytes = job.batch_bytes as f64 / size.bytes_per_block();
        let blocks = (by_rows.min(by_bytes) as i64).max(1);
        let end = chunk.next_block.saturating_add(blocks).min(end_of_chunk);
        Some(Self {
            start: chunk.next_block,
            end,
            // An open end has moved on by the next batch.
            is_last: end == end_of_chunk && chunk.end_block.is_some(),
        })
    }

    /// What the statement counted, and whether it met rows that were there already.
    fn process(&self, job: &Job, chunk: &Chunk) -> Result<(Vec<i64>, bool), Failure> {
        if let (true, Some(fallback)) = (chunk.collided, &chunk.fallback) {
            return Ok((self.execute(job, chunk, fallback)?, true));
        }
        match (self.execute(job, chunk, &chunk.statement), &chunk.fallback) {
            (Err(failure), Some(fallback)) if failure.is_unique_violation() => {
                Ok((self.execute(job, chunk, fallback)?, true))
            }
            (result, _) => Ok((result?, false)),
        }
    }

    fn execute(&self, job: &Job, chunk: &Chunk, statement: &str) -> Result<Vec<i64>, Failure> {
        in_subtransaction(|| {
            let owner = acl::owner_of_relation(chunk.relation).ok_or(Error::KeyChanged)?;
            let (settings, scope): (&[_], _) = match job.kind.as_str() {
                "reencrypt" | "reindex" => (&[LOCK_TIMEOUT, NO_TRIGGERS], Scope::Moving),
                _ => (&[LOCK_TIMEOUT], Scope::Everything),
            };
            identity::as_owner(owner, settings, || {
                let _deputy = chunk
                    .key_name
                    .as_ref()
                    .map(|key_name| Deputy::appoint(key_name.as_bytes(), owner, scope));
                self.run(statement)
            })
        })
    }

    fn run(&self, statement: &str) -> Result<Vec<i64>, Error> {
        let tid = |block: i64| ItemPointerData {
            ip_blkid: BlockIdData {
                bi_hi: (block >> 16) as u16,
                bi_lo: (block & 0xffff) as u16,
            },
            ip_posid: 0,
        };
        let counts = sql::query_first(
            statement,
            &[tid(self.start).into(), tid(self.end).into()],
            |row| row.get::<Vec<i64>>(1),
        )?;
        Ok(counts.flatten().unwrap_or_default())
    }
}

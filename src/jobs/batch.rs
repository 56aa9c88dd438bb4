//! One transaction's work on one chunk.

use super::waits::{Setting, Waits};
use crate::catalog::jobs::{self, Chunk, Job};
use crate::error::{Error, Failure};
use crate::keyring::deputy::{Deputy, Scope};
use crate::pg::transaction::in_subtransaction;
use crate::pg::{acl, identity, lock, relation, settings, sql};
use pgrx::pg_sys::{BlockIdData, ItemPointerData};

/// Which chunk a runner goes on with.
pub type Mine = Option<(i32, i32)>;

/// What a session's settings must not change: that a range of blocks is read as one.
const READING: Setting<'_> = (c"enable_tidscan", c"on");

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
    let waits = Waits::shorter_than_others();
    match next_batch(job, &chunk, &waits) {
        Ok(Next::Batch(range)) => match range.process(job, &chunk, &waits) {
            Ok((counts, collided)) => {
                jobs::record(job.job_id, &chunk, range.end, counts, collided, range.is_last)?;
                Ok(Outcome::Done)
            }
            Err(failure) => {
                let why = format!("{}, {}", failure.public_message(), range.describe(&chunk));
                *mine = None;
                failed(job, &chunk, &failure, why)
            }
        },
        Ok(Next::End) => {
            jobs::record(job.job_id, &chunk, chunk.next_block, vec![], chunk.collided, true)?;
            *mine = None;
            Ok(Outcome::Done)
        }
        Ok(Next::Rewritten) => {
            if jobs::try_lock_round(job.job_id)? {
                jobs::remake_chunks(job.job_id, chunk.task)?;
            }
            *mine = None;
            Ok(Outcome::Done)
        }
        Err(failure) => {
            *mine = None;
            failed(job, &chunk, &failure, failure.public_message())
        }
    }
}

fn failed(job: &Job, chunk: &Chunk, failure: &Failure, why: String) -> Result<Outcome, Error> {
    // A statement names table and columns as they were when the round began. What was renamed since, by a cutover for instance, the
    // next round finds under the name that it has then.
    if job.is_rotation() && failure.is_of_lost_name() {
        jobs::leave(job.job_id, chunk, &why)?;
        return Ok(Outcome::Done);
    }
    let attempts = jobs::record_failure(job.job_id, chunk, &why, !failure.is_contention())?;
    Ok(Outcome::Failed {
        why,
        fatal: attempts >= job.max_attempts,
    })
}

enum Next {
    Batch(Range),
    /// The chunk has no blocks left, or the table is gone.
    End,
    /// The table has another file than the one that the chunk is a range of.
    Rewritten,
}

/// Locks the table and looks what there is to do. Under this lock, which stays until the batch is committed, the table
/// can't be dropped, truncated or rewritten.
fn next_batch(job: &Job, chunk: &Chunk, waits: &Waits) -> Result<Next, Failure> {
    in_subtransaction(|| {
        if !settings::with(&waits.settings(), || lock::lock_table_for_reading(chunk.relation)) {
            return Ok(Next::End);
        }
        if relation::file(chunk.relation) != chunk.filenode {
            return Ok(Next::Rewritten);
        }
        Ok(Range::next(job, chunk).map_or(Next::End, Next::Batch))
    })
}

/// About `wanted` blocks, so many that `left` are done in batches of one size: a transaction costs the same for a rest of
/// a few blocks.
fn evenly(left: i64, wanted: i64) -> i64 {
    let batches = (left as f64 / wanted.max(1) as f64).round().max(1.0);
    (left as f64 / batches).ceil() as i64
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
    /// stored out of line included; fewer after failures.
    fn next(job: &Job, chunk: &Chunk) -> Option<Self> {
        let size = relation::size(chunk.relation);
        let end_of_chunk = chunk.end_block.unwrap_or(size.blocks).min(size.blocks);
        if chunk.next_block >= end_of_chunk {
            return None;
        }
        let by_rows = job.batch_rows as f64 / size.rows_per_block();
        let by_bytes = job.batch_bytes as f64 / size.bytes_per_block();
        let caution = f64::from(chunk.caution).exp2();
        let left = end_of_chunk - chunk.next_block;
        let blocks = evenly(left, (by_rows / caution) as i64).min((by_bytes / caution) as i64);
        let end = chunk.next_block + blocks.clamp(1, left);
        Some(Self {
            start: chunk.next_block,
            end,
            // An open end has moved on by the next batch.
            is_last: end == end_of_chunk && chunk.end_block.is_some(),
        })
    }

    /// What the statement counted, and whether it met rows that were there already.
    fn process(&self, job: &Job, chunk: &Chunk, waits: &Waits) -> Result<(Vec<i64>, bool), Failure> {
        if let (true, Some(fallback)) = (chunk.collided, &chunk.fallback) {
            return Ok((self.execute(job, chunk, waits, fallback)?, true));
        }
        match (self.execute(job, chunk, waits, &chunk.statement), &chunk.fallback) {
            (Err(failure), Some(fallback)) if failure.is_unique_violation() => {
                Ok((self.execute(job, chunk, waits, fallback)?, true))
            }
            (result, _) => Ok((result?, false)),
        }
    }

    fn execute(&self, job: &Job, chunk: &Chunk, waits: &Waits, statement: &str) -> Result<Vec<i64>, Failure> {
        // Re-encryption changes no value that anybody could see, so the application's triggers have nothing to do with
        // it. Elsewhere they fire, whatever the session is set to.
        let (role, scope) = match job.is_rotation() {
            true => (c"replica", Scope::Moving),
            false => (c"origin", Scope::Everything),
        };
        let triggers = (c"session_replication_role", role);
        let [longest, deadlock] = waits.settings();
        in_subtransaction(|| {
            let owner = acl::owner_of_relation(chunk.relation).ok_or(Error::KeyChanged)?;
            identity::as_owner(owner, &[longest, deadlock, triggers, READING], || {
                let _deputy = chunk
                    .key_name
                    .as_ref()
                    .map(|key_name| Deputy::appoint(key_name.as_bytes(), owner, scope));
                // A deferred constraint would fail when the transaction commits, where nothing can be written down; and
                // PostgreSQL refuses to defer anything in a security-restricted operation.
                sql::execute("set constraints all immediate", &[])?;
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
        let range = [tid(self.start).into(), tid(self.end).into()];
        match sql::run_often(statement, &range, |row| row.get::<Vec<i64>>(1))? {
            sql::Outcome::Returned(counts) => Ok(counts.flatten().unwrap_or_default()),
            sql::Outcome::Changed(rows) => Ok(vec![rows as i64]),
        }
    }

    fn describe(&self, chunk: &Chunk) -> String {
        let table = relation::name(chunk.relation).unwrap_or_default();
        match self.end - self.start {
            1 => format!("in block {} of table {table}", self.start),
            _ => format!("in blocks {} to {} of table {table}", self.start, self.end - 1),
        }
    }
}

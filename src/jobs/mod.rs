//! Jobs: work on all rows of tables, in short transactions, that survives anything.
//!
//! | module | answers |
//! |---|---|
//! | [`batch`] | what does one transaction do? |
//! | [`runner`] | when is the next batch, who ends a round, when does it stop? |
//! | [`waits`] | how long does it wait for locks? |
//! | [`worker`] | how does a job run in the background? |
//! | [`launcher`] | who starts its workers again after a crash? |
//!
//! **Why nothing is done twice and nothing skipped.** A chunk is a range of blocks. Its row is locked while a batch works
//! on it, and how far it came is written to that row in the batch's own transaction: both are committed, or neither.
//! A killed process leaves nothing behind, because the lock ends with its transaction.
//!
//! **Why ranges of blocks.** They need no key, no sorting and no index, and are read in the order they lie on disk. A row
//! that moves to another block meanwhile was written meanwhile, by a session that knows better than the job: it sealed
//! under the new key, or fired the triggers of the migration. Where that is not enough the job looks again
//! (`encrypt._finish_round`). A table that was rewritten (VACUUM FULL, CLUSTER) has another file, and new chunks are made.

mod batch;
pub mod launcher;
mod runner;
mod waits;
pub mod worker;

pub use runner::run_in_foreground;

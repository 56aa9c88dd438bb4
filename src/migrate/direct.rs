//! When the rows of a transition table are what the table has.
//!
//! They were when the statement changed them. Until its trigger fires, at its end, four things could change them again:
//!
//! - *Another transaction.* No: the rows are locked by ours, and a key that it deleted is not free before it ends.
//! - *The statement itself.* No: a command does not change a row that it has changed or inserted. What a
//!   writable CTE or a MERGE does to the same key in two of its parts (delete one row, insert another) fires a trigger
//!   for each, and only the first of them is told that nothing came between.
//! - *A statement within it*: of a trigger, a function, a rule's or a foreign key's on another table. It takes a higher command
//!   number than the statement (one that writes has counted before it runs another), it ends first, and if it touches a row of a
//!   migrating table a trigger of ours fires for it, under any `session_replication_role`. So it is enough to remember the
//!   number at which one fired last, whatever the table: below the number that the statement began with it was before the
//!   statement, otherwise it may have been within. A savepoint that is rolled back leaves that number as it is, and the
//!   lookup it then causes is right, too.
//! - *A foreign key's action on the table.* It runs without triggers of its own: its rows join the transition tables of the
//!   statement that caused it, where one row may then be found twice. It gives itself away by nothing, so a table with such a
//!   key always looks its rows up. A key that takes no action only reads.
//!
//! For a partitioned table the last has to be asked of all partitions; its rows are looked up. Row triggers, which fire
//! between rows of a statement that may go on to change this one's neighbours, look up, too.

use crate::pg::trigger::Trigger;
use crate::pg::{inval, xact};
use std::cell::Cell;

thread_local! {
    /// The transaction in which a trigger fired last, and the number of the command that was running.
    static FIRED: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
}

/// Whether the trigger's rows are as its statement left them. Asked once for every call, since it remembers the call.
pub fn nothing_came_between(trigger: &Trigger) -> bool {
    let transaction = inval::transaction();
    let (fired_in, command) = FIRED.replace((transaction, xact::command()));
    !trigger.is_for_row()
        && xact::command_of_statement().is_some_and(|began| fired_in != transaction || command < began)
        && trigger.changes_by_statements_only()
}

//! The rows that a statement changed, as a trigger with transition tables gets them.

use super::raw;
use super::trigger::same_datum;
use pgrx::pg_sys::{self, Datum};

/// Rows of the table that the trigger is on.
#[derive(Clone, Copy)]
pub struct TransitionTable {
    store: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
}

/// Rows that are read one after the other.
pub struct TransitionRows {
    table: TransitionTable,
    /// The reader's own place in the table; statements that read it as well have theirs.
    pointer: i32,
    slot: *mut pg_sys::TupleTableSlot,
}

impl TransitionTable {
    /// # Safety
    /// Null, or a tuplestore of rows that the descriptor describes; both outlive what is made of them.
    pub(super) unsafe fn of(
        store: *mut pg_sys::Tuplestorestate,
        descriptor: pg_sys::TupleDesc,
    ) -> Option<Self> {
        (!store.is_null()).then_some(Self { store, descriptor })
    }

    pub fn count(self) -> u64 {
        // SAFETY: valid, by `of`; reads a field.
        unsafe { raw::tuplestore_tuple_count(self.store) as u64 }
    }

    pub fn rows(self) -> TransitionRows {
        // SAFETY: valid, by `of`; the slot is of the kind that a tuplestore fills.
        let (pointer, slot) = unsafe {
            raw::guarded(|| {
                let pointer = raw::tuplestore_alloc_read_pointer(self.store, pg_sys::EXEC_FLAG_REWIND as i32);
                raw::tuplestore_select_read_pointer(self.store, pointer);
                raw::tuplestore_rescan(self.store);
                let slot = raw::MakeSingleTupleTableSlot(self.descriptor, &pg_sys::TTSOpsMinimalTuple);
                (pointer, slot)
            })
        };
        TransitionRows {
            table: self,
            pointer,
            slot,
        }
    }

    /// A reader that stands at the first row.
    pub fn first(self) -> Option<TransitionRows> {
        let mut rows = self.rows();
        rows.next().then_some(rows)
    }

    /// Whether both tables have as many rows, and the n-th rows of both are the same in all of these columns. An UPDATE
    /// adds a row to each at a time, so this tells whether it left the columns as they were; if ever it should not, the
    /// answer is no.
    pub fn same_in(self, other: Self, columns: &[usize]) -> bool {
        if self.count() != other.count() {
            return false;
        }
        let (mut ours, mut theirs) = (self.rows(), other.rows());
        while ours.next() && theirs.next() {
            if !ours.same_in(&theirs, columns) {
                return false;
            }
            super::wait::check_for_interrupts();
        }
        true
    }
}

impl TransitionRows {
    /// Goes on to the next row; false after the last. What was read of the row before is invalid from then on.
    pub fn next(&mut self) -> bool {
        // SAFETY: our own slot and place; the row stays in the slot until the next one is fetched.
        unsafe {
            let (store, slot) = (self.table.store, self.slot);
            raw::guarded(|| {
                raw::tuplestore_select_read_pointer(store, self.pointer);
                raw::tuplestore_gettupleslot(store, true, false, slot)
            })
        }
    }

    /// Whether this row and one of the other table of the same trigger are the same in all of these columns.
    pub fn same_in(&self, other: &Self, columns: &[usize]) -> bool {
        // SAFETY: both are rows of the same table, to which the columns belong.
        let same = |column: &usize| unsafe {
            same_datum(
                self.table.descriptor,
                *column,
                self.datum(*column),
                other.datum(*column),
            )
        };
        columns.iter().all(same)
    }

    /// A column of the row, counted from 1; `None` for NULL.
    pub fn datum(&self, column: usize) -> Option<Datum> {
        // SAFETY: the slot holds a row after `next` was true; the arrays have an entry per column that was taken apart, which
        // raises for columns only that there are not.
        unsafe {
            if ((*self.slot).tts_nvalid as usize) < column {
                raw::slot_getsomeattrs_int(self.slot, column as i32);
            }
            (!*(*self.slot).tts_isnull.add(column - 1)).then(|| *(*self.slot).tts_values.add(column - 1))
        }
    }
}

impl Drop for TransitionRows {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: our own slot; the places of other readers are where they left them.
            unsafe {
                let (store, slot) = (self.table.store, self.slot);
                raw::guarded(|| {
                    raw::tuplestore_select_read_pointer(store, 0);
                    raw::ExecDropSingleTupleTableSlot(slot);
                });
            }
        }
    }
}

//! Pieces of PostgreSQL's executor, for those who write a row without it. Each closes itself; after an error the
//! transaction, or the subtransaction that it was opened in, does.

use super::plan::Parameter;
use super::raw;
use super::row_writer::Written;
use pgrx::pg_sys::{self, Oid};

/// Takes the lock that writers take.
pub(super) const WRITING: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
/// Locks stay until the transaction ends.
pub(super) const KEEP_LOCK: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;

/// A table to write to.
pub(super) struct OpenTable(pub pg_sys::Relation);

/// An index to find rows by.
pub(super) struct OpenIndex(pub pg_sys::Relation);

/// A place for one row.
pub(super) struct Slot(pub *mut pg_sys::TupleTableSlot);

/// The newest state of the database, whatever the transaction's isolation: see `Connection::execute`.
pub(super) struct Newest(pub pg_sys::Snapshot);

/// Enters rows of one table into its indexes. Making one takes about as long as all that a new version of a row needs that is
/// reached through the entries of the old one.
pub(super) struct Entering {
    estate: *mut pg_sys::EState,
    table: *mut pg_sys::ResultRelInfo,
}

/// In which indexes a row needs an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Entries {
    /// A new row: in all.
    OfNewRow,
    /// A new version of a row.
    OfVersion { only_summarizing: bool },
}

/// What an update says of indexes.
#[cfg(feature = "pg15")]
pub(super) type UpdateIndexes = bool;
#[cfg(not(feature = "pg15"))]
pub(super) type UpdateIndexes = pg_sys::TU_UpdateIndexes::Type;

impl OpenTable {
    /// `None` if it does not exist any more.
    pub fn of(table: Oid) -> Option<Self> {
        // SAFETY: waits for the lock; null if there is no such relation.
        let relation = unsafe { pg_sys::try_table_open(table, WRITING) };
        (!relation.is_null()).then_some(Self(relation))
    }
}

impl Drop for OpenTable {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: our own reference.
            unsafe { pg_sys::table_close(self.0, KEEP_LOCK) };
        }
    }
}

impl OpenIndex {
    /// Of a table that is locked, so it exists.
    pub fn of(index: Oid) -> Self {
        // SAFETY: raises if there is no such index.
        Self(unsafe { pg_sys::index_open(index, WRITING) })
    }
}

impl Drop for OpenIndex {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: our own reference.
            unsafe { pg_sys::index_close(self.0, KEEP_LOCK) };
        }
    }
}

impl Slot {
    /// For a row that is made of single values.
    pub fn for_values(table: &OpenTable) -> Self {
        // SAFETY: the table is open longer than the slot is used.
        unsafe { Self::of(table.0, |_| &raw const pg_sys::TTSOpsVirtual) }
    }

    /// For a row as the table stores it.
    pub fn for_stored(table: &OpenTable) -> Self {
        // SAFETY: as above.
        unsafe { Self::of(table.0, |table| raw::table_slot_callbacks(table)) }
    }

    /// # Safety
    /// An open table.
    unsafe fn of(
        relation: pg_sys::Relation,
        kind: impl FnOnce(pg_sys::Relation) -> *const pg_sys::TupleTableSlotOps,
    ) -> Self {
        // SAFETY: per contract.
        unsafe {
            let slot = raw::guarded(|| raw::MakeSingleTupleTableSlot((*relation).rd_att, kind(relation)));
            (*slot).tts_tableOid = (*relation).rd_id;
            Self(slot)
        }
    }

    /// Sets a column (from 0) of a row that is being made.
    pub fn set(&self, column: usize, value: Parameter) {
        // SAFETY: the arrays have an entry per column of the table, and callers count those.
        unsafe {
            *(*self.0).tts_isnull.add(column) = value.is_none();
            *(*self.0).tts_values.add(column) = value.unwrap_or(pg_sys::Datum::null());
        }
    }

    /// Says that all columns are set.
    pub fn filled(&self) {
        // SAFETY: a slot that was empty; sets a field.
        unsafe { raw::ExecStoreVirtualTuple(self.0) };
    }

    /// Whether a column that needs a value has none.
    fn lacks_values(&self) -> bool {
        // SAFETY: the slot holds a row that was made; constraints are null or a structure.
        unsafe {
            let descriptor = (*self.0).tts_tupleDescriptor;
            let constraints = (*descriptor).constr;
            !constraints.is_null()
                && (*constraints).has_not_null
                && (0..(*descriptor).natts as usize).any(|n| {
                    *(*self.0).tts_isnull.add(n) && (*super::tuple_attribute(descriptor, n)).attnotnull
                })
        }
    }

    /// Hands over all columns (from 0) of a stored row. They are valid as long as the slot.
    pub fn each(&self, mut column: impl FnMut(usize, Parameter)) {
        // SAFETY: the slot holds a row; the arrays have an entry per column once it is taken apart, which raises nothing: there
        // are as many.
        unsafe {
            let count = (*(*self.0).tts_tupleDescriptor).natts;
            if i32::from((*self.0).tts_nvalid) < count {
                raw::slot_getsomeattrs_int(self.0, count);
            }
            for n in 0..count as usize {
                column(
                    n,
                    (!*(*self.0).tts_isnull.add(n)).then(|| *(*self.0).tts_values.add(n)),
                );
            }
        }
    }

    /// Where the row is.
    pub fn place(&self) -> pg_sys::ItemPointer {
        // SAFETY: a field of the slot.
        unsafe { &raw mut (*self.0).tts_tid }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: our own slot.
            unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.0) };
        }
    }
}

impl Newest {
    pub fn taken() -> Self {
        // SAFETY: the snapshot is copied; the copy lives until it is popped.
        let copy = unsafe {
            raw::guarded(|| {
                raw::PushActiveSnapshot(raw::GetLatestSnapshot());
                raw::GetActiveSnapshot()
            })
        };
        Self(copy)
    }
}

impl Drop for Newest {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: what was pushed later is popped already.
            unsafe { pg_sys::PopActiveSnapshot() };
        }
    }
}

impl Entering {
    pub fn into(table: &OpenTable) -> Self {
        // SAFETY: the table stays open; all of it is allocated in the executor's memory, which goes at the end.
        unsafe {
            let estate = pg_sys::CreateExecutorState();
            let size = std::mem::size_of::<pg_sys::ResultRelInfo>();
            let info =
                pg_sys::MemoryContextAllocZero((*estate).es_query_cxt, size).cast::<pg_sys::ResultRelInfo>();
            pg_sys::InitResultRelInfo(info, table.0, 0, std::ptr::null_mut(), 0);
            Self { estate, table: info }
        }
    }

    /// Raises if a column of a row that was made has no value and needs one. There are no other checks, or it would not be written
    /// this way.
    pub fn check(table: &OpenTable, row: &Slot) {
        if row.lacks_values() {
            let entering = Self::into(table);
            // SAFETY: the slot holds a row of the table, which has constraints.
            unsafe { pg_sys::ExecConstraints(entering.table, row.0, entering.estate) };
        }
    }

    /// Adds entries for a row that was written.
    ///
    /// Of a new version the executor tells every index whether its own columns changed; this does not, which means to an
    /// index that they did not. It is a hint: a page that is full is searched for versions that nobody sees before it is split.
    pub fn enter(&self, row: &Slot, entries: Entries) -> Written {
        let (is_update, _only_summarizing) = match entries {
            Entries::OfNewRow => (false, false),
            Entries::OfVersion { only_summarizing } => (true, only_summarizing),
        };
        let mut collides = false;
        // SAFETY: the slot knows where its row is; the indexes are closed again.
        unsafe {
            pg_sys::ExecOpenIndices(self.table, false);
            if (*self.table).ri_NumIndices > 0 {
                // Unique indexes take the row, and tell whether it may collide.
                pg_sys::ExecInsertIndexTuples(
                    self.table,
                    row.0,
                    self.estate,
                    is_update,
                    true,
                    &mut collides,
                    std::ptr::null_mut(),
                    #[cfg(not(feature = "pg15"))]
                    _only_summarizing,
                );
            }
            pg_sys::ExecCloseIndices(self.table);
        }
        match collides {
            true => Written::Colliding,
            false => Written::Done,
        }
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: our own state.
            unsafe { pg_sys::FreeExecutorState(self.estate) };
        }
    }
}

impl Entries {
    /// None for a new version that is reached through the entries of the old one.
    #[cfg(feature = "pg15")]
    pub fn after_update(all: UpdateIndexes) -> Option<Self> {
        all.then_some(Self::OfVersion {
            only_summarizing: false,
        })
    }

    #[cfg(not(feature = "pg15"))]
    pub fn after_update(which: UpdateIndexes) -> Option<Self> {
        (which != pg_sys::TU_UpdateIndexes::TU_None).then_some(Self::OfVersion {
            only_summarizing: which == pg_sys::TU_UpdateIndexes::TU_Summarizing,
        })
    }
}

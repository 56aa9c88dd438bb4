//! One row written without the executor, as the apply workers of logical replication write theirs.
//!
//! A [`RowWriter`] is for tables where the executor would do nothing else: a plain table that is no partition, whose triggers,
//! those of foreign keys included, are disabled, without rules, checks and generated columns, whose indexes are of columns alone, and
//! whose constraints are checked at once. Nothing that the owner or anybody else wrote runs when such a row is written, so it needs
//! no search path of its own. What the table has to be is asked when the writer is made, and holds as long as its plan does:
//! each change of the table, of its indexes and of the privileges on it invalidates that. Before every use the table is locked, and
//! the plan asked, in this order.
//!
//! **Collisions are reported, not raised.** Index entries are made as for a deferrable constraint: a row that may collide
//! with another is there nevertheless, and the caller, who is told, has to remove it before the transaction ends. `ON CONFLICT DO NOTHING`
//! looks into each unique index beforehand and marks the row as speculative meanwhile, so that two sessions that insert
//! the same don't wait for each other. Here nobody waits: whoever comes second is told.
//!
//! **Nothing is waited out.** A row that another transaction is changing is waited for, as everywhere, but what to do when it did
//! change is for the executor: [`Written::Contended`].

use super::executor::{
    Entering, Entries, KEEP_LOCK, Newest, OpenIndex, OpenTable, Slot, UpdateIndexes, WRITING,
};
use super::list;
use super::plan::Parameter;
use super::raw;
use super::row_values::RowValues;
use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::CStr;

/// Of a trigger that never fires: `TRIGGER_DISABLED`, which pgrx does not have.
const DISABLED: u8 = b'D';

/// Writes rows into one table.
pub struct RowWriter {
    values: RowValues,
    key: KeyIndex,
}

/// By which rows are found; without conditions if they are not to be.
#[derive(Default)]
struct KeyIndex {
    index: Oid,
    /// A condition for each of its columns, less the value, and the place of that in a key.
    conditions: Vec<(pg_sys::ScanKeyData, usize)>,
}

/// What became of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Done,
    /// There is no row with that key.
    Absent,
    /// It is written, and may have in a unique index what another row has: it must not stay.
    Colliding,
    /// Another transaction has just changed the row; nothing was written.
    Contended,
}

/// The table while it is written to.
pub struct OpenWriter<'a> {
    writer: &'a RowWriter,
    table: OpenTable,
}

impl RowWriter {
    /// `None` if the table needs the executor, or the current user, who has to be its owner, may not write to it. `key` are the
    /// columns that rows will be found by; none, if they will not. `is_simple` vouches for functions of indexes, as in `values`.
    pub fn of(values: RowValues, key: &[&CStr], is_simple: impl Fn(Oid) -> bool) -> Option<Self> {
        // SAFETY: the table is locked and open; the lock stays. What is read of it is copied before it is closed.
        unsafe {
            let table = OpenTable::of(values.relation)?;
            let fits = values.is_valid()
                && values.width() == (*(*table.0).rd_att).natts as usize
                && is_plain(table.0)
                && is_the_users(table.0);
            if !fits {
                return None;
            }
            let columns = key
                .iter()
                .map(|name| {
                    Some(pg_sys::get_attnum(values.relation, name.as_ptr())).filter(|number| *number > 0)
                })
                .collect::<Option<Vec<_>>>()?;
            let indexes: Vec<Oid> = list::oids(pg_sys::RelationGetIndexList(table.0)).collect();
            let mut found = None;
            for index in indexes {
                let index = OpenIndex::of(index);
                if !(is_of_columns(index.0) && functions(index.0).all(&is_simple)) {
                    return None;
                }
                if found.is_none() && !columns.is_empty() {
                    found = KeyIndex::of(index.0, &columns, values.memory());
                }
            }
            let key = match columns.is_empty() {
                true => KeyIndex::default(),
                false => found?,
            };
            Some(Self { values, key })
        }
    }

    /// Whether nothing has changed since the writer was made. Without a lock on the table it may have by the time of the answer.
    pub fn is_valid(&self) -> bool {
        self.values.is_valid()
    }

    /// Locks the table. `None` if the writer is out of date.
    pub fn open(&self) -> Option<OpenWriter<'_>> {
        let table = OpenTable::of(self.values.relation)?;
        // Only now: taking the lock tells of what changed before.
        self.is_valid().then_some(OpenWriter { writer: self, table })
    }
}

impl OpenWriter<'_> {
    /// Adds the row that the parameters make.
    pub fn insert(&self, parameters: &[Parameter]) -> Written {
        let row = Slot::for_values(&self.table);
        let values = &self.writer.values;
        values.make(parameters, |_| true, |column, value| row.set(column, value));
        row.filled();
        Entering::check(&self.table, &row);
        // SAFETY: the slot holds a row of the table.
        unsafe {
            let relation = self.table.0;
            if let Some(insert) = (*(*relation).rd_tableam).tuple_insert {
                raw::guarded(|| {
                    let command = raw::GetCurrentCommandId(true);
                    insert(relation, row.0, command, 0, std::ptr::null_mut());
                });
            }
        }
        let written = Entering::into(&self.table).enter(&row, Entries::OfNewRow);
        values.forget();
        written
    }

    /// Makes anew what depends on a parameter that `changed`, in the row with a key; if nothing does, the row stays as it is.
    pub fn update(
        &self,
        key: &[Datum],
        parameters: &[Parameter],
        changed: impl Fn(usize) -> bool,
    ) -> Written {
        let snapshot = Newest::taken();
        let Some(old) = self.find(key, &snapshot) else {
            return Written::Absent;
        };
        let values = &self.writer.values;
        let is_wanted = |column| values.depends(column, &changed);
        if !(0..values.width()).any(is_wanted) {
            return Written::Done;
        }
        let row = Slot::for_values(&self.table);
        old.each(|column, value| row.set(column, value));
        values.make(parameters, is_wanted, |column, value| row.set(column, value));
        row.filled();
        Entering::check(&self.table, &row);
        let mut indexes = UpdateIndexes::default();
        let result = self.write(pg_sys::CmdType::CMD_UPDATE, |relation, command, failure| {
            let mut lock = 0;
            // SAFETY: both slots hold rows of the table; the old one's page stays pinned.
            unsafe {
                (*(*relation).rd_tableam).tuple_update.map(|update| {
                    update(
                        relation,
                        old.place(),
                        row.0,
                        command,
                        snapshot.0,
                        std::ptr::null_mut(),
                        true,
                        failure,
                        &mut lock,
                        &mut indexes,
                    )
                })
            }
        });
        let written = match (result, Entries::after_update(indexes)) {
            (Written::Done, Some(entries)) => Entering::into(&self.table).enter(&row, entries),
            (result, _) => result,
        };
        values.forget();
        written
    }

    /// Deletes the row with a key.
    pub fn delete(&self, key: &[Datum]) -> Written {
        let snapshot = Newest::taken();
        let Some(old) = self.find(key, &snapshot) else {
            return Written::Absent;
        };
        self.write(pg_sys::CmdType::CMD_DELETE, |relation, command, failure| {
            // SAFETY: the slot holds a row of the table.
            unsafe {
                (*(*relation).rd_tableam).tuple_delete.map(|delete| {
                    delete(
                        relation,
                        old.place(),
                        command,
                        snapshot.0,
                        std::ptr::null_mut(),
                        true,
                        failure,
                        false,
                    )
                })
            }
        })
    }

    /// Changes a row that is there, by a function of the table's access method.
    fn write(
        &self,
        kind: pg_sys::CmdType::Type,
        change: impl FnOnce(
            pg_sys::Relation,
            pg_sys::CommandId,
            *mut pg_sys::TM_FailureData,
        ) -> Option<pg_sys::TM_Result::Type>,
    ) -> Written {
        let relation = self.table.0;
        // What exactly came between is for the executor, which looks again.
        let mut failure = pg_sys::TM_FailureData::default();
        // SAFETY: the table is open. What was captured has nothing to drop.
        let result = unsafe {
            raw::guarded(|| {
                // A publication may want rows to be identifiable, and refuses.
                raw::CheckCmdReplicaIdentity(relation, kind);
                change(relation, raw::GetCurrentCommandId(true), &mut failure)
            })
        };
        match result {
            Some(pg_sys::TM_Result::TM_Ok) => Written::Done,
            _ => Written::Contended,
        }
    }

    /// The row with a key.
    fn find(&self, key: &[Datum], snapshot: &Newest) -> Option<Slot> {
        let mut conditions: Vec<pg_sys::ScanKeyData> = Vec::with_capacity(key.len());
        for (condition, place) in &self.writer.key.conditions {
            conditions.push(pg_sys::ScanKeyData {
                sk_argument: *key.get(*place)?,
                // What a function remembers goes with the scan: it would be lost in the writer's memory.
                sk_func: pg_sys::FmgrInfo {
                    // SAFETY: reads a variable of the backend.
                    fn_mcxt: unsafe { pg_sys::CurrentMemoryContext },
                    ..condition.sk_func
                },
                ..*condition
            });
        }
        let row = Slot::for_stored(&self.table);
        let (table, slot, snapshot) = (self.table.0, row.0, snapshot.0);
        let (keys, count) = (conditions.as_mut_ptr(), conditions.len() as i32);
        // SAFETY: the index is the table's, and the conditions are on its columns; the slot keeps its row's page after the scan.
        let found = unsafe {
            raw::guarded(|| {
                let index = raw::index_open(self.writer.key.index, WRITING);
                let scan = raw::index_beginscan(
                    table,
                    index,
                    snapshot,
                    #[cfg(feature = "pg18")]
                    std::ptr::null_mut(),
                    count,
                    0,
                );
                raw::index_rescan(scan, keys, count, std::ptr::null_mut(), 0);
                let found = raw::index_getnext_slot(scan, pg_sys::ScanDirection::ForwardScanDirection, slot);
                raw::index_endscan(scan);
                raw::index_close(index, KEEP_LOCK);
                found
            })
        };
        found.then_some(row)
    }
}

impl KeyIndex {
    /// # Safety
    /// The index is open, and the columns are its table's.
    unsafe fn of(
        index: pg_sys::Relation,
        columns: &[pg_sys::AttrNumber],
        memory: pg_sys::MemoryContext,
    ) -> Option<Self> {
        // SAFETY: an index has as many key columns, operator families, types and collations. What functions remember goes with
        // the row's memory.
        unsafe {
            let class = (*index).rd_index;
            let count = (*class).indnkeyatts as usize;
            let serves = (*class).indisunique
                && (*class).indisvalid
                && !(*class).indcheckxmin
                && count == columns.len();
            if !serves {
                return None;
            }
            let mut conditions = Vec::with_capacity(count);
            for n in 0..count {
                let number = *(*class).indkey.values.as_ptr().add(n);
                let place = columns.iter().position(|column| *column == number)?;
                let value_type = *(*index).rd_opcintype.add(n);
                let strategy = pg_sys::BTEqualStrategyNumber;
                let operator = pg_sys::get_opfamily_member(
                    *(*index).rd_opfamily.add(n),
                    value_type,
                    value_type,
                    strategy as pg_sys::int16,
                );
                let mut condition = pg_sys::ScanKeyData::default();
                let caller = pg_sys::CurrentMemoryContext;
                pg_sys::CurrentMemoryContext = memory;
                pg_sys::ScanKeyEntryInitialize(
                    &mut condition,
                    0,
                    n as pg_sys::AttrNumber + 1,
                    strategy as pg_sys::StrategyNumber,
                    value_type,
                    *(*index).rd_indcollation.add(n),
                    pg_sys::get_opcode(operator),
                    Datum::null(),
                );
                pg_sys::CurrentMemoryContext = caller;
                conditions.push((condition, place));
            }
            Some(Self {
                index: (*index).rd_id,
                conditions,
            })
        }
    }
}

/// Whether the executor would do nothing for its rows that a [`RowWriter`] does not.
///
/// # Safety
/// The relation is open.
unsafe fn is_plain(relation: pg_sys::Relation) -> bool {
    // SAFETY: per contract; constraints are null or a structure.
    unsafe {
        let class = (*relation).rd_rel;
        let constraints = (*(*relation).rd_att).constr;
        (*class).relkind.cast_unsigned() == pg_sys::RELKIND_RELATION
            && !(*class).relispartition
            && has_no_triggers((*relation).trigdesc)
            && (*relation).rd_rules.is_null()
            && (constraints.is_null() || ((*constraints).num_check == 0 && !is_generated(constraints)))
    }
}

/// Whether no trigger fires, in no session: a table that is in step has the triggers of its foreign keys, disabled.
///
/// # Safety
/// Triggers of an open relation, or null.
unsafe fn has_no_triggers(triggers: *const pg_sys::TriggerDesc) -> bool {
    // SAFETY: per contract; there are as many as counted.
    unsafe {
        triggers.is_null()
            || (0..(*triggers).numtriggers as usize)
                .all(|n| (*(*triggers).triggers.add(n)).tgenabled.cast_unsigned() == DISABLED)
    }
}

/// # Safety
/// Constraints of an open relation.
unsafe fn is_generated(constraints: *const pg_sys::TupleConstr) -> bool {
    // SAFETY: per contract.
    unsafe {
        #[cfg(feature = "pg18")]
        if (*constraints).has_generated_virtual {
            return true;
        }
        (*constraints).has_generated_stored
    }
}

/// Whether the current user owns the table, and has not taken the privileges of writing from itself.
///
/// # Safety
/// The relation is open.
unsafe fn is_the_users(relation: pg_sys::Relation) -> bool {
    let wanted = [
        pg_sys::ACL_SELECT,
        pg_sys::ACL_INSERT,
        pg_sys::ACL_UPDATE,
        pg_sys::ACL_DELETE,
    ];
    // SAFETY: per contract; catalog lookups.
    unsafe {
        let user = pg_sys::GetUserId();
        (*(*relation).rd_rel).relowner == user
            && wanted.iter().all(|privilege| {
                pg_sys::pg_class_aclcheck((*relation).rd_id, user, pg_sys::AclMode::from(*privilege))
                    == pg_sys::AclResult::ACLCHECK_OK
            })
    }
}

/// The support functions of an index, which somebody may have written in another language.
///
/// # Safety
/// The index is open.
unsafe fn functions(index: pg_sys::Relation) -> impl Iterator<Item = Oid> {
    // SAFETY: per contract; as many as the access method has, for each key column.
    unsafe {
        let count = usize::from((*(*index).rd_indam).amsupport) * (*(*index).rd_index).indnkeyatts as usize;
        (0..count)
            .map(move |n| *(*index).rd_support.add(n))
            .filter(|function| *function != Oid::INVALID)
    }
}

/// Whether an index is of a usual kind, has neither expressions nor a condition, and its constraint, if it is one, is of the
/// usual kind, too.
///
/// # Safety
/// The index is open.
unsafe fn is_of_columns(index: pg_sys::Relation) -> bool {
    // SAFETY: per contract; the tuple is one of pg_index.
    unsafe {
        let class = (*index).rd_index;
        // What others call, such as a range type's own function, can't be asked of the index.
        [pg_sys::BTREE_AM_OID, pg_sys::HASH_AM_OID].contains(&(*(*index).rd_rel).relam)
            && !(*class).indisexclusion
            && (*class).indimmediate
            && [pg_sys::Anum_pg_index_indexprs, pg_sys::Anum_pg_index_indpred]
                .iter()
                .all(|column| {
                    pg_sys::heap_attisnull((*index).rd_indextuple, *column as i32, std::ptr::null_mut())
                })
    }
}

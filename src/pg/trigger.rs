//! What a trigger function is told.

use super::call::Call;
use super::datum::{same_varlenas, varlena_bytes};
use super::list;
use super::transition::TransitionTable;
use pgrx::pg_sys;
use std::ffi::CStr;
use std::num::NonZeroUsize;

/// The kinds of change a trigger fires for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Insert,
    Update,
    Delete,
    Truncate,
}

/// A trigger's call.
pub struct Trigger {
    data: *mut pg_sys::TriggerData,
}

/// A row before or after the change.
pub struct TriggerRow {
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
}

impl Trigger {
    /// `None` when the function was called as an ordinary function.
    pub fn of(call: &Call<'_>) -> Option<Self> {
        // SAFETY: context is null or a node; a TriggerData node is what the trigger manager passes.
        unsafe {
            let context = (*call.fcinfo()).context;
            (!context.is_null() && (*context).type_ == pg_sys::NodeTag::T_TriggerData)
                .then_some(Self { data: context.cast() })
        }
    }

    pub fn event(&self) -> Event {
        // SAFETY: valid for the call.
        match unsafe { (*self.data).tg_event } & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_INSERT => Event::Insert,
            pg_sys::TRIGGER_EVENT_DELETE => Event::Delete,
            pg_sys::TRIGGER_EVENT_UPDATE => Event::Update,
            _ => Event::Truncate,
        }
    }

    /// The table that the trigger is on.
    pub fn relation(&self) -> pg_sys::Oid {
        // SAFETY: valid for the call.
        unsafe { (*(*self.data).tg_relation).rd_id }
    }

    /// Its name, for messages.
    pub fn relation_name(&self) -> String {
        // SAFETY: valid for the call; a name is terminated.
        let name = unsafe { CStr::from_ptr((*(*(*self.data).tg_relation).rd_rel).relname.data.as_ptr()) };
        name.to_string_lossy().into_owned()
    }

    /// The type of its rows.
    pub fn row_type(&self) -> pg_sys::Oid {
        // SAFETY: valid for the call.
        unsafe { (*(*(*self.data).tg_relation).rd_rel).reltype }
    }

    /// The function that was called.
    pub fn function(&self) -> pg_sys::Oid {
        // SAFETY: valid for the call.
        unsafe { (*(*self.data).tg_trigger).tgfoid }
    }

    /// The owner of that table.
    pub fn owner(&self) -> pg_sys::Oid {
        // SAFETY: valid for the call.
        unsafe { (*(*(*self.data).tg_relation).rd_rel).relowner }
    }

    /// Whether rows of the table change by none but the statements on it: it is no root of partitions, where another table's
    /// statements count, and no foreign key of its own updates or deletes them.
    pub fn changes_by_statements_only(&self) -> bool {
        // SAFETY: the relation is open and locked for the call. Its list is read at once, because every lookup can take in
        // an invalidation that replaces it.
        let keys: Vec<pg_sys::Oid> = unsafe {
            let relation = (*self.data).tg_relation;
            if (*(*relation).rd_rel).relkind.cast_unsigned() != pg_sys::RELKIND_RELATION {
                return false;
            }
            // Asked for each statement, and known since the first one that needed it.
            if (*relation).rd_fkeyvalid && (*relation).rd_fkeylist.is_null() {
                return true;
            }
            list::nodes::<pg_sys::ForeignKeyCacheInfo>(pg_sys::RelationGetFKeyList(relation))
                .map(|key| (*key).conoid)
                .collect()
        };
        !keys.into_iter().any(super::relation::foreign_key_acts)
    }

    /// Whether it fires once per row.
    pub fn is_for_row(&self) -> bool {
        // SAFETY: valid for the call.
        unsafe { (*self.data).tg_event & pg_sys::TRIGGER_EVENT_ROW != 0 }
    }

    /// The rows that a statement replaced or deleted, if the trigger declares them.
    pub fn old_table(&self) -> Option<TransitionTable> {
        // SAFETY: null or a tuplestore that is valid for the call; the descriptor is the table's.
        unsafe { TransitionTable::of((*self.data).tg_oldtable, (*(*self.data).tg_relation).rd_att) }
    }

    /// The rows that a statement made, if the trigger declares them.
    pub fn new_table(&self) -> Option<TransitionTable> {
        // SAFETY: as above.
        unsafe { TransitionTable::of((*self.data).tg_newtable, (*(*self.data).tg_relation).rd_att) }
    }

    /// A column of the table by its name.
    pub fn column(&self, name: &CStr) -> Option<Column> {
        // SAFETY: the descriptor is valid for the call; a number above 0 is that of a column.
        unsafe {
            let descriptor = (*(*self.data).tg_relation).rd_att;
            let number = usize::try_from(pg_sys::SPI_fnumber(descriptor, name.as_ptr())).ok()?;
            let attribute = super::tuple_attribute(descriptor, number.checked_sub(1)?);
            Some(Column {
                number,
                type_oid: (*attribute).atttypid,
            })
        }
    }

    /// The types of the table's columns by their numbers, from 1 on; a column that was dropped has none.
    pub fn column_types(&self) -> impl Iterator<Item = Option<pg_sys::Oid>> {
        // SAFETY: the descriptor is valid for the call, and has as many attributes.
        let attribute = |n| unsafe { &*super::tuple_attribute((*(*self.data).tg_relation).rd_att, n) };
        // SAFETY: as above.
        let count = unsafe { (*(*(*self.data).tg_relation).rd_att).natts };
        (0..count as usize)
            .map(attribute)
            .map(|attribute| (!attribute.attisdropped).then_some(attribute.atttypid))
    }

    /// For SPI, which makes the transition tables known to statements.
    pub(super) fn data(&self) -> *mut pg_sys::TriggerData {
        self.data
    }

    /// The row as it was (UPDATE, DELETE) or, for INSERT, as it will be.
    pub fn old_row(&self) -> TriggerRow {
        // SAFETY: row triggers only.
        self.row(unsafe { (*self.data).tg_trigtuple })
    }

    /// The row as it will be after an UPDATE.
    pub fn new_row(&self) -> TriggerRow {
        // SAFETY: UPDATE row triggers only.
        self.row(unsafe { (*self.data).tg_newtuple })
    }

    fn row(&self, tuple: pg_sys::HeapTuple) -> TriggerRow {
        assert!(!tuple.is_null(), "not a row trigger");
        TriggerRow {
            tuple,
            // SAFETY: valid for the call.
            descriptor: unsafe { (*(*self.data).tg_relation).rd_att },
        }
    }
}

/// A column of a trigger's table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub number: usize,
    pub type_oid: pg_sys::Oid,
}

/// What a DROP statement with CASCADE is about.
pub enum CascadingDrop {
    Extensions(Vec<String>),
    /// Everything that these roles own.
    Owned(Vec<pg_sys::Oid>),
}

/// An event trigger's call.
pub struct EventTrigger {
    data: *mut pg_sys::EventTriggerData,
}

impl EventTrigger {
    /// `None` when the function was called as an ordinary function.
    pub fn of(call: &Call<'_>) -> Option<Self> {
        // SAFETY: context is null or a node; an EventTriggerData node is what the event trigger manager passes.
        unsafe {
            let context = (*call.fcinfo()).context;
            (!context.is_null() && (*context).type_ == pg_sys::NodeTag::T_EventTriggerData)
                .then_some(Self { data: context.cast() })
        }
    }

    /// The statement's tree, if it is of this kind.
    pub(super) fn statement(&self, tag: pg_sys::NodeTag) -> Option<*mut pg_sys::Node> {
        // SAFETY: the statement's tree is valid for the call.
        unsafe {
            let statement = (*self.data).parsetree;
            ((*statement).type_ == tag).then_some(statement)
        }
    }

    /// The statement, if it is DROP EXTENSION or DROP OWNED with CASCADE. Without CASCADE PostgreSQL itself refuses to
    /// drop what something depends on.
    pub fn cascading_drop(&self) -> Option<CascadingDrop> {
        // SAFETY: the statement's tree is valid for the call; the tags tell which nodes these are, and the grammar what
        // their lists hold: DROP EXTENSION names as strings, DROP OWNED roles as RoleSpec.
        unsafe {
            let statement = (*self.data).parsetree;
            match (*statement).type_ {
                pg_sys::NodeTag::T_DropStmt => {
                    let statement = statement.cast::<pg_sys::DropStmt>();
                    let cascades = (*statement).behavior == pg_sys::DropBehavior::DROP_CASCADE
                        && (*statement).removeType == pg_sys::ObjectType::OBJECT_EXTENSION;
                    cascades.then(|| {
                        let names = list::nodes::<pg_sys::String>((*statement).objects);
                        let name = |name: *mut pg_sys::String| CStr::from_ptr((*name).sval).to_string_lossy();
                        CascadingDrop::Extensions(names.map(|node| name(node).into_owned()).collect())
                    })
                }
                pg_sys::NodeTag::T_DropOwnedStmt => {
                    let statement = statement.cast::<pg_sys::DropOwnedStmt>();
                    let cascades = (*statement).behavior == pg_sys::DropBehavior::DROP_CASCADE;
                    cascades.then(|| {
                        let roles = list::nodes::<pg_sys::RoleSpec>((*statement).roles);
                        // A role that does not exist is the statement's own error.
                        CascadingDrop::Owned(roles.map(|role| pg_sys::get_rolespec_oid(role, true)).collect())
                    })
                }
                _ => None,
            }
        }
    }
}

impl TriggerRow {
    /// What a BEFORE trigger returns to let the row pass as it is.
    pub fn pass(&self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.tuple)
    }

    /// The row as one value.
    pub fn composite(&self) -> pg_sys::Datum {
        // SAFETY: tuple and descriptor are valid while the trigger runs; the copy is in the current memory.
        unsafe { pg_sys::heap_copy_tuple_as_datum(self.tuple, self.descriptor) }
    }

    pub fn datum(&self, column: usize) -> Option<pg_sys::Datum> {
        let column = NonZeroUsize::new(column)?;
        // SAFETY: tuple and descriptor are valid while the trigger runs.
        unsafe { pgrx::htup::heap_getattr_raw(self.tuple, column, self.descriptor) }
    }

    pub fn is_null(&self, column: usize) -> bool {
        self.datum(column).is_none()
    }

    /// 0 for NULL.
    pub fn int4(&self, column: usize) -> i32 {
        self.datum(column).map_or(0, |datum| datum.value() as i32)
    }

    /// Invalid for NULL.
    pub fn oid(&self, column: usize) -> pg_sys::Oid {
        self.datum(column).map_or(
            pg_sys::InvalidOid,
            |datum| pg_sys::Oid::from(datum.value() as u32),
        )
    }

    pub fn text(&self, column: usize) -> String {
        let bytes = self.datum(column).map_or(&[][..], varlena_bytes);
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// Whether a column has the same stored bytes (or NULL) in both rows.
    pub fn same(&self, other: &TriggerRow, column: usize) -> bool {
        // SAFETY: the column exists; its values are of the descriptor's types.
        unsafe { same_datum(self.descriptor, column, self.datum(column), other.datum(column)) }
    }
}

/// Whether two values of a column (or NULLs) have the same bytes.
///
/// # Safety
/// The column exists in the descriptor, and the values are of its type.
pub(super) unsafe fn same_datum(
    descriptor: pg_sys::TupleDesc,
    column: usize,
    a: Option<pg_sys::Datum>,
    b: Option<pg_sys::Datum>,
) -> bool {
    // SAFETY: length and passing mode come from the descriptor.
    unsafe {
        let attribute = super::tuple_attribute(descriptor, column - 1);
        match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) if (*attribute).attbyval => a == b,
            // The same content may have headers of different size.
            (Some(a), Some(b)) if (*attribute).attlen == -1 => same_varlenas(a, b),
            (Some(a), Some(b)) if (*attribute).attlen == -2 => {
                let content = |datum: pg_sys::Datum| CStr::from_ptr(datum.cast_mut_ptr());
                content(a) == content(b)
            }
            (Some(a), Some(b)) => {
                let content = |datum: pg_sys::Datum| {
                    std::slice::from_raw_parts(datum.cast_mut_ptr::<u8>(), (*attribute).attlen as usize)
                };
                content(a) == content(b)
            }
            _ => false,
        }
    }
}

//! PostgreSQL's functions without pgrx's guard.
//!
//! pgrx guards each call into PostgreSQL, so that an error unwinds Rust before it goes on: it notes where to jump to and whose thread
//! this is, some fifty nanoseconds. That is nothing per statement, and a tenth of what dual write adds to an update of one row,
//! which makes seventy calls. So those on such ways are declared again, for two uses:
//!
//! - Several that belong together share one guard: [`guarded`].
//! - What can't raise, as it is called here, needs none. Whoever calls it so says why.

use pgrx::pg_sys::*;

/// Declares functions again, and checks against pgrx's declarations that they are the same in every version.
macro_rules! unguarded {
    ($($(#[$when:meta])* fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        #[allow(non_snake_case)]
        unsafe extern "C-unwind" {
            $($(#[$when])* pub fn $name($($argument: $type),*) $(-> $result)?;)*
        }
        $($(#[$when])* const _: unsafe fn($($type),*) $(-> $result)? = pgrx::pg_sys::$name;)*
    };
}

unguarded! {
    fn ActiveSnapshotSet() -> bool;
    fn CheckCmdReplicaIdentity(relation: Relation, command: CmdType::Type);
    fn ExecDropSingleTupleTableSlot(slot: *mut TupleTableSlot);
    fn ExecStoreVirtualTuple(slot: *mut TupleTableSlot) -> *mut TupleTableSlot;
    fn GetActiveSnapshot() -> Snapshot;
    fn GetCurrentCommandId(used: bool) -> CommandId;
    fn GetDatabaseEncoding() -> i32;
    fn GetLatestSnapshot() -> Snapshot;
    fn GetUserIdAndSecContext(user: *mut Oid, context: *mut i32);
    fn MakeSingleTupleTableSlot(descriptor: TupleDesc, kind: *const TupleTableSlotOps) -> *mut TupleTableSlot;
    fn MemoryContextAllocExtended(context: MemoryContext, size: Size, flags: i32) -> *mut core::ffi::c_void;
    fn MemoryContextReset(context: MemoryContext);
    fn PushActiveSnapshot(snapshot: Snapshot);
    fn SetUserIdAndSecContext(user: Oid, context: i32);
    fn index_close(index: Relation, lock: LOCKMODE);
    fn index_endscan(scan: IndexScanDesc);
    fn index_getnext_slot(scan: IndexScanDesc, direction: ScanDirection::Type, slot: *mut TupleTableSlot) -> bool;
    fn index_open(index: Oid, lock: LOCKMODE) -> Relation;
    fn index_rescan(scan: IndexScanDesc, keys: ScanKey, count: i32, orders: ScanKey, order_count: i32);
    fn pg_get_client_encoding() -> i32;
    fn palloc_extended(size: Size, flags: i32) -> *mut core::ffi::c_void;
    fn slot_getsomeattrs_int(slot: *mut TupleTableSlot, count: i32);
    fn table_slot_callbacks(table: Relation) -> *const TupleTableSlotOps;
    fn tuplestore_alloc_read_pointer(store: *mut Tuplestorestate, flags: i32) -> i32;
    fn tuplestore_gettupleslot(store: *mut Tuplestorestate, forward: bool, copy: bool, slot: *mut TupleTableSlot) -> bool;
    fn tuplestore_rescan(store: *mut Tuplestorestate);
    fn tuplestore_select_read_pointer(store: *mut Tuplestorestate, pointer: i32);
    fn tuplestore_tuple_count(store: *mut Tuplestorestate) -> int64;
    #[cfg(not(feature = "pg18"))]
    fn index_beginscan(table: Relation, index: Relation, snapshot: Snapshot, count: i32, order_count: i32) -> IndexScanDesc;
    #[cfg(feature = "pg18")]
    fn index_beginscan(table: Relation, index: Relation, snapshot: Snapshot, instrument: *mut IndexScanInstrumentation, count: i32, order_count: i32) -> IndexScanDesc;
}

/// Runs `body` under one guard: an error within it leaves it at once, and unwinds from here on.
///
/// # Safety
/// On its way nothing is dropped: what `body` makes has no destructor, and it calls nothing but functions of PostgreSQL.
#[inline(always)]
pub unsafe fn guarded<T: Copy, F: FnOnce() -> T>(body: F) -> T {
    const { assert!(!std::mem::needs_drop::<F>()) };
    // SAFETY: a backend has one thread; per contract.
    unsafe { ffi::pg_guard_ffi_boundary(body) }
}

//! Counters that tell a cache when to doubt itself.
//!
//! Three of them, all process-local: the *generation* changes when something that may be cached changed (one of our
//! tables, in this or another session; a role or membership; any rollback), the *shape* when a table or view whose
//! definition was used to write statements did, the *transaction* counter when a
//! transaction ends. They are atomics only because Rust wants statics to be shareable; a backend has one thread.

use foldhash::HashSet;
use pgrx::pg_sys;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

static GENERATION: AtomicU64 = AtomicU64::new(1);
static TRANSACTION: AtomicU64 = AtomicU64::new(1);
/// Tables whose change makes a new generation. More than we have.
static WATCHED: [AtomicU32; 8] = [const { AtomicU32::new(0) }; 8];

static SHAPE: AtomicU64 = AtomicU64::new(1);

/// What statements were written about.
#[derive(Default)]
struct Shapes {
    relations: HashSet<u32>,
    /// Of types the cache tells the hash value only.
    types: HashSet<u32>,
}

thread_local! {
    static SHAPES: RefCell<Shapes> = RefCell::default();
}

type SyscacheCallback = unsafe extern "C-unwind" fn(pg_sys::Datum, i32, u32);

/// Registers the callbacks; once, when the library is loaded.
pub fn install() {
    // SAFETY: the callbacks have the declared types, never raise, and live as long as the process.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::from(0usize));
        for cache in [
            pg_sys::SysCacheIdentifier::AUTHOID,
            pg_sys::SysCacheIdentifier::AUTHMEMROLEMEM,
        ] {
            pg_sys::CacheRegisterSyscacheCallback(
                cache as i32,
                Some(role_changed),
                pg_sys::Datum::from(0usize),
            );
        }
        for (cache, callback) in [
            (
                pg_sys::SysCacheIdentifier::TYPEOID,
                type_changed as SyscacheCallback,
            ),
            (pg_sys::SysCacheIdentifier::NAMESPACEOID, name_changed),
            (pg_sys::SysCacheIdentifier::OPEROID, name_changed),
        ] {
            pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(callback), pg_sys::Datum::from(0usize));
        }
        pg_sys::RegisterXactCallback(Some(transaction_event), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(subtransaction_event), std::ptr::null_mut());
    }
}

/// The current generation, after taking in what other sessions committed so far.
///
/// Statements without a new lock would otherwise not notice (`select encrypt_column(…)` in a loop of a function):
/// PostgreSQL reads invalidations when it locks a relation. With nothing pending this looks at one flag.
#[inline]
pub fn generation() -> u64 {
    // SAFETY: may be called wherever a relation may be opened, so in any SQL function.
    unsafe { pg_sys::AcceptInvalidationMessages() };
    GENERATION.load(Relaxed)
}

/// The current generation as far as this session has heard: what it changed itself, and what others had committed when
/// it last locked a relation or asked for [`generation`].
#[inline]
pub fn generation_heard_of() -> u64 {
    GENERATION.load(Relaxed)
}

/// Changes with each change of a relation of [`watch_shape`], its privileges included, of its types, of roles, schemas and
/// operators. Rollbacks are among them: what was changed changes back.
pub fn shape() -> u64 {
    // SAFETY: as above.
    unsafe { pg_sys::AcceptInvalidationMessages() };
    SHAPE.load(Relaxed)
}

/// Makes changes of a relation and of types change the shape. Whether the relation was not watched before: then what was read
/// of it may have changed since, unheard.
pub fn watch_shape(relation: pg_sys::Oid, types: impl Iterator<Item = pg_sys::Oid>) -> bool {
    // SAFETY: computes a number; the cache has one key.
    let hash = |oid| unsafe {
        let cache = pg_sys::SysCacheIdentifier::TYPEOID as i32;
        let none = pg_sys::Datum::from(0usize);
        pg_sys::GetSysCacheHashValue(cache, pg_sys::Datum::from(oid), none, none, none)
    };
    // Before they are borrowed: the first use of a cache may take in invalidations.
    let types: Vec<u32> = types.map(hash).collect();
    SHAPES.with_borrow_mut(|shapes| {
        shapes.types.extend(types);
        shapes.relations.insert(relation.to_u32())
    })
}

/// The serial number of the running transaction in this process.
#[inline]
pub fn transaction() -> u64 {
    TRANSACTION.load(Relaxed)
}

/// What was found out in one generation; forgotten as soon as it is asked for in another.
#[derive(Default)]
pub struct InGeneration<T> {
    generation: u64,
    found: T,
}

impl<T: Default> InGeneration<T> {
    #[inline]
    pub fn of(&mut self, generation: u64) -> &mut T {
        if self.generation != generation {
            *self = Self {
                generation,
                found: T::default(),
            };
        }
        &mut self.found
    }
}

/// Starts a new generation: everything cached must be looked up again.
pub fn bump() {
    GENERATION.fetch_add(1, Relaxed);
}

/// Makes changes of `relation` start a new generation.
pub fn watch(relation: pg_sys::Oid) {
    let oid = relation.to_u32();
    if WATCHED.iter().any(|watched| watched.load(Relaxed) == oid) {
        return;
    }
    match WATCHED.iter().find(|watched| watched.load(Relaxed) == 0) {
        Some(free) => free.store(oid, Relaxed),
        // After many DROP EXTENSION and CREATE EXTENSION in one session: forget the oldest tables.
        None => {
            for watched in &WATCHED {
                watched.store(0, Relaxed);
            }
            WATCHED[0].store(oid, Relaxed);
            bump();
        }
    }
}

/// Tells every session, this one included, that `relation` changed; others see it when we commit.
pub fn announce_change(relation: pg_sys::Oid) {
    // SAFETY: called by triggers on that relation, so it exists.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) }
}

unsafe extern "C-unwind" fn relation_changed(_: pg_sys::Datum, relation: pg_sys::Oid) {
    let oid = relation.to_u32();
    // 0 means: anything may have changed (the queue overflowed).
    if oid == 0 || WATCHED.iter().any(|watched| watched.load(Relaxed) == oid) {
        bump();
        // Literals in statements that the session has prepared, those of PL/pgSQL included, became values of encrypted types when
        // they were parsed. A statement that is parsed again makes them anew; else it would go on storing values under the
        // key version of that time, after that was retired, too.
        // SAFETY: marks what is cached, and nothing else; PostgreSQL's own callbacks call it.
        unsafe { pg_sys::ResetPlanCache() };
    }
    shape_changed(|shapes| oid == 0 || shapes.relations.contains(&oid));
}

unsafe extern "C-unwind" fn role_changed(_: pg_sys::Datum, _: i32, _: u32) {
    bump();
    shape_changed(|_| true);
}

unsafe extern "C-unwind" fn type_changed(_: pg_sys::Datum, _: i32, hash: u32) {
    shape_changed(|shapes| hash == 0 || shapes.types.contains(&hash));
}

unsafe extern "C-unwind" fn name_changed(_: pg_sys::Datum, _: i32, _: u32) {
    shape_changed(|_| true);
}

fn shape_changed(is_about: impl Fn(&Shapes) -> bool) {
    // Never borrowed here, as nothing of PostgreSQL's runs while it is; and to doubt does no harm.
    let unchanged = SHAPES.try_with(|shapes| shapes.try_borrow().is_ok_and(|shapes| !is_about(&shapes)));
    if unchanged != Ok(true) {
        SHAPE.fetch_add(1, Relaxed);
    }
}

unsafe extern "C-unwind" fn transaction_event(event: pg_sys::XactEvent::Type, _: *mut core::ffi::c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_COMMIT | XACT_EVENT_PARALLEL_COMMIT | XACT_EVENT_PREPARE => {
            TRANSACTION.fetch_add(1, Relaxed);
        }
        XACT_EVENT_ABORT | XACT_EVENT_PARALLEL_ABORT => {
            TRANSACTION.fetch_add(1, Relaxed);
            bump();
        }
        _ => {}
    }
}

unsafe extern "C-unwind" fn subtransaction_event(
    event: pg_sys::SubXactEvent::Type,
    _: pg_sys::SubTransactionId,
    _: pg_sys::SubTransactionId,
    _: *mut core::ffi::c_void,
) {
    // A row that the subtransaction wrote and that we cached is gone.
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        bump();
    }
}

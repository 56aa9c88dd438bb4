//! Sorting by something that is expensive to get from a value.
//!
//! A comparison sort asks for the same value's sort key many times. So keys are kept, the newest of them, in as much
//! memory as `work_mem` allows, found again by an identity that every stored value has.
//!
//! Not as PostgreSQL's abbreviated keys, though they are made for values that are dear to compare: ordered aggregates
//! take values whose abbreviations differ for distinct, so an abbreviation may depend on the plaintext only and has eight
//! bytes, which tell little of an address.

pub mod prefix;
mod ring;

use super::scratch::with_scratch;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pg_sys::{self, Datum, Oid};
use ring::{Place, Ring};
use std::cmp::Ordering;

/// What tells one stored value from all others: the nonce it was encrypted with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub epoch: [u8; 16],
    pub counter: u16,
}

/// How a type sorts.
pub trait Sorting: Copy + 'static {
    type Error: Into<ErrorReport>;

    /// Type of the sort keys.
    fn key_type(&self) -> Oid;

    /// Whether two values are equal as far as can be told without their keys.
    fn is_same(&self, a: Datum, b: Datum) -> Result<bool, Self::Error>;

    /// The order of two values that are not the same, but whose keys are equal.
    fn order_of_equal_keys(&self, a: Datum, b: Datum) -> Result<Ordering, Self::Error>;

    /// What the key of a value is kept under.
    fn identity(&self, value: Datum) -> Result<Identity, Self::Error>;

    /// The sort key of a value, in the current memory context.
    fn key(&mut self, value: Datum) -> Result<Datum, Self::Error>;
}

/// What a sort keeps in `ssup_extra`. Freed with the sort's memory, so nothing in it may need dropping.
struct State<S> {
    sorting: S,
    /// Compares keys.
    keys: pg_sys::SortSupportData,
    /// Length of keys that are passed by reference, -1 for varlenas; `None` for keys that are passed by value.
    length: Option<i16>,
    context: pg_sys::MemoryContext,
    /// One slot per hash of an identity; the newest value has it.
    slots: *mut Slot,
    slot_count: usize,
    /// Slots that were taken since the table got its size; it grows when half of it is.
    taken: usize,
    most_slots: usize,
    ring: Ring,
}

/// Slots of a new table: enough for a page of rows, few enough to cost nothing in a small sort.
const FIRST_SLOTS: usize = 1024;

/// A kept key: the datum itself if it is passed by value, else its place in the ring.
#[derive(Clone, Copy)]
struct Slot {
    identity: Option<Identity>,
    key: u64,
}

/// Sets a sort up; what a btree class's sort support function does with its argument.
pub fn set_up<S: Sorting>(argument: Datum, sorting: S) {
    const { assert!(!std::mem::needs_drop::<State<S>>()) };
    let ssup: pg_sys::SortSupport = argument.cast_mut_ptr();
    // SAFETY: sort support functions get a SortSupport; everything allocated lives as long as the sort.
    unsafe {
        let context = (*ssup).ssup_cxt;
        let entry = pg_sys::lookup_type_cache(sorting.key_type(), pg_sys::TYPECACHE_LT_OPR as i32);
        let mut keys = pg_sys::SortSupportData {
            ssup_cxt: context,
            ssup_collation: (*ssup).ssup_collation,
            ..pg_sys::SortSupportData::default()
        };
        pg_sys::PrepareSortSupportFromOrderingOp((*entry).lt_opr, &mut keys);
        let by_value = pg_sys::get_typbyval(sorting.key_type());
        // Half for the slots, half for the keys.
        let half = usize::try_from(pg_sys::work_mem).unwrap_or(64).min(1 << 19) * 512;

        let place = pg_sys::MemoryContextAlloc(context, std::mem::size_of::<State<S>>());
        place.cast::<State<S>>().write(State {
            sorting,
            keys,
            length: (!by_value).then(|| pg_sys::get_typlen(sorting.key_type())),
            context,
            slots: std::ptr::null_mut(),
            slot_count: 0,
            taken: 0,
            most_slots: (half / std::mem::size_of::<Slot>()).max(FIRST_SLOTS),
            ring: Ring::new(context, half),
        });
        (*ssup).ssup_extra = place;
        (*ssup).comparator = Some(compare::<S>);
    }
}

/// Runs `body`; its error becomes PostgreSQL's.
///
/// # Safety
/// As for every function that PostgreSQL calls: nothing below it may be left half done by an error.
unsafe fn guarded<T: Copy, E: Into<ErrorReport>>(body: impl FnOnce() -> Result<T, E>) -> T {
    // SAFETY: the guard keeps panics from crossing into C.
    unsafe {
        pg_sys::panic::pgrx_extern_c_guard(|| match body() {
            Ok(result) => result,
            Err(error) => {
                let report: ErrorReport = error.into();
                report.report(pgrx::PgLogLevel::ERROR);
                unreachable!("ERROR does not return")
            }
        })
    }
}

/// Called by the sort for each comparison.
unsafe extern "C-unwind" fn compare<S: Sorting>(a: Datum, b: Datum, ssup: pg_sys::SortSupport) -> i32 {
    // SAFETY: `set_up` put a state for `S` there.
    unsafe { guarded(|| (*(*ssup).ssup_extra.cast::<State<S>>()).order(a, b)) as i32 }
}

impl<S: Sorting> State<S> {
    fn order(&mut self, a: Datum, b: Datum) -> Result<Ordering, S::Error> {
        if self.sorting.is_same(a, b)? {
            return Ok(Ordering::Equal);
        }
        match self.order_by_key(a, b)? {
            Ordering::Equal => self.sorting.order_of_equal_keys(a, b),
            order => Ok(order),
        }
    }

    fn order_by_key(&mut self, a: Datum, b: Datum) -> Result<Ordering, S::Error> {
        let (of_a, of_b) = (self.sorting.identity(a)?, self.sorting.identity(b)?);
        if let (Some(a), Some(b)) = (self.kept(of_a), self.kept(of_b)) {
            return Ok(self.order_of_keys(a, b));
        }
        with_scratch(|| {
            // Made keys are in the scratch context, where keeping another key can't push them out.
            let made_a = self.made(a, of_a)?;
            let made_b = self.made(b, of_b)?;
            let key_a = match made_a.or_else(|| self.kept(of_a)) {
                Some(key) => key,
                None => self.sorting.key(a)?,
            };
            let key_b = match made_b.or_else(|| self.kept(of_b)) {
                Some(key) => key,
                None => self.sorting.key(b)?,
            };
            Ok(self.order_of_keys(key_a, key_b))
        })
    }

    /// Makes and keeps a key that is not kept.
    fn made(&mut self, value: Datum, identity: Identity) -> Result<Option<Datum>, S::Error> {
        match self.kept(identity) {
            Some(_) => Ok(None),
            None => {
                let key = self.sorting.key(value)?;
                self.keep(identity, key);
                Ok(Some(key))
            }
        }
    }

    fn order_of_keys(&mut self, a: Datum, b: Datum) -> Ordering {
        match self.keys.comparator {
            // SAFETY: the comparator of the keys' type, prepared in `set_up`; called through the guard, since it is
            // a function pointer that pgrx does not wrap.
            Some(compare) => unsafe {
                let keys = &mut self.keys;
                pg_sys::ffi::pg_guard_ffi_boundary(|| compare(a, b, keys)).cmp(&0)
            },
            None => Ordering::Equal,
        }
    }

    /// The key of a value, if it is kept.
    fn kept(&self, identity: Identity) -> Option<Datum> {
        if self.slot_count == 0 {
            return None;
        }
        // SAFETY: a slot of the table.
        let slot = unsafe { &*self.slots.add(position(identity, self.slot_count)) };
        if slot.identity != Some(identity) {
            return None;
        }
        match self.length {
            None => Some(Datum::from(slot.key)),
            Some(_) => self.ring.get(Place::from(slot.key)),
        }
    }

    fn keep(&mut self, identity: Identity, key: Datum) {
        if self.taken * 2 >= self.slot_count && self.slot_count < self.most_slots {
            self.grow();
        }
        let key = match self.length {
            None => key.value() as u64,
            Some(length) => self.ring.put(key, length).into(),
        };
        self.taken += 1;
        // SAFETY: a slot of the table, which has grown to at least its first size.
        unsafe {
            self.slots.add(position(identity, self.slot_count)).write(Slot {
                identity: Some(identity),
                key,
            })
        }
    }

    /// Makes the table four times as large.
    fn grow(&mut self) {
        let count = (self.slot_count * 4).clamp(FIRST_SLOTS, self.most_slots);
        // SAFETY: both tables have as many slots as is said; the old one is freed once all is moved.
        unsafe {
            let size = count * std::mem::size_of::<Slot>();
            let slots: *mut Slot = pg_sys::MemoryContextAllocHuge(self.context, size).cast();
            for n in 0..count {
                slots.add(n).write(Slot {
                    identity: None,
                    key: 0,
                });
            }
            for n in 0..self.slot_count {
                let slot = *self.slots.add(n);
                if let Some(identity) = slot.identity {
                    slots.add(position(identity, count)).write(slot);
                }
            }
            if !self.slots.is_null() {
                pg_sys::pfree(self.slots.cast());
            }
            self.slots = slots;
            self.slot_count = count;
        }
    }
}

/// The slot that a value may have. Epochs are random, and values loaded together share one: neighbours go to
/// neighbouring slots.
fn position(identity: Identity, slots: usize) -> usize {
    let epoch = identity
        .epoch
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes));
    (epoch.wrapping_add(identity.counter.into()) % slots as u64) as usize
}

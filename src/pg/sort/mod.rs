//! Sorting by something that is expensive to get from a value.
//!
//! A comparison sort asks for the same value's sort key many times. So keys are kept, the newest of them, in as much
//! memory as `work_mem` allows, found again by an identity that every stored value has.
//!
//! Not as PostgreSQL's abbreviated keys, though they are made for values that are dear to compare: ordered aggregates
//! take values whose abbreviations differ for distinct, so an abbreviation may depend on the plaintext only and has eight
//! bytes, which tell little of an address.

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
    ring: Ring,
}

/// A kept key: the datum itself if it is passed by value, else its place in the ring.
#[derive(Clone, Copy)]
struct Slot {
    identity: Option<Identity>,
    key: u64,
}

/// A key that is about to be compared.
#[derive(Clone, Copy)]
struct Key {
    datum: Datum,
    /// Where it is in the ring, from where another key may push it out.
    place: Option<Place>,
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
            slot_count: half / std::mem::size_of::<Slot>(),
            ring: Ring::new(context, half),
        });
        (*ssup).ssup_extra = place;
        (*ssup).comparator = Some(compare::<S>);
    }
}

/// Called by the sort for each comparison.
unsafe extern "C-unwind" fn compare<S: Sorting>(a: Datum, b: Datum, ssup: pg_sys::SortSupport) -> i32 {
    // SAFETY: `set_up` put a state for `S` there; the guard keeps panics from crossing into C.
    unsafe {
        pg_sys::panic::pgrx_extern_c_guard(|| {
            let state: &mut State<S> = &mut *(*ssup).ssup_extra.cast();
            match with_scratch(|| state.order(a, b)) {
                Ok(order) => order as i32,
                Err(error) => {
                    let report: ErrorReport = error.into();
                    report.report(pgrx::PgLogLevel::ERROR);
                    unreachable!("ERROR does not return")
                }
            }
        })
    }
}

impl<S: Sorting> State<S> {
    fn order(&mut self, a: Datum, b: Datum) -> Result<Ordering, S::Error> {
        if self.sorting.is_same(a, b)? {
            return Ok(Ordering::Equal);
        }
        let mut key_a = self.key(a)?;
        let key_b = self.key(b)?;
        if key_a.place.is_some_and(|place| self.ring.get(place).is_none()) {
            // The second key took the first one's place.
            key_a = Key {
                datum: self.sorting.key(a)?,
                place: None,
            };
        }
        Ok(self.order_of_keys(key_a.datum, key_b.datum))
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

    fn key(&mut self, value: Datum) -> Result<Key, S::Error> {
        let identity = self.sorting.identity(value)?;
        let slot = self.slot(identity);
        // SAFETY: a slot of the table, which was zeroed when it was made: no identity.
        let kept = unsafe { *slot };
        if kept.identity == Some(identity) {
            match self.length {
                None => {
                    return Ok(Key {
                        datum: Datum::from(kept.key),
                        place: None,
                    });
                }
                Some(_) => {
                    let place = Place::from(kept.key);
                    if let Some(datum) = self.ring.get(place) {
                        return Ok(Key {
                            datum,
                            place: Some(place),
                        });
                    }
                }
            }
        }
        let datum = self.sorting.key(value)?;
        let key = match self.length {
            None => datum.value() as u64,
            Some(length) => self.ring.put(datum, length).into(),
        };
        // SAFETY: as above. What is returned is the key in the scratch context, which nothing can push out.
        unsafe {
            slot.write(Slot {
                identity: Some(identity),
                key,
            })
        };
        Ok(Key { datum, place: None })
    }

    /// The slot that a value may have.
    fn slot(&mut self, identity: Identity) -> *mut Slot {
        // SAFETY: the table has `slot_count` slots; all bytes zero is a slot without identity.
        unsafe {
            if self.slots.is_null() {
                let size = self.slot_count * std::mem::size_of::<Slot>();
                self.slots = pg_sys::MemoryContextAllocZero(self.context, size).cast();
                for n in 0..self.slot_count {
                    self.slots.add(n).write(Slot {
                        identity: None,
                        key: 0,
                    });
                }
            }
            // Epochs are random, and values loaded together share one: neighbours go to neighbouring slots.
            let epoch = identity
                .epoch
                .first_chunk()
                .map_or(0, |bytes| u64::from_le_bytes(*bytes));
            let hash = epoch.wrapping_add(identity.counter.into());
            self.slots.add((hash % self.slot_count as u64) as usize)
        }
    }
}

//! Work on behalf of nobody: rows are moved and triggers encrypt for writers who may not use the key themselves.
//!
//! While a [`Deputy`] lives, the role that it was made for may use one key as if it were granted. The keyring remembers
//! answers per role, so a deputy asks under a number that no role has, one per key and role: what it was told never
//! serves anybody else.
//!
//! **Who gains by it.** Statements that run under a deputy are made by the extension, from catalog names. The code of
//! others that they can reach (checks, index expressions, triggers that are always enabled) belongs to the owner of the
//! table, and runs as that owner. In a migration that owner can read the plaintext itself until it ends. In a rotation it
//! can't, and must not learn to: there a deputy only moves values and makes tokens of them ([`Scope::Moving`]), and
//! functions that show plaintext know nothing of it. A function of another role that such code calls runs as that role,
//! for whom there is no deputy.

use crate::pg::acl;
use pgrx::pg_sys::Oid;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

struct Appointment {
    key_name: Vec<u8>,
    role: Oid,
    scope: Scope,
}

/// What a deputy may do with its key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything that can be granted.
    Everything,
    /// Values from one version of the key to another, and their tokens. No plaintext comes out, and none goes in.
    Moving,
}

#[derive(Default)]
struct Appointments {
    /// Every appointment of this session; its place is its number.
    known: Vec<Appointment>,
    /// Those that are alive, the innermost last.
    alive: Vec<usize>,
}

thread_local! {
    static APPOINTMENTS: RefCell<Appointments> = RefCell::default();
}

/// Whether there is a deputy, for those who ask per value: seldom there is. An atomic only because Rust wants statics to be
/// shareable.
static ANY_ALIVE: AtomicBool = AtomicBool::new(false);

/// Lets a role use a key while it lives.
pub struct Deputy(());

impl Deputy {
    /// Appoints `role` to use the key named `key_name`.
    pub fn appoint(key_name: &[u8], role: Oid, scope: Scope) -> Self {
        APPOINTMENTS.with_borrow_mut(|appointments| {
            let known = &mut appointments.known;
            let is_it = |other: &Appointment| {
                (other.role, other.scope) == (role, scope) && other.key_name == key_name
            };
            let number = known.iter().position(is_it).unwrap_or_else(|| {
                known.push(Appointment {
                    key_name: key_name.to_vec(),
                    role,
                    scope,
                });
                known.len() - 1
            });
            appointments.alive.push(number);
        });
        ANY_ALIVE.store(true, Relaxed);
        Self(())
    }
}

impl Drop for Deputy {
    /// After an error too, which unwinds.
    fn drop(&mut self) {
        let any = APPOINTMENTS.with_borrow_mut(|appointments| {
            appointments.alive.pop();
            !appointments.alive.is_empty()
        });
        ANY_ALIVE.store(any, Relaxed);
    }
}

/// The number under which the current role asks in a function of some scope: its own, or that of its deputy.
#[inline]
pub(super) fn asking_role(scope: Scope) -> Oid {
    let role = acl::current_user();
    if !ANY_ALIVE.load(Relaxed) {
        return role;
    }
    APPOINTMENTS.with_borrow(|appointments| match appointments.alive.last() {
        None => role,
        Some(number) => match appointments.known.get(*number) {
            Some(appointment)
                if appointment.role == role
                    && (appointment.scope == Scope::Everything || scope == Scope::Moving) =>
            {
                number_of(*number)
            }
            _ => role,
        },
    })
}

/// Whether `asking` is a deputy for this key; and the role behind it, whose own grants count for all other keys.
pub(super) fn look_behind(asking: Oid, key_name: &[u8]) -> Result<(), Oid> {
    APPOINTMENTS.with_borrow(|appointments| {
        let behind = appointments
            .known
            .iter()
            .enumerate()
            .find(|(number, _)| number_of(*number) == asking);
        match behind {
            Some((_, appointment)) if appointment.key_name == key_name => Ok(()),
            Some((_, appointment)) => Err(appointment.role),
            None => Err(asking),
        }
    })
}

/// Counted down from the last OID, which PostgreSQL's counter reaches last.
fn number_of(appointment: usize) -> Oid {
    Oid::from(u32::MAX - appointment as u32)
}

//! Work on behalf of nobody: rows are moved and triggers encrypt for writers who may not use the key themselves.
//!
//! While a [`Deputy`] lives, the role that it was made for may use one key as if it were granted. The keyring remembers
//! answers per role, so a deputy asks under a number that no role has, one per key and role: what it was told never
//! serves anybody else.
//!
//! **Who gains by it.** Statements that run under a deputy are made by the extension, from catalog names. The code of
//! others that they can reach (checks, index expressions, domains) belongs to the owner of the table that the key
//! protects, who before the end of a migration can read the plaintext itself, and it runs as that owner. A function of
//! another role that it calls runs as that role, for whom there is no deputy.

use crate::pg::acl;
use pgrx::pg_sys::Oid;
use std::cell::RefCell;

#[derive(Clone, PartialEq, Eq)]
struct Appointment {
    key_name: Vec<u8>,
    role: Oid,
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

/// Lets a role use a key while it lives.
pub struct Deputy(());

impl Deputy {
    /// Appoints `role` to use the key named `key_name`.
    pub fn appoint(key_name: &[u8], role: Oid) -> Self {
        let appointment = Appointment {
            key_name: key_name.to_vec(),
            role,
        };
        APPOINTMENTS.with_borrow_mut(|appointments| {
            let known = &mut appointments.known;
            let number = known.iter().position(|other| *other == appointment);
            let number = number.unwrap_or_else(|| {
                known.push(appointment);
                known.len() - 1
            });
            appointments.alive.push(number);
        });
        Self(())
    }
}

impl Drop for Deputy {
    /// After an error too, which unwinds.
    fn drop(&mut self) {
        APPOINTMENTS.with_borrow_mut(|appointments| appointments.alive.pop());
    }
}

/// The number under which the current role asks: its own, or that of its deputy.
#[inline]
pub(super) fn asking_role() -> Oid {
    let role = acl::current_user();
    APPOINTMENTS.with_borrow(|appointments| match appointments.alive.last() {
        None => role,
        Some(number) => match appointments.known.get(*number) {
            Some(appointment) if appointment.role == role => number_of(*number),
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

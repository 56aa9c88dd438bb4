//! Whether output shows plaintext to a role.

use super::domain::Domain;
use crate::catalog::grants::Privilege;
use crate::error::Error;
use crate::guc::{self, Reveal};
use crate::keyring::{self, Now};
use crate::pg::server;
use pgrx::pg_sys::Oid;

/// What a call site remembers: the answer for one domain, role and setting.
#[derive(Default)]
pub struct Revealing {
    asked: Option<(Oid, Now, Reveal)>,
    revealed: bool,
}

/// Whether the current role sees plaintexts of the domain in output. Where not, output is the stored value in hex,
/// which written back stays what it is.
#[inline]
pub fn is_revealed(site: &mut Revealing, now: Now, domain: &Domain) -> Result<bool, Error> {
    let asked = (domain.type_oid, now, guc::reveal());
    if site.asked != Some(asked) {
        let revealed = ask(domain, now.role(), asked.2)?;
        *site = Revealing {
            asked: Some(asked),
            revealed,
        };
    }
    Ok(site.revealed)
}

fn ask(domain: &Domain, role: Oid, reveal: Reveal) -> Result<bool, Error> {
    match reveal {
        Reveal::Off => Ok(false),
        Reveal::On => keyring::has_privilege(role, domain.key_name(), Privilege::Decrypt),
        // Copies of the database stay encrypted: logical replication and dumps, whoever makes them, and whatever a
        // superuser does who was never meant to read the data.
        Reveal::Auto if server::is_walsender() || is_dump() => Ok(false),
        Reveal::Auto => keyring::has_own_privilege(role, domain.key_name(), Privilege::Decrypt),
    }
}

/// pg_dump and pg_dumpall call themselves so unless told otherwise; a superuser without a grant is covered either way.
fn is_dump() -> bool {
    matches!(server::application_name().to_bytes(), b"pg_dump" | b"pg_dumpall")
}

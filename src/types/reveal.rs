//! Whether output shows plaintext to a role.

use super::domain::Domain;
use crate::catalog::grants::Privilege;
use crate::error::Error;
use crate::guc::{self, Reveal};
use crate::keyring::{self, Now};
use crate::pg::inval::InGeneration;
use crate::pg::server;
use foldhash::HashMap;
use pgrx::pg_sys::Oid;
use std::cell::RefCell;

/// What a call site remembers: the answer for one domain, role and setting.
#[derive(Clone, Copy, Default)]
pub struct Revealing {
    asked: Option<(Oid, Now, Reveal)>,
    revealed: bool,
}

/// Whether the current role sees plaintexts of the domain in output. Where not, output is the stored value in hex,
/// which written back stays what it is.
#[inline(always)]
pub fn is_revealed(site: &mut Revealing, now: Now, domain: &Domain) -> Result<bool, Error> {
    let reveal = guc::reveal();
    if site.asked != Some((domain.type_oid, now, reveal)) {
        find_out(site, now, domain, reveal)?;
    }
    Ok(site.revealed)
}

#[inline(never)]
fn find_out(site: &mut Revealing, now: Now, domain: &Domain, reveal: Reveal) -> Result<(), Error> {
    *site = Revealing {
        revealed: ask(domain, now, reveal)?,
        asked: Some((domain.type_oid, now, reveal)),
    };
    Ok(())
}

/// Answers by type, role and whether it asks for itself: a lookup of one row asks each time it is executed.
type Answers = HashMap<(Oid, Oid, bool), bool>;

thread_local! {
    static KNOWN: RefCell<InGeneration<Answers>> = RefCell::default();
}

fn ask(domain: &Domain, now: Now, reveal: Reveal) -> Result<bool, Error> {
    match reveal {
        Reveal::Off => Ok(false),
        Reveal::On => may_decrypt(domain, now, false),
        // Copies of the database stay encrypted: logical replication and dumps, whoever makes them, and whatever a
        // superuser does who was never meant to read the data.
        Reveal::Auto if server::is_replicating() || is_dump() => Ok(false),
        Reveal::Auto => may_decrypt(domain, now, true),
    }
}

/// Whether the role may decrypt; `own`: by more than being a superuser.
fn may_decrypt(domain: &Domain, now: Now, own: bool) -> Result<bool, Error> {
    let question = (domain.type_oid, now.role(), own);
    let known = KNOWN.with_borrow_mut(|known| known.of(now.generation()).get(&question).copied());
    if let Some(answer) = known {
        return Ok(answer);
    }
    let ask = match own {
        true => keyring::has_own_privilege,
        false => keyring::has_privilege,
    };
    let answer = ask(now.role(), domain.key_name(), Privilege::Decrypt)?;
    KNOWN.with_borrow_mut(|known| known.of(now.generation()).insert(question, answer));
    Ok(answer)
}

/// pg_dump and pg_dumpall call themselves so unless told otherwise; a superuser without a grant is covered either way.
fn is_dump() -> bool {
    matches!(server::application_name().to_bytes(), b"pg_dump" | b"pg_dumpall")
}

//! Triggers on our own tables.

use crate::catalog::keys::column;
use crate::error::Error;
use crate::pg::trigger::{Event, Trigger, TriggerRow};
use crate::pg::{inval, typeio};
use crate::sql_function;
use pg_encrypt_core::lifecycle::KeyState;
use pgrx::pg_sys::Datum;

sql_function! {
    /// Before a change of `encrypt.keys`: lets the life cycle happen and nothing else.
    fn guard_key(call) {
        let trigger = Trigger::of(call).ok_or(Error::NotATrigger)?;
        match trigger.event() {
            Event::Update => {
                let (old, new) = (trigger.old_row(), trigger.new_row());
                check_key_update(&old, &new)?;
                Ok(Some(new.pass()))
            }
            Event::Delete | Event::Truncate => Err(Error::KeyUndeletable),
            Event::Insert => Ok(Some(trigger.old_row().pass())),
        }
    }
}

/// Column of `encrypt.types`.
const TYPE_OID: usize = 3;

sql_function! {
    /// Before a change of `encrypt.types`: a type never becomes another one, nor is it forgotten while it exists.
    fn guard_type(call) {
        let trigger = Trigger::of(call).ok_or(Error::NotATrigger)?;
        let row = trigger.old_row();
        // The row of a type that was dropped goes; no other, or the type's values could never be read again.
        match trigger.event() == Event::Delete && !typeio::exists(row.oid(TYPE_OID)) {
            true => Ok(Some(row.pass())),
            false => Err(Error::TypeImmutable { type_ref: row.int4(1) }),
        }
    }
}

sql_function! {
    /// After a change of keys or grants: makes every session look again.
    fn announce_change(call) {
        let trigger = Trigger::of(call).ok_or(Error::NotATrigger)?;
        inval::announce_change(trigger.relation());
        Ok(Some(Datum::from(0usize)))
    }
}

fn check_key_update(old: &TriggerRow, new: &TriggerRow) -> Result<(), Error> {
    let key_id = old.int4(column::KEY_ID);

    let fixed = [
        column::KEY_ID,
        column::NAME,
        column::PURPOSE,
        column::VERSION,
        column::CHECK_VALUE,
        column::CREATED_AT,
        column::CREATED_BY,
    ];
    if fixed.iter().any(|column| !old.same(new, *column)) {
        return Err(Error::KeyImmutable { key_id });
    }

    let (from, to) = (old.text(column::STATE), new.text(column::STATE));
    let allowed = match (from.parse::<KeyState>(), to.parse::<KeyState>()) {
        (Ok(from), Ok(to)) => from == to || from.may_become(to),
        _ => false,
    };
    if !allowed {
        return Err(Error::KeyTransition { key_id, from, to });
    }

    // History is written once, by the step that it tells of.
    let changes = |column| !old.same(new, column);
    let stepped = from != to;
    let rewritten = (changes(column::ROTATED_AT) && !stepped)
        || (changes(column::RETIRED_AT) && !(stepped && to == KeyState::Retired.as_str()))
        || (changes(column::COMPROMISED_AT) && !old.is_null(column::COMPROMISED_AT))
        || (changes(column::DESTROYED_AT) && !old.is_null(column::DESTROYED_AT))
        || (changes(column::ROOT_ID) && !changes(column::WRAPPED_KEY));
    if rewritten {
        return Err(Error::KeyImmutable { key_id });
    }

    // Material changes in two ways only: wiped when the key is destroyed, wrapped anew when the root key changes.
    let destroyed = !old.is_null(column::DESTROYED_AT);
    let destroying = !destroyed && !new.is_null(column::DESTROYED_AT);
    let rewrapping = !old.same(new, column::ROOT_ID) && !new.is_null(column::WRAPPED_KEY);
    if destroyed && new.is_null(column::DESTROYED_AT) {
        return Err(Error::KeyTransition {
            key_id,
            from: "destroyed".into(),
            to,
        });
    }
    if destroying && to != KeyState::Retired.as_str() {
        return Err(Error::KeyTransition {
            key_id,
            from,
            to: "destroyed".into(),
        });
    }
    let may_change_material = destroying || (rewrapping && !destroyed);
    if !may_change_material && !old.same(new, column::WRAPPED_KEY) {
        return Err(Error::KeyImmutable { key_id });
    }
    Ok(())
}

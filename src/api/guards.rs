//! Triggers on our own tables, and what event triggers need that keep plaintext off the disk and the extension with its data.

use crate::catalog::encrypted_data;
use crate::catalog::keys::column;
use crate::error::Error;
use crate::guc;
use crate::pg::array;
use crate::pg::call::Call;
use crate::pg::index_statement::ConcurrentIndex;
use crate::pg::stored_expression::{self, Reading};
use crate::pg::trigger::{CascadingDrop, Event, EventTrigger, Trigger, TriggerRow};
use crate::pg::{inval, typeio};
use crate::sql_function;
use crate::{keyring, types::domain};
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

sql_function! {
    /// Before DROP EXTENSION and DROP OWNED: with CASCADE they would drop the columns that hold encrypted data, and the
    /// keys with them.
    fn guard_drop(call) {
        let trigger = EventTrigger::of(call).ok_or(Error::NotATrigger)?;
        let drops_extension = match trigger.cascading_drop() {
            None => false,
            Some(CascadingDrop::Extensions(names)) => encrypted_data::is_dropped_with(&names)?,
            Some(CascadingDrop::Owned(roles)) => encrypted_data::is_owned_by(&roles)?,
        };
        if drops_extension && !guc::allow_drop() {
            let data = encrypted_data::find()?;
            if data.count > 0 {
                return Err(Error::DataWouldBeLost { examples: data.examples, count: data.count });
            }
        }
        Ok(None)
    }
}

sql_function! {
    /// Before CREATE INDEX CONCURRENTLY: refuses what `encrypt._refuse_plaintext_order` would refuse afterwards, when the
    /// index is built and stays behind.
    fn guard_concurrent_index(call) {
        let trigger = EventTrigger::of(call).ok_or(Error::NotATrigger)?;
        if let Some(index) = ConcurrentIndex::of(&trigger) {
            let now = keyring::now();
            for column in &index.by_default_class {
                match domain::by_oid(now, column.type_oid)? {
                    // A hash index has the tokens of a searchable type.
                    Some(domain) if domain.is_searchable() && index.method == "hash" => (),
                    Some(domain) => return Err(plaintext_order(&index, &column.name, &domain)),
                    None => (),
                }
            }
        }
        Ok(None)
    }
}

sql_function! {
    /// Types whose values stored expressions turn into something that tells of their plaintexts, if the types are encrypted.
    fn opened_types(call) {
        types_read(call, |reading| reading != Reading::Equating)
    }
}

sql_function! {
    /// Types that stored expressions compare for equality, which tells of plaintexts where it is not that of tokens.
    fn equated_types(call) {
        types_read(call, |reading| reading == Reading::Equating)
    }
}

sql_function! {
    fn result_types(call) {
        let Some(expressions) = call.datum(0) else { return Ok(None) };
        Ok(Some(array::oid_array(&stored_expression::result_types(expressions))))
    }
}

fn types_read(call: &Call<'_>, wanted: fn(Reading) -> bool) -> Result<Option<Datum>, Error> {
    let Some(expressions) = call.datum(0) else {
        return Ok(None);
    };
    let types: Vec<_> = stored_expression::reads(expressions)
        .into_iter()
        .filter(|read| wanted(read.reading))
        .map(|read| read.type_oid)
        .collect();
    Ok(Some(array::oid_array(&types)))
}

fn plaintext_order(index: &ConcurrentIndex, column: &str, domain: &domain::Domain) -> Error {
    let in_token_order = typeio::schema_and_name(domain.type_oid)
        .filter(|_| domain.is_searchable())
        .map(|(schema, name)| {
            let unique = if index.unique { "unique " } else { "" };
            let column = pgrx::spi::quote_identifier(column);
            let class = pgrx::spi::quote_qualified_identifier(schema, format!("{name}_ops"));
            format!(
                "create {unique}index concurrently on {} ({column} {class});",
                index.table
            )
        });
    Error::PlaintextOrder {
        column: column.to_owned(),
        type_name: typeio::type_name(domain.type_oid),
        in_token_order,
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

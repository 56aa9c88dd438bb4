//! Event triggers that keep the order of plaintexts off the disk and the extension with its data; and what those written in
//! PL/pgSQL ask.

use crate::catalog::encrypted_data;
use crate::error::Error;
use crate::guc;
use crate::pg::ddl_command;
use crate::pg::index_statement::ConcurrentIndex;
use crate::pg::trigger::{CascadingDrop, EventTrigger};
use crate::pg::typeio;
use crate::sql_function;
use crate::{keyring, types::domain};

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
    /// Whether an ALTER TABLE, as event triggers are told of it, does nothing but validate constraints.
    fn only_validates(call) {
        Ok(call.datum(0).map(|command| ddl_command::only_validates(command).into()))
    }
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

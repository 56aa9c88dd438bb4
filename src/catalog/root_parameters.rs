//! Table `encrypt.root_parameters`: what a passphrase needs to become the root key again.

use super::SCHEMA;
use crate::error::Error;
use crate::pg::scan::{IndexedTable, rows};
use crate::pg::sql;

const TABLE: IndexedTable = IndexedTable {
    schema: SCHEMA,
    table: c"root_parameters",
    index: c"root_parameters_pkey",
};

/// The stored parameters, if a passphrase was ever used.
pub fn stored() -> Result<Option<String>, Error> {
    Ok(rows(&TABLE, &[], |row| row.text(2))?.into_iter().flatten().next())
}

/// Keeps parameters for good. A concurrent first use waits for ours and fails on the primary key.
pub fn store(parameters: &str) -> Result<(), Error> {
    sql::execute(
        "insert into encrypt.root_parameters (parameters) values ($1)",
        &[parameters.into()],
    )?;
    Ok(())
}

//! DDL commands, as PostgreSQL collects them for event triggers.

use super::list;
use pgrx::pg_sys::{self, Datum};

/// Whether a `pg_ddl_command` is an ALTER TABLE that does nothing but validate constraints.
pub fn only_validates(command: Datum) -> bool {
    // SAFETY: the type has no other values than the commands that PostgreSQL collected, which live as long as the event trigger
    // runs. Only an ALTER TABLE has this part, whose list holds its subcommands; the tag tells which nodes those are.
    unsafe {
        let command = command.cast_mut_ptr::<pg_sys::CollectedCommand>();
        (*command).type_ == pg_sys::CollectedCommandType::SCT_AlterTable
            && list::nodes::<pg_sys::CollectedATSubcmd>((*command).d.alterTable.subcmds).all(|subcommand| {
                let parsed = (*subcommand).parsetree;
                (*parsed).type_ == pg_sys::NodeTag::T_AlterTableCmd
                    && is_validation((*parsed.cast::<pg_sys::AlterTableCmd>()).subtype)
            })
    }
}

/// 15 has a name of its own for it where partitions and children are meant, too.
fn is_validation(subtype: pg_sys::AlterTableType::Type) -> bool {
    #[cfg(feature = "pg15")]
    if subtype == pg_sys::AlterTableType::AT_ValidateConstraintRecurse {
        return true;
    }
    subtype == pg_sys::AlterTableType::AT_ValidateConstraint
}

//! What to do about it.

use super::Error;
use pg_encrypt_core::lifecycle::KeyState;

impl Error {
    pub(super) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::AlreadyEncrypted => "To move it to another key, use encrypt.reencrypt_column.".into(),
            Self::EncryptedArgument { .. } => "Cast it to the type's base type, which decrypts it.".into(),
            Self::NotText => "Use encrypt.decrypt_bytes to read it as bytea.".into(),
            Self::UnsupportedType { .. } => "Cast it to text or another supported type first.".into(),
            Self::WrongType { .. } | Self::RefusedByType { .. } => {
                "Use encrypt.decrypt_column for its text form.".into()
            }
            Self::UnknownNormalizer { .. } => "Normalizers are exact, casefold, email and digits.".into(),
            Self::BadBits { .. } => "Use a multiple of 8 from 16 to 256.".into(),
            Self::UnknownPurpose { .. } => "Purposes are column and index.".into(),
            Self::UnknownPrivilege { .. } => "Privileges are encrypt, decrypt, search and deterministic.".into(),
            Self::Confirmation { .. } => "Pass the key's name as the second argument.".into(),
            Self::NoSuchKey { name } => format!("Run: select encrypt.create_key({});", literal(name)),
            Self::UnknownKeyId { .. } => {
                "Run: select key_id, name, purpose, version, state from encrypt.keys;".into()
            }
            Self::NoSuchKeyId { .. } => {
                "The value comes from another database, or its key's row was removed. Restore encrypt.keys.".into()
            }
            Self::KeyExists { name } => format!("For a new version, run: select encrypt.rotate_key({});", literal(name)),
            Self::NoActiveKey { .. } => "Activate a version with encrypt.activate_key.".into(),
            Self::KeyNotUsable { state: KeyState::Retired, .. } => {
                "A superuser can read it after: set pg_encrypt.allow_retired_keys = on;".into()
            }
            Self::JobFailed { job_id, kind, subject, .. } => {
                let again = match kind.as_str() {
                    // What the owner of the table can call, too.
                    "backfill" | "verify" => format!("call encrypt.{kind}({subject});"),
                    _ => format!("select encrypt.resume_job({job_id}); call encrypt.run_job({job_id});"),
                };
                format!("Remove the cause, then run: {again}")
            }
            Self::JobPaused { job_id } => format!("Run: select encrypt.resume_job({job_id});"),
            Self::NoWorkerSlot { .. } => {
                "Raise max_worker_processes, or call encrypt.run_job in this session.".into()
            }
            Self::KeyWrongState { hint, .. } => (*hint).into(),
            Self::KeyBusy { .. } | Self::KeyChanged => "Run the statement again.".into(),
            Self::NeedsOwnTransactions => {
                "Call it outside of a transaction block. In a client that begins one by itself, turn autocommit on.".into()
            }
            Self::NeedsReadCommitted => "Run it outside of a transaction block, or: begin isolation level read committed;".into(),
            Self::KeyImmutable { .. } | Self::KeyTransition { .. } => {
                "Use the functions of schema encrypt to change keys.".into()
            }
            Self::KeyUndeletable => "Use encrypt.retire_key and encrypt.destroy_key.".into(),
            Self::KeyInUse { advice, .. } => advice.clone(),
            Self::OtherRoot { .. } => {
                "Name where that root key is: select encrypt.rewrap_keys(old_root => 'file:/...');".into()
            }
            Self::OlderTransaction { pid, .. } => {
                format!("Wait until it ends, or run: select pg_terminate_backend({pid});")
            }
            Self::PreparedTransaction { gid, .. } => {
                format!("Run: commit prepared {0}; or: rollback prepared {0};", literal(gid))
            }
            Self::KeyCorrupt { .. } => "Restore the row of encrypt.keys from a backup.".into(),
            Self::NoPrivilege { name, privilege, role } => format!(
                "Run: select encrypt.grant_key({}, {}, '{privilege}');",
                literal(name),
                literal(&pgrx::spi::quote_identifier(role))
            ),
            Self::NoSuchTypeRef { .. } => {
                "The value comes from another database. Restore encrypt.types with the data.".into()
            }
            Self::OtherType { .. } => "Decrypt it by a cast to the base type first.".into(),
            Self::BadTypeName { .. } => {
                "Use name or schema.name, with at most 40 bytes in the name.".into()
            }
            Self::BaseNotSupported { .. } => {
                "Bases are text, varchar, bytea, smallint, integer, bigint, numeric, real, double precision, date, time, timestamp, \
                 timestamptz, interval, uuid, jsonb and boolean."
                    .into()
            }
            Self::PlaintextOrder { in_token_order: Some(statement), .. } => format!("Run: {statement}"),
            Self::PlaintextOrder { in_token_order: None, .. } => {
                "Make the type searchable: encrypt.create_type(..., searchable => true).".into()
            }
            Self::PaddedBase => "Use base => 'varchar' with modifier => the length.".into(),
            Self::LowEntropy { .. } => {
                "Leave it unsearchable, or pass accept_leakage => true if that may be known.".into()
            }
            Self::IndexKeyInUse { .. } => {
                "Move their columns to successor types, or keep the key: it goes on serving them.".into()
            }
            Self::DataWouldBeLost { .. } => {
                "Decrypt or drop it first, or give it up as a superuser: set pg_encrypt.allow_drop = on;".into()
            }
            Self::RootLocation(error) => sentence(error.hint()),
            Self::Root(error) => sentence(&error.hint()?),
            Self::CreateRoot(error) => sentence(&error.hint()),
            Self::RootParameters(error) => sentence(error.hint()),
            Self::RootMissing { .. } => {
                "Restore the file, or set pg_encrypt.root_key to where the root key is now. Nothing was created.".into()
            }
            Self::WrongRoot { .. } => "Set pg_encrypt.root_key to the root key that wrapped it.".into(),
            Self::NotMigrating { .. } => {
                "Start one: select encrypt.start_migration(...); or drop the trigger.".into()
            }
            Self::RowChanged { .. } => {
                "Run the transaction again, or lock the row first with SELECT ... FOR UPDATE.".into()
            }
            Self::NotInstalled => "Run: create extension pg_encrypt;".into(),
            _ => return None,
        })
    }
}

/// Hints are sentences in PostgreSQL's style; the crates below speak in clauses.
fn sentence(clause: &str) -> String {
    let mut characters = clause.chars();
    match characters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), characters.as_str()),
        None => String::new(),
    }
}

/// A string as an SQL literal, for hints that can be pasted.
fn literal(text: &str) -> String {
    pgrx::spi::quote_literal(text)
}

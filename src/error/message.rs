//! What went wrong: in PostgreSQL's style, with names and ids, never with values, contexts or key material.

use super::Error;
use crate::pg::plan;
use pg_encrypt_core::key::Purpose;

impl Error {
    pub(super) fn message(&self) -> String {
        match self {
            Self::Format(error) => error.to_string(),
            Self::AuthenticationFailed => "could not decrypt value: authentication failed".into(),
            Self::Compression(error) => error.to_string(),
            Self::Seal(error) => error.to_string(),
            Self::Normalize(error) => error.to_string(),
            Self::TokenLength(error) => error.to_string(),
            Self::NotText => "decrypted value is not valid text in the encoding of this database".into(),
            Self::NotTextArgument { argument } => {
                format!("argument \"{argument}\" can't be converted to UTF-8")
            }
            Self::EncryptedArgument { type_name } => format!("value of type {type_name} is encrypted already"),
            Self::AlreadyEncrypted => "value is encrypted already".into(),
            Self::UnsupportedType { type_name } => format!("values of type {type_name} can't be encrypted"),
            Self::WrongType { stored, wanted } => {
                format!("value was encrypted as {stored} and can't be read as {wanted}")
            }
            Self::BadMessage { wanted } => format!("incorrect binary data format for type {wanted}"),
            Self::InvalidInput { wanted, .. } => format!("invalid input for type {wanted}"),
            Self::RefusedByType { wanted, .. } => format!("decrypted value can't be read as {wanted}"),
            Self::OutOfRange { wanted } => format!("decrypted value is out of range for type {wanted}"),
            Self::TooLarge => "value is too large: the result would exceed 1 GB".into(),
            Self::NotHex => "invalid input for type encrypt.ciphertext: not a hexadecimal byte string".into(),
            Self::UnknownNormalizer { name } => format!("unknown normalizer \"{name}\""),
            Self::BadBits { bits } => format!("blind index can't have {bits} bits"),
            Self::UnknownPurpose { name } => format!("unknown key purpose \"{name}\""),
            Self::UnknownPrivilege { name } => format!("unknown key privilege \"{name}\""),
            Self::BadKeyName => "key name must have 1 to 63 bytes and no control characters".into(),
            Self::NoSuchRole { oid } => format!("role with OID {oid} does not exist"),
            Self::BadRotationPeriod => "rotation period must be positive".into(),
            Self::Null { argument } => format!("argument \"{argument}\" must not be null"),
            Self::Confirmation { name } => format!("confirmation does not repeat the name of key \"{name}\""),
            Self::NoSuchKey { name } => format!("key \"{name}\" does not exist"),
            Self::NoSuchKeyId { key_id } | Self::UnknownKeyId { key_id } => format!("key with id {key_id} does not exist"),
            Self::KeyExists { name } => format!("key \"{name}\" already exists"),
            Self::NoActiveKey { name, purpose } => {
                format!("key \"{name}\" has no active version of purpose {purpose}")
            }
            Self::KeyNotUsable {
                name,
                key_id,
                state,
                doing,
            } => {
                format!(
                    "key \"{name}\" with id {key_id} is {} and can't be used to {doing}",
                    state.as_str()
                )
            }
            Self::NoSuchJob { job_id } => format!("job {job_id} does not exist"),
            Self::JobEnded { job_id, state } => format!("job {job_id} is {state}"),
            Self::JobFailed { job_id, why, .. } => format!("job {job_id} failed: {why}"),
            Self::JobPaused { job_id } => format!("job {job_id} is paused"),
            Self::ShadowCollision => "rows of a migrating table are equal in what is unique in its shadow".into(),
            Self::NeedsOwnTransactions => {
                "a procedure that commits as it goes on can't run inside a transaction block or function".into()
            }
            Self::NoWorkerSlot { started, wanted } => {
                format!("{started} of {wanted} background workers could be started")
            }
            Self::BadWorkers { workers } => format!("{workers} is no number of workers between 1 and 64"),
            Self::KeyDestroyed { name, key_id } => format!("key \"{name}\" with id {key_id} was destroyed"),
            Self::KeyWrongPurpose { key_id, is, wanted } => {
                format!("key with id {key_id} is of purpose {is}, not {wanted}")
            }
            Self::KeyWrongState {
                name,
                key_id,
                is,
                wanted,
                ..
            } => {
                format!("key \"{name}\" with id {key_id} is {is}, not {wanted}")
            }
            Self::KeyBusy { name } => format!("key \"{name}\" is being changed by another transaction"),
            Self::NeedsReadCommitted => {
                "a key can only be retired by a transaction that sees what others commit".into()
            }
            Self::KeyChanged => "keys were changed by a concurrent transaction".into(),
            Self::KeyTransition { key_id, from, to } => {
                format!("key with id {key_id} can't change from {from} to {to}")
            }
            Self::KeyImmutable { key_id } => {
                format!("key with id {key_id} can't change its identity, material or history")
            }
            Self::KeyUndeletable => "keys can't be deleted".into(),
            Self::KeyInUse {
                key_id,
                purpose,
                what,
                uses,
                ..
            } => {
                let held = match purpose {
                    Purpose::Column => "value",
                    Purpose::Index => "token",
                };
                let count: i64 = uses.iter().map(|(_, count)| count).sum();
                let plural = if count == 1 { "" } else { "s" };
                let holders = match uses.as_slice() {
                    [(place, _)] => format!("{place} holds"),
                    several => format!("{} places hold", several.len()),
                };
                format!("key with id {key_id} can't be {what}: {holders} {count} {held}{plural} under it")
            }
            Self::BadColumnReference => {
                "invalid column reference: not table.column or schema.table.column".into()
            }
            Self::NoSuchColumn { relation, column } => {
                format!("column \"{column}\" of table \"{relation}\" does not exist")
            }
            Self::OtherRoot {
                key_id,
                wrapped_by,
                given,
            } => {
                format!("key with id {key_id} is wrapped by root key {wrapped_by}, not by root key {given}")
            }
            Self::LocationNeedsSuperuser => "only superusers may name the location of a root key".into(),
            Self::RestrictedOperation => "not possible within a security-restricted operation".into(),
            Self::OlderTransaction { key_id, pid } => format!(
                "key with id {key_id} can't be retired: a transaction of process {pid} is older than its rotation"
            ),
            Self::PreparedTransaction { key_id, gid } => {
                format!(
                    "key with id {key_id} can't be retired: prepared transaction \"{gid}\" may have used it"
                )
            }
            Self::KeyCorrupt { key_id } => format!("stored key with id {key_id} is damaged or was altered"),
            Self::NoPrivilege {
                name,
                privilege,
                role,
            } => {
                format!("role \"{role}\" has no {privilege} privilege for key \"{name}\"")
            }
            Self::KeyIdsExhausted => "could not find an unused key id".into(),
            Self::RootLocation(error) => error.to_string(),
            Self::Typed(error) => error.to_string(),
            Self::NoSuchTypeRef { type_ref } => {
                format!("encrypted type with number {type_ref} does not exist in this database")
            }
            Self::NotAnEncryptedType { type_name } => format!("type {type_name} is not an encrypted type"),
            Self::NoDomain { function } => {
                format!("function with OID {function} belongs to no encrypted type")
            }
            Self::OtherType { type_name } => {
                format!("value belongs to another encrypted type than {type_name}")
            }
            Self::NotSearchable => "encrypted type is not searchable".into(),
            Self::NoTypePrivilege { schema, role } => {
                format!("role \"{role}\" has no create privilege for schema \"{schema}\"")
            }
            Self::BadTypeName { name } => format!("\"{name}\" is not a usable name for an encrypted type"),
            Self::NoSuchSchema { name } => format!("schema \"{name}\" does not exist"),
            Self::BadTemplate { placeholder } => format!("template has no value for \"{placeholder}\""),
            Self::TypeExists { name } => format!("type {name} already exists"),
            Self::BaseNotSupported { type_name } => {
                format!("type {type_name} can't be the base of an encrypted type")
            }
            Self::PlaintextOrder { column, type_name, .. } => {
                format!("index on column \"{column}\" would store the order of plaintexts of type {type_name}")
            }
            Self::PaddedBase => {
                "type character can't be the base of an encrypted type: whether its trailing spaces count depends on what \
                 a value is compared with"
                    .into()
            }
            // PostgreSQL's own words.
            Self::NoModifier { type_name } => format!("type modifier is not allowed for type \"{type_name}\""),
            Self::NotSearchableBase { type_name, why } => {
                format!("an encrypted type over {type_name} can't be searchable: {why}")
            }
            Self::LowEntropy { type_name } => {
                format!("a searchable type over {type_name} would show the distribution of its few values")
            }
            Self::NormalizerNeedsText => "only types over text can have a normalizer other than exact".into(),
            Self::TypeInUse { type_name, by } => format!("type {type_name} is used by {by}"),
            Self::TypeImmutable { type_ref } => format!("encrypted type with number {type_ref} can't change"),
            Self::DataWouldBeLost { .. } => {
                "cannot drop extension pg_encrypt because encrypted data depends on it".into()
            }
            Self::IndexKeyInUse { key_id, types } => {
                format!("key with id {key_id} can't be retired: {types} searchable types use it")
            }
            Self::Root(error) => error.to_string(),
            Self::CreateRoot(error) => error.to_string(),
            Self::RootParameters(error) => error.to_string(),
            Self::RootMissing { keys } => {
                format!("root key file is missing, and {keys} keys need it")
            }
            Self::WrongRoot {
                key_id,
                wrapped_by,
                configured,
            } => format!(
                "key with id {key_id} is wrapped by root key {wrapped_by}, but root key {configured} is configured"
            ),
            Self::DataDirectoryUnknown => "the data directory's path is not valid UTF-8".into(),
            Self::Random(_) => "the operating system's random generator failed".into(),
            Self::OutOfSecretMemory => "out of memory for key material".into(),
            Self::NotInstalled => "extension \"pg_encrypt\" is not created in this database".into(),
            Self::NotATrigger => "function must be called as a trigger".into(),
            Self::NotMigrating { relation } => {
                format!("table with OID {relation} takes part in no migration")
            }
            Self::NullKey => "a column that identifies rows is null".into(),
            Self::NotDefault { view } => {
                format!("cannot insert a non-DEFAULT value into a generated column of view \"{view}\"")
            }
            Self::RowChanged { view } => {
                format!("row of view \"{view}\" was changed by another transaction")
            }
            Self::NoRowOfView { view } => {
                format!("statement for view \"{view}\" returned rows of another type")
            }
            Self::Statement(plan::Refused(code)) => {
                format!("internal statement of pg_encrypt was refused with SPI code {code}")
            }
            Self::Spi(_) => "internal statement of pg_encrypt failed".into(),
        }
    }
}

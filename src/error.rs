//! Every error a user can see: code, message, hint. The only file that names SQLSTATEs.
//!
//! Messages name keys, ids, roles and tables. They never hold a value, a context, a row id or key material; where
//! decryption fails the message is the same whatever the cause, so that it tells an attacker nothing.

use crate::pg::call::{NullArgument, TooLarge};
use crate::pg::scan::NoSuchTable;
use crate::pg::typeio::Refused;
use pg_encrypt_core::compress::CompressionError;
use pg_encrypt_core::envelope::{AuthenticationFailed, FormatError, SealError};
use pg_encrypt_core::lifecycle::KeyState;
use pg_encrypt_core::normalize::NormalizeError;
use pg_encrypt_core::random::RandomError;
use pg_encrypt_core::token::TokenLengthMismatch;
use pg_encrypt_core::typed::TypedError;
use pg_encrypt_providers::{CreateKeyError, LocationError, ParametersError, ProviderError};
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{self, *};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::spi::SpiError;

pub enum Error {
    // Values
    Format(FormatError),
    AuthenticationFailed,
    Compression(CompressionError),
    Seal(SealError),
    Normalize(NormalizeError),
    TokenLength(TokenLengthMismatch),
    NotText,
    NotTextArgument {
        argument: &'static str,
    },
    AlreadyEncrypted,
    UnsupportedType {
        type_name: String,
    },
    WrongType {
        stored: &'static str,
        wanted: String,
    },
    InvalidInput {
        refused: Refused,
        wanted: String,
    },
    RefusedByType {
        refused: Refused,
        wanted: String,
    },
    OutOfRange {
        wanted: String,
    },
    TooLarge,
    NotHex,

    // Arguments
    UnknownNormalizer {
        name: String,
    },
    BadBits {
        bits: i32,
    },
    UnknownPurpose {
        name: String,
    },
    UnknownPrivilege {
        name: String,
    },
    BadKeyName,
    NoSuchRole {
        oid: u32,
    },
    BadRotationPeriod,
    Null {
        argument: &'static str,
    },
    Confirmation {
        name: String,
    },

    // Keys
    NoSuchKey {
        name: String,
    },
    NoSuchKeyId {
        key_id: i32,
    },
    KeyExists {
        name: String,
    },
    NoActiveKey {
        name: String,
        purpose: &'static str,
    },
    KeyNotUsable {
        name: String,
        key_id: i32,
        state: KeyState,
        doing: &'static str,
    },
    KeyDestroyed {
        name: String,
        key_id: i32,
    },
    KeyWrongPurpose {
        key_id: i32,
        is: &'static str,
        wanted: &'static str,
    },
    KeyWrongState {
        name: String,
        key_id: i32,
        is: &'static str,
        wanted: &'static str,
        hint: &'static str,
    },
    KeyBusy {
        name: String,
    },
    KeyChanged,
    KeyTransition {
        key_id: i32,
        from: String,
        to: String,
    },
    KeyImmutable {
        key_id: i32,
    },
    KeyUndeletable,
    KeyInUse {
        key_id: i32,
        columns: i64,
    },
    OlderTransaction {
        key_id: i32,
        pid: i32,
    },
    PreparedTransaction {
        key_id: i32,
        gid: String,
    },
    KeyCorrupt {
        key_id: i32,
    },
    NoPrivilege {
        name: String,
        privilege: &'static str,
        role: String,
    },
    KeyIdsExhausted,

    // Encrypted types
    Typed(TypedError),
    NoSuchTypeRef { type_ref: i32 },
    NotAnEncryptedType { type_name: String },
    NoDomain { function: u32 },
    OtherType { type_name: String },
    NotSearchable,
    NoTypePrivilege { schema: String, role: String },
    BadTypeName { name: String },
    TypeExists { name: String },
    NoSuchSchema { name: String },
    BadTemplate { placeholder: String },
    BaseNotSupported { type_name: String },
    NotSearchableBase { type_name: String, why: &'static str },
    LowEntropy { type_name: String },
    NormalizerNeedsText,
    TypeInUse { type_name: String, by: String },
    IndexKeyInUse { key_id: i32, types: i64 },
    TypeImmutable { type_ref: i32 },
    DataWouldBeLost { examples: Vec<String>, count: i64 },

    // Root key
    RootLocation(LocationError),
    Root(ProviderError),
    CreateRoot(CreateKeyError),
    RootParameters(ParametersError),
    RootMissing {
        keys: i64,
    },
    WrongRoot {
        key_id: i32,
        wrapped_by: String,
        configured: String,
    },
    DataDirectoryUnknown,

    // The machine
    Random(RandomError),
    OutOfSecretMemory,
    NotInstalled,
    NotATrigger,
    Spi(SpiError),
}

impl Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Format(_) | Self::Typed(_) | Self::NotHex => ERRCODE_INVALID_BINARY_REPRESENTATION,
            Self::AuthenticationFailed | Self::Compression(_) => {
                ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION
            }
            Self::NotText | Self::NotTextArgument { .. } => ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
            Self::UnsupportedType { .. } => ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::WrongType { .. } => ERRCODE_DATATYPE_MISMATCH,
            Self::RefusedByType { refused, .. } | Self::InvalidInput { refused, .. } => PgSqlErrorCode::from(refused.sqlstate),
            Self::OutOfRange { .. } => ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
            Self::TooLarge | Self::Normalize(_) => ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Self::AlreadyEncrypted
            | Self::UnknownNormalizer { .. }
            | Self::BadBits { .. }
            | Self::UnknownPurpose { .. }
            | Self::UnknownPrivilege { .. }
            | Self::BadKeyName
            | Self::BadRotationPeriod
            | Self::Confirmation { .. }
            | Self::OtherType { .. }
            | Self::LowEntropy { .. }
            | Self::NormalizerNeedsText
            | Self::RootLocation(_) => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::NoSuchTypeRef { .. } | Self::NotAnEncryptedType { .. } => ERRCODE_UNDEFINED_OBJECT,
            Self::BadTypeName { .. } => ERRCODE_INVALID_NAME,
            Self::NoTypePrivilege { .. } => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::TypeExists { .. } => ERRCODE_DUPLICATE_OBJECT,
            Self::BaseNotSupported { .. } | Self::NotSearchableBase { .. } | Self::NotSearchable => {
                ERRCODE_FEATURE_NOT_SUPPORTED
            }
            Self::TypeInUse { .. } | Self::DataWouldBeLost { .. } => ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
            Self::IndexKeyInUse { .. } | Self::TypeImmutable { .. } => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::NoSuchSchema { .. } => ERRCODE_INVALID_SCHEMA_NAME,
            Self::NoDomain { .. } | Self::BadTemplate { .. } => ERRCODE_INTERNAL_ERROR,
            Self::Null { .. } => ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::NoSuchKey { .. }
            | Self::NoSuchKeyId { .. }
            | Self::NoSuchRole { .. }
            | Self::NotInstalled => ERRCODE_UNDEFINED_OBJECT,
            Self::KeyExists { .. } => ERRCODE_DUPLICATE_OBJECT,
            Self::NoActiveKey { .. }
            | Self::KeyNotUsable { .. }
            | Self::KeyDestroyed { .. }
            | Self::KeyWrongPurpose { .. }
            | Self::KeyWrongState { .. }
            | Self::KeyTransition { .. }
            | Self::KeyImmutable { .. }
            | Self::KeyUndeletable
            | Self::KeyInUse { .. }
            | Self::OlderTransaction { .. }
            | Self::PreparedTransaction { .. } => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::KeyBusy { .. } => ERRCODE_LOCK_NOT_AVAILABLE,
            Self::KeyChanged => ERRCODE_T_R_SERIALIZATION_FAILURE,
            Self::KeyCorrupt { .. } => ERRCODE_DATA_CORRUPTED,
            Self::NoPrivilege { .. } => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::KeyIdsExhausted => ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            Self::Root(_)
            | Self::CreateRoot(_)
            | Self::RootParameters(_)
            | Self::RootMissing { .. }
            | Self::WrongRoot { .. }
            | Self::DataDirectoryUnknown => ERRCODE_IO_ERROR,
            Self::Random(_) => ERRCODE_SYSTEM_ERROR,
            Self::OutOfSecretMemory => ERRCODE_OUT_OF_MEMORY,
            Self::NotATrigger => ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
            Self::Seal(_) | Self::TokenLength(_) | Self::Spi(_) => ERRCODE_INTERNAL_ERROR,
        }
    }

    fn message(&self) -> String {
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
            Self::AlreadyEncrypted => "value is encrypted already".into(),
            Self::UnsupportedType { type_name } => format!("values of type {type_name} can't be encrypted"),
            Self::WrongType { stored, wanted } => {
                format!("value was encrypted as {stored} and can't be read as {wanted}")
            }
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
            Self::NoSuchKeyId { key_id } => format!("key with id {key_id} does not exist"),
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
            Self::KeyChanged => "keys were changed by a concurrent transaction".into(),
            Self::KeyTransition { key_id, from, to } => {
                format!("key with id {key_id} can't change from {from} to {to}")
            }
            Self::KeyImmutable { key_id } => {
                format!("key with id {key_id} can't change its identity, material or history")
            }
            Self::KeyUndeletable => "keys can't be deleted".into(),
            Self::KeyInUse { key_id, columns } => {
                format!("key with id {key_id} can't be retired: {columns} registered columns use its name")
            }
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
            Self::NoDomain { function } => format!("function with OID {function} belongs to no encrypted type"),
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
            Self::NotSearchableBase { type_name, why } => {
                format!("an encrypted type over {type_name} can't be searchable: {why}")
            }
            Self::LowEntropy { type_name } => format!(
                "a searchable type over {type_name} would show the distribution of its few values"
            ),
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
            Self::Spi(_) => "internal statement of pg_encrypt failed".into(),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::AlreadyEncrypted => "To move it to another key, use encrypt.reencrypt_column.".into(),
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
            Self::NoSuchKeyId { .. } => {
                "The value comes from another database, or its key's row was removed. Restore encrypt.keys.".into()
            }
            Self::KeyExists { name } => format!("For a new version, run: select encrypt.rotate_key({});", literal(name)),
            Self::NoActiveKey { .. } => "Activate a version with encrypt.activate_key.".into(),
            Self::KeyNotUsable { state: KeyState::Retired, .. } => {
                "A superuser can read it after: set pg_encrypt.allow_retired_keys = on;".into()
            }
            Self::KeyWrongState { hint, .. } => (*hint).into(),
            Self::KeyBusy { .. } | Self::KeyChanged => "Run the statement again.".into(),
            Self::KeyImmutable { .. } | Self::KeyTransition { .. } => {
                "Use the functions of schema encrypt to change keys.".into()
            }
            Self::KeyUndeletable => "Use encrypt.retire_key and encrypt.destroy_key.".into(),
            Self::KeyInUse { .. } => "Move their values to the active version first.".into(),
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
                "Bases are text, bytea, integer, bigint, numeric, date, timestamptz, uuid, jsonb and boolean.".into()
            }
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
            Self::NotInstalled => "Run: create extension pg_encrypt;".into(),
            _ => return None,
        })
    }
}

impl Error {
    fn detail(&self) -> Option<String> {
        match self {
            Self::Spi(spi) => Some(spi.to_string()),
            Self::DataWouldBeLost { examples, count } => {
                let others = count - examples.len() as i64;
                let more = (others > 0).then(|| format!("and {others} more"));
                Some(examples.iter().cloned().chain(more).collect::<Vec<_>>().join("\n"))
            }
            _ => None,
        }
    }
}

/// Tells the user something without stopping.
pub fn warn(message: &str, detail: &str) {
    let report = ErrorReport::new(ERRCODE_WARNING, message.to_owned(), "pg_encrypt").set_detail(detail);
    report.report(pgrx::PgLogLevel::WARNING);
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

impl From<Error> for ErrorReport {
    fn from(error: Error) -> Self {
        let report = ErrorReport::new(error.code(), error.message(), "pg_encrypt");
        let report = match error.detail() {
            Some(detail) => report.set_detail(detail),
            None => report,
        };
        match error.hint() {
            Some(hint) => report.set_hint(hint),
            None => report,
        }
    }
}

macro_rules! from {
    ($($source:ty => $variant:ident),* $(,)?) => {$(
        impl From<$source> for Error {
            fn from(error: $source) -> Self {
                Self::$variant(error)
            }
        }
    )*};
}

from! {
    FormatError => Format,
    CompressionError => Compression,
    LocationError => RootLocation,
    ProviderError => Root,
    CreateKeyError => CreateRoot,
    ParametersError => RootParameters,
    SealError => Seal,
    NormalizeError => Normalize,
    TokenLengthMismatch => TokenLength,
    TypedError => Typed,
    RandomError => Random,
    SpiError => Spi,
}

impl From<AuthenticationFailed> for Error {
    fn from(_: AuthenticationFailed) -> Self {
        Self::AuthenticationFailed
    }
}

impl From<TooLarge> for Error {
    fn from(_: TooLarge) -> Self {
        Self::TooLarge
    }
}

impl From<NullArgument> for Error {
    fn from(NullArgument(argument): NullArgument) -> Self {
        Self::Null { argument }
    }
}

impl From<NoSuchTable> for Error {
    fn from(_: NoSuchTable) -> Self {
        Self::NotInstalled
    }
}

/// What went wrong when a stored key was unwrapped, told with the key's id.
pub fn unwrapping(error: ProviderError, key_id: i32) -> Error {
    match error {
        // The root key's fingerprint was compared before, so the stored key is not what that root key wrapped.
        ProviderError::Wrap(_) => Error::KeyCorrupt { key_id },
        other => Error::Root(other),
    }
}

//! SQLSTATEs.

use super::{Error, Failure};
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{self, *};
use pgrx::pg_sys::panic::ErrorReport;

impl Error {
    pub(super) fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::BadMessage { .. } | Self::Format(_) | Self::Typed(_) | Self::NotHex => {
                ERRCODE_INVALID_BINARY_REPRESENTATION
            }
            Self::AuthenticationFailed | Self::Compression(_) => {
                ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION
            }
            Self::NotText | Self::NotTextArgument { .. } => ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
            Self::UnsupportedType { .. } => ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::WrongType { .. } => ERRCODE_DATATYPE_MISMATCH,
            Self::RefusedByType { refused, .. } | Self::InvalidInput { refused, .. } => {
                PgSqlErrorCode::from(refused.sqlstate)
            }
            Self::OutOfRange { .. } => ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
            Self::TooLarge | Self::Normalize(_) => ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Self::AlreadyEncrypted
            | Self::EncryptedArgument { .. }
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
            Self::BaseNotSupported { .. }
            | Self::PaddedBase
            | Self::PlaintextOrder { .. }
            | Self::NotSearchableBase { .. }
            | Self::NotSearchable => ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::NoModifier { .. } => ERRCODE_SYNTAX_ERROR,
            Self::TypeInUse { .. } | Self::DataWouldBeLost { .. } => ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
            Self::IndexKeyInUse { .. } | Self::TypeImmutable { .. } => {
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Self::NoSuchSchema { .. } => ERRCODE_INVALID_SCHEMA_NAME,
            Self::NoDomain { .. } | Self::BadTemplate { .. } => ERRCODE_INTERNAL_ERROR,
            Self::Null { .. } => ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::NoSuchKey { .. }
            | Self::NoSuchKeyId { .. }
            | Self::UnknownKeyId { .. }
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
            | Self::NeedsReadCommitted
            | Self::KeyInUse { .. }
            | Self::OlderTransaction { .. }
            | Self::PreparedTransaction { .. } => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::NoSuchJob { .. } => ERRCODE_UNDEFINED_OBJECT,
            Self::JobEnded { .. } | Self::JobFailed { .. } | Self::JobPaused { .. } => {
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Self::ShadowCollision => ERRCODE_UNIQUE_VIOLATION,
            Self::NeedsOwnTransactions => ERRCODE_INVALID_TRANSACTION_TERMINATION,
            Self::NoWorkerSlot { .. } => ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            Self::BadWorkers { .. } => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::KeyBusy { .. } => ERRCODE_LOCK_NOT_AVAILABLE,
            Self::KeyChanged => ERRCODE_T_R_SERIALIZATION_FAILURE,
            Self::KeyCorrupt { .. } => ERRCODE_DATA_CORRUPTED,
            Self::NoPrivilege { .. } | Self::LocationNeedsSuperuser | Self::RestrictedOperation => {
                ERRCODE_INSUFFICIENT_PRIVILEGE
            }
            Self::BadColumnReference => ERRCODE_INVALID_NAME,
            Self::NoSuchColumn { .. } => ERRCODE_UNDEFINED_COLUMN,
            Self::KeyIdsExhausted => ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            Self::Root(_)
            | Self::CreateRoot(_)
            | Self::RootParameters(_)
            | Self::RootMissing { .. }
            | Self::WrongRoot { .. }
            | Self::OtherRoot { .. }
            | Self::DataDirectoryUnknown => ERRCODE_IO_ERROR,
            Self::Random(_) => ERRCODE_SYSTEM_ERROR,
            Self::OutOfSecretMemory => ERRCODE_OUT_OF_MEMORY,
            Self::NotMigrating { .. } => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::NullKey => ERRCODE_NOT_NULL_VIOLATION,
            Self::NotDefault { .. } => ERRCODE_GENERATED_ALWAYS,
            Self::RowChanged { .. } => ERRCODE_T_R_SERIALIZATION_FAILURE,
            Self::NotATrigger => ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
            Self::Seal(_)
            | Self::TokenLength(_)
            | Self::Spi(_)
            | Self::Statement(_)
            | Self::NoRowOfView { .. } => ERRCODE_INTERNAL_ERROR,
        }
    }
}

impl Failure {
    /// The user, or the server's shutdown, ended it.
    pub fn is_cancellation(&self) -> bool {
        matches!(self.code(), ERRCODE_QUERY_CANCELED | ERRCODE_ADMIN_SHUTDOWN)
    }

    pub fn is_unique_violation(&self) -> bool {
        self.code() == ERRCODE_UNIQUE_VIOLATION
    }

    /// A table, column or schema is not there, or has another name by now.
    pub fn is_of_lost_name(&self) -> bool {
        matches!(
            self.code(),
            ERRCODE_UNDEFINED_TABLE | ERRCODE_UNDEFINED_COLUMN | ERRCODE_INVALID_SCHEMA_NAME
        )
    }

    /// Somebody else was in the way: it may go through the next time.
    pub fn is_contention(&self) -> bool {
        matches!(
            self.code(),
            ERRCODE_LOCK_NOT_AVAILABLE | ERRCODE_T_R_DEADLOCK_DETECTED | ERRCODE_T_R_SERIALIZATION_FAILURE
        )
    }

    /// Whether the message comes from PostgreSQL or this extension and is of a kind that names objects. Those of class 22
    /// quote data, and so may what functions of others raise.
    pub(super) fn names_objects_only(&self) -> bool {
        const CLASSES: [PgSqlErrorCode; 13] = [
            ERRCODE_FEATURE_NOT_SUPPORTED,
            ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION,
            ERRCODE_INVALID_TRANSACTION_STATE,
            ERRCODE_INVALID_TRANSACTION_TERMINATION,
            ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION,
            ERRCODE_TRANSACTION_ROLLBACK,
            ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION,
            ERRCODE_INSUFFICIENT_RESOURCES,
            ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            ERRCODE_OPERATOR_INTERVENTION,
            ERRCODE_IO_ERROR,
            ERRCODE_INTERNAL_ERROR,
        ];
        const CLASS: i32 = 0xfff;
        CLASSES
            .iter()
            .any(|class| self.code() as i32 & CLASS == *class as i32 & CLASS)
    }
}

/// Raises an error where no SQL function returns it.
pub fn raise(error: Error) -> ! {
    let report: ErrorReport = error.into();
    report.report(pgrx::PgLogLevel::ERROR);
    unreachable!("ERROR does not return")
}

/// Tells the user how far things are.
pub fn notice(message: String) {
    ErrorReport::new(ERRCODE_SUCCESSFUL_COMPLETION, message, "pg_encrypt").report(pgrx::PgLogLevel::NOTICE);
}

/// Writes a line to the server's log.
pub fn log(message: &str) {
    ErrorReport::new(ERRCODE_SUCCESSFUL_COMPLETION, message.to_owned(), "pg_encrypt")
        .report(pgrx::PgLogLevel::LOG);
}

/// Tells of an error without stopping.
pub fn warn_of(error: Error) {
    let report: ErrorReport = error.into();
    report.report(pgrx::PgLogLevel::WARNING);
}

/// Tells the user something without stopping.
pub fn warn(message: &str, detail: &str) {
    let report = ErrorReport::new(ERRCODE_WARNING, message.to_owned(), "pg_encrypt").set_detail(detail);
    report.report(pgrx::PgLogLevel::WARNING);
}

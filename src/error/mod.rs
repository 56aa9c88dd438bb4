//! Every error a user can see.
//!
//! | module | has |
//! |---|---|
//! | [`code`] | SQLSTATEs; the only file that names them |
//! | [`message`] | what went wrong, and with which object |
//! | [`failure`] | an error that was caught, to be written down and survived |
//! | [`hint`] | what to do, as a statement where there is one |
//!
//! Messages name keys, ids, roles and tables. They never hold a value, a context, a row id or key material; where
//! decryption fails the message is the same whatever the cause, so that it tells an attacker nothing.

use crate::pg::call::{NullArgument, TooLarge};
use crate::pg::column::BadReference;
use crate::pg::plan;
use crate::pg::scan::NoSuchTable;
use crate::pg::typeio::Refused;
use pg_encrypt_core::compress::CompressionError;
use pg_encrypt_core::envelope::{AuthenticationFailed, FormatError, SealError};
use pg_encrypt_core::key::Purpose;
use pg_encrypt_core::lifecycle::KeyState;
use pg_encrypt_core::normalize::NormalizeError;
use pg_encrypt_core::random::RandomError;
use pg_encrypt_core::token::TokenLengthMismatch;
use pg_encrypt_core::typed::TypedError;
use pg_encrypt_providers::{CreateKeyError, LocationError, ParametersError, ProviderError};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::spi::SpiError;

mod code;
mod failure;
mod hint;
mod message;

pub use code::{log, notice, raise, warn, warn_of};
pub use failure::Failure;

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
    EncryptedArgument {
        type_name: String,
    },
    UnsupportedType {
        type_name: String,
    },
    WrongType {
        stored: &'static str,
        wanted: String,
    },
    BadMessage {
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
    /// An id that was given, not found in a value.
    UnknownKeyId {
        key_id: i32,
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
    NeedsReadCommitted,
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
        purpose: Purpose,
        /// What it can't become.
        what: &'static str,
        /// Columns and what has constants, as PostgreSQL describes objects, and how many values each holds.
        uses: Vec<(String, i64)>,
        /// What moves the first of them that no job moves, or all, to the active version.
        advice: String,
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

    // Columns
    BadColumnReference,
    NoSuchColumn {
        relation: String,
        column: String,
    },

    // Encrypted types
    Typed(TypedError),
    NoSuchTypeRef {
        type_ref: i32,
    },
    NotAnEncryptedType {
        type_name: String,
    },
    NoDomain {
        function: u32,
    },
    OtherType {
        type_name: String,
    },
    NotSearchable,
    NoTypePrivilege {
        schema: String,
        role: String,
    },
    BadTypeName {
        name: String,
    },
    TypeExists {
        name: String,
    },
    NoSuchSchema {
        name: String,
    },
    BadTemplate {
        placeholder: String,
    },
    BaseNotSupported {
        type_name: String,
    },
    PlaintextOrder {
        column: String,
        type_name: String,
        /// The statement that makes an index in token order.
        in_token_order: Option<String>,
    },
    PaddedBase,
    NoModifier {
        type_name: String,
    },
    NotSearchableBase {
        type_name: String,
        why: &'static str,
    },
    LowEntropy {
        type_name: String,
    },
    NormalizerNeedsText,
    TypeInUse {
        type_name: String,
        by: String,
    },
    IndexKeyInUse {
        key_id: i32,
        types: i64,
    },
    TypeImmutable {
        type_ref: i32,
    },
    DataWouldBeLost {
        examples: Vec<String>,
        count: i64,
    },

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
    OtherRoot {
        key_id: i32,
        wrapped_by: String,
        given: String,
    },
    LocationNeedsSuperuser,
    RestrictedOperation,
    DataDirectoryUnknown,

    // Jobs
    NoSuchJob {
        job_id: i32,
    },
    JobEnded {
        job_id: i32,
        state: String,
    },
    JobFailed {
        job_id: i32,
        why: String,
        kind: String,
        subject: String,
    },
    JobPaused {
        job_id: i32,
    },
    NeedsOwnTransactions,
    NoWorkerSlot {
        started: i32,
        wanted: i32,
    },
    BadWorkers {
        workers: i32,
    },

    // Migrations
    NotATrigger,
    NotMigrating {
        relation: u32,
    },
    NullKey,
    ShadowCollision,
    /// A value for a generated column of a view.
    NotDefault {
        view: String,
    },
    /// The row of a view is not what the statement saw.
    RowChanged {
        view: String,
    },
    /// A statement returned something else than rows of the view.
    NoRowOfView {
        view: String,
    },

    // The machine
    Random(RandomError),
    OutOfSecretMemory,
    NotInstalled,
    Statement(plan::Refused),
    Spi(SpiError),
}

impl Error {
    fn detail(&self) -> Option<String> {
        match self {
            Self::Spi(spi) => Some(spi.to_string()),
            Self::DataWouldBeLost { examples, count } => {
                let others = count - examples.len() as i64;
                let more = (others > 0).then(|| format!("and {others} more"));
                Some(
                    examples
                        .iter()
                        .cloned()
                        .chain(more)
                        .collect::<Vec<_>>()
                        .join("\n"),
                )
            }
            Self::KeyInUse { uses, .. } if uses.len() > 1 => {
                let lines: Vec<String> = uses
                    .iter()
                    .map(|(place, values)| format!("{place}: {values}"))
                    .collect();
                Some(lines.join("\n"))
            }
            _ => None,
        }
    }
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
    plan::Refused => Statement,
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

impl From<BadReference> for Error {
    fn from(bad: BadReference) -> Self {
        match bad {
            BadReference::Syntax => Self::BadColumnReference,
            BadReference::NoSuchColumn { relation, column } => Self::NoSuchColumn { relation, column },
        }
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
